"""A damaged buffer that was put aside, and where that stands until the cloud is told."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.adapters.buffer import kept_rows as memory


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged file that was moved to `path`, and how many of its batches were whole and are in the new one.

    `all_whole` says that these are all that were whole: else there was no room for more.
    """

    path: Path
    batches: int
    all_whole: bool = True


def made_of(db: sqlite3.Connection, folder: Path) -> Aside | None:
    """As noted in the buffer `db` in `folder`; None for one that was not made of another."""
    body = memory.load(db, memory.SALVAGED)
    if body is None:
        return None
    name, batches, all_whole = msgspec.json.decode(body, type=tuple[str, int, bool])
    return Aside(folder / name, batches, all_whole)


def note(db: sqlite3.Connection, aside: Aside) -> None:
    """Into the buffer that takes its place."""
    memory.write(db, memory.SALVAGED, msgspec.json.encode((aside.path.name, aside.batches, aside.all_whole)))
