"""The status from the counters, and the keys of its JSON, which scripts outside rely on: adding is fine."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.adapters.buffer.outbox import Oldest
from agent.core.metering.lease import Lease
from agent.core.records import NewEvent
from agent.core.system.status import MeterStatus, Status, encode_status
from agent.services.progress import LineProgress, MeterProgress, Progress
from agent.services.status_report import in_force, report
from agent.settings import Settings, parse
from agent.version import VERSION
from drivers.meter import Sample
from wire.batch import Anchor, Column
from wire.resolution import Resolution

BOOT, OTHER_BOOT = bytes(range(8)), bytes(8)
NOW_MS = 1_000_000
ANCHOR = Anchor(1_790_000_000_000, 20)
CONFIG = b"""[box]
id = "apt-1"
[[bus]]
name = "rs485"
port = "/dev/ttyUSB0"
[[meter]]
name = "main"
bus = "rs485"
model = "eastron-sdm630"
[uplink]
endpoint = "broker.example"
"""


@pytest.fixture
def settings() -> Settings:
    return parse(CONFIG, Path("/etc/wattpost/agent.toml"))


def progress() -> Progress:
    """Counters of which no two are the same."""
    columns = (Column("voltage_l1_n", Resolution.parse("0.1")), Column("frequency", Resolution.parse("0.01")))
    doubt = NewEvent(
        NOW_MS - 60,
        "implausible",
        "main",
        {"measurand": "frequency", "value": None, "flag": "out_of_range"},
    )
    meter = MeterProgress(columns, since_ms=NOW_MS - 51, readings=52, slots_missed=53, state="ok", last_ms=NOW_MS - 54)
    meter.last_sample, meter.last_flags = Sample((2301, None)), (0, 1)
    meter.flagged_values, meter.doubt = 55, doubt
    return Progress(
        started_ms=NOW_MS - 10,
        meters={"main": meter},
        lines={"rs485": LineProgress("/dev/ttyUSB0", Lease("rs485", 77, NOW_MS + 78))},
        pending_records=11,
        open_records=12,
        batches=13,
        batch_records=14,
        committed=15,
        published=16,
        confirmed_records=17,
        dropped_records=18,
        held_batches=19,
        oldest=Oldest(BOOT, NOW_MS - 20, None),
        used_bytes=21,
        connected=True,
        connected_since_ms=NOW_MS - 22,
        uplink_state="connected to broker.example:8883 as apt-1",
        receipt_ms=NOW_MS - 23,
        troubles={"clock": "not synchronised; check it"},
    )


def test_each_figure_of_the_status_file_has_its_key(settings: Settings) -> None:
    about = in_force(settings, Path("/etc/wattpost/agent.toml"), ["buffer.path"])
    document = json.loads(encode_status(report(about, progress(), BOOT, NOW_MS, ANCHOR)))
    doubt = document["meters"]["main"].pop("doubt")
    assert "frequency" in doubt
    assert document.pop("rss_max_bytes") > 1_000_000
    assert document == {
        "box": "apt-1",
        "version": VERSION,
        "pid": os.getpid(),
        "settings": {
            "config": "/etc/wattpost/agent.toml",
            "revision": settings.revision,
            "waiting_for_restart": ["buffer.path"],
            "status_interval_ms": 10_000,
            "buffer_path": "/var/lib/wattpost/buffer.db",
            "buffer_max_bytes": 512_000_000,
            "endpoint": "broker.example:8883",
            "confirm": "receipt",
            "confirm_interval_ms": 3_600_000,
            "meters": {"main": {"model": "eastron-sdm630", "bus": "rs485", "interval_ms": 10_000}},
        },
        "boot": "0001020304050607",
        "mono_ms": NOW_MS,
        "utc_ms": ANCHOR.boot_utc_ms + NOW_MS,
        "up_ms": 10,
        "meters": {
            "main": {
                "state": "ok",
                "error": None,
                "readings": 52,
                "slots_missed": 53,
                "polled_ms": 51,
                "age_ms": 54,
                "values": {"voltage_l1_n": 230.1, "frequency": None},
                "quality": {"frequency": ["not_available"]},
                "flagged_values": 55,
                "doubt_age_ms": 60,
            }
        },
        "lines": {"rs485": {"port": "/dev/ttyUSB0", "lent": {"pid": 77, "until_ms": NOW_MS + 78}}},
        "buffer": {
            "pending_records": 11,
            "open_records": 12,
            "batches": 13,
            "batch_records": 14,
            "oldest_age_ms": 20,
            "used_bytes": 21,
            "held_batches": 19,
            "dropped_records": 18,
            "committed_records": 15,
        },
        "uplink": {
            "connected": True,
            "connected_ms": 22,
            "state": "connected to broker.example:8883 as apt-1",
            "published_batches": 16,
            "confirmed_records": 17,
            "receipt_age_ms": 23,
        },
        "troubles": {"clock": "not synchronised; check it"},
    }


def test_what_has_not_happened_yet_has_no_age(settings: Settings) -> None:
    just_begun = Progress(meters={"main": MeterProgress()}, lines={"rs485": LineProgress("/dev/ttyUSB0")})
    status = report(in_force(settings, Path("a.toml"), ()), just_begun, BOOT, NOW_MS, None)
    meter, uplink, buffer = status.meters["main"], status.uplink, status.buffer
    assert (meter.state, meter.age_ms, meter.doubt, meter.doubt_age_ms) == ("not read yet", None, None, None)
    assert (uplink.connected, uplink.connected_ms, uplink.receipt_age_ms) == (False, None, None)
    assert (status.utc_ms, buffer.oldest_age_ms, status.lines["rs485"].lent) == (None, None, None)
    assert status.settings.config == str(Path("a.toml").absolute())


@pytest.mark.parametrize(
    ("oldest", "anchor", "age_ms"),
    [
        (Oldest(BOOT, NOW_MS - 5_000, None), None, 5_000),
        (Oldest(OTHER_BOOT, 1, Anchor(ANCHOR.boot_utc_ms - 7_000, 9)), ANCHOR, NOW_MS + 7_000 - 1),
        (Oldest(OTHER_BOOT, 1, None), ANCHOR, None),
        (Oldest(OTHER_BOOT, 1, ANCHOR), None, None),
    ],
    ids=["of this boot", "of an earlier boot", "never dated", "not yet dated"],
)
def test_the_age_of_the_oldest_record(
    settings: Settings, oldest: Oldest, anchor: Anchor | None, age_ms: int | None
) -> None:
    status = report(in_force(settings, Path("a.toml"), ()), Progress(oldest=oldest), BOOT, NOW_MS, anchor)
    assert status.buffer.oldest_age_ms == age_ms


def test_the_status_does_not_change_with_the_counters(settings: Settings) -> None:
    counters = progress()
    status = report(in_force(settings, Path("a.toml"), ()), counters, BOOT, NOW_MS, ANCHOR)
    counters.troubles.clear()
    counters.meters.clear()
    assert (list(status.troubles), list(status.meters)) == (["clock"], ["main"])


def fields_with_defaults(kind: Any) -> Iterator[bool]:
    for each in dataclasses.fields(kind):
        yield each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING


def test_a_figure_that_an_older_daemon_does_not_write_has_a_default() -> None:
    """Only who wrote the status, and when, must be there."""
    required = {
        field.name
        for field, has in zip(dataclasses.fields(Status), fields_with_defaults(Status), strict=True)
        if not has
    }
    assert required == {"box", "pid", "boot", "mono_ms"}
    assert all(fields_with_defaults(MeterStatus))
