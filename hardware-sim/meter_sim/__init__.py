"""Meters that do not exist, served like those that do."""
