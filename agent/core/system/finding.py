"""What a check finds: one value for `check-config`, `status` and the daemon, which all print the same words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs attention.

    An `error` stops readings from being taken, kept or delivered, or makes a file unusable; a `warning` does not, or
    not yet. `subject` is a part such as `meter main`, or a configuration key such as `uplink.key`. `next_step` is empty
    where `cause` has it. `check` is the name of the check that found it, see `agent.checks.registry`.
    """

    severity: Severity
    subject: str
    cause: str
    next_step: str = ""
    check: str = ""

    @property
    def text(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.cause}; {self.next_step}" if self.next_step else self.cause
