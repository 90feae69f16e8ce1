"""A real buffer with a writer that keeps it open and locked, as the agent does."""

from __future__ import annotations

from pathlib import Path

from agent.adapters.buffer.buffer import Buffer
from agent.adapters.system.clock import SystemClock, machine_id
from agent.core.buffer.numbering import BoxIdentity
from agent.core.records import Group, Layout, NewReading
from wire.batch import Anchor, Column
from wire.resolution import Resolution

BOX = "apt:1"
BOOT = bytes.fromhex("0102030405060708")  # not this one: a machine that has just started has no past
COLUMNS = (Column("power_active_total", Resolution(1, -1)), Column("energy_active_import_total", Resolution(1, 0)))
HOUR_MS = 3_600_000
ANCHOR = Anchor(SystemClock("system").look().utc_ms - 3 * HOUR_MS, 5)


class Writer:
    """Commits and seals at will, in seconds of its own; `machine` is /etc/machine-id unless given."""

    def __init__(self, folder: Path, machine: str | None = None) -> None:
        self.path = folder / "buffer.db"
        self.buffer, _ = Buffer.open(self.path, BoxIdentity(BOX, machine or machine_id(), BOOT))
        self.layout = self.buffer.layout_id(Layout("main", COLUMNS))
        self.time_ms = 0

    def commit(self, records: int) -> None:
        self.time_ms += 1000
        rows = [NewReading(self.layout, self.time_ms + i, (i, 1000 + i)) for i in range(records)]
        self.buffer.commit(Group(rows, {"main": records}))

    def seal(self, *, anchor: Anchor | None = ANCHOR, confirm_wanted: bool = False, sent: bool = False) -> None:
        self.buffer.seal(anchor, 3600, everything=True, confirm_wanted=confirm_wanted, handed_out=sent)

    def batch(self, records: int, **options: bool) -> None:
        self.commit(records)
        self.seal(**options)

    def execute(self, sql: str, *values: object) -> None:
        self.buffer.file.db.execute(sql, values)

    def close(self) -> None:
        """As a kill would: nothing is marked."""
        self.buffer.file.close()
