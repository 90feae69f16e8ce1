"""The archive as files: `archive/AB/ABCD...`. `cloud/ingest/archive_object.py` describes the content of a file."""

from __future__ import annotations

from pathlib import Path

from cloud.stores.sqlite.files import create_file


class FolderArchive:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        create_file(self._folder / name[:2] / name, data)
