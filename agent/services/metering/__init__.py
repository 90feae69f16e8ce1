"""Meters as the configuration has them, and what goes with each while it is polled."""
