"""A refusal says of no request: one that comes while an answer is overdue brings nobody in step."""

from __future__ import annotations

from drivers.modbus.late_answers import LateAnswers

LONG, SHORT, OTHER = (7, 3, 4), (7, 3, 2), (8, 3, 2)


def test_a_refusal_is_taken_for_the_answer_to_the_oldest_request_of_its_unit() -> None:
    late = LateAnswers()
    late.expect(LONG, 1.0)
    late.expect(SHORT, 2.0)
    late.expect(OTHER, 0.5)
    late.refused_one(7)
    assert late.is_awaited(SHORT, 2.5), "its answer may still come, and pass for another's of its length"
    assert late.is_awaited(OTHER, 2.5)
    late.came(lambda shape: 9 if shape == LONG else 0, 3.0)
    assert late.slow_s(7) == 0, "the long request is answered: by the refusal"
    late.came(lambda shape: 7 if shape == SHORT else 0, 4.0)
    assert late.slow_s(7) == 2
    late.refused_one(7)
    late.refused_one(9)
    assert late.slow_s(8) == 0


def test_a_refusal_that_was_overdue_leaves_the_next_answer_owed() -> None:
    late = LateAnswers()
    assert not late.is_owed(LONG)
    late.expect(LONG, 1.0)
    late.expect(LONG, 2.0)
    late.refused_one(7)
    assert late.is_owed(LONG), "of two requests one was refused"
    late.refused_one(7)
    assert not late.is_owed(LONG)
    assert late.is_awaited(LONG, 3.0), "lines repeat things"
