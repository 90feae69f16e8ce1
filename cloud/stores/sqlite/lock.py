"""One receiver per folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cloud.ports import StoreError


class StoreInUseError(StoreError):
    """Another receiver is using this folder."""


class StoreLock:
    """Keeps a second receiver out of `folder`, which is made if missing. The end of the process releases it too."""

    def __init__(self, folder: Path) -> None:
        """Raises `StoreInUseError` and `StoreError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(f"open the store {folder}: {error.strerror}; give a folder that you can write") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            text = f"open the store {folder}: another receiver is using it; end that one, or give another folder"
            raise StoreInUseError(text) from error

    def close(self) -> None:
        os.close(self._handle)
