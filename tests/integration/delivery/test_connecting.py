"""The connection in virtual time: when it is tried, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from courier_rig import SETTINGS, CourierRig
from virtual_time import run_virtual

from agent.adapters.mqtt.uplink import Connected, CredentialError, Disconnected

MINUTE_S = 60
CONNECTED = "INFO uplink: connected to broker:8883 as apt-1"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CourierRig]:
    return lambda settings=SETTINGS: CourierRig(tmp_path / "buffer.db", monkeypatch, settings)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [f"{r.levelname} {r.getMessage()}" for r in caplog.records if "meter" not in r.getMessage()]


def test_a_lost_connection_is_said_once_and_comes_back(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(MINUTE_S)
            rig.network.connect = lambda: Disconnected("no route")
            await rig.lose_connection("no route")
            assert not rig.rig.progress.connected
            await rig.pass_s(10 * MINUTE_S)
            gaps = [b - a for a, b in zip(rig.network.attempts_ms[1:], rig.network.attempts_ms[2:], strict=False)]
            assert len(gaps) > 50
            assert max(gaps) <= 12_000
            assert rig.network.published == []
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(15)
            assert rig.rig.progress.connected
            await rig.pass_s(10)
            assert len({batch_id for batch_id, _ in rig.network.published}) == rig.waiting > 0
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())
    lost = "WARNING uplink: not connected to broker:8883: no route; readings are kept, trying again"
    assert log() == [CONNECTED, lost, CONNECTED]


def test_two_boxes_of_one_name_do_not_throw_each_other_out_at_network_speed(make: Callable[..., CourierRig]) -> None:
    """The broker accepts the connection, and ends it as soon as the other one connects."""

    async def scenario() -> None:
        rig = make()

        def connect() -> Connected:
            asyncio.get_running_loop().call_later(0.05, rig.network.say, Disconnected("taken over"))
            return Connected(None)

        rig.network.connect = connect
        async with rig.running():
            await rig.pass_s(10 * MINUTE_S)
            assert len(rig.network.attempts_ms) < 200

    run_virtual(scenario())


def test_credentials_that_cannot_be_used_are_said_once_and_looked_at_again(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.credentials = CredentialError("cannot read key: Permission denied; give the user access")
        async with rig.running():
            await rig.pass_s(5 * MINUTE_S)
            assert rig.network.attempts_ms == []
            rig.network.credentials = None
            await rig.pass_s(31)
            assert rig.rig.progress.connected

    run_virtual(scenario())
    problem = "ERROR uplink: no connection: cannot read key: Permission denied; give the user access; readings are kept"
    assert log() == [problem, CONNECTED]


def test_a_key_file_that_its_group_has_access_to_is_warned_of_once_and_delivery_goes_on(
    make: Callable[..., CourierRig], log: Callable[[], list[str]], tmp_path: Path
) -> None:
    key = tmp_path / "device.key"
    key.touch()
    key.chmod(0o640)

    async def scenario() -> None:
        rig = make(replace(SETTINGS, key=str(key)))
        async with rig.running():
            await rig.pass_s(10 * MINUTE_S)
            rig.network.say(Disconnected("no route"))
            await rig.pass_s(10 * MINUTE_S)
            assert rig.rig.progress.connected
            assert rig.network.published
            assert "key file" in rig.rig.progress.troubles
            key.chmod(0o600)
            await rig.pass_s(3 * MINUTE_S)
            assert rig.rig.progress.troubles == {}

    run_virtual(scenario())
    warnings = [line for line in log() if "key file" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith(f'WARNING key file: "{key}" has mode 0640, so the file\'s group has access to the ')
    assert warnings[0].endswith("; delivery goes on")


def test_receipts_that_are_not_granted_are_said_and_asked_for_again(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.connect = lambda: Connected("SUBACK 0x87")
        async with rig.running():
            await rig.pass_s(35 * MINUTE_S)
            assert len(rig.network.attempts_ms) == 4
            assert rig.network.published, "what can be sent is sent"
            rig.network.connect = lambda: Connected(None)
            await rig.pass_s(10 * MINUTE_S)
            assert len(rig.network.attempts_ms) == 5
            await rig.pass_s(60 * MINUTE_S)
            assert len(rig.network.attempts_ms) == 5
            assert rig.rig.progress.troubles == {}

    run_virtual(scenario())
    step = "allow iot:Subscribe and iot:Receive on wattpost/apt-1/receipts in the policy"
    assert log() == [CONNECTED, f"ERROR receipts: not granted: SUBACK 0x87; {step}"]


def test_news_of_a_connection_that_was_given_up_meanwhile_counts_for_nothing(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(10 * MINUTE_S)
            sent = len(rig.network.published)
            rig.courier.random.seed(1)  # a pause that is not nought
            rig.network.say(Disconnected("gone", rejected=True))
            rig.network.say(Connected("the connection is gone"))
            await asyncio.sleep(0.1)
            assert not rig.rig.progress.connected
            assert rig.rig.progress.uplink_state.startswith("not connected to broker:8883: gone")
            assert len(rig.network.published) == sent
            await rig.pass_s(20 * MINUTE_S)
            assert len(rig.network.attempts_ms) == 2, "and does not end the next one"
            await rig.confirm()
            assert rig.waiting == 0

    run_virtual(scenario())


def test_receipts_that_are_granted_at_last_end_the_wait_for_them(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.connect = lambda: Connected("SUBACK 0x87")
        async with rig.running():
            await rig.pass_s(MINUTE_S)
            rig.network.say(Connected(None))
            await rig.pass_s(20 * MINUTE_S)
            assert len(rig.network.attempts_ms) == 1

    run_virtual(scenario())


def test_a_reload_connects_afresh_with_the_new_settings(make: Callable[..., CourierRig]) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(MINUTE_S)
            rig.courier.reconfigure(replace(SETTINGS, endpoint="other", confirm="puback"))
            await rig.pass_s(15)
            assert rig.network.uplink is not None
            assert rig.network.uplink.settings.endpoint == "other"
            assert rig.rig.progress.connected
            await rig.pass_s(20 * MINUTE_S)
            assert rig.waiting == 0

    run_virtual(scenario())


def test_a_reload_that_changes_nothing_of_the_uplink_leaves_the_connection_in_peace(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        async with rig.running():
            await rig.pass_s(MINUTE_S)
            rig.courier.reconfigure(replace(SETTINGS))
            await rig.pass_s(MINUTE_S)
            assert len(rig.network.attempts_ms) == 1
            assert rig.rig.progress.connected
            rig.courier.reconfigure(replace(SETTINGS, keep_alive_s=90))
            await rig.pass_s(MINUTE_S)
            assert len(rig.network.attempts_ms) == 2

    run_virtual(scenario())
    anew = "INFO uplink: connecting anew, with the changed settings; readings are kept"
    assert log() == [CONNECTED, anew, CONNECTED]


def test_a_reload_while_there_is_no_connection_tries_at_once_and_says_what_is_still_wrong(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        rig = make()
        rig.network.credentials = CredentialError("the key is bad; mend it")
        async with rig.running():
            await rig.pass_s(35)
            rig.courier.reconfigure(SETTINGS)
            await rig.pass_s(1)
            rig.network.credentials = None
            rig.courier.reconfigure(SETTINGS)
            await rig.pass_s(1)
            assert rig.rig.progress.connected

    run_virtual(scenario())
    bad = "ERROR uplink: no connection: the key is bad; mend it; readings are kept"
    assert log() == [bad, bad, CONNECTED]


def test_a_handshake_that_takes_long_is_said_once_and_its_end_too(
    make: Callable[..., CourierRig], log: Callable[[], list[str]]
) -> None:
    """awscrt says only after half a minute that the broker's certificate is of another root."""

    async def scenario() -> None:
        rig = make()
        rig.network.connect, rig.network.attempt_s = lambda: Disconnected("TLS failed; check ca"), 25
        async with rig.running():
            await rig.pass_s(6)
            assert rig.rig.progress.uplink_state.startswith("connecting to broker:8883: no answer yet, the TLS hand")
            assert "uplink" not in rig.rig.progress.troubles
            await rig.pass_s(5 * MINUTE_S)
            assert len(rig.network.attempts_ms) > 5
            rig.network.connect, rig.network.attempt_s = lambda: Connected(None), 0.01
            await rig.pass_s(MINUTE_S)
            rig.network.attempt_s = 25
            await rig.lose_connection()
            await rig.pass_s(20)

    run_virtual(scenario())
    step = "that [uplink] ca or a certificate is not accepted shows only after up to 30 s"
    slow = f"INFO uplink: connecting to broker:8883: no answer yet, the TLS handshake is under way; {step}"
    slow += "; readings are kept"
    failed = "WARNING uplink: not connected to broker:8883: TLS failed; check ca; readings are kept, trying again"
    lost = "WARNING uplink: not connected to broker:8883: gone; readings are kept, trying again"
    assert log() == [slow, failed, CONNECTED, lost, slow]
