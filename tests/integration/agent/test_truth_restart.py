"""Meters that lie, are reset or replaced, behind the real daemon: what its buffer holds afterwards, over restarts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agent_process import AgentProcess, meter_tables, until
from recording_rig import batches_in
from simulator_process import Say, simulator

from agent.adapters.system.clock import boot_id, machine_id
from agent.core.buffer.numbering import BoxIdentity
from wire.batch import Batch, Quality

ENERGY = "energy_active_import_total"
JUDGED = {"implausible", "plausible", "rollover", "counter_reset", "meter_replaced"}


@pytest.fixture
def meter() -> Iterator[tuple[str, Say]]:
    """Unit 1, an SDM630, and a way to do it harm."""
    with simulator("--tcp", "127.0.0.1:0", "--meter", "eastron-sdm630:1", "--refresh", "0.2") as found:
        yield found


@pytest.fixture
def box(meter: tuple[str, Say], make_box: Callable[..., AgentProcess]) -> AgentProcess:
    where, _ = meter
    return make_box(meters=meter_tables(where))


def kept(box: AgentProcess) -> list[Batch]:
    """All that the stopped box has in its buffer."""
    return batches_in(box.folder / "buffer.db", BoxIdentity("apt-7", machine_id(), boot_id()))


def judgements(batches: list[Batch]) -> list[tuple[str, dict[str, Any]]]:
    return [(event.kind, dict(event.data)) for batch in batches for event in batch.events if event.kind in JUDGED]


def energies(batches: list[Batch]) -> list[tuple[int | None, int]]:
    """Value and flags of each reading."""
    found = []
    for series in (series for batch in batches for series in batch.series):
        index = [column.measurand for column in series.columns].index(ENERGY)
        found += [(r.values[index], r.flags[index] if r.flags else 0) for r in series.readings]
    return found


def read_more(box: AgentProcess, count: int = 5) -> None:
    """Until so many more readings are in the buffer's file."""

    def stored() -> int:
        status = box.status()
        return 0 if status is None else int(status["buffer"]["committed_records"])

    before = stored()
    until(lambda: stored() > before + count, f"{count} more readings")


def test_a_good_meter_has_no_flag_and_says_its_serial_number(box: AgentProcess) -> None:
    box.start()
    until(lambda: box.readings() > 5, "readings")
    assert box.end() == 0
    batches = kept(box)
    assert judgements(batches) == []
    assert all(not flags for _, flags in energies(batches))
    descriptors = [event.data for batch in batches for event in batch.events if event.kind == "descriptor"]
    assert [bool(data["serial_number"]) for data in descriptors] == [False, True]
    refs = {series.descriptor.hex() for batch in batches for series in batch.series if series.descriptor}
    assert descriptors[1]["ref"] in refs


def test_zeros_are_flagged_while_they_last(box: AgentProcess, meter: tuple[str, Say]) -> None:
    box.start()
    until(lambda: box.readings() > 3, "readings")
    assert meter[1]("zeros 1 1s").startswith("ok")
    box.wait_for_line(" = 0.0 cannot be true: out of range, registers ", ENERGY)
    box.wait_for_line(" is plausible again", ENERGY)
    read_more(box)
    assert box.end() == 0
    batches = kept(box)
    wrong = [flags for value, flags in energies(batches) if value == 0]
    assert wrong
    assert set(wrong) == {int(Quality.BACKWARDS)}
    assert energies(batches)[-1][1] == 0
    begun = [data for kind, data in judgements(batches) if kind == "implausible"]
    ended = [data["measurand"] for kind, data in judgements(batches) if kind == "plausible"]
    assert sorted(data["measurand"] for data in begun) == sorted(ended)
    (energy,) = [data for data in begun if data["measurand"] == ENERGY]
    assert (energy["value"], energy["raw"]) == (0, "4:72:00000000")
    assert energy["last"] > 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_counter_that_went_back_while_the_box_was_off_is_found(
    box: AgentProcess, meter: tuple[str, Say], end: signal.Signals
) -> None:
    box.start()
    until(lambda: (box.waiting() or 0) >= 2, "two sealed batches")
    box.end(end)
    assert meter[1]("reset 1").startswith("ok")
    before = max(value for value, _ in energies(kept(box)) if value is not None)
    box.start()
    until(lambda: box.readings() > 3, "readings")
    assert box.end() == 0
    batches = kept(box)
    after = [(value, flags) for value, flags in energies(batches) if value is not None and value < before // 2]
    assert after
    assert {flags for _, flags in after} == {int(Quality.BACKWARDS)}
    lasts = [
        data["last"] for kind, data in judgements(batches) if data["measurand"] == ENERGY and kind == "implausible"
    ]
    assert lasts == [pytest.approx(before, abs=20)]


def test_a_meter_that_was_replaced_while_the_box_was_off_is_another_one(
    box: AgentProcess, meter: tuple[str, Say]
) -> None:
    box.start()
    until(lambda: (box.waiting() or 0) >= 2, "two sealed batches")
    box.end(signal.SIGKILL)
    assert meter[1]("swap 1").startswith("ok")
    box.start()
    box.wait_for_line("replaced")
    read_more(box)
    assert box.end() == 0
    batches = kept(box)
    ((kind, data),) = judgements(batches)
    assert kind == "meter_replaced"
    numbers = [event.data["serial_number"] for batch in batches for event in batch.events if event.kind == "descriptor"]
    assert (data["old"], data["new"]) == (numbers[1], numbers[-1])
    assert all(not flags for _, flags in energies(batches))


def test_a_lost_buffer_is_a_start_without_memory(box: AgentProcess, meter: tuple[str, Say]) -> None:
    box.start()
    until(lambda: (box.waiting() or 0) >= 1, "a sealed batch")
    assert box.end() == 0
    for file in box.folder.glob("buffer.db*"):
        file.unlink()
    assert meter[1]("swap 1").startswith("ok")
    box.start()
    until(lambda: box.readings() > 3, "readings")
    assert box.end() == 0
    assert judgements(kept(box)) == []


def test_a_reload_forgets_nothing(box: AgentProcess, meter: tuple[str, Say]) -> None:
    box.start()
    until(lambda: box.readings() > 3, "readings")
    assert meter[1]("swap 1").startswith("ok")
    box.send(signal.SIGHUP)
    box.wait_for_line("replaced")
    read_more(box)
    assert box.end() == 0
    assert [kind for kind, _ in judgements(kept(box)) if kind == "meter_replaced"] == ["meter_replaced"]
