"""`wattpost status`."""
