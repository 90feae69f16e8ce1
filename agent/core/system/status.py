"""The daemon's status: every figure of the status file and of `wattpost status --json`, each with its meaning.

To add a figure: add the field here, with a default, and fill it in `agent.services.status_report`. A field keeps its
name and its meaning. A daemon and a command of different versions read each other's files: a missing field has its
default, an unknown one is passed over. Figures count since the daemon's start unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from agent.core.metering.lease import PID_MAX

MISSING = frozenset({"not_available", "overflow"})  # flags of values that the meter does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterInForce:
    """A meter as it is configured."""

    model: str = ""  # its profile
    bus: str = ""  # the name of its line
    interval_ms: int = 0  # how often it is read; 0: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """The configuration in force, which need not be what the file says now."""

    config: str = ""  # the path of the configuration file
    revision: str = ""  # changes when the bytes of that file do
    status_interval_ms: int = 0  # how often the status is written; 0: not known
    buffer_path: str = ""
    buffer_max_bytes: int = 0  # at this size old readings are thinned; 0: not known
    endpoint: str = ""  # HOST:PORT of the broker
    confirm: str = "receipt"  # what allows the box to delete a batch: "receipt" or "puback"
    confirm_interval_ms: int = 3_600_000  # how often a batch asks for a receipt; 0: each one does
    meters: Mapping[str, MeterInForce] = field(default_factory=dict)
    waiting_for_restart: tuple[str, ...] = ()  # keys that changed in the file and take effect after a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterStatus:
    """One meter: how reading it goes, and its last reading."""

    state: str = ""  # "ok", "lent", "line returned", "not read yet", or why the last read failed, such as "no_answer"
    error: str | None = None  # what the last read failed with, in one sentence; None: it did not fail
    readings: int = 0
    slots_missed: int = 0
    polled_ms: int | None = None  # for how long it has been polled
    age_ms: int | None = None  # since the last reading; None: there was none
    values: Mapping[str, float | int | None] = field(default_factory=dict)  # last reading, by measurand
    quality: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names of its flags; only of flagged values
    flagged_values: int = 0
    doubt: str | None = None  # the last value that could not be true, in one sentence
    doubt_age_ms: int | None = None

    @property
    def untrue(self) -> tuple[str, ...]:
        """Measurands whose last value cannot be true; a value that the meter does not have is no reason to worry."""
        return tuple(name for name, flags in self.quality.items() if set(flags) - MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanStatus:
    """The process that has borrowed a line."""

    pid: int
    until_ms: int = 0  # on the boot clock; the daemon takes the line back then at the latest


@dataclass(frozen=True, slots=True, kw_only=True)
class LineStatus:
    """One line, by which the daemon reads its meters."""

    port: str = ""
    lent: LoanStatus | None = None  # None: the daemon has the line itself


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStatus:
    """What waits on the box, and what became of the rest."""

    pending_records: int = 0  # in memory, not yet on the disk
    open_records: int = 0  # on the disk, not yet in a batch
    batches: int = 0  # sealed and not yet confirmed
    batch_records: int = 0  # records in these batches
    oldest_age_ms: int | None = None  # how long the oldest record in a batch has waited; None: none, or not datable yet
    used_bytes: int = 0  # of `buffer_max_bytes`
    held_batches: int = 0  # batches that the cloud keeps in its quarantine; the box keeps them, too
    dropped_records: int = 0  # given up because the disk took nothing
    committed_records: int = 0  # written to the disk

    @property
    def records(self) -> int:
        """All that is not yet confirmed."""
        return self.pending_records + self.open_records + self.batch_records


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkStatus:
    """The connection to the broker, and what went through it."""

    connected: bool = False
    connected_ms: int | None = None  # for how long; None: not connected
    state: str = ""  # in one sentence, with the cause and the next step
    published_batches: int = 0  # acknowledged by the broker
    confirmed_records: int = 0  # confirmed (see `confirm`), and deleted on the box
    receipt_age_ms: int | None = None  # since the last receipt; None: there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the daemon writes to its status file. `boot` and `mono_ms` say when: on the clock of which boot."""

    box: str
    version: str = ""  # of the daemon's program
    pid: Annotated[int, msgspec.Meta(ge=1, le=PID_MAX)]
    settings: StatusSettings = field(default_factory=StatusSettings)
    boot: str  # 16 hexadecimal digits
    mono_ms: int  # since that boot
    utc_ms: int | None = None  # None: the clock is not known yet
    up_ms: int = 0  # since the daemon's start
    rss_max_bytes: int = 0  # the most memory that it has had
    meters: Mapping[str, MeterStatus] = field(default_factory=dict)
    lines: Mapping[str, LineStatus] = field(default_factory=dict)
    buffer: BufferStatus = field(default_factory=BufferStatus)
    uplink: UplinkStatus = field(default_factory=UplinkStatus)
    troubles: Mapping[str, str] = field(default_factory=dict)  # what is not well now: subject -> its log line


class StatusError(Exception):
    """Bytes that are no status which this version can read; the message is the cause."""


def encode_status(status: Status) -> bytes:
    """The status as JSON."""
    return msgspec.json.encode(status)


def parse_status(data: bytes) -> Status:
    """The inverse of `encode_status`, also for other versions; raises `StatusError`."""
    try:
        return msgspec.json.decode(data, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StatusError(str(error)) from error
