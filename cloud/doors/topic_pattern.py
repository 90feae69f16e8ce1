"""Which box a topic belongs to: a topic filter with one `+` in place of the box's name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from wire.errors import WireError
from wire.topics import check_filter


@dataclass(frozen=True, slots=True)
class TopicPattern:
    """For example `wattpost/+/batches`. The broker must let each client publish under its own name only."""

    filter: str
    place: int

    @classmethod
    def parse(cls, text: str) -> TopicPattern:
        """Raises `WireError`."""
        check_filter(text)
        levels = text.split("/")
        if levels.count("+") != 1 or "#" in levels:
            raise WireError(f"topic {text!r} must have exactly one `+`, where the name of the box is, and no `#`")
        return cls(text, levels.index("+"))

    def box_of(self, topic: str) -> str:
        """The level at the `+`; empty if the topic is too short, which no broker sends."""
        levels = topic.split("/")
        return levels[self.place] if self.place < len(levels) else ""
