"""Modbus meters: registers, frames, lines, gateways."""
