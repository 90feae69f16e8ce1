"""Numbers in sentences. Pure."""

from __future__ import annotations


def count(number: int, one: str, many: str = "") -> str:
    """(1, "batch", "batches") -> `1 batch`; `many` is `one` with an s unless given."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
