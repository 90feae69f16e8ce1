"""`wattpost decode` and `wattpost encode`."""
