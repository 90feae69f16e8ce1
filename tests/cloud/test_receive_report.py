"""What `wattpost receive` says: once per box and change of state, and sums at intervals."""

from __future__ import annotations

import logging

import pytest

from cloud.cli.receive_report import BOXES_NAMED_MAX, SUMMARY_S, ReceiveReport
from cloud.ingest.outcome import IngestOutcome, IngestStatus

log = logging.getLogger("report")


def outcome(status: IngestStatus, reason: str | None = None) -> IngestOutcome:
    return IngestOutcome(status, "d", None, reason)


def test_a_box_is_named_once_and_then_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report = ReceiveReport(log, 0.0)
    for second in range(300):
        report.took(second, [("apt-1", outcome(IngestStatus.STORED)), ("apt-2", outcome(IngestStatus.RESEND))])
        report.tick(second)
    assert caplog.messages == ["apt-1: storing its batches", "apt-2: storing its batches"]
    report.tick(SUMMARY_S)
    assert caplog.messages[2:] == ["in 300 s from 2 boxes, batches: 300 stored, 300 sent again"]
    report.tick(2 * SUMMARY_S)
    report.took(650, [("apt-1", outcome(IngestStatus.STORED))])
    report.tick(660, last=True)
    assert caplog.messages[3:] == ["in 60 s from 1 box, batches: 1 stored"], "nothing where nothing came"


def test_a_store_that_fails_is_said_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report = ReceiveReport(log, 0.0)
    for second in range(10):
        report.took(second, [("apt-1", outcome(IngestStatus.FAILED, f"write {second}: no space left"))])
    report.took(12, [("apt-1", outcome(IngestStatus.STORED))])
    assert caplog.messages == [
        "not stored: write 0: no space left",
        "apt-1: storing its batches",
        "storing again, after 12 s",
    ]


def test_what_is_refused_is_said_once_per_box_and_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report = ReceiveReport(log, 0.0)
    for second in range(5):
        report.took(second, [("apt-1", outcome(IngestStatus.HELD, f"conflict: {second}"))])
        report.took(second, [("apt-1", outcome(IngestStatus.QUARANTINED, "identity: another"))])
    report.tick(SUMMARY_S)
    assert caplog.messages == [
        "'apt-1': held: conflict: 0",
        "'apt-1': quarantined: identity: another",
        "in 300 s from 1 box, batches: 5 held in quarantine, 5 in quarantine, not answered",
    ]


def test_a_large_fleet_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    report = ReceiveReport(log, 0.0)
    report.took(1, ((f"apt-{n}", outcome(IngestStatus.STORED)) for n in range(5_000)))
    assert len(caplog.messages) == BOXES_NAMED_MAX
