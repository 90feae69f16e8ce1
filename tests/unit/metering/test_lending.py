"""Leases of lines: who asks, who has one, and how each ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.metering.lease import LEASE_MAX_MS, Lease, Lend, LendingBook, Return, parse_request


@pytest.mark.parametrize("request_", [Lend("rs485", 17, 60), Return("rs485", 17)], ids=str)
def test_a_request_is_a_line_of_text(request_: Lend | Return) -> None:
    assert str(request_).endswith("\n")
    assert parse_request(str(request_)) == request_


@pytest.mark.parametrize(
    "text",
    [
        "", "lend", "lend rs485 17", "lend rs485 17 60 more", "return rs485", "return rs485 17 60", "LEND rs485 17 60",
        "lend rs485 -1 60", "lend rs485 0 60", "lend rs485 17 0", "lend rs485 17 -5", "lend rs485 x 60",
        "lend rs485 99999999 60", "lend rs485 17 6\u00b20", "lend rs485 1\u0667 60", "return rs485 0",
    ],
)  # fmt: skip
def test_anything_else_is_no_request(text: str) -> None:
    assert parse_request(text) is None


@given(st.text(max_size=200))
def test_no_text_harms(text: str) -> None:
    request = parse_request(text)
    assert request is None or parse_request(str(request)) == request


def alive(_pid: int) -> bool:
    return True


def test_a_lease_ends_when_it_is_returned() -> None:
    book = LendingBook()
    assert book.lend(Lend("rs485", 17, 60), 1_000) == Lease("rs485", 17, 61_000)
    assert book.lease("rs485") == Lease("rs485", 17, 61_000)
    assert book.lease("other") is None
    assert book.give_back(Return("rs485", 17)) == Lease("rs485", 17, 61_000)
    assert book.give_back(Return("rs485", 17)) is None
    assert book.leases == ()


def test_a_lease_is_nobody_elses() -> None:
    book = LendingBook()
    book.lend(Lend("rs485", 17, 60), 0)
    assert book.lend(Lend("rs485", 18, 60), 0).pid == 17
    assert book.give_back(Return("rs485", 18)) is None
    assert book.lease("rs485") is not None


def test_nobody_has_a_line_for_longer_than_two_minutes_however_often_he_asks() -> None:
    book = LendingBook()
    for now_ms in range(0, LEASE_MAX_MS, 10_000):
        assert book.lend(Lend("rs485", 17, 4_000_000), now_ms).until_ms == LEASE_MAX_MS
    assert book.end(LEASE_MAX_MS - 1, alive) == []
    assert book.end(LEASE_MAX_MS, alive) == [(Lease("rs485", 17, LEASE_MAX_MS), "over")]
    assert book.leases == ()


def test_a_lease_ends_with_its_process() -> None:
    book = LendingBook()
    book.lend(Lend("a", 17, 60), 0)
    book.lend(Lend("b", 18, 60), 0)
    ((lease, ending),) = book.end(5, lambda pid: pid == 18)
    assert (lease.line, ending) == ("a", "gone")
    assert book.lease("b") is not None
