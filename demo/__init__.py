"""The demonstration: starts every part as a process of its own, watches, and compares both ends."""
