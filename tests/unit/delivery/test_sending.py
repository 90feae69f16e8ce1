"""How far a batch has come, by what the file says and what this run did."""

from __future__ import annotations

from agent.core.delivery.sending import Sending


def known(sending: Sending, *, marked: bool) -> tuple[bool, bool]:
    """Of batch 1: whether it is sent, whether it is taken."""
    return sending.is_sent(1, marked=marked), sending.is_taken(1)


def test_a_batch_of_an_earlier_run_is_as_the_file_says() -> None:
    sending = Sending()
    assert known(sending, marked=True) == (True, True)
    assert known(sending, marked=False)[0] is False
    sending.given_out(1, marked=True)
    assert known(sending, marked=True) == (True, True)


def test_a_batch_goes_from_promised_to_flying_to_taken() -> None:
    sending = Sending()
    sending.promise([1])
    assert (known(sending, marked=True), sending.only_promised()) == ((True, False), [1])
    sending.given_out(1, marked=True)
    assert (known(sending, marked=True), sending.only_promised()) == ((True, False), [])
    sending.taken(1)
    assert known(sending, marked=True) == (True, True)


def test_one_sent_before_the_file_marks_it_is_never_only_promised() -> None:
    sending = Sending()
    sending.given_out(1, marked=False)
    sending.promise([1])
    assert (known(sending, marked=False), sending.only_promised()) == ((True, False), [])
    sending.taken(1)
    sending.given_out(1, marked=False)  # sent once more, to be answered
    assert known(sending, marked=False) == (True, True)


def test_what_was_deleted_is_forgotten() -> None:
    sending = Sending()
    sending.promise([1, 2])
    sending.forget([1, 3])
    assert sending.only_promised() == [2]
