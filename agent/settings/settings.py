"""The configuration as the program uses it: units in the names, references resolved, nothing left to parse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.settings.mistake import ConfigMistake, Named


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """This box; `id` is thing name, MQTT client id and device name in every batch."""

    id: str


@dataclass(frozen=True, slots=True)
class ClockSettings:
    """`ntp`: the clock is known once the kernel says that it is synchronised; `system`: it is known from the start."""

    source: Literal["ntp", "system"]


@dataclass(frozen=True, slots=True)
class BusSettings:
    """One line: a serial port (a path) or `tcp://host:port`. None means what the profile says."""

    name: str
    port: str
    baudrate: int | None
    parity: Literal["N", "E", "O"] | None
    stopbits: Literal[1, 2] | None
    rs485: Literal["auto", "off", "rts", "rts-inverted"] = "auto"


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """One meter on a bus; `measurands` None means the profile's own choice."""

    name: str
    point: str | None
    bus: str
    unit: int
    model: str
    interval_ms: int
    ct_ratio: float
    measurands: tuple[str, ...] | None
    vt_ratio: float = 1


@dataclass(frozen=True, slots=True)
class BufferSettings:
    """The file that holds readings until the cloud confirmed them."""

    path: Path
    max_size_bytes: int
    durability_ms: int


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """When a batch is sealed: by age of its oldest record, or by size."""

    max_age_ms: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """The way to the cloud. `topic` and `receipts` are expanded for this box; `key` is a reference, see `key_file`."""

    endpoint: str
    port: int
    ca: Path
    cert: Path
    key: str
    topic: str
    receipts: str
    confirm: Literal["receipt", "puback"]
    fleet_size: int
    keep_alive_s: int
    confirm_interval_ms: int


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration file without mistakes. `revision` changes when the bytes of the file do (8 hex digits)."""

    box: BoxSettings
    clock: ClockSettings
    buses: tuple[BusSettings, ...]
    meters: tuple[MeterSettings, ...]
    buffer: BufferSettings
    batch: BatchSettings
    uplink: UplinkSettings
    status_path: Path
    status_interval_ms: int
    profile_folders: tuple[Path, ...]
    revision: str
    warnings: tuple[ConfigMistake, ...] = ()

    @property
    def named(self) -> Named:
        """The files and ports that it names."""
        uplink = self.uplink
        written = {"buffer.path": self.buffer.path, "status.path": self.status_path}
        return Named(uplink.ca, uplink.cert, uplink.key, tuple(bus.port for bus in self.buses), written)
