"""Modbus RTU and TCP: frames, lines, meters, block reads, identification."""
