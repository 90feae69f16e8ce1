"""The program on the box."""
