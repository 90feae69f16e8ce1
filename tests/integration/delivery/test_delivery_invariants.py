"""A broken invariant of delivery: its name is in log and troubles, nothing is deleted, and the loop goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from courier_rig import CourierRig
from virtual_time import run_virtual

from agent.adapters.buffer import outbox
from agent.adapters.mqtt.uplink import Received
from agent.core.delivery.actions import Action
from agent.core.delivery.machine import DeliveryMachine
from agent.core.delivery.receipts import ReceiptVerdict
from agent.core.invariants import require

MINUTE_S = 60


def test_a_receipt_that_was_judged_wrongly_deletes_nothing_and_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judged_wrongly(*_args: object, **_options: object) -> ReceiptVerdict:
        return ReceiptVerdict(delete=(1, 1_000_000))

    async def scenario() -> None:
        rig = CourierRig(tmp_path / "buffer.db", monkeypatch)
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            stored = rig.waiting
            with monkeypatch.context() as patch:
                patch.setattr(outbox, "judge", judged_wrongly)
                rig.network.say(Received(rig.receipt().to_json()))
                await rig.pass_s(MINUTE_S)
            assert rig.waiting == stored > 3
            assert "only what was sent is confirmed (unsent=[1000000])" in rig.rig.progress.troubles["invariant"]
            assert len(rig.network.attempts_ms) == 2
            assert rig.rig.progress.connected
            rig.network.say(Received(rig.receipt().to_json()))
            await rig.pass_s(1)
            assert rig.waiting < stored

    run_virtual(scenario())
    assert caplog.text.count("ERROR    agent.services.buffer.room") == 1


def test_a_machine_that_does_not_know_what_to_do_begins_again_with_what_is_in_the_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    published = DeliveryMachine.on_published
    broken = iter([True])

    def on_published(self: DeliveryMachine, now_ms: int, batch_id: int, outcome: object) -> list[Action]:
        require("delivery has a transition for what happens", not next(broken, False), batch=batch_id)
        return published(self, now_ms, batch_id, outcome)  # type: ignore[arg-type]

    async def scenario() -> None:
        monkeypatch.setattr(DeliveryMachine, "on_published", on_published)
        rig = CourierRig(tmp_path / "buffer.db", monkeypatch)
        async with rig.running():
            await rig.pass_s(20 * MINUTE_S)
            sent = {batch_id for batch_id, _ in rig.network.published}
            assert len(sent) == rig.rig.progress.sealed > 3
            assert [batch_id for batch_id, _ in rig.network.published[:2]] == [1, 1]
            assert len(rig.network.attempts_ms) == 2
            name = "delivery has a transition for what happens"
            assert name in rig.rig.progress.troubles["invariant"]

    run_virtual(scenario())
    assert "invariant: broken invariant: delivery has a transition for what happens (batch=1)" in caplog.text
