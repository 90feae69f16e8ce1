"""What there is to measure: a household, its scenarios, its quantities."""
