"""The quarantine as files: `DIGEST.bin` holds the bytes, `DIGEST.json` the reason and the provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from cloud.ingest.archive_object import message_of_note, provenance
from cloud.ports import InboundMessage, Quarantined, StoreError
from cloud.stores.sqlite.files import create_file


class FolderQuarantine:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, entry: Quarantined) -> None:
        note = {**provenance(entry.message), "reason": entry.reason}
        create_file(self._folder / f"{entry.digest}.bin", entry.message.data)
        create_file(self._folder / f"{entry.digest}.json", json.dumps(note).encode())

    def messages(self) -> Iterator[InboundMessage]:
        for path in sorted(self._folder.glob("*.json")):
            try:
                message = message_of_note(json.loads(path.read_bytes()), path.with_suffix(".bin").read_bytes())
            except (OSError, ValueError) as error:
                raise StoreError(f"read {path}: {error}; the other batches were not tried") from error
            if message is not None:
                yield message
