"""A refusal says of no request: one that comes while an answer is overdue brings nobody in step."""

from __future__ import annotations

from drivers.late import LateAnswers

LONG, SHORT = (7, 3, 4), (7, 3, 2)


def test_a_refusal_ends_the_oldest_request_of_its_unit() -> None:
    late = LateAnswers()
    is_awaited = late.awaited
    late.expect(LONG, 1.0)
    late.expect(SHORT, 2.0)
    late.expect((8, 3, 2), 0.5)
    late.refused_one(7)
    assert not is_awaited(LONG, 2.5)
    assert is_awaited(SHORT, 2.5), "its answer may still come, and pass for another's of its length"
    assert is_awaited((8, 3, 2), 2.5)
    late.refused_one(7)
    late.refused_one(7)
    assert not is_awaited(SHORT, 2.5)
