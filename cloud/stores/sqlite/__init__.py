"""SQLite and a folder."""
