"""Sum up the contents of a buffer, for the screen and the JSON of `wattpost buffer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.adapters.buffer.buffer_reader import About, BatchRow, BufferReader
from agent.adapters.buffer.outbox import times_of
from agent.adapters.system.clock import SystemClock, boot_id, machine_id
from agent.settings import Settings
from wire.batch import Batch
from wire.codec import decode
from wire.errors import WireError
from wire.utc import format_utc


@dataclass(frozen=True, slots=True)
class When:
    """When a record of a batch was made: UTC if it is dated, otherwise the clock of `boot`; `age_ms` if known.

    `damage` says why the bytes are not a batch; then nothing else is known.
    """

    utc_ms: int | None = None
    boot: bytes = b""
    mono_ms: int = 0
    age_ms: int | None = None
    damage: str | None = None

    def as_document(self) -> dict[str, Any]:
        if self.damage is not None:
            return {"damage": self.damage}
        at = None if self.utc_ms is None else format_utc(self.utc_ms)
        return {"at": at, "boot": self.boot.hex(), "mono_ms": self.mono_ms}


Times = tuple[When, When]  # of the oldest and of the newest record


def when(body: bytes) -> Times:
    """The times of the first and the last record. Decodes the batch, which takes a millisecond or more."""
    try:
        batch = decode(body)
    except WireError as error:
        return When(damage=str(error)), When(damage=str(error))
    first_ms, last_ms = times_of(batch)
    return _when(batch, first_ms), _when(batch, last_ms)


def _when(batch: Batch, mono_ms: int) -> When:
    look = SystemClock("system").look()
    utc_ms = None if batch.anchor is None else batch.anchor.boot_utc_ms + mono_ms
    age_ms = None if utc_ms is None else look.utc_ms - utc_ms
    if batch.boot == boot_id():
        age_ms = look.mono_ms - mono_ms
    return When(utc_ms, batch.boot, mono_ms, age_ms)


@dataclass(frozen=True, slots=True)
class Summary:
    """`strange` says why the buffer does not belong to this box, or is None. `settings` None: only --file was given."""

    about: About
    batches: Sequence[BatchRow]
    oldest: When | None
    newest: When | None
    settings: Settings | None
    strange: str | None

    @property
    def records(self) -> int:
        return sum(row.records for row in self.batches)

    @property
    def size(self) -> int:
        return sum(row.size for row in self.batches)

    @property
    def unsent(self) -> int:
        return sum(not row.sent for row in self.batches)

    @property
    def held(self) -> Sequence[BatchRow]:
        return [row for row in self.batches if row.held is not None]

    @property
    def of_others(self) -> Mapping[str, int]:
        """Number of batches of each other device: they are kept but not sent."""
        devices = [row.device for row in self.batches if row.device != self.about.box_id]
        return {device: devices.count(device) for device in dict.fromkeys(devices)}


def sum_up(reader: BufferReader, settings: Settings | None) -> Summary:
    """The summary for `show`; decodes two batches."""
    about, batches = reader.about(), reader.batches()
    oldest = when(reader.body(batches[0].id))[0] if batches else None
    newest = when(reader.body(batches[-1].id))[1] if batches else None
    return Summary(about, batches, oldest, newest, settings, _strange(about, settings))


def _strange(about: About, settings: Settings | None) -> str | None:
    if about.box_id is None:
        return None
    if settings is not None and settings.box.id != about.box_id:
        return (
            f"the configuration is for box {settings.box.id}; its agent will start a new epoch and keep these batches"
        )
    if about.machine_id != machine_id():
        return "it was written on another machine"
    return None


def summary_document(summary: Summary, reader: BufferReader) -> dict[str, Any]:
    """For `--json`; decodes the held batches."""
    about, settings = summary.about, summary.settings
    return {
        "file": str(reader.path),
        "box": about.box_id,
        "strange": summary.strange,
        "epoch": about.epoch.hex() or None,
        "last_number": about.last_number,
        "open_records": about.open_records,
        "batches": len(summary.batches),
        "batch_records": summary.records,
        "batch_bytes": summary.size,
        "unsent_batches": summary.unsent,
        "oldest": summary.oldest and summary.oldest.as_document(),
        "newest": summary.newest and summary.newest.as_document(),
        "held": [row_document(row, when(reader.body(row.id))) for row in summary.held],
        "other_boxes": dict(summary.of_others),
        "used_bytes": about.used_bytes,
        "file_bytes": about.file_bytes,
        "max_bytes": None if settings is None else settings.buffer.max_size_bytes,
    }


def row_document(row: BatchRow, times: Times) -> dict[str, Any]:
    """A batch of `list --json`."""
    oldest, newest = times
    return {
        "id": row.id,
        "device": row.device,
        "epoch": row.epoch.hex(),
        "first": row.first,
        "last": row.last,
        "rev": row.rev,
        "records": row.records,
        "bytes": row.size,
        "oldest": oldest.as_document(),
        "newest": newest.as_document(),
        "sent": row.sent,
        "confirm_wanted": row.confirm_wanted,
        "held": row.held,
    }
