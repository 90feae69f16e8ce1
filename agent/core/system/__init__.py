"""Time, watchdog, health, certificates."""
