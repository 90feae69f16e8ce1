"""What a receipt lets the box delete, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.delivery.receipts import ReceiptVerdict, Unconfirmed, judge
from wire.receipt import Receipt

EPOCH = b"epoch--1"


def batch(
    first: int, last: int, *, sent: bool = True, taken: bool = True, digests: tuple[str, ...] = ()
) -> Unconfirmed:
    """Its id is `first`, its digest `d` and `last`."""
    return Unconfirmed(first, first, last, sent, digests or (f"d{last}",), taken)


THREE = [batch(1, 10), batch(11, 20), batch(21, 30)]


def receipt(
    through: int = 0, *ranges: tuple[int, int], digest: str | None = None, held: tuple[tuple[int, int, str], ...] = ()
) -> Receipt:
    return Receipt(EPOCH, through, digest or (f"d{through}" if through else None), ranges, held)


@pytest.mark.parametrize(
    ("given", "deleted", "stored_to"),
    [
        (receipt(0), (), 0),
        (receipt(10), (1,), 10),
        (receipt(30), (1, 11, 21), 30),
        (receipt(0, (11, 20)), (11,), 20),
        (receipt(10, (21, 30)), (1, 21), 30),
        (receipt(0, (1, 30)), (1, 11, 21), 30),
        (receipt(0, (12, 20)), (), 20),  # a range that covers a batch in part covers nothing
        (receipt(10, (1, 20)), (1, 11), 20),
    ],
)
def test_what_lies_within_what_is_stored_may_go(given: Receipt, deleted: tuple[int, ...], stored_to: int) -> None:
    assert judge(given, 30, THREE) == ReceiptVerdict(delete=deleted, stored_to=stored_to)


def test_numbers_confirmed_long_ago_are_no_misfit() -> None:
    assert judge(receipt(20), 30, THREE[2:]) == ReceiptVerdict(stored_to=20)


def test_the_digest_of_any_revision_that_was_sent_fits() -> None:
    thinned = [batch(1, 10, digests=("rev0", "rev1"))]
    for digest in ("rev0", "rev1"):
        assert judge(receipt(10, digest=digest), 10, thinned).delete == (1,)
    assert judge(receipt(10, digest="rev2"), 10, thinned).misfit


def test_a_receipt_without_a_digest_is_one() -> None:
    """docs/wire-format.md: it may be absent."""
    assert judge(replace(receipt(10), digest=None), 30, THREE).delete == (1,)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (receipt(31), "it claims number 31, but only 30 were sealed"),
        (receipt(0, (25, 40)), "it claims number 40"),
        (receipt(0, held=((31, 35, "why"),)), "it claims number 35"),
        (receipt(15), "it ends at 15, inside the batch 11..20"),
        (receipt(0, (11, 19)), "it ends at 19, inside the batch 11..20"),
        (receipt(0, (1, 15), (16, 20)), "it ends at 15, inside the batch 11..20"),
        (replace(receipt(0, (11, 20)), range_digests=("other",)), "its digest other is not that of the batch 11..20"),
        (receipt(20, digest="another"), "its digest another is not that of the batch 11..20"),
    ],
)
def test_a_receipt_that_does_not_fit_deletes_nothing(given: Receipt, why: str) -> None:
    verdict = judge(given, 30, THREE)
    assert (verdict.delete, verdict.held, verdict.stored_to) == ((), (), 0)
    assert why in (verdict.misfit or "")


def test_what_was_never_sent_cannot_be_stored() -> None:
    batches = [batch(1, 10), batch(11, 20, sent=False)]
    assert judge(receipt(10), 20, batches).delete == (1,)
    verdict = judge(receipt(20), 20, batches)
    assert verdict == ReceiptVerdict(misfit="it confirms 11..20, which was never sent")


def test_what_the_broker_has_not_taken_goes_only_by_an_answer_of_its_own() -> None:
    batches = [batch(1, 10), batch(11, 20, taken=False)]
    assert judge(receipt(20), 20, batches) == ReceiptVerdict(delete=(1,), stored_to=20)
    assert judge(receipt(20, digest="other"), 20, batches).misfit
    assert judge(replace(receipt(20), answers=("d20",)), 20, batches).delete == (1, 11)


def test_a_range_may_prove_itself_by_its_digest() -> None:
    assert judge(replace(receipt(0, (11, 20)), range_digests=("d20",)), 30, THREE).delete == (11,)
    assert judge(replace(receipt(0, (11, 20)), range_digests=(None,)), 30, THREE).delete == (11,)


def test_a_batch_answered_by_its_digest_may_go_whatever_else_the_receipt_says() -> None:
    verdict = judge(replace(receipt(31), answers=("d20",)), 30, THREE)
    assert verdict.delete == (11,)
    assert verdict.misfit
    assert judge(replace(receipt(0), answers=("d10",)), 30, [batch(1, 10, sent=False)]).delete == ()


def test_in_a_retired_epoch_only_answers_count_where_another_history_went_further() -> None:
    given = replace(receipt(100, held=((21, 30, "conflict"),)), answers=("d10",))
    expected = ReceiptVerdict(delete=(1,), held=((21, "conflict"),), stored_to=100)
    assert judge(given, 30, THREE, retired=True) == expected


def test_what_is_held_is_kept_also_where_other_content_is_stored_under_its_numbers() -> None:
    given = receipt(30, held=((11, 20, "conflict"),))
    assert judge(given, 30, THREE) == ReceiptVerdict(delete=(1, 21), held=((11, "conflict"),), stored_to=30)


def test_what_is_damaged_here_goes_by_no_range_for_it_was_told_as_dropped_and_may_be_stored_nowhere() -> None:
    spoilt = [THREE[0], replace(THREE[1], damaged=True), THREE[2]]
    assert judge(receipt(30), 30, spoilt) == ReceiptVerdict(delete=(1, 21), stored_to=30)
    assert judge(receipt(20, digest="another"), 30, spoilt) == ReceiptVerdict(delete=(1,), stored_to=20)
    assert judge(receipt(0, held=((11, 20, "conflict"),)), 30, spoilt) == ReceiptVerdict()
    assert judge(replace(receipt(30), answers=("d20",)), 30, spoilt).delete == (1, 11, 21)


@pytest.mark.parametrize("held", [(11, 19, "why"), (1, 20, "why"), (5, 5, "why")])
def test_held_means_exactly_one_batch(held: tuple[int, int, str]) -> None:
    assert judge(receipt(0, held=(held,)), 30, THREE) == ReceiptVerdict()


def test_what_was_never_sent_cannot_be_held() -> None:
    assert judge(receipt(0, held=((1, 10, "why"),)), 10, [batch(1, 10, sent=False)]) == ReceiptVerdict()


def test_an_empty_buffer_fits_everything_that_was_given() -> None:
    assert judge(receipt(100, (150, 160)), 200, []) == ReceiptVerdict(stored_to=160)
