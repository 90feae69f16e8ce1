"""The commands of the cloud side: `wattpost receive`, `wattpost cloud ...`."""
