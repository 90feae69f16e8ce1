"""The commands of the cloud's side: `wattpost receive`, `wattpost cloud ...`."""
