"""Files that are damaged, foreign, newer, missing or on a failing disk: one clear error, or a new beginning."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from boxes import ANCHOR, LAYOUT, TestBuffer, files_at_most, seqs

from agent.adapters.buffer import buffer_file, schema
from agent.adapters.buffer.aside import Aside
from agent.adapters.buffer.buffer import BufferFileError
from wire.codec import digest

# Written once, by earlier versions; not to be written again. A new schema version adds a file.
EARLIER = sorted((Path(__file__).parents[2] / "golden" / "buffers").glob("schema_*.db"))


@pytest.fixture
def box(tmp_path: Path) -> TestBuffer:
    made = TestBuffer(tmp_path)
    made.open()
    return made


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
    box.use()


def test_a_damaged_page_behind_a_sound_header_is_noticed_and_the_file_moved_aside(box: TestBuffer) -> None:
    content = bytearray(box.filled())
    content[512 : 512 * 12] = random.Random(1).randbytes(512 * 11)
    box.path.write_bytes(content)
    opening = box.open()
    assert opening.moved_aside is not None
    assert opening.moved_aside.path.read_bytes() == content
    assert box.commit() == 1
    box.use()


def test_damage_found_while_in_use_is_repaired_by_the_next_start_also_in_a_large_file(
    box: TestBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_file, "CHECKED_BYTES_MAX", 0)
    box.filled()
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
    box.use()
    box.kill()
    assert box.open().moved_aside is None


def test_damage_to_what_only_the_agent_can_read_is_noticed_too(box: TestBuffer) -> None:
    box.readings(10)
    box.buffer.file.db.execute("UPDATE open_group SET body = ?", (b"\xc1garbage",))
    box.kill()
    assert box.open().moved_aside is not None
    box.use()


@pytest.mark.parametrize("column", ["accounted", "sealed_through", "next_seq", "box_id"])
def test_a_row_that_makes_no_sense_is_damage(box: TestBuffer, column: str) -> None:
    box.readings(10)
    box.buffer.file.db.execute(f"UPDATE box SET {column} = x'c1c1c1'")
    box.kill()
    opening = box.open()
    assert opening.moved_aside is not None or (column == "box_id" and opening.start.epoch_reason)
    box.use()


def test_each_damaged_file_is_kept(box: TestBuffer) -> None:
    box.buffer.close()
    for number in (1, 2, 3):
        box.path.write_bytes(b"no database %d" % number * 100)
        assert box.open().moved_aside == Aside(box.path.with_name(f"buffer.db.damaged-{number}"), 0)
        box.buffer.close()


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
    box.filled()
    box.path.write_bytes(b"")
    assert box.open().moved_aside is None
    box.use()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_damaged_the_box_goes_on(box: TestBuffer, seed: int) -> None:
    """Random pages overwritten, zeroed, swapped or cut off: it opens, and at worst single operations fail clearly."""
    chance = random.Random(seed)
    content = bytearray(box.filled())
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
        box.use()
    except BufferFileError as error:
        expect = error
    else:
        expect = None
    assert expect is None or expect.damaged
    box.kill()
    assert (box.open().moved_aside is not None) == (expect is not None)
    box.use()


HEADER = {"magic": 3, "page size": 16, "read version": 19, "schema format": 47, "text encoding": 59, "user_version": 63}


@pytest.mark.parametrize("at", HEADER.values(), ids=HEADER)
def test_whichever_field_of_the_header_is_damaged_the_box_goes_on(box: TestBuffer, at: int) -> None:
    content = bytearray(box.filled())
    content[at] ^= 0x02 if at == HEADER["user_version"] else 0x0A  # 0: a file without tables, which has them
    box.path.write_bytes(content)
    aside = box.open().moved_aside
    assert aside is not None
    assert aside.batches == 30
    box.use()


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b'CREATE TABLE "layout"', b'CREATE TABLE "lay ut"'),
        (b'"sealed_through"', b'"sealed_thrOugX"'),
        (b'"slot" INTEGER PRIMARY', b'"slot" INTEGER PRIMATE'),
        (b'"epoch" BLOB NOT NULL', b'"epoch" BLOB NIT NULL'),
        (b"tablememorymemory", b"tablememory\xffemory"),
    ],
)
@pytest.mark.parametrize("checked_bytes_max", [0, buffer_file.CHECKED_BYTES_MAX])
def test_a_damaged_table_or_column_is_noticed_when_the_file_is_opened_however_large(
    box: TestBuffer, was: bytes, now: bytes, checked_bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffer_file, "CHECKED_BYTES_MAX", checked_bytes_max)
    content = box.filled()
    assert was in content
    box.path.write_bytes(content.replace(was, now))
    aside = box.open().moved_aside
    assert aside is not None
    assert aside.batches == 30
    box.use()


def test_a_statement_that_is_refused_later_is_no_damage(box: TestBuffer) -> None:
    """It is a bug: putting the file aside would not help."""
    box.readings(3)
    with pytest.raises(BufferFileError, match="no such table") as caught, box.buffer.file.translate("read from"):
        box.buffer.file.db.execute("SELECT 1 FROM nowhere")
    assert not caught.value.damaged


# Other files, other versions


def test_creating_the_file_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA max_page_count = 1")
            db.execute("CREATE TABLE one (id)")

    monkeypatch.setattr(buffer_file, "migrate", full)
    with pytest.raises(BufferFileError, match=r"disk is full; free space on its file system") as caught:
        TestBuffer(tmp_path).open()
    assert caught.value.full


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_a_file_of_an_earlier_version_keeps_all_that_is_in_it(box: TestBuffer, path: Path) -> None:
    box.buffer.close()
    box.path.write_bytes(path.read_bytes())
    opening = box.open()
    assert (opening.clean, opening.moved_aside, opening.accounted_ms) == (False, None, {"main": 45_000})
    assert box.numbers() == [(1, 20), (21, 35), (36, 45)], "and what was open is sealed"
    assert box.commit(box.reading()) == 46
    box.use()
    box.kill()
    assert box.open().moved_aside is None


def test_a_new_file_has_the_tables_of_earlier_ones_to_the_letter(box: TestBuffer) -> None:
    tables = "SELECT name, rootpage, sql FROM sqlite_master ORDER BY rootpage"
    with closing(sqlite3.connect(f"file:{EARLIER[-1]}?immutable=1", uri=True)) as earlier:
        assert box.buffer.file.db.execute(tables).fetchall() == earlier.execute(tables).fetchall()


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

    monkeypatch.setattr(schema, "MIGRATIONS", ((*schema.MIGRATIONS[0], "INSERT INTO nowhere VALUES (1)"),))
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        schema.migrate(path)
    monkeypatch.undo()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    db.close()
    box = TestBuffer(tmp_path)
    box.open()
    box.use()
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
