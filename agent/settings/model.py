"""The configuration file as it is written: one struct per table, one field per key.

The JSON schema, the checks of single keys and the documentation tests are all made from these structs. `description`
says what a key is for; `extra["expected"]` completes "expected ..." in a mistake; `extra["range"]` bounds a quantity.
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
    """When wall-clock time is believed."""

    source: Annotated[
        Literal["ntp", "system"],
        _meta(
            "`ntp`: the time is known once the kernel says that it is synchronised. `system`: trust the system clock "
            "from the start, for containers and virtual machines whose clock is kept right from outside.",
            '"ntp" or "system"',
        ),
    ] = "ntp"


class BusTable(_Table, frozen=True, kw_only=True):
    """A line with meters on it."""

    name: Annotated[str, _name("Name of the line; meters refer to it.")]
    port: Annotated[
        str,
        _text(
            "Serial port, best by id so that it survives replugging, or a Modbus TCP server or gateway.",
            'a device path such as "/dev/serial/by-id/usb-FTDI-if00", or "tcp://host:port"',
        ),
    ]
    baudrate: Annotated[
        Literal[300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 76800, 115200] | None,
        _meta(
            "Speed of a serial line. Default: what the profile of its first meter says.", "a usual speed such as 9600"
        ),
    ] = None
    parity: Annotated[
        Literal["N", "E", "O"] | None,
        _meta(
            "Parity of a serial line: none, even or odd. Default: what the profile of its first meter says.",
            '"N", "E" or "O"',
        ),
    ] = None
    stopbits: Annotated[
        Literal[1, 2] | None,
        _meta("Stop bits of a serial line. Default: what the profile of its first meter says.", "1 or 2"),
    ] = None
    rs485: Annotated[
        Literal["auto", "off", "rts", "rts-inverted"],
        _meta(
            "Who switches the direction of an RS485 transceiver. `auto`: the adapter, or the kernel where the device "
            "tree says so. `rts`: the kernel, with RTS high while sending; `rts-inverted`: low. `off`: nobody.",
            '"auto", "off", "rts" or "rts-inverted"',
        ),
    ] = "auto"


class MeterTable(_Table, frozen=True, kw_only=True):
    """A meter to read."""

    name: Annotated[str, _name("Name of the meter in batches, tables and logs.")]
    point: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        _meta("Metering point id, carried along with the readings.", "1 to 64 characters"),
    ] = None
    bus: Annotated[str, _text("Name of the line that the meter is on.", "the name of a [[bus]]")]
    unit: Annotated[
        int,
        _number(
            "Modbus unit id (slave address) of the meter: 1 to 247; on a tcp:// line also 0 and 248 to 255.", 0, 255
        ),
    ] = 1
    model: Annotated[
        str,
        _text(
            "Profile of the meter: a file in drivers/profiles/, or in the folder profiles/ beside this file.",
            'the name of a profile, such as "eastron-sdm630"',
        ),
    ]
    interval: Annotated[
        str, duration("How often it is read; readings are aligned to the clock (:00, :10, ...).", "100ms", "1d")
    ] = "10s"
    ct_ratio: Annotated[
        float,
        Meta(
            description="Current transformer factor, applied by the box and stated with the data. Leave it at 1 if "
            "the meter applies the factor itself.",
            gt=0,
            le=100_000,
            extra={"expected": "a number above 0, at most 100000, such as 40 for a 200 A / 5 A transformer"},
        ),
    ] = 1.0
    vt_ratio: Annotated[
        float,
        Meta(
            description="Voltage transformer factor, applied by the box and stated with the data. Leave it at 1 if "
            "the meter applies the factor itself.",
            gt=0,
            le=100_000,
            extra={"expected": "a number above 0, at most 100000, such as 100 for a 10 kV / 100 V transformer"},
        ),
    ] = 1.0
    measurands: Annotated[
        list[str] | None,
        Meta(
            description="What to read. Default: the profile's own choice.",
            extra={"expected": 'a list of names such as ["power_active_total", "energy_active_import_total"]'},
        ),
    ] = None


class BufferTable(_Table, frozen=True, kw_only=True):
    """Where readings wait until the cloud has confirmed them."""

    path: Annotated[str, _text("The buffer, an SQLite file on a disk that survives power cuts.", "a file path")] = (
        "/var/lib/wattpost/buffer.db"
    )
    max_size: Annotated[
        str, size("Size at which old readings are thinned, then dropped, each time with a record of it.", "1MB", "64GB")
    ] = "512MB"
    durability: Annotated[
        str,
        duration(
            "Age of the oldest reading that a power cut may take. Smaller wears the SD card more; 0s loses nothing.",
            "0s",
            "10min",
        ),
    ] = "5s"


class BatchTable(_Table, frozen=True, kw_only=True):
    """When readings are sealed into a batch."""

    max_age: Annotated[str, duration("How long a reading may wait until its batch is sealed.", "1s", "1d")] = "5min"
    max_bytes: Annotated[
        int,
        _number("Largest batch; 3600 is one 5 KB billing unit of AWS IoT with base64 included.", 512, 131_072),
    ] = 3600


class UplinkTable(_Table, frozen=True, kw_only=True):
    """The way to the cloud: MQTT 5 with a client certificate."""

    endpoint: Annotated[
        str,
        _text(
            "Host name of the broker: what `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints.",
            'a host name alone, such as "xxxx-ats.iot.eu-west-1.amazonaws.com"',
        ),
    ]
    port: Annotated[int, _number("Port of the broker. 443 works through most firewalls (uses ALPN).", 1, 65_535)] = 8883
    ca: Annotated[str, _text("Certificate that the broker's is checked against.", "a path to a PEM file")] = (
        "/etc/wattpost/certs/root-ca.pem"
    )
    cert: Annotated[str, _text("Certificate of this box.", "a path to a PEM file")] = "/etc/wattpost/certs/device.pem"
    key: Annotated[
        str,
        _text(
            "Private key of this box: a systemd credential (`credential:NAME`) or a path.",
            '"credential:NAME" or a path to a PEM file',
        ),
    ] = "credential:device.key"
    topic: Annotated[
        str,
        _text(
            "Where batches are published; `{box}` stands for the id. The default is Basic Ingest, which costs less.",
            'a topic such as "$aws/rules/wattpost_batch/{box}"',
        ),
    ] = "$aws/rules/wattpost_batch/{box}"
    receipts: Annotated[
        str, _text("Where the cloud's receipts arrive.", 'a topic such as "wattpost/{box}/receipts"')
    ] = "wattpost/{box}/receipts"
    confirm: Annotated[
        Literal["receipt", "puback"],
        _meta(
            "What allows the box to delete a batch: the receipt of the cloud, or (weaker) the broker's "
            "acknowledgement, for a cloud without the receiver.",
            '"receipt" or "puback"',
        ),
    ] = "receipt"
    fleet_size: Annotated[
        int,
        _number("How many boxes share the endpoint; sets how widely reconnects are spread.", 1, 10_000_000),
    ] = 1
    keep_alive: Annotated[
        str, duration("How long the line may be quiet until the broker is asked whether it is there.", "30s", "20min")
    ] = "60s"
    confirm_interval: Annotated[
        str, duration("How often a batch asks for a receipt in quiet times; 0s asks with each one.", "0s", "1d")
    ] = "1h"


class StatusTable(_Table, frozen=True, kw_only=True):
    """What `wattpost status` reads."""

    path: Annotated[str, _text("File that the daemon keeps up to date with its state.", "a file path")] = (
        "/run/wattpost/status.json"
    )
    interval: Annotated[str, duration("How often the daemon writes it.", "1s", "1min")] = "10s"


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
