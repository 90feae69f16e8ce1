"""The form of the configuration file: one struct per table, one field per key.

The JSON schema, the checks of single keys and the documentation tests all use these structs. `description` says what a
key is for; `extra["expected"]` completes "expected ..." in a mistake; `extra["range"]` limits a quantity.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.settings.quantities import DURATION_PATTERN, SIZE_PATTERN, parse_duration_ms, parse_size_bytes

NAME_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}$"


def duration(description: str, least: str, most: str) -> Meta:
    """A duration of `least` to `most`, such as `"10s"`."""
    expected = f'a duration in quotes from {least} to {most}, such as "10s" or "5min"'
    limits = (parse_duration_ms(least), parse_duration_ms(most))
    return _meta(description, expected, pattern=DURATION_PATTERN, kind="duration", range=limits)


def size(description: str, least: str, most: str) -> Meta:
    """A size of `least` to `most`, such as `"512MB"`."""
    expected = f'a size in quotes from {least} to {most}, such as "512MB"'
    limits = (parse_size_bytes(least), parse_size_bytes(most))
    return _meta(description, expected, pattern=SIZE_PATTERN, kind="size", range=limits)


def _meta(description: str, expected: str, pattern: str | None = None, **extra: object) -> Meta:
    return Meta(description=description, pattern=pattern, extra={"expected": expected, **extra})


def _name(description: str) -> Meta:
    return _meta(description, "1 to 64 letters, digits, and _ . : -", pattern=NAME_PATTERN)


def _text(description: str, expected: str) -> Meta:
    return Meta(description=description, min_length=1, extra={"expected": expected})


def _number(description: str, least: int, most: int) -> Meta:
    return Meta(
        description=description, ge=least, le=most, extra={"expected": f"a whole number from {least} to {most}"}
    )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. Unknown keys are mistakes."""


class BoxTable(_Table, frozen=True, kw_only=True):
    """Who this box is."""

    id: Annotated[
        str,
        _meta(
            "Name of this box: AWS IoT thing name, MQTT client id, and device name in every batch.",
            "1 to 128 letters, digits, and : _ -",
            pattern=r"^[a-zA-Z0-9:_-]{1,128}$",
        ),
    ]


class ClockTable(_Table, frozen=True, kw_only=True):
    """When the box trusts the wall clock."""

    source: Annotated[
        Literal["ntp", "system"],
        _meta(
            "When the box trusts the wall clock. `ntp`: once the kernel reports that the clock is synchronised. "
            "`system`: from the start, for containers and virtual machines whose host sets the clock.",
            '"ntp" or "system"',
        ),
    ] = "ntp"


class BusTable(_Table, frozen=True, kw_only=True):
    """A line with meters on it."""

    name: Annotated[str, _name("Name of the line. Meters refer to it.")]
    port: Annotated[
        str,
        _text(
            "A serial port, best by its name in /dev/serial/by-id, or a Modbus TCP meter or gateway.",
            'a device path such as "/dev/serial/by-id/usb-FTDI-if00", or "tcp://host:port"',
        ),
    ]
    baudrate: Annotated[
        Literal[300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 76800, 115200] | None,
        _meta("Speed of a serial line. Default: that of the profile of its first meter.", "a usual speed such as 9600"),
    ] = None
    parity: Annotated[
        Literal["N", "E", "O"] | None,
        _meta(
            "Parity of a serial line: none, even or odd. Default: that of the profile of its first meter.",
            '"N", "E" or "O"',
        ),
    ] = None
    stopbits: Annotated[
        Literal[1, 2] | None,
        _meta("Stop bits of a serial line. Default: those of the profile of its first meter.", "1 or 2"),
    ] = None
    rs485: Annotated[
        Literal["auto", "off", "rts", "rts-inverted"],
        _meta(
            "What switches the direction of an RS485 transceiver. `auto`: the adapter, or the kernel if the device "
            "tree says so. `rts`: the kernel, with RTS high while sending; `rts-inverted`: RTS low. `off`: nothing.",
            '"auto", "off", "rts" or "rts-inverted"',
        ),
    ] = "auto"


class MeterTable(_Table, frozen=True, kw_only=True):
    """A meter to read."""

    name: Annotated[str, _name("Name of the meter in batches, tables and logs.")]
    point: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        _meta("Metering point id, stored with the readings.", "1 to 64 characters"),
    ] = None
    bus: Annotated[str, _text("Name of the [[bus]] that the meter is connected to.", "the name of a [[bus]]")]
    unit: Annotated[
        int,
        _number("Modbus unit id (slave address) of the meter, 1 to 247; over tcp:// also 0 and 248 to 255.", 0, 255),
    ] = 1
    model: Annotated[
        str,
        _text(
            "Profile of the meter: a file in drivers/profiles/, or in the folder profiles/ beside this file.",
            'the name of a profile, such as "eastron-sdm630"',
        ),
    ]
    interval: Annotated[
        str, duration("How often the meter is read. Readings are aligned: 10s reads at :00, :10, :20.", "100ms", "1d")
    ] = "10s"
    ct_ratio: Annotated[
        float,
        Meta(
            description="Current transformer ratio. The box multiplies by it and states it with the data. Leave it at "
            "1 if the meter applies the ratio itself.",
            gt=0,
            le=100_000,
            extra={"expected": "a number above 0, at most 100000, such as 40 for a 200 A / 5 A transformer"},
        ),
    ] = 1.0
    vt_ratio: Annotated[
        float,
        Meta(
            description="Voltage transformer ratio. The box multiplies by it and states it with the data. Leave it at "
            "1 if the meter applies the ratio itself.",
            gt=0,
            le=100_000,
            extra={"expected": "a number above 0, at most 100000, such as 100 for a 10 kV / 100 V transformer"},
        ),
    ] = 1.0
    measurands: Annotated[
        list[str] | None,
        Meta(
            description="What to read. Default: the profile's default measurands.",
            extra={"expected": 'a list of names such as ["power_active_total", "energy_active_import_total"]'},
        ),
    ] = None


class BufferTable(_Table, frozen=True, kw_only=True):
    """Where readings wait until the cloud has confirmed them."""

    path: Annotated[str, _text("SQLite file, on a disk that keeps its data in a power cut.", "a file path")] = (
        "/var/lib/wattpost/buffer.db"
    )
    max_size: Annotated[
        str,
        size("At this size the box thins old readings, then drops them; a record says so each time.", "1MB", "64GB"),
    ] = "512MB"
    durability: Annotated[
        str,
        duration(
            "A power cut loses at most the readings of this time. A shorter time wears the SD card more; 0s loses "
            "nothing.",
            "0s",
            "10min",
        ),
    ] = "5s"


class BatchTable(_Table, frozen=True, kw_only=True):
    """When readings are sealed into a batch."""

    max_age: Annotated[
        str, duration("How long a reading waits at most until its batch is sealed and sent.", "1s", "1d")
    ] = "5min"
    max_bytes: Annotated[
        int,
        _number("Largest batch. 3600 bytes, in base64, fit into one 5 KB billing unit of AWS IoT.", 512, 131_072),
    ] = 3600


class UplinkTable(_Table, frozen=True, kw_only=True):
    """The connection to the cloud: MQTT 5 with a client certificate."""

    endpoint: Annotated[
        str,
        _text(
            "Host name of the broker. For AWS: `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it.",
            'a host name alone, such as "xxxx-ats.iot.eu-west-1.amazonaws.com"',
        ),
    ]
    port: Annotated[int, _number("Port of the broker. 443 works through most firewalls (uses ALPN).", 1, 65_535)] = 8883
    ca: Annotated[
        str, _text("Root certificate that must have signed the broker's certificate.", "a path to a PEM file")
    ] = "/etc/wattpost/certs/root-ca.pem"
    cert: Annotated[str, _text("Certificate of this box.", "a path to a PEM file")] = "/etc/wattpost/certs/device.pem"
    key: Annotated[
        str,
        _text(
            "Private key of this box: a systemd credential (`credential:NAME`), or the path of a file with mode 0600.",
            '"credential:NAME" or a path to a PEM file',
        ),
    ] = "credential:device.key"
    topic: Annotated[
        str,
        _text(
            "Topic of the batches; `{box}` stands for the id. The default is Basic Ingest, which costs less.",
            'a topic such as "$aws/rules/wattpost_batch/{box}"',
        ),
    ] = "$aws/rules/wattpost_batch/{box}"
    receipts: Annotated[str, _text("Topic of the cloud's receipts.", 'a topic such as "wattpost/{box}/receipts"')] = (
        "wattpost/{box}/receipts"
    )
    confirm: Annotated[
        Literal["receipt", "puback"],
        _meta(
            "What allows the box to delete a batch. `receipt`: the cloud has stored it. `puback`, for a cloud without "
            "the Wattpost receiver: the broker has accepted it, which promises less.",
            '"receipt" or "puback"',
        ),
    ] = "receipt"
    fleet_size: Annotated[
        int,
        _number(
            "How many boxes share the endpoint. They spread their reconnects over fleet_size / 200 s.", 1, 10_000_000
        ),
    ] = 1
    keep_alive: Annotated[
        str, duration("After this time without traffic the box pings the broker.", "30s", "20min")
    ] = "60s"
    confirm_interval: Annotated[
        str, duration("How often a batch asks for a receipt in normal operation; with 0s every batch asks.", "0s", "1d")
    ] = "1h"


class StatusTable(_Table, frozen=True, kw_only=True):
    """The status file, which `wattpost status` reads."""

    path: Annotated[str, _text("The file that the daemon writes and `wattpost status` reads.", "a file path")] = (
        "/run/wattpost/status.json"
    )
    interval: Annotated[str, duration("About how often the daemon writes the file.", "1s", "1min")] = "10s"


class AgentFile(_Table, frozen=True, kw_only=True):
    """Configuration of the Wattpost box, `/etc/wattpost/agent.toml`."""

    box: BoxTable
    clock: ClockTable = msgspec.field(default_factory=ClockTable)
    bus: list[BusTable] = []
    meter: list[MeterTable] = []
    buffer: BufferTable = msgspec.field(default_factory=BufferTable)
    batch: BatchTable = msgspec.field(default_factory=BatchTable)
    uplink: UplinkTable
    status: StatusTable = msgspec.field(default_factory=StatusTable)


SINGLE_TABLES: dict[str, type[msgspec.Struct]] = {
    "box": BoxTable,
    "clock": ClockTable,
    "buffer": BufferTable,
    "batch": BatchTable,
    "uplink": UplinkTable,
    "status": StatusTable,
}
ARRAY_TABLES: dict[str, type[msgspec.Struct]] = {"bus": BusTable, "meter": MeterTable}


def meta_of(annotation: Any) -> Meta:
    """The `Meta` of an annotated field."""
    meta: Meta = annotation.__metadata__[0]
    return meta
