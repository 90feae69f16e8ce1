"""Meters: profiles as data, read planning and decoding as pure functions, one module per protocol."""
