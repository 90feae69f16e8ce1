"""Who has access to the private key's file. The rule and its words are `agent.core.system.key_file`'s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.adapters.system.key_access import look_at_key_file
from agent.core.system.finding import Finding


def key_file_access(key: Path | None) -> Iterator[Finding]:
    """Access by others is an error, access by the group a warning."""
    if key is None:
        return
    with suppress(OSError):  # that it cannot be read is another check's
        found = look_at_key_file(key)
        if found is not None:
            yield found
