"""Meters of all other protocols."""
