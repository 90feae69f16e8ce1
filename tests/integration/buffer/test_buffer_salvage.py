"""What is saved of a damaged buffer, whatever else is damaged, missing or happens meanwhile."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from boxes import TestBuffer, files_at_most

from agent.adapters.buffer import buffer_file, schema
from agent.adapters.buffer.aside import Aside
from agent.adapters.buffer.buffer import BufferFileError
from agent.adapters.buffer.salvage import salvage
from wire.codec import digest
from wire.receipt import Receipt


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


def test_batches_that_are_whole_are_saved_from_a_damaged_file_and_delivered(box: TestBuffer) -> None:
    box.filled()
    box.open()
    before = [digest(body) for body in box.bodies()]
    box.buffer.close()
    content = bytearray(box.path.read_bytes())
    for at in (len(content) // 3, len(content) // 2):
        content[at : at + 2_000] = random.Random(1).randbytes(2_000)
    box.path.write_bytes(content)
    opening = box.open()
    assert opening.moved_aside is not None
    after = [digest(body) for body in box.bodies()]
    assert len(after) == opening.moved_aside.batches
    assert len(before) * 0.6 < len(after) < len(before)
    assert after == [one for one in before if one in after]
    assert len(box.buffer.outbox.load(None, 100)) == len(after)
    last = box.batches()[-1].key
    verdict = box.buffer.outbox.confirm(Receipt(last.epoch, last.last, after[-1]), box.buffer.epoch, 0)
    assert verdict is not None
    assert len(verdict[0].delete) == len(after)


def saved_of(box: TestBuffer, content: bytes) -> list[str]:
    """The digests of what is saved of a buffer with this content."""
    damaged, new, empty = (box.path.with_name(name) for name in ("damaged.db", "new.db", "empty.db"))
    if not empty.exists():
        schema.migrate(empty)
    damaged.write_bytes(content)
    new.write_bytes(empty.read_bytes())
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        salvage(damaged, db, damaged)
        return [digest(body) for (body,) in db.execute("SELECT body FROM batch ORDER BY id")]


@pytest.mark.parametrize(("hole", "most"), [(512, 2), (4096, 16)])
def test_wherever_a_file_is_damaged_only_what_lay_there_is_lost(box: TestBuffer, hole: int, most: int) -> None:
    """Whatever leads to the batches, the header of the file and its list of tables included, may be gone."""
    for _ in range(120):
        box.readings(50, group=50)
        box.seal()
    box.buffer.outbox.delete(range(1, 21))
    before = [digest(body) for body in box.bodies()]
    box.buffer.close()
    content = box.path.read_bytes()
    for at in range(0, len(content), hole):
        after = saved_of(box, content[:at] + random.Random(at).randbytes(hole) + content[at + hole :])
        found = [one for one in before if one in after]
        assert found == [one for one in after if one in before], at
        assert len(before) - len(found) <= most, at
        assert len(after) == len(found) or at == 0, at  # without its header a file does not say what was deleted


def test_a_page_in_the_wrong_place_or_of_yesterday_costs_only_itself(box: TestBuffer) -> None:
    """SQLite would go on with what such a page leads to, and miss nothing."""
    for _ in range(60):
        box.readings(50, group=50)
        box.seal()
    box.buffer.file.checkpoint()
    older = box.path.read_bytes()
    for _ in range(60):
        box.readings(50, group=50)
        box.seal()
    before = [digest(body) for body in box.bodies()]
    box.buffer.close()
    content, size = box.path.read_bytes(), schema.PAGE_BYTES
    chance = random.Random(1)
    for at in range(0, len(content), size):
        elsewhere = chance.randrange(0, len(content), size)
        for page in (older[at : at + size], content[elsewhere : elsewhere + size]):
            after = saved_of(box, content[:at] + page + content[at + size :]) if page else before
            assert [one for one in before if one in after] == after, (at, elsewhere)
            assert len(before) - len(after) <= 2, (at, elsewhere)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize(
    ("was", "now"),
    [(b"confirm_wanted", b"confirm_w\xffnted"), (b"confirm_wanted", b"confirm_wonted"), (b"PRIMARY", b"PRIMATE")],
)
def test_a_damaged_name_in_the_list_of_tables_loses_nothing(
    box: TestBuffer, was: bytes, now: bytes, *, marked: bool
) -> None:
    for _ in range(5):
        box.readings(10)
        box.seal()
    box.buffer.close()
    box.path.write_bytes(box.path.read_bytes().replace(was, now))
    if marked:
        box.path.with_name("buffer.db.suspect").touch()
    else:  # it is noticed when it is used, or earlier
        box.open()
        with suppress(BufferFileError):
            box.buffer.outbox.load(None, 32)
        box.kill()
    assert box.open().moved_aside == Aside(box.path.with_name("buffer.db.damaged-1"), 5)
    assert len(box.bodies()) == 5
    box.use()


def test_the_parts_of_a_damaged_file_keep_together(box: TestBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an earlier one was taken away, and a kill came between the renaming of the file and of its WAL."""
    other = box.path.with_name("buffer.db.damaged-2")
    other.write_bytes(b"other")
    other.with_name("buffer.db.damaged-2-wal").write_bytes(b"its WAL")
    box.readings(10)
    box.seal()
    wal = box.path.with_name("buffer.db-wal").read_bytes()
    box.kill()
    box.path.with_name("buffer.db-wal").write_bytes(wal)
    box.path.with_name("buffer.db.suspect").touch()
    monkeypatch.setattr(Path, "rename", rename_once(Path.rename))
    with pytest.raises(RuntimeError):
        box.open()
    monkeypatch.undo()
    assert box.open().moved_aside == Aside(box.path.with_name("buffer.db.damaged-1"), 1)
    assert other.with_name("buffer.db.damaged-2-wal").read_bytes() == b"its WAL"
    assert other.with_name("buffer.db.damaged-1-wal").read_bytes() == wal


def rename_once(real: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    """As a kill at the second one."""
    renamed: list[Path] = []

    def rename(path: Path, target: Path) -> Path:
        if renamed:
            raise RuntimeError
        renamed.append(path)
        return real(path, target)

    return rename


def test_what_is_still_in_the_journal_is_saved_too(box: TestBuffer) -> None:
    for _ in range(3):
        box.readings(10)
        box.seal()
    with closing(sqlite3.connect(f"file:{box.path}?immutable=1", uri=True)) as without_wal:
        assert without_wal.execute("SELECT count(*) FROM batch").fetchone() == (0,)
    box.kill()
    box.path.with_name("buffer.db.suspect").touch()
    aside = box.open().moved_aside
    assert aside is not None
    assert aside.batches == 3
    assert box.numbers() == [(1, 10), (11, 20), (21, 30)]
    box.use()


INTERRUPTED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from agent.adapters.buffer import salvage
from boxes import TestBuffer
folder, point = Path(sys.argv[2]), int(sys.argv[3])
reached = 0

def count(event, args):
    global reached
    if event in ("os.rename", "os.remove", "open", "sqlite3.connect") and str(folder) in str(args[0]):
        reached += 1
        if reached == point:
            os.kill(os.getpid(), 9)

sys.addaudithook(count)
insert = salvage._insert

def counted(db, id_, row):
    if id_ % 20 == 0:
        count("open", (folder,))
    return insert(db, id_, row)

salvage._insert = counted
TestBuffer(folder).open()
"""


def test_saving_what_is_whole_may_be_cut_off_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    support, ended = Path(__file__).parents[2] / "support", False
    for point in itertools.count(1):
        folder = tmp_path / str(point)
        folder.mkdir()
        box = TestBuffer(folder)
        box.open()
        for _ in range(50):
            box.readings(10)
            box.seal()
        box.kill()
        box.path.with_name("buffer.db.suspect").touch()
        command = [sys.executable, "-c", INTERRUPTED, str(support), str(folder), str(point)]
        ended = subprocess.run(command, check=False, timeout=55).returncode == 0
        opening = box.open()
        assert len(box.bodies()) == 50, point
        assert opening.moved_aside == Aside(box.path.with_name("buffer.db.damaged-1"), 50), point
        box.use()
        box.kill()
        assert {path.name for path in folder.iterdir()} <= {
            *("buffer.db", "buffer.db.lock", "buffer.db.damaged-1", "buffer.db.ballast"),
            *("buffer.db.damaged-1-wal", "buffer.db.damaged-1-shm"),
        }
        if ended:
            break
    assert point > 10


def sqlite3_batches(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("SELECT count(*) FROM batch").fetchone()
    return int(count)


def test_what_could_not_be_saved_for_a_failing_disk_is_saved_by_the_next_start(box: TestBuffer) -> None:
    for _ in range(300):
        box.readings(20)
        box.seal()
    box.kill()
    box.path.with_name("buffer.db.suspect").touch()
    for _ in range(2):
        with files_at_most(60_000), pytest.raises(BufferFileError, match="cannot save batches of the buffer"):
            box.open()
    assert box.open().moved_aside == Aside(box.path.with_name("buffer.db.damaged-1"), 300)
    assert len(box.bodies()) == 300


def test_as_much_is_saved_as_there_is_room_for(box: TestBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(800):
        box.readings(20)
        box.seal()
    before = box.bodies()
    box.kill()
    box.path.with_name("buffer.db.suspect").touch()
    box.path.with_name("buffer.db.ballast").touch()
    monkeypatch.setattr(buffer_file, "free_bytes", lambda _path: buffer_file.LEFT_BYTES + 100_000)
    aside = box.open().moved_aside
    box.kill()
    assert aside is not None
    assert aside == box.open().moved_aside, "nothing was committed that could tell of it"
    assert not aside.all_whole
    assert 100 <= aside.batches < 800
    assert box.bodies() == before[: aside.batches]
    assert box.path.stat().st_size < 200_000
    assert sqlite3_batches(aside.path) == 800
    assert not box.path.with_name("buffer.db.ballast").exists()
    box.use()
    box.kill()
    assert box.open().moved_aside is None
