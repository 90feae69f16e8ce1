"""How lines and meters are addressed, in the configuration and in options."""

from __future__ import annotations

TCP = "tcp://"  # what the port of a Modbus TCP line begins with; any other port is a serial device
TCP_PORT = 502
SERIAL_UNIT_MAX = 247  # Modbus over serial line, 2.2; the first meter is 1
UNIT_MAX = 255  # over TCP, where 0 and 248 to 255 exist, too
MBUS_ADDRESS_MAX, MBUS_ONLY_METER = 250, 254


def expected_unit(protocol: str, port: str, unit: int) -> str | None:
    """What a unit id or an address on such a line should be instead of `unit`; None where a meter can have it.

    Modbus on a serial line keeps 0 for all meters at once, and 248 to 255 for nobody; TCP meters use 0 and 255. On an
    M-Bus, 0 is a meter that was not given an address yet, and 254 the one meter that is there.
    """
    if protocol == "mbus":
        good = 0 <= unit <= MBUS_ADDRESS_MAX or unit == MBUS_ONLY_METER
        return None if good else f"0 to {MBUS_ADDRESS_MAX}, or {MBUS_ONLY_METER} for a meter that is alone"
    if protocol != "modbus" or port.startswith(TCP) or 1 <= unit <= SERIAL_UNIT_MAX:
        return None
    return f"1 to {SERIAL_UNIT_MAX}"
