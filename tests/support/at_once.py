"""What a stand-in for the recorder makes of work that the real one leaves until the commit."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.records import NewRecord
from agent.tasks.pending import Later


class AtOnce:
    """Finishes at once what is added for later."""

    def add(self, records: Iterable[NewRecord]) -> None:
        raise NotImplementedError

    def add_later(self, finish: Later) -> None:
        self.add(finish())

    def settle(self) -> None:
        """Nothing is ever left."""
