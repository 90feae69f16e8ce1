"""What of a daemon's status needs attention: one small change to a good one, and what is said of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.checks.daemon import DaemonSeen
from agent.checks.registry import OF_DAEMON, OF_FILES, OF_STATUS, check_daemon
from agent.core.system.finding import Finding
from agent.core.system.health import RunningDaemon
from agent.core.system.status import StatusError, parse_status

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
GOOD: Mapping[str, Any] = {
    "box": "apt-1",
    "version": "1.2.3",
    "pid": 321,
    "settings": {
        "config": "/etc/wattpost/agent.toml",
        "revision": "0badcafe",
        "status_interval_ms": 5_000,
        "buffer_path": "/var/lib/wattpost/buffer.db",
        "buffer_max_bytes": 1_000_000,
        "endpoint": "broker.example:8883",
        "confirm": "receipt",
        "confirm_interval_ms": HOUR_MS,
        "meters": {"main": {"model": "eastron-sdm630", "bus": "rs485", "interval_ms": 10_000}},
    },
    "boot": "0102030405060708",
    "mono_ms": 20 * HOUR_MS,
    "utc_ms": 1_790_000_000_000,
    "up_ms": 10 * HOUR_MS,
    "rss_max_bytes": 38_000_000,
    "meters": {
        "main": {
            "state": "ok",
            "error": None,
            "readings": 3600,
            "slots_missed": 0,
            "age_ms": 4_000,
            "values": {"power_active_total": 512.5, "frequency": None},
        }
    },
    "buffer": {
        "pending_records": 1,
        "open_records": 20,
        "batches": 3,
        "batch_records": 90,
        "oldest_age_ms": 20 * MINUTE_MS,
        "used_bytes": 30_000,
        "held_batches": 0,
        "dropped_records": 0,
        "committed_records": 3_700,
    },
    "uplink": {
        "connected": True,
        "connected_ms": 9 * HOUR_MS,
        "state": "connected to broker.example:8883 as apt-1",
        "published_batches": 120,
        "confirmed_records": 3_600,
        "receipt_age_ms": 20 * MINUTE_MS,
    },
    "troubles": {},
}


def status_with(changes: Mapping[str, Any]) -> dict[str, Any]:
    """`GOOD` with the values at dotted paths replaced."""
    document: dict[str, Any] = copy.deepcopy(dict(GOOD))
    for path, value in changes.items():
        *parents, key = path.split(".")
        place = document
        for parent in parents:
            place = place[parent]
        place[key] = value
    return document


def findings(changes: Mapping[str, Any], age_ms: int = 3_000) -> list[Finding]:
    status = parse_status(json.dumps(status_with(changes)).encode())
    return check_daemon(DaemonSeen(Path("status.json"), status, age_ms, RunningDaemon(status, age_ms)))


def test_a_good_status_needs_nothing() -> None:
    assert findings({}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"up_ms": 5_000, "uplink.connected": False, "uplink.state": "not connected yet"},
        {"up_ms": 5_000, "meters.main.age_ms": None, "meters.main.state": "not read yet"},
        {"meters.main.age_ms": None, "meters.main.polled_ms": 5_000, "meters.main.state": "not read yet"},
        {"uplink.receipt_age_ms": None, "uplink.connected_ms": 100_000},
        {"uplink.receipt_age_ms": None, "buffer.batches": 0},
        {"uplink.receipt_age_ms": None, "uplink.published_batches": 0},
        {"uplink.receipt_age_ms": None, "settings.confirm": "puback"},
        {"uplink.receipt_age_ms": 119 * MINUTE_MS},
        {"uplink.receipt_age_ms": 9 * HOUR_MS, "uplink.connected_ms": 60 * MINUTE_MS},
        {"meters.main.age_ms": 40_000},
        {"meters.other": {**GOOD["meters"]["main"], "age_ms": HOUR_MS}},
        {"meters.main.quality": {"frequency": ["not_available"]}, "meters.main.flagged_values": 7},
        {"meters.main.state": "lent", "meters.main.error": "its line is lent", "meters.main.age_ms": 100_000},
        {"meters.main.state": "line returned", "meters.main.age_ms": 100_000},
        {"buffer.used_bytes": 800_000},
        {"buffer.oldest_age_ms": None, "uplink.connected_ms": None},
    ],
    ids=str,
)
def test_what_passes(changes: Mapping[str, Any]) -> None:
    """Just begun, just within the limits, or known by settings that are being reloaded."""
    assert findings(changes) == []


@pytest.mark.parametrize(
    ("changes", "subject", "part"),
    [
        (
            {"meters.main.error": "read x of meter main: no answer; check wiring"},
            "meter main",
            "no answer; check wiring",
        ),
        ({"meters.main.age_ms": 46_000}, "meter main", "no reading for more than three intervals"),
        ({"meters.main.age_ms": None}, "meter main", "no reading for more than three intervals"),
        ({"meters": {}}, "meters", "no meter is configured, so nothing is read; add a [[bus]] and a [[meter]]"),
        ({"uplink.connected": False, "uplink.state": "not connected to b: refused"}, "uplink", "b: refused"),
        (
            {"up_ms": 1_000, "uplink.connected": False, "uplink.state": "no key", "troubles": {"uplink": "no key"}},
            "uplink",
            "no key",
        ),
        ({"uplink.receipt_age_ms": None}, "receipts", "no receipt has come for 540 min; nothing is deleted; check"),
        ({"uplink.receipt_age_ms": 121 * MINUTE_MS}, "receipts", "the last receipt came 121 min ago"),
        (
            {"uplink.receipt_age_ms": 11 * MINUTE_MS, "settings.confirm_interval_ms": 0},
            "receipts",
            "the last receipt came 11 min ago",
        ),
        ({"buffer.held_batches": 2}, "held by the cloud", "2 batches are in the cloud's quarantine"),
        ({"buffer.dropped_records": 7}, "dropped records", "7 records dropped since the start"),
        ({"buffer.used_bytes": 910_000}, "buffer size", "91 % of [buffer] max_size is in use"),
        ({"troubles": {"buffer": "cannot write to the buffer: full"}}, "buffer", "full"),
        ({"troubles": {"clock": "not synchronised; check x"}}, "clock", "not synchronised; check x"),
    ],
    ids=str,
)
def test_what_needs_attention(changes: Mapping[str, Any], subject: str, part: str) -> None:
    (finding,) = findings(changes)
    assert finding.subject == subject
    assert part in finding.text


def test_a_daemon_that_no_longer_writes_its_status_hangs() -> None:
    assert findings({}, age_ms=15_000) == []
    (finding,) = findings({}, age_ms=16_000)
    assert finding.subject == "agent"
    assert "not written its status for 16 s: it hangs" in finding.text
    assert findings({"settings.status_interval_ms": 60_000}, age_ms=170_000) == []


def test_the_gravest_comes_first_and_nothing_is_said_twice() -> None:
    changes = {
        "troubles": {"clock": "unknown", "uplink": "refused", "buffer": "full"},
        "uplink.connected": False,
        "uplink.state": "refused",
        "meters.main.error": "silent",
    }
    subjects = [finding.subject for finding in findings(changes, age_ms=100_000)]
    assert subjects == ["agent", "meter main", "uplink", "buffer", "clock"]


def test_all_that_is_not_confirmed_is_counted() -> None:
    assert parse_status(json.dumps(GOOD).encode()).buffer.records == 111


@pytest.mark.parametrize("changes", [{"pid": 0}, {"pid": "321"}, {"meters": []}, {"uplink": None}, {"pid": 2**40}])
def test_another_document_is_no_status(changes: Mapping[str, Any]) -> None:
    with pytest.raises(StatusError):
        parse_status(json.dumps(status_with(changes)).encode())


def test_a_newer_daemon_may_say_more() -> None:
    newer = json.dumps(status_with({"temperature": 41, "uplink.rtt_ms": 30}))
    assert parse_status(newer.encode()).box == "apt-1"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["buffer.path"], "buffer.path has changed in the file;"),
        (["box.id", "clock.source"], "box.id, clock.source have changed in the file;"),
    ],
)
def test_what_waits_for_a_restart_is_said(keys: list[str], says: str) -> None:
    (finding,) = findings({"settings.waiting_for_restart": keys})
    assert finding.subject == "configuration"
    assert finding.text.startswith(says)
    assert finding.text.endswith("run: sudo systemctl restart wattpost")


def test_values_that_cannot_be_true_are_named_but_not_all_of_many() -> None:
    flags = {f"current_l{number}": ["not_available", "stale"] for number in range(5)}
    (finding,) = findings({"meters.main.quality": flags})
    assert finding.subject == "meter main"
    assert "flagged: current_l0, current_l1, current_l2 and 2 more; see: wattpost status --values" in finding.text


def test_each_check_of_the_status_has_a_case_here_and_says_which_it_is() -> None:
    everything = {
        "settings.waiting_for_restart": ["box.id"],
        "meters.main.error": "silent",
        "uplink.receipt_age_ms": None,
        "buffer.held_batches": 1,
        "buffer.dropped_records": 1,
        "buffer.used_bytes": 910_000,
        "troubles": {"clock": "unknown", "buffer": "full"},
    }
    found = [*findings(everything, age_ms=100_000), *findings({"uplink.connected": False})]
    assert {finding.check for finding in found} == {check.name for check in OF_STATUS}
    assert all(finding.severity in {"error", "warning"} and finding.cause for finding in found)


def test_a_check_is_known_by_its_name() -> None:
    names = [check.name for check in (*OF_FILES, *OF_DAEMON, *OF_STATUS)]
    assert len(names) == len(set(names))


def test_a_daemon_of_another_version_that_does_not_say_a_limit_is_within_it() -> None:
    assert findings({"settings": {}, "buffer.used_bytes": 10**9, "meters.main.age_ms": HOUR_MS}) == []
