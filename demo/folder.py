"""The folder of a demonstration: emptied of what an earlier one left, and locked while one runs in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EARLIER_DEMO = "cloud.log"  # the first file of a demo's folder


class FolderError(Exception):
    """The folder cannot be used; the message says why and what to do. `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Have `folder` for this process alone and empty. Only what an earlier demo left is removed, nobody's own files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _not_made(error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = f"a demo is already running in {folder}; end that one with Ctrl-C, or name another --dir"
            raise FolderError(text, os.EX_UNAVAILABLE) from error
        _empty(folder)
        yield
    finally:
        os.close(handle)  # and with it the lock, as the end of the process would do


def _empty(folder: Path) -> None:
    try:
        entries = list(folder.iterdir())
        if entries and not (folder / EARLIER_DEMO).exists():
            raise FolderError(f"--dir {folder} has files that no demo left there; name a new folder", os.EX_USAGE)
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise _not_made(error) from error


def _not_made(error: OSError) -> FolderError:
    text = f"cannot make or empty {error.filename}: {error.strerror}; name another --dir"
    return FolderError(text, os.EX_CANTCREAT)
