"""A restored backup gives numbers a second time: the way back, with a real buffer and the real receiver."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import TestBuffer, seqs
from click.testing import CliRunner

from agent.adapters.buffer.renumbering import renumber
from agent.cli.buffer.command import command
from agent.core.buffer.renumbering import renumbered
from agent.core.records import NewEvent
from cloud.ingest.ingest import ingest
from cloud.ports import InboundMessage, Stores
from cloud.stores.export import readings
from cloud.stores.sqlite.stores import open_stores
from wire.batch import Batch, BatchKey, Event
from wire.codec import decode, encode
from wire.receipt import parse_receipt

BOX = "apt-1"


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return open_stores(tmp_path / "store")


def deliver(box: TestBuffer, stores: Stores) -> None:
    """Everything that waits, again and again, and the receipts back; as the courier does it."""
    outbox = box.buffer.outbox
    for _ in range(3):
        for sealed in reversed(outbox.load(None, 100)):
            body = outbox.body(sealed.id)
            assert body is not None
            for addressed in ingest([InboundMessage(BOX, body, "test", client_id=BOX)], stores).receipts:
                receipt = parse_receipt(addressed.receipt.to_json())
                result = outbox.confirm(receipt, box.buffer.epoch, box.buffer.sealed_through)
                if result and result[0].misfit and receipt.epoch == box.buffer.epoch:
                    box.buffer.begin_epoch()


def copy(box: TestBuffer, name: str) -> Path:
    """Of the file and what is not in it yet, as somebody copies a folder."""
    folder = box.path.with_name(name)
    folder.mkdir()
    for path in box.path.parent.glob("buffer.db*"):
        shutil.copy(path, folder)
    return folder


def put_back(box: TestBuffer, backup: Path) -> None:
    for path in box.path.parent.glob("buffer.db*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy(path, box.path.parent)


def stored(stores: Stores) -> Counter[tuple[str, int]]:
    return Counter((one["boot"], one["mono_ms"]) for one in readings(stores, BOX))


@pytest.fixture
def parted(box: TestBuffer, stores: Stores) -> TestBuffer:
    """Copied while it ran with four readings open, went on, was put back, and went on again; all was delivered."""
    box.readings(10)
    box.seal(wanted=True)
    deliver(box, stores)
    box.readings(4, group=4)
    backup = copy(box, "backup")
    box.readings(30)
    box.seal(max_bytes=300, wanted=True)
    deliver(box, stores)
    assert box.numbers() == []
    box.kill()
    put_back(box, backup)
    box.open()  # seals the four, which the history before sealed together with others
    box.commit(NewEvent(box.reading().mono_ms, "start"))
    for _ in range(3):
        box.readings(8)
        box.seal(wanted=True)
    deliver(box, stores)
    return box


def held(box: TestBuffer) -> list[tuple[int, int, str]]:
    sql = "SELECT first, last, held FROM batch WHERE held IS NOT NULL ORDER BY id"
    return list(box.buffer.file.db.execute(sql).fetchall())


def test_what_is_stored_nowhere_is_sent_under_new_numbers_and_nothing_twice(parted: TestBuffer, stores: Stores) -> None:
    box = parted
    before, (leftover, *others) = stored(stores), held(box)
    assert leftover[:2] == (11, 14)
    assert len(others) >= 2
    assert len(others) == len(box.numbers()) - 1
    made = Counter(
        (decode(body).boot.hex(), reading.mono_ms)
        for body in box.bodies()[1:]
        for series in decode(body).series
        for reading in series.readings
    )
    box.kill()
    copied = copy(box, "held")
    done = renumber(box.path)
    assert (done.batches, [one[:2] for one in done.left]) == (len(others), [(11, 14)])
    assert renumber(box.path).batches == 0
    box.open()
    deliver(box, stores)
    assert box.numbers() == [(11, 14)]
    assert stored(stores) == before + made
    assert set(stored(stores).values()) == {1}
    box.kill()
    put_back(box, copied)  # once more: the same batches get the same numbers again
    assert renumber(box.path).batches == len(others)
    box.open()
    deliver(box, stores)
    assert box.numbers() == [(11, 14)]
    assert stored(stores) == before + made


def test_each_says_which_numbers_it_had(parted: TestBuffer) -> None:
    old = parted.batches()[1]
    parted.kill()
    renumber(parted.path)
    parted.open()
    new = parted.batches()[1]
    told = new.events[0]
    assert (new.key.first, new.key.last) == (1, 1 + old.key.last - old.key.first + 1)
    assert new.key.epoch != old.key.epoch
    assert (told.kind, told.seq) == ("renumbered", 1)
    assert told.data == {
        "epoch": old.key.epoch.hex(), "first": old.key.first, "last": old.key.last, "rev": old.key.rev,
    }  # fmt: skip
    assert [seq - 2 for seq in seqs([new])[1:]] == [seq - old.key.first for seq in seqs([old])]


def test_claims_on_numbers_of_the_old_epoch_claim_nothing_in_the_new() -> None:
    """Else the cloud would take numbers for accounted for that others have there."""
    events = (
        Event(7, 5, "numbers_skipped", None, {"first": 1, "last": 6}),
        Event(8, 6, "dropped", None, {"first": 9, "last": 9, "records": 1, "reason": "x"}),
        Event(10, 7, "stop"),
    )
    batch = Batch(BatchKey(BOX, bytes(8), 7, 10), bytes(8), None, False, (), events)
    skipped, dropped, stop = renumbered(encode(batch)).events[1:]
    assert skipped.data == {"epoch": "00" * 8, "old_first": 1, "old_last": 6}
    assert (dropped.data["first"], dropped.data["last"], dropped.seq) == (4, 4, 3)
    assert (stop.seq, stop.data) == (5, {})


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(command, ["renumber", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command(parted: TestBuffer, tmp_path: Path) -> None:
    code, output = run("--file", parted.path)
    assert code == os.EX_UNAVAILABLE
    assert "it is in use; another agent has it open: stop that one first" in output
    count = len(held(parted)) - 1
    parted.kill()
    code, output = run("--file", parted.path)
    assert code == 0
    assert f"{count} batches renumbered; the agent sends them when it runs again\n" in output
    assert "records 11..14 stay held: conflict: other content is stored under these record numbers" in output
    code, output = run("--file", parted.path, "--json")
    assert (code, json.loads(output)["renumbered"]) == (0, 0)
    code, output = run("--file", tmp_path / "nothing.db")
    assert (code, "there is no such file" in output) == (os.EX_IOERR, True)


def test_a_damaged_buffer_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(b"this is no database " * 100)
    code, _ = run("--file", path)
    assert code == os.EX_IOERR
    assert path.read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize("spoil", [lambda body: body[:-8], lambda _body: b"WP"], ids=["cut", "short"])
def test_a_batch_whose_bytes_are_damaged_stays(parted: TestBuffer, spoil: Callable[[bytes], bytes]) -> None:
    (id_, body) = parted.buffer.file.db.execute("SELECT id, body FROM batch ORDER BY id DESC LIMIT 1").fetchone()
    parted.buffer.file.db.execute("UPDATE batch SET body = ? WHERE id = ?", (spoil(body), id_))
    count = len(held(parted))
    parted.kill()
    done = renumber(parted.path)
    assert (done.batches, len(done.left)) == (count - 2, 2)
