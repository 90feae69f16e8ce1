"""From a batch that arrived to a receipt."""
