"""Two receivers at work on one box at once: of batches that share numbers one is stored, whoever is cut off where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloud.ingest.ingest import ingest
from cloud.ingest.outcome import IngestStatus
from cloud.ports import InboundMessage, StoreError, Stores
from cloud.stores.export import readings
from wire.codec import digest


class Interrupted:
    """Before `method` of a part is called for the first time, something else happens."""

    def __init__(self, part: object, method: str, happens: Callable[[], object]) -> None:
        self._part, self._method, self._happens = part, method, happens
        self._done = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._part, name)
        if name != self._method or self._done:
            return method

        def call(*arguments: Any) -> Any:
            self._done = True
            self._happens()
            return method(*arguments)

        return call


def cut_off() -> None:
    raise StoreError("the function was killed here")


def seqs(stores: Stores, device: str) -> list[int]:
    return [reading["seq"] for reading in readings(stores, device)]


def stored_digests(stores: Stores, device: str) -> set[str]:
    return {digest(batch.data) for batch in stores.batches.of(device)}


RANGES = [((1, 5), (3, 8)), ((3, 8), (1, 5)), ((1, 9), (3, 5)), ((3, 5), (1, 9)), ((1, 4), (4, 6))]


@pytest.mark.parametrize(("ours", "theirs"), RANGES)
@pytest.mark.parametrize("moment", ["put", "save"])
def test_of_two_that_overlap_the_first_noted_stays_and_the_other_is_held(
    stores: Stores, box: Any, ours: tuple[int, int], theirs: tuple[int, int], moment: str
) -> None:
    mine, other = box.message(*ours, confirm=True), box.message(*theirs, salt=9, confirm=True)
    others: list[IngestStatus] = []

    def meanwhile() -> None:
        others.extend(outcome.status for outcome in ingest([other], stores).outcomes)

    part = "batches" if moment == "put" else "ledgers"
    ingested = ingest([mine], replace(stores, **{part: Interrupted(getattr(stores, part), moment, meanwhile)}))
    (outcome,) = ingested.outcomes
    assert {outcome.status, *others} == {IngestStatus.STORED, IngestStatus.HELD}
    winner, loser = (mine, other) if outcome.status is IngestStatus.STORED else (other, mine)
    assert stored_digests(stores, box.device) == {digest(winner.data)}
    first, last = ours if winner is mine else theirs
    assert seqs(stores, box.device) == list(range(first, last + 1))
    again = [ingest([one], stores).outcomes[0].status for one in (winner, loser)]
    assert again == [IngestStatus.RESEND, IngestStatus.HELD], "and so it stays"


def test_one_that_lost_does_not_stand_in_the_way_of_what_comes_later(stores: Stores, box: Any) -> None:
    mine, other = box.message(3, 8, salt=9), box.message(1, 5)
    ledgers = Interrupted(stores.ledgers, "save", lambda: ingest([other], stores))
    ingest([mine], replace(stores, ledgers=ledgers))
    free = (9, 12) if stored_digests(stores, box.device) == {digest(mine.data)} else (6, 9)
    assert ingest([box.message(*free)], stores).outcomes[0].status is IngestStatus.STORED
    assert len(seqs(stores, box.device)) == len(set(seqs(stores, box.device)))


@pytest.mark.parametrize("step", [("quarantine", "put"), ("batches", "withdraw"), None], ids=str)
def test_cut_off_after_having_put_it_yields_when_it_is_tried_again(
    stores: Stores, box: Any, step: tuple[str, str] | None
) -> None:
    """The queue gives the message to another invocation."""
    mine: InboundMessage = box.message(3, 8, salt=9)
    other: InboundMessage = box.message(1, 5)
    others: list[IngestStatus] = []

    def meanwhile() -> None:
        others.extend(outcome.status for outcome in ingest([other], stores).outcomes)
        if step is None:
            cut_off()

    parts: dict[str, Any] = {"ledgers": Interrupted(stores.ledgers, "save", meanwhile)}
    if step is not None and step[0] != "ledgers":
        parts[step[0]] = Interrupted(getattr(stores, step[0]), step[1], cut_off)
    ingest([mine], replace(stores, **parts))
    statuses = [ingest([one], stores).outcomes[0].status for one in (mine, other)]
    assert set(statuses) <= {IngestStatus.STORED, IngestStatus.RESEND, IngestStatus.HELD}
    assert statuses.count(IngestStatus.HELD) == 1
    assert len(stored_digests(stores, box.device)) == 1
