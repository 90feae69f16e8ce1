"""What is checked of a box, by `check-config` and `status`: `registry` lists all checks."""
