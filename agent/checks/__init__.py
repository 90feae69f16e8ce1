"""What is checked of a box, by `check-config`, `status` and the daemon."""
