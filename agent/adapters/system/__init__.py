"""The machine: clocks, systemd, processes, logs, files beside the buffer."""
