"""`wattpost check-profile` and `wattpost new-profile`."""
