"""Who has access to the private key's file. The rule and its words are `agent.core.system.key_access_rule`'s."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from agent.adapters.system.key_access import look_at_key_file
from agent.checks.named_files import NamedFiles
from agent.core.system.finding import Finding


def key_file_access(files: NamedFiles) -> Iterator[Finding]:
    """Access by others is an error, access by the group a warning."""
    if files.key.path is None:
        return
    with suppress(OSError):  # `agent.checks.files` says that it cannot be read
        found = look_at_key_file(files.key.path)
        if found is not None:
            yield found
