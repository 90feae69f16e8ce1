"""Ways in other than AWS IoT, each in front of the same `ingest`."""
