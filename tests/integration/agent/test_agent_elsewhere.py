"""The agent among strangers: pymodbus's server for a meter, mosquitto for a broker, a subscriber that sends receipts.

Nothing here is the simulator, the receiver or the local AWS: what holds here, holds against any Modbus server and any
MQTT 5 broker with client certificates.
"""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from agent_process import BOX, MODEL, TOLD, AgentProcess, uncovered_slots, until
from broker import Mosquitto
from foreign_cloud import ForeignCloud

from drivers.profile.files import find_profile


def test_readings_arrive_with_the_values_that_were_served(box: AgentProcess, cloud: ForeignCloud) -> None:
    box.start()
    while not (batch := cloud.next_batch()).series or not batch.series[0].readings:
        pass
    (series,) = batch.series
    assert (batch.key.device, series.meter) == (BOX, "main")
    registers = find_profile(MODEL).select()
    for column, register, steps in zip(series.columns, registers, series.readings[0].values, strict=True):
        exact = TOLD[register.address // 2] * float(register.scale)
        assert steps == column.resolution.to_steps(exact), register.measurand
    began_s = time.monotonic()
    assert box.end() == 0
    assert time.monotonic() - began_s < 5


def test_only_the_receipt_deletes(box: AgentProcess, cloud: ForeignCloud) -> None:
    box.start()
    until(lambda: (box.waiting() or 0) >= 3, "keeping what no receipt has confirmed")
    until(lambda: len(cloud.batches) >= 3, "the arrival of three batches")
    assert box.waiting() >= 3, "the broker's PUBACK has deleted something"

    def emptied() -> bool:
        cloud.confirm(BOX)
        return (box.waiting() or 0) <= 1  # one may have been sealed a moment ago

    until(emptied, "deletion after the receipt")
    assert cloud.different == 0


@pytest.mark.timeout(240)
def test_killed_and_cut_off_nothing_committed_is_lost(
    box: AgentProcess, cloud: ForeignCloud, broker: Mosquitto, running_broker: list[subprocess.Popen[bytes]]
) -> None:
    """The broker goes, the agent is killed meanwhile and started again, the broker comes back: no number is missing."""
    box.start()
    cloud.next_batch()
    running_broker[-1].terminate()
    running_broker[-1].wait(10)
    until(lambda: (box.waiting() or 0) >= 2, "keeping batches while the broker is away")
    assert box.end(signal.SIGKILL) == -signal.SIGKILL
    box.start()
    until(lambda: (box.waiting() or 0) >= 3, "going on where the killed one stopped")
    running_broker.append(broker.start())
    cloud.wait_subscribed()

    def drained() -> bool:
        if not cloud.batches or cloud.confirm(BOX) != cloud.numbers()[-1]:
            return False  # there is still a gap
        return (box.waiting() or 0) <= 1  # one may have been sealed a moment ago

    # What the broker took while nobody was subscribed is gone; the agent sends it again when no receipt comes, or when
    # receipts end right before it: after 15 or 30 s, and if that is lost too, after twice as long.
    until(drained, "delivery of the backlog", timeout_s=120)
    assert box.end() == 0
    numbers = cloud.numbers()
    assert numbers == list(range(1, numbers[-1] + 1))
    assert uncovered_slots(cloud.in_order(), "main", 200) == [], "a slot is neither read nor explained, or both"
    assert cloud.different == 0, "a batch sent again was not the same, byte for byte"
    assert "did not end cleanly" in box.log()
    assert len(box.log()) < 8_000
