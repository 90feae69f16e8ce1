"""Files that are created once and never changed."""

from __future__ import annotations

import os
from pathlib import Path

from cloud.ports import StoreError


def create_file(path: Path, data: bytes) -> None:
    """Create the file, complete and durable, unless it exists; its folder is made if missing."""
    if path.exists():
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(path.parent.parent)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"write {path}: {error.strerror}; it will be tried again") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
