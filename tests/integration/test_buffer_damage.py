"""Files that are damaged, foreign, newer, missing or on a failing disk: one clear error, or a new beginning."""

from __future__ import annotations

import itertools
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from boxes import ANCHOR, LAYOUT, TestBuffer, files_at_most, seqs

from agent.adapters import buffer_file, schema
from agent.adapters.buffer import BufferFileError
from agent.adapters.salvage import Aside
from agent.core.records import NewEvent
from wire.codec import digest
from wire.receipt import Receipt


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


def use(box: TestBuffer) -> None:
    """Everything that an agent does with its buffer."""
    buffer = box.buffer
    last = box.commit(NewEvent(1, "start"), box.reading(), due={"main": 1})
    buffer.note_anchor(ANCHOR)
    for batch, _ in box.seal().sealed:
        assert buffer.outbox.body(batch.id)
    buffer.outbox.load(None, 32)
    buffer.outbox.confirm(Receipt(buffer.epoch, last), buffer.epoch, buffer.sealed_through)
    buffer.look()
    buffer.space.thin_oldest(10_000_000)
    buffer.outbox.delete([1, 2, 3])


def filled(box: TestBuffer) -> bytes:
    """The bytes of a file with batches and open records."""
    for _ in range(30):
        box.readings(50, group=10)
        box.seal()
    box.readings(40, group=5)
    box.buffer.close()
    return box.path.read_bytes()


# Damage


@pytest.mark.parametrize(
    "content", [b"this is no database, and it is long enough to be looked at" * 20, b"SQLite format 3\0" + bytes(5_000)]
)
def test_a_file_that_is_no_database_is_moved_aside(box: TestBuffer, content: bytes) -> None:
    box.buffer.close()
    box.path.write_bytes(content)
    opening = box.open()
    assert opening.moved_aside == Aside(box.path.with_name("buffer.db.damaged-1"), 0)
    assert opening.moved_aside.path.read_bytes() == content
    assert opening.start.epoch_reason == "new database"
    use(box)


def test_a_damaged_page_behind_a_sound_header_is_noticed_and_the_file_moved_aside(box: TestBuffer) -> None:
    content = bytearray(filled(box))
    content[512 : 512 * 12] = random.Random(1).randbytes(512 * 11)
    box.path.write_bytes(content)
    opening = box.open()
    assert opening.moved_aside is not None
    assert opening.moved_aside.path.read_bytes() == content
    assert box.commit() == 1
    use(box)


def test_batches_that_are_whole_are_saved_from_a_damaged_file_and_delivered(box: TestBuffer) -> None:
    filled(box)
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


def test_damage_found_while_in_use_is_repaired_by_the_next_start_also_in_a_large_file(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_file, "CHECKED_BYTES_MAX", 0)
    filled(box)
    box.open()
    inside = digest(box.bodies()[15]).encode()  # in a row of the middle, which nothing looks at when opening
    box.buffer.close()
    content = bytearray(box.path.read_bytes())
    page = content.index(inside) // 512 * 512
    content[page : page + 512] = random.Random(1).randbytes(512)
    box.path.write_bytes(content)
    assert box.open().moved_aside is None
    with pytest.raises(BufferFileError, match="starting the agent anew keeps the file aside") as caught:
        _ = [box.buffer.outbox.body(number) for number in range(1, 40)]
    assert caught.value.damaged
    box.kill()
    aside = box.open().moved_aside
    assert aside is not None
    assert aside.batches > 5
    use(box)
    box.kill()
    assert box.open().moved_aside is None


def test_damage_to_what_only_the_agent_can_read_is_noticed_too(box: TestBuffer) -> None:
    box.readings(10)
    box.buffer.file.db.execute("UPDATE open_group SET body = ?", (b"\xc1garbage",))
    box.kill()
    assert box.open().moved_aside is not None
    use(box)


@pytest.mark.parametrize("column", ["accounted", "sealed_through", "next_seq", "box_id"])
def test_a_row_that_makes_no_sense_is_damage(box: TestBuffer, column: str) -> None:
    box.readings(10)
    box.buffer.file.db.execute(f"UPDATE box SET {column} = x'c1c1c1'")
    box.kill()
    opening = box.open()
    assert opening.moved_aside is not None or (column == "box_id" and opening.start.epoch_reason)
    use(box)


def test_each_damaged_file_is_kept(box: TestBuffer) -> None:
    box.buffer.close()
    for number in (1, 2, 3):
        box.path.write_bytes(b"no database %d" % number * 100)
        assert box.open().moved_aside == Aside(box.path.with_name(f"buffer.db.damaged-{number}"), 0)
        box.buffer.close()


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
    use(box)


INTERRUPTED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from agent.adapters import salvage
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
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    support, ended = Path(__file__).parents[1] / "support", False
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
        use(box)
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
    monkeypatch.setattr(buffer_file, "_free_bytes", lambda _path: buffer_file.LEFT_BYTES + 100_000)
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
    use(box)
    box.kill()
    assert box.open().moved_aside is None


def test_a_damaged_file_that_cannot_be_moved_is_one_clear_error(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    box.buffer.close()
    box.path.write_bytes(b"no database" * 100)
    monkeypatch.setattr(Path, "rename", refuse)
    for _ in range(2):  # and nothing is left locked
        with pytest.raises(BufferFileError, match=r"cannot open .* cannot be renamed to buffer.db.damaged-1: Perm"):
            box.open()


def test_a_file_cut_short_to_nothing_is_a_new_one(box: TestBuffer) -> None:
    filled(box)
    box.path.write_bytes(b"")
    assert box.open().moved_aside is None
    use(box)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_damaged_the_box_goes_on(box: TestBuffer, seed: int) -> None:
    """Random pages overwritten, zeroed, swapped or cut off: it opens, and at worst single operations fail clearly."""
    chance = random.Random(seed)
    content = bytearray(filled(box))
    pages = len(content) // 512
    for _ in range(chance.choice([1, 1, 3, 20])):
        at, other = (512 * chance.randrange(pages) for _ in range(2))
        match chance.choice(["noise", "zeros", "swap", "bit", "cut"]):
            case "noise":
                content[at : at + 512] = chance.randbytes(512)
            case "zeros":
                content[at : at + 512] = bytes(512)
            case "swap":
                content[at : at + 512] = content[other : other + 512]
            case "bit":
                content[at + chance.randrange(512)] ^= 1 << chance.randrange(8)
            case "cut":
                del content[max(at, 512) :]
                pages = len(content) // 512
    box.path.write_bytes(content)
    box.open()
    try:
        use(box)
    except BufferFileError as error:
        expect = error
    else:
        expect = None
    assert expect is None or expect.damaged
    box.kill()
    assert (box.open().moved_aside is not None) == (expect is not None)
    use(box)


# Other files, other versions


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(box: TestBuffer) -> None:
    box.readings(3)
    box.buffer.file.db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    box.buffer.close()
    content = box.path.read_bytes()
    for _ in range(2):
        versions = rf"\(schema {schema.VERSION + 1}, this one knows {schema.VERSION}\)"
        with pytest.raises(BufferFileError, match=f"written by a newer version {versions}"):
            box.open()
    assert box.path.read_bytes() == content


def test_a_migration_is_done_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "buffer.db"

    def half(db: schema.Database) -> None:
        schema._create(db)
        raise RuntimeError("killed here")

    monkeypatch.setattr(schema, "MIGRATIONS", (half,))
    with pytest.raises(RuntimeError):
        schema.migrate(path)
    monkeypatch.undo()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    db.close()
    box = TestBuffer(tmp_path)
    box.open()
    use(box)
    assert box.buffer.file.db.execute("PRAGMA page_size").fetchone() == (schema.PAGE_BYTES,)
    assert box.buffer.file.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    schema.migrate(path.with_name("newer.db"))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    box = TestBuffer(tmp_path / "nowhere")
    with pytest.raises(BufferFileError, match=r"there is no folder .*nowhere; create its folder and give it"):
        box.open()


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "buffer.db").mkdir()
    for _ in range(2):
        with pytest.raises(BufferFileError, match=r"cannot open the buffer .*buffer.db: "):
            TestBuffer(tmp_path).open()


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "buffer.db.lock").mkdir()
    with pytest.raises(BufferFileError, match=r"buffer.db.lock: Is a directory; give the agent's user write access"):
        TestBuffer(tmp_path).open()


# A failing disk


def test_an_input_output_error_is_one_clear_error_and_loses_nothing(box: TestBuffer) -> None:
    box.readings(20)
    operations = {
        "write to": lambda: box.commit(box.reading()),
        "seal a batch in": box.seal,
    }
    for operation, work in operations.items():
        with files_at_most(0), pytest.raises(BufferFileError) as caught:
            work()
        assert str(caught.value) == (
            f"cannot {operation} the buffer {box.path}: disk I/O error; "
            "the disk fails: look at `dmesg`, and replace the card"
        )
        assert (caught.value.full, caught.value.damaged) == (False, False)
    box.seal()
    with files_at_most(0):
        for work in (lambda: box.buffer.outbox.delete([1]), lambda: box.buffer.note_anchor(ANCHOR)):
            with pytest.raises(BufferFileError, match="disk I/O error"):
                work()
    assert box.commit(box.reading()) == 21
    box.seal()
    assert seqs(box.batches()) == list(range(1, 22))


def test_an_error_in_the_middle_of_sealing_reports_what_was_sealed_before(box: TestBuffer) -> None:
    box.readings(3_000, group=20)
    box.buffer.file.db.execute(
        "CREATE TEMP TRIGGER t BEFORE INSERT ON batch WHEN new.id = 3 BEGIN SELECT raise(ABORT, 'no'); END"
    )
    result = box.seal(max_bytes=512)
    box.buffer.file.db.execute("DROP TRIGGER t")
    assert len(result.sealed) == 2
    assert result.open_records == 3_000 - result.sealed[1][0].last
    box.seal()
    assert seqs(box.batches()) == list(range(1, 3_001))


def test_an_end_that_cannot_be_marked_still_lets_go_of_the_file(box: TestBuffer) -> None:
    box.readings(3)
    with files_at_most(0), pytest.raises(BufferFileError, match="cannot close"):
        box.buffer.close()
    assert not box.open().clean
    assert box.buffer.layout(1) == LAYOUT
