"""The anchors in SQLite: one row per boot."""

from __future__ import annotations

from collections.abc import Mapping

from cloud.core.claims import better_anchor
from cloud.stores.sqlite.database import Database
from wire.batch import Anchor

TABLE = """
CREATE TABLE anchor (
    device TEXT NOT NULL, boot BLOB NOT NULL, boot_utc_ms INTEGER NOT NULL, uncertainty_ms INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) STRICT, WITHOUT ROWID;
"""


class SqliteAnchors:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, device: str, anchors: Mapping[bytes, Anchor]) -> None:
        known = self.of(device)
        with self._database.transaction("store anchors in") as connection:
            for boot, anchor in anchors.items():
                best = better_anchor(known.get(boot), anchor)
                connection.execute(
                    "INSERT OR REPLACE INTO anchor VALUES (?, ?, ?, ?)",
                    (device, boot, best.boot_utc_ms, best.uncertainty_ms),
                )

    def of(self, device: str) -> dict[bytes, Anchor]:
        sql = "SELECT boot, boot_utc_ms, uncertainty_ms FROM anchor WHERE device = ?"
        return {
            boot: Anchor(boot_utc_ms, uncertainty_ms)
            for boot, boot_utc_ms, uncertainty_ms in self._database.rows("read anchors from", sql, (device,))
            if isinstance(boot, bytes) and isinstance(boot_utc_ms, int) and isinstance(uncertainty_ms, int)
        }
