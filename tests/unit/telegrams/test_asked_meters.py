"""Meters that are asked, in virtual time: the readout of IEC 62056-21 mode C, and M-Bus with its count bit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from fake_port import Answers, FakePort, on_fake_port
from virtual_time import run_virtual

from drivers.building import build_line, build_meter
from drivers.meter import MeterError
from drivers.profile.files import find_profile
from drivers.telegrams.iec62056_meter import Iec62056Meter
from drivers.telegrams.mbus_meter import MbusMeter
from drivers.telegrams.stream_line import StreamLine
from meter_sim.telegrams.encoders import mbus, mbus_answer, mbus_record, mode_c

READOUT = mode_c(["C.1.0(13647123)", "1.8.0(061561.289*kWh)", "2.8.0(000010.490*kWh)"], "LGZ4ZMF100AC.M26")
SIGN_ON, AT_4800, AT_300 = b"/?!\r\n", b"\x06040\r\n", b"\x06000\r\n"
NKE = bytes.fromhex("1040054516")
ASK_WITH, ASK_WITHOUT = bytes.fromhex("107b058016"), bytes.fromhex("105b056016")
ENERGY = mbus(5, mbus_answer("12345678", "ACM", 2, mbus_record("04", "03", 1364, 4)))
Meter = Iec62056Meter | MbusMeter
Script = Callable[[bytes], Answers]


def play(
    model: str,
    work: Callable[[Meter, FakePort], Awaitable[None]],
    script: Script,
    measurands: Sequence[str] = ("energy_active_import_total",),
    port_name: str = "/dev/nothing",
) -> FakePort:
    port = FakePort(script)

    async def scenario() -> None:
        profile = find_profile(model)
        line = build_line(profile, "head", port_name)
        assert isinstance(line, StreamLine)
        meter = build_meter(line, 5, profile, "main", measurands)
        assert isinstance(meter, Iec62056Meter | MbusMeter)
        on_fake_port(line, port)
        await work(meter, port)
        await line.close()
        assert not line.is_open

    run_virtual(scenario())
    return port


async def failure(meter: Meter, budget_ms: int = 30_000) -> MeterError:
    with pytest.raises(MeterError) as caught:
        await meter.read(budget_ms)
    return caught.value


def head(request: bytes, readout: bytes = READOUT[1]) -> Answers:
    """A meter that offers 4800 baud and takes a second for its readout; its head sends back what it hears."""
    if request == SIGN_ON:
        return [(0.1, request), (0.5, READOUT[0][:10]), (0.9, READOUT[0][10:])]
    return [(0.1, request), (0.6, readout[:60]), (1.5, readout[60:])]


def test_a_readout_changes_its_speed_and_goes_back() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        sample = await meter.read(30_000)
        assert sample.values == (61_561_289 * 10_000,)
        assert sample.taken_s == pytest.approx(0.9 + 1.5)
        assert await meter.identify(10) == {"serial_number": "13647123", "identification": "LGZ4ZMF100AC.M26"}

    port = play("iec62056-21", work, head)
    assert port.sent == [SIGN_ON, AT_4800]
    assert port.baudrates == [300, 4800, 300]


def test_a_short_interval_gets_a_reading_for_each_readout() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        for _ in range(3):
            for _ in range(2):
                error = await failure(meter, 1_000)
                assert (error.reason, "goes on" in error.cause) == ("pending", True)
            now_s = asyncio.get_running_loop().time()
            assert (await meter.read(1_000)).taken_s == pytest.approx(now_s + 0.4)

    play("iec62056-21", work, head)


def test_a_readout_of_half_a_minute_is_waited_for_where_the_interval_allows() -> None:
    """A meter at 300 baud; else every second slot of a quarter of an hour has nothing, and the others an old value."""

    def slow(request: bytes) -> Answers:
        if request == SIGN_ON:
            return [(0.9, READOUT[0])]
        text = READOUT[1]
        return [(1 + 29 * at / len(text), text[at : at + 1]) for at in range(len(text))]

    async def work(meter: Meter, port: FakePort) -> None:
        sample = await meter.read(min(meter.read_max_ms, 60_000))
        assert sample.values == (61_561_289 * 10_000,)
        assert len(port.sent) == 2

    play("iec62056-21", work, slow)


def test_through_tcp_the_readout_stays_at_300_baud() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        await meter.read(30_000)

    assert play("iec62056-21", work, head, port_name="tcp://nowhere:1").sent == [SIGN_ON, AT_300]


def test_after_a_readout_that_was_not_understood_the_next_one_is_slow() -> None:
    def script(request: bytes) -> Answers:
        return head(request, b"\x02" + bytes(100) if request == AT_4800 else READOUT[1])

    async def work(meter: Meter, port: FakePort) -> None:
        error = await failure(meter)
        assert error.reason == "garbage"
        assert "optical head" in error.next_step
        assert (await meter.read(30_000)).values == (61_561_289 * 10_000,)

    port = play("iec62056-21", work, script)
    assert port.sent == [SIGN_ON, AT_4800, SIGN_ON, AT_300]
    assert port.baudrates == [300, 4800, 300, 300, 300]


def test_a_meter_of_mode_a_sends_without_being_acknowledged() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        assert (await meter.read(30_000)).values == (61_561_289 * 10_000,)

    def script(request: bytes) -> Answers:
        return [(0.5, b"/LGZ\x20OLD\r\n"), (0.7, READOUT[1])]

    assert play("iec62056-21", work, script).sent == [SIGN_ON]


@pytest.mark.parametrize(
    ("answers", "reason", "says"),
    [
        ([], "silent", "no answer to the sign-on (300 7E1)"),
        ([(0.1, SIGN_ON)], "silent", "no answer to the sign-on"),
        ([(0.1, b"\xff\x80\x13")], "garbage", "no identification, but bytes: ff 80 13"),
    ],
)
def test_no_identification(answers: Answers, reason: str, says: str) -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        error = await failure(meter)
        assert error.reason == reason
        assert says in error.cause

    play("iec62056-21", work, lambda _request: answers)


@pytest.mark.parametrize(
    ("readout", "says"),
    [
        (READOUT[1][:-1] + b"\x00", "BCC is 0x00"),
        (READOUT[1][:30], "it ends after"),
        (b"", "no readout after the identification"),
    ],
)
def test_damaged_readouts(readout: bytes, says: str) -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        error = await failure(meter)
        assert error.reason == "garbage"
        assert says in error.cause

    play("iec62056-21", work, lambda request: head(request, readout))


def babble(_request: bytes) -> Answers:
    """Noise for a minute that has something of everything in it."""
    noise = b"/AC\x02\x68\xe5\r\n\x68\x10\x10\x68\x55\x16\x03"
    return [(at / 100, noise[at % 13 :] + noise[: at % 13]) for at in range(6_000)]


@pytest.mark.parametrize(("model", "most_s"), [("iec62056-21", 4), ("mbus", 8)])
def test_noise_without_end_ends(model: str, most_s: float) -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        error = await failure(meter, 20_000)
        assert error.reason == "garbage"
        assert asyncio.get_running_loop().time() < most_s

    play(model, work, babble)


def test_noise_after_the_identification_ends() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        assert "no readout after the identification" in (await failure(meter, 20_000)).cause
        assert asyncio.get_running_loop().time() < 6

    def script(request: bytes) -> Answers:
        return [(0.5, READOUT[0])] if request == SIGN_ON else [(at / 50, b"\x06U") for at in range(3_000)]

    play("iec62056-21", work, script)


def test_closing_the_line_ends_a_readout() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        await failure(meter, 1_000)
        before_s = asyncio.get_running_loop().time()
        await meter.line.close()
        assert asyncio.get_running_loop().time() == before_s
        assert (await meter.read(30_000)).values == (61_561_289 * 10_000,)

    play("iec62056-21", work, head)


def test_a_head_that_is_unplugged_during_the_readout() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        asyncio.get_running_loop().call_later(1, port.lose, "the device went away")
        assert (await failure(meter)).reason == "line_lost"
        assert (await meter.read(30_000)).values == (61_561_289 * 10_000,)

    play("iec62056-21", work, head)


# M-Bus


def slave(request: bytes) -> Answers:
    return [(0.05, b"\xe5")] if request == NKE else [(0.1, ENERGY[:20]), (0.15, ENERGY[20:])]


def test_m_bus_initialises_once_and_turns_the_count_bit() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        for _ in range(3):
            assert (await meter.read(5_000)).values == (13_640,)
        assert await meter.identify(10) == {"serial_number": "12345678", "identification": "ACM 1 medium 2"}
        assert meter.origin("energy_active_import_total") == ("energy", "00000554")

    assert play("mbus", work, slave).sent == [NKE, ASK_WITH, ASK_WITHOUT, ASK_WITH]


def test_an_answer_that_got_lost_is_asked_for_with_the_same_count_bit() -> None:
    asked: list[bytes] = []

    def script(request: bytes) -> Answers:
        asked.append(request)
        return [] if len(asked) == 3 else [(0.1, ENERGY[:-2] + b"\0\x16")] if len(asked) == 4 else slave(request)

    async def work(meter: Meter, port: FakePort) -> None:
        await meter.read(5_000)
        assert (await meter.read(10_000)).values == (13_640,)

    assert play("mbus", work, script).sent == [NKE, ASK_WITH, ASK_WITHOUT, ASK_WITHOUT, ASK_WITHOUT]


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (b"", "silent", "no answer (2400 8E1)"),
        (ENERGY[:-2] + b"\0\x16", "garbage", "check sum is 0x00"),
        (ENERGY[:20], "garbage", "no answer, but bytes: 68"),
        (mbus(6, b"\x78"), "garbage", "answer of address 6 instead of 5"),
        (mbus(5, b"\x78", 0x53), "garbage", "control field 0x53 is no answer"),
        (mbus(5, b"\x70\x08"), "exception", "the application is busy"),
        (mbus(5, b"\x72\x01\x02"), "garbage", "a header of 3 bytes instead of 13"),
    ],
)
def test_what_is_no_answer_on_m_bus(answer: bytes, reason: str, says: str) -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        error = await failure(meter)
        assert error.reason == reason
        assert says in str(error)

    def script(request: bytes) -> Answers:
        return [(0.05, b"\xe5")] if request == NKE else [(0.1, answer)] if answer else []

    port = play("mbus", work, script)
    assert port.sent.count(ASK_WITH) == (1 if reason == "exception" else 3)


def test_a_meter_that_failed_is_initialised_again() -> None:
    asked: list[bytes] = []

    def script(request: bytes) -> Answers:
        asked.append(request)
        return [] if len(asked) < 5 else slave(request)

    async def work(meter: Meter, port: FakePort) -> None:
        assert (await failure(meter)).reason == "silent"
        assert (await meter.read(5_000)).values == (13_640,)

    assert play("mbus", work, script).sent == [NKE, ASK_WITH, ASK_WITH, ASK_WITH, NKE, ASK_WITH]


def test_a_converter_that_sends_back_what_it_hears() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        assert (await meter.read(5_000)).values == (13_640,)

    play("mbus", work, lambda request: [(0.02, request), *slave(request)])


def test_further_telegrams_are_fetched_and_joined() -> None:
    first = mbus(5, mbus_answer("12345678", "ACM", 2, mbus_record("04", "03", 1364, 4) + b"\x1f"))
    second = mbus(5, mbus_answer("12345678", "ACM", 2, mbus_record("04", "2B", -200, 4)))

    def script(request: bytes) -> Answers:
        return [(0.05, b"\xe5")] if request == NKE else [(0.1, first if request == ASK_WITH else second)]

    async def work(meter: Meter, port: FakePort) -> None:
        assert (await meter.read(5_000)).values == (13_640, -20_000)

    port = play("mbus", work, script, ("energy_active_import_total", "power_active_total"))
    assert port.sent == [NKE, ASK_WITH, ASK_WITHOUT]


def test_a_read_ends_within_its_budget() -> None:
    async def work(meter: Meter, port: FakePort) -> None:
        assert (await failure(meter, 700)).reason == "silent"
        assert asyncio.get_running_loop().time() == pytest.approx(0.7, abs=0.05)

    play("mbus", work, lambda _request: [])
