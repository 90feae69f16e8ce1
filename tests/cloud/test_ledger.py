from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cloud.core.ledger import HELD_MAX, SPANS_MAX, Held, Ledger, Span

ENDS = st.integers(1, 60)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    first, last = sorted((draw(ENDS), draw(ENDS)))
    rev = draw(st.integers(0, 2))
    return Span(first, last, rev, draw(st.sampled_from([None, f"{last:02x}{rev}"])))


def numbers(ledger: Ledger) -> set[int]:
    return {n for span in ledger.spans for n in range(span.first, span.last + 1)}


def test_an_empty_ledger_says_nothing() -> None:
    ledger = Ledger()
    assert (ledger.through, ledger.through_digest, ledger.beyond) == (0, None, ())


def test_through_needs_record_one() -> None:
    ledger = Ledger().merged([Span(2, 10, 0, "a")])
    assert ledger.through == 0
    assert ledger.through_digest is None
    assert ledger.beyond == (Span(2, 10, 0, "a"),)
    ledger = ledger.merged([Span(1, 1, 0, "b")])
    assert (ledger.through, ledger.through_digest, ledger.beyond) == (10, "a", ())


def test_neighbours_become_one_and_keep_the_digest_of_the_last() -> None:
    ledger = Ledger().merged([Span(1, 4, 0, "a"), Span(5, 9, 0, "b"), Span(11, 12, 0, "c")])
    assert ledger.spans == (Span(1, 9, 0, "b"), Span(11, 12, 0, "c"))


def test_of_two_revs_the_lower_names_the_end() -> None:
    assert Ledger().merged([Span(1, 4, 1, "thin"), Span(1, 4, 0, "full")]).through_digest == "full"
    assert Ledger().merged([Span(1, 4, 0, "full")]).merged([Span(1, 4, 1, "thin")]).through_digest == "full"


def test_numbers_only_accounted_for_have_no_digest() -> None:
    ledger = Ledger().merged([Span(1, 4, 0, "a"), Span(5, 9)])
    assert (ledger.through, ledger.through_digest) == (9, None)


def test_what_is_accepted_is_held_no_longer() -> None:
    ledger = Ledger().merged([], [Held(3, 4, "undecodable", "d"), Held(7, 8, "conflict", "e")])
    assert ledger.merged([Span(3, 4, 0, "d")], accepted=["d"]).held == (Held(7, 8, "conflict", "e"),)


def test_the_lowest_ranges_are_kept_so_that_through_can_go_on() -> None:
    many = [Span(2 * n, 2 * n, 0, "x") for n in range(1, SPANS_MAX + 50)]
    ledger = Ledger().merged(reversed(many))
    assert ledger.spans == tuple(many[:SPANS_MAX])
    assert ledger.merged([Span(1, 1, 0, "y")]).through == 2


def test_a_receipt_asked_for_is_settled_once_when_the_gap_closes() -> None:
    open_gap = Ledger().merged([Span(4, 9, 0, "b")], asked=9)
    assert not open_gap.settles(Ledger())
    more = open_gap.merged([Span(10, 12, 0, "c")])
    assert not more.settles(open_gap)
    closed = more.merged([Span(1, 3, 0, "a")])
    assert closed.settles(more)
    assert not closed.merged([Span(13, 14, 0, "d")]).settles(closed)


def test_held_is_bounded() -> None:
    ledger = Ledger().merged([], [Held(n, n, "r", str(n)) for n in range(1, HELD_MAX + 20)])
    assert len(ledger.held) == HELD_MAX


@given(st.lists(spans(), max_size=20), st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(items: list[Span], rng: random.Random) -> None:
    at_once = Ledger().merged(items)
    shuffled = items * 2
    rng.shuffle(shuffled)
    one_by_one = Ledger()
    for item in shuffled:
        one_by_one = one_by_one.merged([item])
    assert one_by_one == at_once


@given(st.lists(spans(), max_size=20))
def test_spans_are_disjoint_apart_and_exactly_what_was_merged(items: list[Span]) -> None:
    ledger = Ledger().merged(items)
    assert numbers(ledger) == {n for item in items for n in range(item.first, item.last + 1)}
    assert all(a.last + 1 < b.first for a, b in zip(ledger.spans, ledger.spans[1:], strict=False))
    assert ledger.through == next((n - 1 for n in range(1, 63) if n not in numbers(ledger)), 0)


@given(st.lists(spans(), max_size=20))
def test_the_digest_of_through_is_of_a_span_that_ends_there(items: list[Span]) -> None:
    ledger = Ledger().merged(items)
    ending = [item for item in items if item.last == ledger.through and item.digest]
    best = min(ending, key=lambda item: item.rev).digest if ending else None
    assert ledger.through_digest == best


@given(st.lists(spans(), max_size=20), ENDS, ENDS)
def test_touches_agrees_with_the_numbers(items: list[Span], one: int, other: int) -> None:
    ledger = Ledger().merged(items)
    first, last = sorted((one, other))
    assert ledger.touches(first, last) == bool(numbers(ledger) & set(range(first, last + 1)))


@given(st.lists(spans(), max_size=20))
def test_json_is_lossless(items: list[Span]) -> None:
    ledger = Ledger().merged(items, [Held(1, 2, "why: ü", "d")], asked=7)
    assert Ledger.from_json(ledger.to_json()) == ledger
