"""What the loops share."""
