"""The group commits not yet sealed, in slots that are overwritten in place.

Sealing a batch frees its slots without touching them: a row is open as long as its numbers lie beyond what is sealed.
So a commit writes one page of the file, where inserting and deleting rows wrote three.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count

from agent.adapters.buffer.buffer_file import BufferFile
from agent.core.records import Group, sayable, unpack_group


class OpenGroups:
    """Slots are reused oldest first; there are as many as were ever open at once."""

    def __init__(self, file: BufferFile) -> None:
        self._file = file
        self._slot_by_first: dict[int, int] = {}
        self._free: list[int] = []
        self._new = count(1)

    def load(self, sealed_through: int) -> int:
        """Find the open groups of an earlier run; returns the last number in them, or `sealed_through`."""
        last_number = sealed_through
        slot = 0
        for slot, first, last in self._file.db.execute("SELECT slot, first, last FROM open_group ORDER BY slot"):
            if first > sealed_through:
                self._slot_by_first[first] = slot
                last_number = max(last_number, last)
            else:
                self._free.append(slot)
        self._new = count(slot + 1)
        return last_number

    def write(self, db: sqlite3.Connection, first: int, last: int, body: bytes) -> int:
        """Store a group within the caller's transaction; returns its slot, for `keep` once that has committed."""
        slot = self._free[0] if self._free else next(self._new)
        db.execute("INSERT OR REPLACE INTO open_group VALUES (?, ?, ?, ?)", (slot, first, last, body))
        return slot

    def keep(self, first: int, slot: int) -> None:
        """The group is committed."""
        if self._free and self._free[0] == slot:
            self._free.pop(0)
        self._slot_by_first[first] = slot

    def __iter__(self) -> Iterator[tuple[int, Group]]:
        """`(first, group)`, ascending."""
        for first in sorted(self._slot_by_first):
            yield first, self._group(self._slot_by_first[first])

    def _group(self, slot: int) -> Group:
        (body,) = self._file.db.execute("SELECT body FROM open_group WHERE slot = ?", (slot,)).fetchone()
        return sayable(unpack_group(body))  # what an older agent took may be what the wire cannot say

    def oldest(self) -> Group | None:
        return self._group(self._slot_by_first[min(self._slot_by_first)]) if self._slot_by_first else None

    def release(self, through: int) -> None:
        """Everything up to `through` is sealed: its slots are free."""
        for first in sorted(self._slot_by_first):
            if first > through:
                break
            self._free.append(self._slot_by_first.pop(first))

    def clear(self, db: sqlite3.Connection) -> None:
        """Numbers begin anew: what lies in the slots must not be taken for numbers of the new epoch."""
        db.execute("UPDATE open_group SET first = 0, last = 0 WHERE first > 0")
