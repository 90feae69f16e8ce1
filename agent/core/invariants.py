"""What must hold whatever comes from outside: a broken invariant is a bug, and stops the step that found it.

Nothing is written, deleted or sent by that step. Bad input is no broken invariant: it has errors of its own.
"""

from __future__ import annotations


class BrokenInvariantError(Exception):
    """`name` says which invariant does not hold, `facts` what was found instead."""

    def __init__(self, name: str, facts: dict[str, object]) -> None:
        self.name = name
        self.facts = facts
        found = ", ".join(f"{key}={value!r}" for key, value in facts.items())
        step = "this is a bug: please report this line"
        super().__init__(f"broken invariant: {name}" + (f" ({found}); {step}" if found else f"; {step}"))


def require(name: str, condition: object, **facts: object) -> None:
    """Raise `BrokenInvariantError` unless `condition` is true."""
    if not condition:
        raise BrokenInvariantError(name, facts)
