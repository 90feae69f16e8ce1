"""`wattpost read`."""
