"""JSON for readers whose numbers are 64-bit floats, as in JavaScript: they silently round larger whole numbers."""

from __future__ import annotations

from typing import Any

WHOLE_MAX = (1 << 53) - 1  # floats hold every whole number up to here; RFC 7493 names the same limit


def json_safe(value: Any) -> Any:
    """A copy of what JSON can say, with whole numbers beyond `WHOLE_MAX` as text."""
    if isinstance(value, dict):
        return {name: json_safe(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner) for inner in value]
    if isinstance(value, int) and not -WHOLE_MAX <= value <= WHOLE_MAX:
        return str(value)
    return value
