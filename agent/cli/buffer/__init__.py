"""`wattpost buffer`."""
