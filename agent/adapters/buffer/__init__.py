"""The buffer on the disk: SQLite and files."""
