"""`wattpost scan`."""
