"""Checks of a running daemon's status: what needs attention, each with its next step. Pure.

`agent.checks.registry` lists them, the gravest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.system.finding import Finding
from agent.core.system.status import MeterStatus, Status
from agent.core.texts import count
from agent.core.time_units import MINUTE_MS, SECOND_MS

NEWCOMER_MS = 15_000  # what a daemon or a connection that has just begun is given before it is blamed
RECEIPT_FIRST_MS = 120_000  # the first batch after a start asks for a receipt
RECEIPT_LATE_MIN_MS = 600_000
STALE_MIN_MS = 15_000
STALE_INTERVALS = 3
MISSED_INTERVALS = 3
NEARLY_FULL = 0.8
LENT = ("lent", "line returned")  # the latter until the next reading
SHOWN_MAX = 3
SEE_LOG = "see: journalctl -u wattpost -n 50"


@dataclass(frozen=True, slots=True)
class RunningDaemon:
    """`age_ms` is how long ago a daemon that still runs wrote `status`."""

    status: Status
    age_ms: int


def daemon_hangs(daemon: RunningDaemon) -> Iterator[Finding]:
    """The status is written at intervals; the loop that writes it also feeds the watchdog."""
    if daemon.age_ms > max(STALE_INTERVALS * daemon.status.settings.status_interval_ms, STALE_MIN_MS):
        cause = (
            f"it has not written its status for {daemon.age_ms // SECOND_MS} s: it hangs, or the machine is overloaded"
        )
        yield Finding("error", "agent", cause, SEE_LOG)


def settings_waiting_for_restart(daemon: RunningDaemon) -> Iterator[Finding]:
    """Keys that a reload found changed and could not change."""
    keys = daemon.status.settings.waiting_for_restart
    if keys:
        have = "has" if len(keys) == 1 else "have"
        cause = f"{', '.join(keys)} {have} changed in the file; the old value is in force until a restart"
        yield Finding("warning", "configuration", cause, "run: sudo systemctl restart wattpost")


def meters(daemon: RunningDaemon) -> Iterator[Finding]:
    """Meters that are not read, or whose values cannot be true."""
    status = daemon.status
    if not status.meters:
        yield Finding("error", "meters", "no meter is configured, so nothing is read", "add a [[bus]] and a [[meter]]")
    for name, meter in status.meters.items():
        interval_ms = status.settings.meters[name].interval_ms if name in status.settings.meters else 0
        yield from _meter(name, meter, interval_ms, status.up_ms)


def _meter(name: str, meter: MeterStatus, interval_ms: int, up_ms: int) -> Iterator[Finding]:
    subject = f"meter {name}"
    polled_ms = up_ms if meter.polled_ms is None else meter.polled_ms
    silent_ms = polled_ms if meter.age_ms is None else meter.age_ms
    if meter.state in LENT:
        return  # for two minutes at most, and recorded
    if meter.error is not None:
        yield Finding("error", subject, meter.error)
    elif interval_ms and silent_ms > MISSED_INTERVALS * interval_ms + NEWCOMER_MS:
        yield Finding("error", subject, "no reading for more than three intervals, and no error", SEE_LOG)
    elif untrue := meter.untrue:
        more = f" and {len(untrue) - SHOWN_MAX} more" if len(untrue) > SHOWN_MAX else ""
        cause = f"values that cannot be true, and are flagged: {', '.join(untrue[:SHOWN_MAX])}{more}"
        yield Finding("warning", subject, cause, "see: wattpost status --values; docs/quality.md explains the flags")


def not_connected(daemon: RunningDaemon) -> Iterator[Finding]:
    """No connection to the broker, also where the daemon has just begun and already knows why."""
    status = daemon.status
    if not status.uplink.connected and (status.up_ms > NEWCOMER_MS or "uplink" in status.troubles):
        yield Finding("error", "uplink", status.uplink.state)


def receipts_late(daemon: RunningDaemon) -> Iterator[Finding]:
    """Batches wait on the box, the broker takes them, and the cloud does not confirm them."""
    uplink, settings, batches = daemon.status.uplink, daemon.status.settings, daemon.status.buffer.batches
    if not uplink.connected or settings.confirm == "puback" or not batches or not uplink.published_batches:
        return
    since_ms = uplink.connected_ms or 0
    late_ms = max(2 * settings.confirm_interval_ms, RECEIPT_LATE_MIN_MS)
    step = "check the receiver's errors in the cloud, and [uplink] receipts"
    if uplink.receipt_age_ms is None and since_ms > RECEIPT_FIRST_MS:
        cause = f"the broker takes batches, but no receipt has come for {since_ms // MINUTE_MS} min"
        yield Finding("error", "receipts", f"{cause}; nothing is deleted", step)
    elif uplink.receipt_age_ms is not None and min(uplink.receipt_age_ms, since_ms) > late_ms:
        cause = f"the last receipt came {uplink.receipt_age_ms // MINUTE_MS} min ago, and batches wait for one"
        yield Finding("error", "receipts", f"{cause}; nothing is deleted", step)


def buffer_not_writable(daemon: RunningDaemon) -> Iterator[Finding]:
    """Readings are in memory only."""
    troubles = daemon.status.troubles
    if "buffer" in troubles:
        yield Finding("error", "buffer", troubles["buffer"])


def held_batches(daemon: RunningDaemon) -> Iterator[Finding]:
    """Batches that the cloud could not take in."""
    held = daemon.status.buffer.held_batches
    if held:
        are = "is" if held == 1 else "are"
        cause = f"{count(held, 'batch', 'batches')} {are} in the cloud's quarantine; the box keeps them, too"
        yield Finding("warning", "held by the cloud", cause, "see why: wattpost buffer")


def dropped_records(daemon: RunningDaemon) -> Iterator[Finding]:
    """Readings that the disk did not take and memory had no room for."""
    dropped = daemon.status.buffer.dropped_records
    if dropped:
        cause = f"{count(dropped, 'record')} dropped since the start: the disk took nothing; each gap is recorded"
        yield Finding("error", "dropped records", cause, "check the disk: df, dmesg")


def buffer_nearly_full(daemon: RunningDaemon) -> Iterator[Finding]:
    """Thinning is near."""
    used, limit = daemon.status.buffer.used_bytes, daemon.status.settings.buffer_max_bytes
    if limit and used > NEARLY_FULL * limit:
        cause = f"{100 * used // limit} % of [buffer] max_size is in use; at 100 % old readings are thinned"
        step = "bring the box online, or export the readings: wattpost buffer export DIR"
        yield Finding("warning", "buffer size", cause, step)


def logged_troubles(daemon: RunningDaemon) -> Iterator[Finding]:
    """What the daemon's log has as a warning or an error, and is still so."""
    for subject, text in daemon.status.troubles.items():
        yield Finding("warning", subject, text)
