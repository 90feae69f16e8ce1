"""How lines and meters are addressed, in the configuration and in options."""

from __future__ import annotations

TCP = "tcp://"  # what the port of a Modbus TCP line begins with; any other port is a serial device
TCP_PORT = 502
SERIAL_UNIT_MAX = 247  # Modbus over serial line, 2.2; the first meter is 1
UNIT_MAX = 255  # over TCP, where 0 and 248 to 255 exist, too
