"""Log lines on standard error: with journald's level prefixes there, with the time of day in a terminal.

One line per change of state, never one per reading.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

SAID_AT_ONCE = 20  # changes of one subject, after which it is said only as often as this many seconds pass:
SAID_EVERY_S = 300.0
# sd-daemon(3): a line may begin with its syslog level.
_PREFIX = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _PREFIX.get(record.levelno, "<3>") + super().format(record)


def set_up(*, verbose: bool = False) -> None:
    """Configure the root logger once, at the start of the daemon."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    # pymodbus reports each lost frame itself; here that is one line when a meter falls silent.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


class Changes:
    """Logs a subject's state only when it differs from what was said last; the last is kept per subject.

    One that changes all the time, such as a meter on a loose wire, is said now and then. `troubles` is kept current:
    the subjects whose last state was a warning or worse. `now_s` is a clock that is never set.
    """

    def __init__(
        self,
        logger: logging.Logger,
        troubles: dict[str, str] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._troubles = {} if troubles is None else troubles
        self._now_s = now_s
        self._said: dict[str, str] = {}
        self._full_s: dict[str, float] = {}  # when a subject has all of `SAID_AT_ONCE` again
        self._unsaid: set[str] = set()

    def say(self, subject: str, state: str, level: int = logging.INFO, *, key: str | None = None) -> bool:
        """Log `state` unless it is what was said of `subject` last; True when it was logged.

        States with one `key` are the same state in other words.
        """
        is_said = self._said.get(subject) == (key or state)
        if is_said and subject not in self._unsaid:
            return False
        if level >= logging.WARNING:
            self._troubles[subject] = state
        else:
            self._troubles.pop(subject, None)
        if is_said or not self._may_say(subject, level):
            (self._unsaid.discard if is_said else self._unsaid.add)(subject)
            return False
        self._unsaid.discard(subject)
        self._said[subject] = key or state
        self._logger.log(level, "%s: %s", subject, state)
        return True

    def _may_say(self, subject: str, level: int) -> bool:
        """Whether there is room for one more line; what only `--verbose` shows needs none."""
        if level < logging.INFO:
            return True
        now_s = self._now_s()
        full_s = max(self._full_s.get(subject, now_s), now_s) + SAID_EVERY_S
        if full_s - now_s > SAID_AT_ONCE * SAID_EVERY_S:
            return False
        self._full_s[subject] = full_s
        return True

    def forget(self, subject: str) -> None:
        """The next state is said, also if it is the one that was said last."""
        self._said.pop(subject, None)

    def said(self, subject: str) -> bool:
        """True when something was said of `subject` already."""
        return subject in self._said
