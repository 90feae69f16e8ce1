"""How far the sealed batches have come that this run sends, where the file says more or less than is so. Pure.

The file marks a batch as sent ahead of it, for a write the less, and sometimes after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum


class Stage(Enum):
    PROMISED = 0  # marked in the file, but its bytes were not asked for yet
    FLYING = 1  # its bytes were given out, no PUBACK has come
    TAKEN = 2  # the broker has it


@dataclass(slots=True)
class Sending:
    """Stages by batch id; a batch that has none is as the file says, from an earlier run."""

    _stages: dict[int, Stage] = field(default_factory=dict)

    def promise(self, batch_ids: Iterable[int]) -> None:
        """The file marks these as sent from now on; some may be on their way already."""
        for batch_id in batch_ids:
            self._stages.setdefault(batch_id, Stage.PROMISED)

    def given_out(self, batch_id: int, *, marked: bool) -> None:
        """Its bytes are about to be sent. One that an earlier run sent, or this one got a PUBACK for, is no news."""
        if self._stages.get(batch_id) is Stage.PROMISED or (batch_id not in self._stages and not marked):
            self._stages[batch_id] = Stage.FLYING

    def taken(self, batch_id: int) -> None:
        """A PUBACK has come: it may not be lost any more on its way to the broker."""
        if batch_id in self._stages:
            self._stages[batch_id] = Stage.TAKEN

    def forget(self, batch_ids: Iterable[int]) -> None:
        for batch_id in batch_ids:
            self._stages.pop(batch_id, None)

    def is_sent(self, batch_id: int, *, marked: bool) -> bool:
        """Whether it may have left the box, or is about to."""
        return marked or self._stages.get(batch_id, Stage.PROMISED) is not Stage.PROMISED

    def is_taken(self, batch_id: int) -> bool:
        """Whether the broker has it, as far as this run can tell."""
        return self._stages.get(batch_id, Stage.TAKEN) is Stage.TAKEN

    def only_promised(self) -> list[int]:
        """What never left the box, although the file says so."""
        return [batch_id for batch_id, stage in self._stages.items() if stage is Stage.PROMISED]
