"""Is the box well? From the daemon's status to what needs attention, each with its next step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from agent.core.texts import count

NEWCOMER_MS = 15_000  # what a daemon or a connection that has just begun is given before it is blamed
RECEIPT_FIRST_MS = 120_000  # the first batch after a start asks for a receipt
RECEIPT_LATE_MIN_MS = 600_000
STALE_MIN_MS = 15_000
STALE_INTERVALS = 3
MISSED_INTERVALS = 3
NEARLY_FULL = 0.8
LENT = ("lent", "line returned")  # the latter until the next reading
PID_MAX = 2**22  # Linux's
MISSING = frozenset({"not_available", "overflow"})
SHOWN_MAX = 3


class MeterSettings(msgspec.Struct, frozen=True):
    model: str
    bus: str
    interval_ms: int


class StatusSettings(msgspec.Struct, frozen=True):
    """What is in force, which need not be what the file says now."""

    config: str
    revision: str
    status_interval_ms: int
    buffer_path: str
    buffer_max_bytes: int
    endpoint: str
    confirm: str
    confirm_interval_ms: int
    meters: dict[str, MeterSettings]
    waiting_for_restart: tuple[str, ...] = ()


class MeterStatus(msgspec.Struct, frozen=True):
    """`age_ms` is that of the last reading, `quality` has its flags; `doubt` is what last was found not to be true.

    `flagged_values` counts since the start; `polled_ms` is how long it has been polled.
    """

    state: str
    error: str | None
    readings: int
    slots_missed: int
    age_ms: int | None
    values: dict[str, float | int | None]
    quality: dict[str, list[str]] = {}
    flagged_values: int = 0
    doubt: str | None = None
    doubt_age_ms: int | None = None
    polled_ms: int | None = None

    @property
    def untrue(self) -> tuple[str, ...]:
        """The measurands whose last values cannot be true; one that the meter does not have is no reason to worry."""
        return tuple(name for name, flags in self.quality.items() if set(flags) - MISSING)


class LoanStatus(msgspec.Struct, frozen=True):
    """The process that a line is lent to, until then (boot clock) at the latest."""

    pid: int
    until_ms: int


class LineStatus(msgspec.Struct, frozen=True):
    """`lent` None: the daemon has the line itself."""

    port: str
    lent: LoanStatus | None = None


class BufferStatus(msgspec.Struct, frozen=True):
    """`pending` are in memory, `open` on the disk and not yet in a batch."""

    pending_records: int
    open_records: int
    batches: int
    batch_records: int
    oldest_age_ms: int | None
    used_bytes: int
    held_batches: int
    dropped_records: int
    committed_records: int

    @property
    def records(self) -> int:
        """All that is not yet confirmed."""
        return self.pending_records + self.open_records + self.batch_records


class UplinkStatus(msgspec.Struct, frozen=True):
    connected: bool
    connected_ms: int | None
    state: str
    published_batches: int
    confirmed_records: int
    receipt_age_ms: int | None


class Status(msgspec.Struct, frozen=True):
    """What the daemon writes to its status file; times end with `mono_ms`, on the clock of `boot`."""

    box: str
    version: str
    pid: Annotated[int, msgspec.Meta(ge=1, le=PID_MAX)]
    settings: StatusSettings
    boot: str
    mono_ms: int
    utc_ms: int | None
    up_ms: int
    rss_max_bytes: int
    meters: dict[str, MeterStatus]
    buffer: BufferStatus
    uplink: UplinkStatus
    troubles: dict[str, str]
    lines: dict[str, LineStatus] = {}


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what is wrong with `subject`, and the next step."""

    subject: str
    text: str


def parse_status(document: Mapping[str, Any]) -> Status:
    """The status that a daemon of this version wrote; raises `msgspec.ValidationError` for anything else."""
    return msgspec.convert(document, Status)


def judge(status: Status, age_ms: int) -> list[Finding]:
    """What needs attention, the gravest first; `age_ms` is how long ago a running daemon wrote `status`."""
    findings = [*_daemon(status, age_ms), *_settings(status), *_meters(status), *_uplink(status), *_buffer(status)]
    said = {finding.subject for finding in findings}
    return findings + [Finding(subject, text) for subject, text in status.troubles.items() if subject not in said]


def _daemon(status: Status, age_ms: int) -> Iterator[Finding]:
    if age_ms > max(STALE_INTERVALS * status.settings.status_interval_ms, STALE_MIN_MS):
        text = f"it has not written its status for {age_ms // 1000} s, so it hangs, or the machine is overloaded"
        yield Finding("agent", f"{text}; see: journalctl -u wattpost -n 50")


def _settings(status: Status) -> Iterator[Finding]:
    keys = status.settings.waiting_for_restart
    if keys:
        have = "has changed and waits" if len(keys) == 1 else "have changed and wait"
        text = f"{', '.join(keys)} {have} for a restart; until then the old stays in force"
        yield Finding("configuration", f"{text}; run: sudo systemctl restart wattpost")


def _meters(status: Status) -> Iterator[Finding]:
    if not status.meters:
        yield Finding("meters", "none is configured, so nothing is read; add a [[bus]] and a [[meter]]")
    for name, meter in status.meters.items():
        subject, settings = f"meter {name}", status.settings.meters.get(name)
        limit_ms = MISSED_INTERVALS * settings.interval_ms + NEWCOMER_MS if settings is not None else None
        polled_ms = status.up_ms if meter.polled_ms is None else meter.polled_ms
        silent_ms = polled_ms if meter.age_ms is None else meter.age_ms
        if meter.state in LENT:
            continue  # for two minutes at most, and recorded
        if meter.error is not None:
            yield Finding(subject, meter.error)
        elif limit_ms is not None and silent_ms > limit_ms:
            text = "no reading for more than three intervals, and no error"
            yield Finding(subject, f"{text}; see: journalctl -u wattpost -n 50")
        elif untrue := meter.untrue:
            more = f" and {len(untrue) - SHOWN_MAX} more" if len(untrue) > SHOWN_MAX else ""
            text = f"what it says cannot be true, and is flagged: {', '.join(untrue[:SHOWN_MAX])}{more}"
            yield Finding(subject, f"{text}; see: wattpost status --values, and docs/quality.md for what it means")


def _uplink(status: Status) -> Iterator[Finding]:
    uplink, settings = status.uplink, status.settings
    if not uplink.connected:
        if status.up_ms > NEWCOMER_MS or "uplink" in status.troubles:
            yield Finding("uplink", uplink.state)
        return
    if settings.confirm == "puback" or not status.buffer.batches or not uplink.published_batches:
        return
    since_ms = uplink.connected_ms or 0
    late_ms = max(2 * settings.confirm_interval_ms, RECEIPT_LATE_MIN_MS)
    step = "look at the receiver's errors in the cloud, and at [uplink] receipts"
    if uplink.receipt_age_ms is None and since_ms > RECEIPT_FIRST_MS:
        text = f"the broker takes batches, but no receipt has come for {since_ms // 60_000} min"
        yield Finding("receipts", f"{text}; nothing is deleted; {step}")
    elif uplink.receipt_age_ms is not None and min(uplink.receipt_age_ms, since_ms) > late_ms:
        text = f"the last one came {uplink.receipt_age_ms // 60_000} min ago, and batches wait for one"
        yield Finding("receipts", f"{text}; nothing is deleted; {step}")


def _buffer(status: Status) -> Iterator[Finding]:
    buffer, limit = status.buffer, status.settings.buffer_max_bytes
    if "buffer" in status.troubles:
        yield Finding("buffer", status.troubles["buffer"])
    if buffer.held_batches:
        lie = "lies" if buffer.held_batches == 1 else "lie"
        text = f"{count(buffer.held_batches, 'batch', 'batches')} {lie} in its quarantine, kept here too"
        text += "; see why: wattpost buffer"
        yield Finding("held by the cloud", text)
    if buffer.dropped_records:
        text = f"{buffer.dropped_records} since the start, while the disk took nothing; each gap is recorded"
        yield Finding("readings given up", f"{text}; check the disk: df, dmesg")
    if buffer.used_bytes > NEARLY_FULL * limit:
        text = f"{100 * buffer.used_bytes // limit} % of [buffer] max_size is in use, at 100 % old readings are thinned"
        yield Finding("buffer size", f"{text}; bring the box online, or carry them away: wattpost buffer export DIR")
