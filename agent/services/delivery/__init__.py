"""The connection to the broker, and the events of delivery."""
