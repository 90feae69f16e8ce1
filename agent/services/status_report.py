"""The daemon's status of this moment, from the configuration in force and the counters that the loops keep."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.buffer.outbox import Oldest
from agent.core.system.status import (
    BufferStatus,
    LineStatus,
    LoanStatus,
    MeterInForce,
    MeterStatus,
    Status,
    StatusSettings,
    UplinkStatus,
)
from agent.core.truth.plausibility_events import sentence
from agent.services.progress import LineProgress, MeterProgress, Progress
from agent.settings import Settings
from agent.version import VERSION
from wire.batch import Anchor

RSS_UNIT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class InForce:
    """What only a reload changes."""

    box: str
    settings: StatusSettings


def in_force(settings: Settings, config: Path, waiting_for_restart: Sequence[str]) -> InForce:
    """What the status says of the configuration that the daemon read from `config`."""
    buffer, uplink = settings.buffer, settings.uplink
    return InForce(
        settings.box.id,
        StatusSettings(
            config=str(config.absolute()),
            revision=settings.revision,
            status_interval_ms=settings.status_interval_ms,
            buffer_path=str(buffer.path),
            buffer_max_bytes=buffer.max_size_bytes,
            endpoint=f"{uplink.endpoint}:{uplink.port}",
            confirm=uplink.confirm,
            confirm_interval_ms=uplink.confirm_interval_ms,
            meters={
                meter.name: MeterInForce(model=meter.model, bus=meter.bus, interval_ms=meter.interval_ms)
                for meter in settings.meters
            },
            waiting_for_restart=tuple(waiting_for_restart),
        ),
    )


def report(about: InForce, progress: Progress, boot: bytes, now_ms: int, anchor: Anchor | None) -> Status:
    """The status at `now_ms` of `boot`; `anchor` dates that, once UTC is known."""
    return Status(
        box=about.box,
        version=VERSION,
        pid=os.getpid(),
        settings=about.settings,
        boot=boot.hex(),
        mono_ms=now_ms,
        utc_ms=now_ms + anchor.boot_utc_ms if anchor else None,
        up_ms=now_ms - progress.started_ms,
        rss_max_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES,
        meters={name: _meter(meter, now_ms) for name, meter in progress.meters.items()},
        lines={name: _line(line) for name, line in progress.lines.items()},
        buffer=_buffer(progress, _oldest_age_ms(progress.oldest, boot, now_ms, anchor)),
        uplink=_uplink(progress, now_ms),
        troubles=dict(progress.troubles),
    )


def _meter(meter: MeterProgress, now_ms: int) -> MeterStatus:
    doubt = meter.doubt
    return MeterStatus(
        state=meter.state,
        error=meter.error,
        readings=meter.readings,
        slots_missed=meter.slots_missed,
        polled_ms=now_ms - meter.since_ms,
        age_ms=_since(meter.last_ms, now_ms),
        values=meter.last_values(),
        quality=meter.last_quality(),
        flagged_values=meter.flagged_values,
        doubt=None if doubt is None else sentence(doubt),
        doubt_age_ms=None if doubt is None else now_ms - doubt.mono_ms,
    )


def _line(line: LineProgress) -> LineStatus:
    lent = line.lent
    return LineStatus(port=line.port, lent=None if lent is None else LoanStatus(pid=lent.pid, until_ms=lent.until_ms))


def _buffer(progress: Progress, oldest_age_ms: int | None) -> BufferStatus:
    return BufferStatus(
        pending_records=progress.pending_records,
        open_records=progress.open_records,
        batches=progress.batches,
        batch_records=progress.batch_records,
        oldest_age_ms=oldest_age_ms,
        used_bytes=progress.used_bytes,
        held_batches=progress.held_batches,
        dropped_records=progress.dropped_records,
        committed_records=progress.committed,
    )


def _uplink(progress: Progress, now_ms: int) -> UplinkStatus:
    return UplinkStatus(
        connected=progress.connected,
        connected_ms=_since(progress.connected_since_ms, now_ms),
        state=progress.uplink_state,
        published_batches=progress.published,
        confirmed_records=progress.confirmed_records,
        receipt_age_ms=_since(progress.receipt_ms, now_ms),
    )


def _since(then_ms: int | None, now_ms: int) -> int | None:
    return None if then_ms is None else now_ms - then_ms


def _oldest_age_ms(oldest: Oldest | None, boot: bytes, now_ms: int, anchor: Anchor | None) -> int | None:
    """How long the oldest record in a batch has waited; None without one, or while it cannot be dated."""
    if oldest is None:
        return None
    if oldest.boot == boot:
        return now_ms - oldest.mono_ms
    if oldest.anchor is None or anchor is None:
        return None
    return anchor.boot_utc_ms + now_ms - oldest.anchor.boot_utc_ms - oldest.mono_ms
