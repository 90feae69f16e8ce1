"""What the box does: files, sockets, clocks, threads."""
