"""When a meter is asked which one it is, and what is believed of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from agent.services.metering.serial_number import ASK_EVERY_MS, BUDGET_MAX_MS, RETRY_MS, SLACK_MIN_MS, SerialNumber
from drivers.meter import MeterError, Sample
from wire.batch import Column

PLENTY_MS = 10_000


class Meter:
    """Says what it is told to say, in turn; an error for None."""

    name = "main"
    columns: tuple[Column, ...] = ()
    read_max_ms = 5_000

    def __init__(self, *says: str | None) -> None:
        self.says = list(says)
        self.budgets_ms: list[int] = []

    async def read(self, budget_ms: int) -> Sample:
        raise NotImplementedError

    async def identify(self, budget_ms: int) -> Mapping[str, str]:
        self.budgets_ms.append(budget_ms)
        said = self.says.pop(0)
        if said is None:
            raise MeterError("silent", operation="identify", subject="main", cause="no answer", next_step="wait")
        return {"serial_number": said} if said else {}


class Asked:
    """Reads each `interval_ms`, and asks where that is due."""

    def __init__(self, *says: str | None, known: str | None = None, interval_ms: int = 10_000) -> None:
        self.meter = Meter(*says)
        self.heard: list[str] = []
        self.tried = SerialNumber(self.meter, interval_ms, self._hear, number=known)

    async def _hear(self, number: str) -> None:
        self.heard.append(number)

    def at(self, now_ms: int, slack_ms: int = PLENTY_MS) -> list[str]:
        """What is heard at a reading."""
        self.heard = []
        if self.tried.answered(now_ms):
            asyncio.run(self.tried.ask(now_ms, slack_ms))
        return self.heard


def test_it_is_asked_at_first_and_hourly() -> None:
    asked = Asked("123", "123")
    heard = {ms: asked.at(ms) for ms in range(0, ASK_EVERY_MS + 20_000, 10_000)}
    assert {ms: numbers for ms, numbers in heard.items() if numbers} == {0: ["123"], ASK_EVERY_MS: ["123"]}


def test_it_is_asked_when_it_was_away() -> None:
    asked = Asked("123", "123", "123", interval_ms=60_000)
    assert asked.at(0) == ["123"]
    assert asked.at(60_000) == asked.at(180_000) == []
    assert asked.at(361_000) == ["123"], "three intervals and more"
    quick = Asked("123", "123", interval_ms=1_000)
    assert quick.at(0) == ["123"]
    assert quick.at(60_000) == []
    assert quick.at(120_001) == ["123"], "a minute and more"


def test_a_line_without_slack_waits_for_better_times() -> None:
    asked = Asked("123")
    assert asked.at(0, SLACK_MIN_MS - 1) == []
    assert asked.at(10_000, SLACK_MIN_MS) == ["123"]
    assert asked.meter.budgets_ms == [pytest.approx(SLACK_MIN_MS, abs=5)]


def test_it_never_takes_long() -> None:
    asked = Asked("123")
    asked.at(0, 3_600_000)
    assert asked.meter.budgets_ms == [pytest.approx(BUDGET_MAX_MS, abs=5)]


@pytest.mark.parametrize("said", ["", "0000", " - ", None])
def test_who_does_not_say_is_asked_again_later(said: str | None) -> None:
    asked = Asked(said, "123")
    assert asked.at(0) == []
    assert asked.at(10_000) == []
    asked.tried.answered(RETRY_MS - 10_000)
    assert asked.at(RETRY_MS) == ["123"]


def test_another_number_is_believed_when_it_is_said_twice() -> None:
    asked = Asked("456", "456", known="123")
    assert asked.at(0) == ["456"]
    assert asked.tried.number == "456"


@pytest.mark.parametrize("second", ["123", "789", "", None])
def test_noise_replaces_no_meter(second: str | None) -> None:
    asked = Asked("456", second, "123", known="123")
    assert asked.at(0) == []
    asked.tried.answered(RETRY_MS - 10_000)
    assert asked.at(RETRY_MS) == ["123"]


def test_nobody_is_asked_who_has_never_answered() -> None:
    asked = Asked("123")
    assert not asked.tried.is_due(0)
    asked.at(0, 0)
    assert asked.tried.is_due(0)
