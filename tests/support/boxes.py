"""A box's buffer in a folder, and short words for what tests put into it."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.adapters.buffer.buffer import Buffer, Opening, SealResult
from agent.core.buffer.numbering import BoxIdentity
from agent.core.records import Group, Layout, NewEvent, NewReading, NewRecord
from wire.batch import Anchor, Batch, Column
from wire.codec import decode
from wire.receipt import Receipt
from wire.resolution import Resolution

BOOTS = tuple(f"boot---{n}".encode() for n in range(10))
ANCHOR = Anchor(1_790_000_000_000, 20)
LAYOUT = Layout(
    "main",
    (Column("energy_active_import_total", Resolution(1, 0)), Column("voltage_l1_n", Resolution(1, -1))),
    b"desc",
)


class TestBuffer:
    """The buffer of `folder`, opened as one box, machine and boot after another."""

    __test__ = False

    def __init__(self, folder: Path, begin_ms: int = 0) -> None:
        self.path = folder / "buffer.db"
        self.buffer: Buffer
        self.opening: Opening
        self._ms = begin_ms
        self._random = random.Random(1)

    def open(self, *, box: str = "apt-1", machine: str = "machine", boot: int = 0) -> Opening:
        self.buffer, self.opening = Buffer.open(self.path, BoxIdentity(box, machine, BOOTS[boot]))
        return self.opening

    def kill(self) -> None:
        """What a killed process leaves: the file as it is, without the end that `close` marks."""
        self.buffer.file.close()

    def reading(self, mono_ms: int | None = None, *, layout: Layout = LAYOUT) -> NewReading:
        """A second after the last one, unless said."""
        self._ms = self._ms + 1_000 if mono_ms is None else mono_ms
        values = (self._ms // 10, 2300 + self._random.randrange(30))
        return NewReading(self.buffer.layout_id(layout), self._ms, values[: len(layout.columns)])

    def commit(self, *records: NewRecord, due: dict[str, int] | None = None) -> int:
        return self.buffer.commit(Group(records or [NewEvent(1, "start")], due or {}))

    def readings(self, count: int, group: int = 5) -> int:
        """Commit `count` readings in groups; returns the last number."""
        last = 0
        for first in range(0, count, group):
            last = self.commit(*(self.reading() for _ in range(min(group, count - first))))
        return last

    def seal(self, *, max_bytes: int = 3600, wanted: bool = False, handed_out: bool = True) -> SealResult:
        result = self.buffer.seal(ANCHOR, max_bytes, everything=True, confirm_wanted=wanted, handed_out=handed_out)
        if handed_out:
            self.send(batch.id for batch, _ in result.sealed)
        return result

    def send(self, batch_ids: Iterable[int]) -> None:
        """As the courier does it with a broker that takes everything."""
        for batch_id in batch_ids:
            assert self.buffer.outbox.body(batch_id)
            self.buffer.outbox.sending.taken(batch_id)

    def use(self) -> None:
        """Everything that an agent does with its buffer."""
        buffer = self.buffer
        last = self.commit(NewEvent(1, "start"), self.reading(), due={"main": 1})
        buffer.note_anchor(ANCHOR)
        for batch, _ in self.seal().sealed:
            assert buffer.outbox.body(batch.id)
        buffer.outbox.load(None, 32)
        buffer.outbox.confirm(Receipt(buffer.epoch, last), buffer.epoch, buffer.sealed_through)
        buffer.look()
        buffer.space.keep_within(0)
        buffer.outbox.delete([1, 2, 3])

    def filled(self) -> bytes:
        """The bytes of the file, closed, with batches and open records."""
        for _ in range(30):
            self.readings(50, group=10)
            self.seal()
        self.readings(40, group=5)
        self.buffer.close()
        return self.path.read_bytes()

    def bodies(self) -> list[bytes]:
        """Everything that is sealed, oldest first."""
        return [body for (body,) in self.buffer.file.db.execute("SELECT body FROM batch ORDER BY id").fetchall()]

    def batches(self) -> list[Batch]:
        return [decode(body) for body in self.bodies()]

    def numbers(self) -> list[tuple[int, int]]:
        return [(batch.key.first, batch.key.last) for batch in self.batches()]


def seqs(batches: Sequence[Batch]) -> list[int]:
    """All record numbers, ascending."""
    numbers = [reading.seq for batch in batches for series in batch.series for reading in series.readings]
    return sorted(numbers + [event.seq for batch in batches for event in batch.events])


def receipt(box: TestBuffer, through: int, *, epoch: bytes | None = None, **rest: object) -> Receipt:
    """What a receiver that has the first batches up to `through` says."""
    bodies = {b.key.last: b for b in box.batches()}
    row = box.buffer.file.db.execute("SELECT digests FROM batch WHERE last = ? ORDER BY id", (through,)).fetchone()
    assert through in bodies or row is None
    return Receipt(epoch or box.buffer.epoch, through, row[0].split()[0] if row else None, **rest)  # type: ignore[arg-type]


def confirm(box: TestBuffer, given: Receipt) -> tuple[tuple[int, ...], int]:
    result = box.buffer.outbox.confirm(given, box.buffer.epoch, box.buffer.sealed_through)
    assert result is not None
    assert result[0].misfit is None
    return result[0].delete, result[1]


@contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """Writing beyond `size_bytes` of a file fails with EFBIG, which SQLite reports as an I/O error."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
