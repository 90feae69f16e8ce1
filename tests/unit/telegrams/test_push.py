"""Meters that send by themselves, in virtual time: stamped on arrival, thinned, and what is said when nothing comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from fake_port import FakePort, on_fake_port
from virtual_time import run_virtual

from drivers.building import build_line, build_meter, share_a_line
from drivers.meter import MeterError, Sample
from drivers.profile.files import find_profile
from drivers.telegrams.push import PushLine, PushMeter
from meter_sim.telegrams.encoders import hdlc, kaifa, p1

COLUMNS = ("energy_active_import_total", "power_active_total")


def telegram(energy_wh: int, power_w: int = 500) -> bytes:
    energy, power = f"{energy_wh / 1000:010.3f}*kWh", f"{power_w / 1000:06.3f}*kW"
    return p1(["0-0:96.1.1(1SAG)", f"1-0:1.8.0({energy})", f"1-0:1.7.0({power})", "1-0:2.7.0(00.000*kW)"])


Work = Callable[[PushMeter, FakePort], Awaitable[None]]


def play(work: Work, model: str = "dsmr-p1", measurands: Sequence[str] | None = COLUMNS) -> None:
    async def scenario() -> None:
        profile = find_profile(model)
        line = build_line(profile, "port1", "/dev/nothing")
        assert isinstance(line, PushLine)
        meter = build_meter(line, 1, profile, "main", measurands)
        assert isinstance(meter, PushMeter)
        await work(meter, on_fake_port(line, FakePort()))
        await line.close()

    run_virtual(scenario())


def now() -> float:
    return asyncio.get_running_loop().time()


async def failure(meter: PushMeter, budget_ms: int = 1_000) -> MeterError:
    with pytest.raises(MeterError) as caught:
        await meter.read(budget_ms)
    return caught.value


def test_a_reading_waits_for_the_next_telegram_and_is_stamped_on_arrival() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        asyncio.get_running_loop().call_later(3, port.arrive, telegram(12345))
        sample = await meter.read(meter.read_max_ms)
        assert sample == Sample((12345, 500), (), taken_s=3.0)
        assert now() == 3.0

    play(work)


def test_telegrams_between_two_readings_are_thinned_to_the_newest() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        port_open = asyncio.create_task(meter.read(20_000))
        for second in range(10):
            await asyncio.sleep(1)
            port.arrive(telegram(1000 + second))
        assert (await port_open).values == (1000, 500)
        sample = await meter.read(1_000)
        assert (sample.values, sample.taken_s) == ((1009, 500), 10.0)
        asyncio.get_running_loop().call_later(0.5, port.arrive, telegram(1010))
        assert (await meter.read(1_000)).values == (1010, 500), "none is handed out twice"

    play(work)


def test_a_telegram_in_pieces_counts_from_its_last_byte() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        whole, loop = telegram(7), asyncio.get_running_loop()
        for at in range(0, len(whole), 10):
            loop.call_later(1 + at / 1000, port.arrive, whole[at : at + 10])
        last_s = 1 + (len(whole) - 1) // 10 * 10 / 1000
        assert (await meter.read(5_000)).taken_s == pytest.approx(last_s)

    play(work)


def test_of_short_and_long_lists_the_fullest_is_taken() -> None:
    """Kaifa: power alone every 2 s, phases every 10 s, counters once an hour. No counter may be thinned away."""
    texts = ["KFM_001", "6970631402614476", "MA304H3E"]
    hourly = hdlc(kaifa([*texts, 625, 0, 0, 131, 1201, 1905, 1990, 2387, 0, 2389, "t" * 12, 79591144, 0, 5, 6]))

    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 100)
        port.arrive(hourly)
        await asyncio.sleep(2)
        port.arrive(hdlc(kaifa([700])))
        sample = await meter.read(1_000)
        assert sample.values == (625, 79591144, 2387)
        assert sample.taken_s == pytest.approx(0.1)
        port.arrive(hdlc(kaifa([701])))
        sample = await meter.read(1_000)
        assert (sample.values, sample.flags) == ((701, None, None), ()), "missing, as it comes in other lists"
        assert await meter.identify(10) == {"serial_number": "6970631402614476", "identification": "KFM_001"}

    play(work, "han-kaifa", ("power_active_import", "energy_active_import_total", "voltage_l1_n"))


def test_silence_says_where_to_look() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        error = await failure(meter)
        assert error.reason == "silent"
        assert "no telegram within 1000 ms (115200 8N1)" in str(error)
        assert "customer port is switched on" in str(error)

    play(work)


def test_too_short_an_interval_is_named_as_such() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        task = asyncio.create_task(meter.read(30_000))
        for _ in range(2):
            await asyncio.sleep(5)
            port.arrive(telegram(1))
        await task
        await meter.read(10)
        error = await failure(meter)
        assert error.reason == "pending"
        assert "the last came 1.0 s before, one each 5.0 s" in error.cause
        assert error.next_step == "lengthen the interval to what the meter sends, one each 5.0 s"

    play(work)


@pytest.mark.parametrize(
    ("arrives", "says"),
    [
        (telegram(5).replace(b"0.500*kW", b"0.501*kW"), "DSMR P1: CRC is"),
        (b"\x55\xaa" * 20, "no telegram within 1000 ms (115200 8N1), but bytes: 55 aa"),
        (telegram(5)[:40], "but bytes: 2f 41 43 4d"),
        (b"\xdb\x08" + bytes(8) + b"\x03abc" + b"/", "encrypted: needs the key"),
    ],
)
def test_garbage_says_what_it_is(arrives: bytes, says: str) -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        asyncio.get_running_loop().call_later(0.1, port.arrive, arrives)
        error = await failure(meter)
        assert error.reason == "garbage"
        assert says in error.cause
        assert ("no keys" in error.next_step) == ("encrypted" in says)

    play(work)


def test_after_damage_the_next_telegram_is_a_reading() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 10)
        port.arrive(telegram(5)[:60] + telegram(6))
        assert (await meter.read(10)).values == (6, 500)

    play(work)


def test_another_meter_than_the_profile_says() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 10)
        port.arrive(p1(["1-0:1.8.0(00012.5*m3)"]))
        error = await failure(meter, 10)
        assert error.reason == "garbage"
        assert "1-0:1.8.0 is in m3, but energy_active_import_total in Wh" in error.cause

    play(work)


def test_a_port_that_is_lost_is_opened_again() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        asyncio.get_running_loop().call_later(0.2, port.lose, "the device went away")
        error = await failure(meter)
        assert (error.reason, error.cause) == ("line_lost", "the device went away")
        port.refuses = MeterError("line_missing", operation="open", subject="it", cause="gone", next_step="look")
        assert (await failure(meter)).reason == "line_missing"
        port.refuses = None
        asyncio.get_running_loop().call_later(0.2, port.arrive, telegram(9))
        assert (await meter.read(1_000)).values == (9, 500)
        assert port.opened == 2

    play(work)


def test_what_arrived_before_a_loss_is_not_lost() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 10)
        port.arrive(telegram(9))
        port.lose("unplugged")
        port.refuses = MeterError("line_missing", operation="open", subject="it", cause="gone", next_step="look")
        assert (await meter.read(10)).values == (9, 500)
        assert (await failure(meter, 10)).reason == "line_missing"

    play(work)


def test_half_a_telegram_from_before_a_loss_is_forgotten() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 10)
        port.arrive(telegram(9)[:50])
        port.lose("unplugged")
        assert (await failure(meter, 10)).reason == "silent"
        port.arrive(telegram(9)[50:])
        assert (await failure(meter, 10)).reason == "garbage"

    play(work)


def test_who_it_is_and_where_values_came_from() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        assert meter.origin("power_active_total") == ("", "")
        asyncio.get_running_loop().call_later(0.2, port.arrive, telegram(9))
        assert await meter.identify(1_000) == {"serial_number": "1SAG", "identification": "ACM5\\1ONE"}
        await meter.read(1_000)
        assert meter.origin("power_active_total") == ("1-0:1.7.0 - 1-0:2.7.0", "00.500*kW  00.000*kW")

    play(work)


def test_another_serial_number_is_believed_when_it_came_twice() -> None:
    """Old P1 and mode D have no check sum: a digit that noise has changed does not replace the meter."""

    async def work(meter: PushMeter, port: FakePort) -> None:
        await failure(meter, 10)
        numbers = []
        for number in ("1SAG", "1SAG", "1SAC", "1SAG", "2NEW", "2NEW"):
            port.arrive(p1([f"0-0:96.1.1({number})", "1-0:1.8.0(1*kWh)"], check=False))
            numbers.append((await meter.identify(10))["serial_number"])
        assert numbers == ["1SAG", "1SAG", "1SAG", "1SAG", "1SAG", "2NEW"]

    play(work)


def test_two_meters_may_read_the_same_telegrams() -> None:
    async def work(meter: PushMeter, port: FakePort) -> None:
        second = PushMeter(meter.line, meter.profile, "gas", ("power_active_total",))
        await failure(meter, 10)
        port.arrive(telegram(9))
        assert (await meter.read(10)).values == (9, 500)
        assert (await second.read(10)).values == (500,)

    play(work)


def test_meters_of_one_protocol_share_a_line() -> None:
    p1_profile, sml, pushed, asked = (
        find_profile(model) for model in ("dsmr-p1", "sml", "iec62056-21-push", "iec62056-21")
    )
    assert share_a_line(p1_profile, p1_profile)
    assert not share_a_line(p1_profile, sml)
    assert not share_a_line(pushed, asked)


def test_why_a_value_is_missing_is_said_once() -> None:
    """With each other cause again; a meter that does not have a value at all says nothing."""

    def sent(*lines: str) -> bytes:
        return p1(["1-0:1.8.0(000012.345*kWh)", *lines])

    async def work(meter: PushMeter, port: FakePort) -> None:
        told = []
        await meter.line.open()
        for data in (
            sent(),
            sent("1-0:1.7.0(00.5*kW)"),
            sent("1-0:1.7.0(00.6*kW)"),
            sent("1-0:1.7.0(00.7*kW)", "1-0:2.7.0(0x.1*kW)"),
            sent("1-0:1.7.0(00.7*kW)", "1-0:2.7.0(00.1*kW)"),
            sent("1-0:1.7.0(00.7*kW)", "1-0:2.7.0(0y.1*kW)"),
        ):
            port.arrive(data)
            told.append([(notice.kind, notice.data.get("instead")) for notice in (await meter.read(100)).notices])
        substitute, damaged = ("value_missing", ["1-0:1.7.0"]), ("value_missing", None)
        assert told == [[], [substitute], [], [damaged], [], []]

    play(work)


def test_of_two_gas_meters_it_is_said_which_is_read() -> None:
    def gas(old: str) -> bytes:
        lines = ["0-1:24.1.0(003)", f"0-1:24.2.1({old})(00001.000*m3)"]
        return p1([*lines, "0-2:24.1.0(003)", "0-2:96.1.0(4142)", "0-2:24.2.1(260410100000S)(00002.000*m3)"])

    async def work(meter: PushMeter, port: FakePort) -> None:
        await meter.line.open()
        for number, old in enumerate(("250110100000W", "250110100500W")):
            port.arrive(gas(old))
            sample = await meter.read(100)
            assert sample.values == (2000,)
            assert [notice.kind for notice in sample.notices] == ["several_sources"] * (not number)

    play(work, measurands=("volume_gas_total",))
