"""Is the box well? From the daemon's status to what needs attention, each with its next step. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.system.status import Status
from agent.core.texts import count

NEWCOMER_MS = 15_000  # what a daemon or a connection that has just begun is given before it is blamed
RECEIPT_FIRST_MS = 120_000  # the first batch after a start asks for a receipt
RECEIPT_LATE_MIN_MS = 600_000
STALE_MIN_MS = 15_000
STALE_INTERVALS = 3
MISSED_INTERVALS = 3
NEARLY_FULL = 0.8
LENT = ("lent", "line returned")  # the latter until the next reading
SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what is wrong with `subject`, and the next step."""

    subject: str
    text: str


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
        interval_ms = settings.interval_ms if settings is not None else 0
        polled_ms = status.up_ms if meter.polled_ms is None else meter.polled_ms
        silent_ms = polled_ms if meter.age_ms is None else meter.age_ms
        if meter.state in LENT:
            continue  # for two minutes at most, and recorded
        if meter.error is not None:
            yield Finding(subject, meter.error)
        elif interval_ms and silent_ms > MISSED_INTERVALS * interval_ms + NEWCOMER_MS:
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
    if limit and buffer.used_bytes > NEARLY_FULL * limit:
        text = f"{100 * buffer.used_bytes // limit} % of [buffer] max_size is in use, at 100 % old readings are thinned"
        yield Finding("buffer size", f"{text}; bring the box online, or carry them away: wattpost buffer export DIR")
