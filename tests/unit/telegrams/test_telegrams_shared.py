"""Real telegrams of ../shared: every valid one has the values that its source states, every corrupt one is refused.

The expected values of SML and of the HAN port were made with pysml 0.1.9 and amshan 2.1.1, which the box does not use;
those of M-Bus stand beside the frames; those of text telegrams are looked up in the text.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from drivers.profile.files import find_profile
from drivers.telegrams.dlms import decode_dlms, decode_notification
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.mbus import MbusFramer, SegmentJoiner, long_frame
from drivers.telegrams.mbus_records import decode_mbus
from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import StreamFramer, Telegram, TelegramError
from drivers.telegrams.text_framer import TextFramer

FOLDER = Path(__file__).parents[3].parent / "shared/meters/telegrams"
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="needs ../shared/meters/telegrams beside the checkout")
WAYS: dict[str, tuple[type[StreamFramer], Callable[[bytes], Telegram]]] = {
    "dsmr_p1": (TextFramer, decode_p1),
    "iec62056_21": (TextFramer, decode_iec62056),
    "sml": (SmlFramer, decode_sml),
    "dlms_hdlc": (HdlcFramer, decode_dlms),
    "mbus": (MbusFramer, lambda frame: decode_mbus(long_frame(frame).data)),
}
AT = "dlms_mbus_at"  # encrypted; it has a test of its own
NOT_OURS = ("modbus_rtu", "modbus_sunspec")
P1_UNITS = {"kWh": 1000, "kW": 1000}
EASY_METER = ("energy_active_import_total", "power_active_total", "voltage_l2_n")


def manifest() -> list[dict[str, str]]:
    if not FOLDER.exists():
        return []
    rows = list(csv.DictReader((FOLDER / "MANIFEST.csv").read_text().splitlines()))
    return [row for row in rows if row["file"].split("/")[0] not in NOT_OURS and not row["file"].endswith(".xml")]


def content(name: str) -> bytes:
    path = FOLDER / name
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


def outcomes(name: str) -> list[Telegram | str]:
    """What comes of a file: telegrams, and the reasons of what is refused."""
    stream, kind = content(name), name.split("/", maxsplit=1)[0]
    if kind == "dlms_payload":
        return [decode_dlms(stream)]
    framer_type, decode = WAYS[kind]
    framer = framer_type()
    found: list[Telegram | str] = []
    for each in framer.feed(stream):
        try:
            if isinstance(each, TelegramError):
                raise each
            found.append(decode(each))
        except TelegramError as error:
            found.append(error.reason)
    left = framer.end()
    return found if left is None or found else [left.reason]


def telegrams(name: str) -> list[Telegram]:
    return [each for each in outcomes(name) if isinstance(each, Telegram)]


def read(model: str, telegram: Telegram) -> dict[str, float | None]:
    """All that a profile finds in a telegram."""
    fields = find_profile(model).fields
    steps, _flags = FieldReader(fields)(telegram)
    values = {field.measurand: (field, value) for field, value in zip(fields, steps, strict=True)}
    return {
        name: None if value is None else field.resolution.to_number(value) for name, (field, value) in values.items()
    }


def holds(found: dict[str, float | None], **expected: float | None) -> None:
    assert {name: found[name] for name in expected} == expected


def test_every_telegram_of_the_manifest_is_tried() -> None:
    folders = {row["file"].split("/")[0] for row in manifest()}
    assert folders == {*WAYS, "dlms_payload", "dlms_mbus_at"}
    assert len(manifest()) == 36


@pytest.mark.parametrize(
    "name", [row["file"] for row in manifest() if row["status"] == "valid" and AT not in row["file"]]
)
def test_valid_ones_are_telegrams(name: str) -> None:
    found = outcomes(name)
    assert found
    assert all(isinstance(each, Telegram) for each in found), found


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("dsmr_p1/corrupt_v5_digit_flipped.txt", ["checksum"]),
        ("iec62056_21/corrupt_e350_bcc.txt", ["checksum"]),
        ("sml/corrupt_EMH_eHZ361_bitflip.bin", ["checksum"]),
        ("dlms_hdlc/corrupt_kamstrup_real_0.hex", ["truncated"]),
        ("dlms_hdlc/corrupt_kaifa_real_0.hex", ["truncated"]),
        ("dlms_hdlc/corrupt_fcs.hex", ["checksum"]),
        ("mbus/corrupt_application_busy.hex", ["application_error"]),
        ("mbus/corrupt_too_short_header.hex", ["truncated"]),
    ],
)
def test_corrupt_ones_are_refused_by_name(name: str, reasons: list[str]) -> None:
    assert outcomes(name) == reasons


def test_no_corrupt_one_is_forgotten() -> None:
    corrupt = {row["file"] for row in manifest() if row["status"].startswith("corrupt")}
    assert len(corrupt) == 8


def test_a_partial_telegram_before_a_whole_one_costs_nothing() -> None:
    (whole,) = telegrams("dsmr_p1/corrupt_v5_midstart_then_full.txt")
    assert outcomes("dsmr_p1/corrupt_v5_midstart_then_full.txt") == telegrams("dsmr_p1/v5.txt") == [whole]


@pytest.mark.parametrize(
    "name", [row["file"] for row in manifest() if re.match(r"(dsmr|iec).*", row["file"]) and row["status"] == "valid"]
)
def test_text_telegrams_say_what_stands_in_the_text(name: str) -> None:
    text = content(name).decode("ascii", "replace")
    (telegram,) = telegrams(name)
    items = {item.code: item for item in telegram.items}
    checked = 0
    for code, digits, unit in re.findall(r"^\x02?([-\d:.]+)(?:\*255)?\(([\d.]+)\*(\w+)\)\r", text, re.MULTILINE):
        full = code if ":" in code else f"1-0:{code}" + ("" if code.count(".") > 1 else ".0")
        assert items[full].number == Fraction(Decimal(digits) * P1_UNITS.get(unit, 1)), code
        assert items[full].unit == unit.removeprefix("k")
        checked += 1
    assert checked >= 6


def test_what_the_p1_profile_reads() -> None:
    (v5,), (fluvius,), (sagemcom,) = (
        telegrams(f"dsmr_p1/{name}.txt") for name in ("v5", "fluvius_v171", "sagemcom_t210_d_r")
    )
    holds(
        read("dsmr-p1", v5), energy_active_import_total=6825, energy_active_export_total=2444, power_active_total=244,
        power_active_l3=142, voltage_l3_n=229, current_l2=0.44, volume_gas_total=0.107, volume_total=None,
    )  # fmt: skip
    holds(read("dsmr-p1", fluvius), volume_gas_total=112.384, volume_total=872.234, energy_active_import_total=15792)
    holds(
        read("dsmr-p1", sagemcom), energy_active_import_total=6545766, energy_reactive_export_total=3897726,
        power_active_total=286, power_reactive_total=-166, voltage_l1_n=None,
    )  # fmt: skip
    assert v5.serial_number == "K8EG004046395507"


def test_what_the_profiles_of_iec62056_read() -> None:
    (readout,), (pushed,) = (
        telegrams(f"iec62056_21/{name}.txt") for name in ("e350_mode_c_readout", "esy5q3db1024_v304")
    )
    holds(
        read("iec62056-21", readout), energy_active_import_total=61561289, energy_active_export_total=10490,
        energy_active_sum_total=61571780, voltage_l2_n=243, current_l1=0.35,
    )  # fmt: skip
    holds(
        read("iec62056-21-push", pushed), energy_active_import_total=52185782.5309, power_active_total=2124.86,
        power_active_l1=747.85, energy_active_export_total=19949322.1493,
    )  # fmt: skip
    assert (readout.serial_number, pushed.serial_number) == ("13647123", "1ESY1313002565")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DZG_DVS-7412.2_jmberg", [{
            "energy_active_import_total": 5430157.7, "energy_active_export_total": 26244572.6,
            "power_active_total": 356.24,
        }]),
        ("EMH_eHZ361L5R", [{"energy_active_export_tariff1": 110340315.1, "power_active_total": -5632.19}]),
        ("EasyMeter_Q3A_A1064V1009", [
            dict(zip(EASY_METER, row, strict=True))
            for row in [
                (2941646.1614, 810.26, 230.7), (2941646.3734, 763.08, 230.6), (2941646.9715, 703.08, 230.6),
                (2941647.1626, 687.86, 230.5),
            ]
        ]),
        ("HOLLEY_DTZ541-BDBA_with_PIN", [
            {"energy_active_import_total": 2355929.0, "power_active_total": 376},
            {"energy_active_import_total": 2355929.1, "power_active_total": 374},
        ]),
    ],
)  # fmt: skip
def test_sml_values_are_those_of_pysml(name: str, expected: list[dict[str, float]]) -> None:
    found = telegrams(f"sml/{name}.bin")
    for telegram, values in zip(found, expected, strict=True):
        holds(read("sml", telegram), **values)


def test_damaged_frames_of_a_dump_are_refused_and_those_between_are_read() -> None:
    found = ["ok" if isinstance(each, Telegram) else each for each in outcomes("sml/EasyMeter_Q3A_A1064V1009.bin")]
    assert found == ["checksum", "ok", "ok", "checksum", "checksum", "ok", "ok"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dlms_payload/aidon_no_list_1.hex", {"power_active_import": 280}),
        ("dlms_payload/aidon_no_list_2.hex", {
            "power_active_total": 280, "power_reactive_export": 128, "current_l1": 1.3, "current_l3": 0.9,
            "voltage_l1_n": 227.4, "voltage_l2_n": 230.1, "voltage_l3_n": 230.8,
        }),
        ("dlms_payload/aidon_no_list_3.hex", {
            "power_active_total": 280, "voltage_l3_n": 230.9, "energy_active_import_total": 22721380,
            "energy_active_export_total": 0, "energy_reactive_import_total": 582430,
            "energy_reactive_export_total": 1708430,
        }),
        ("dlms_payload/kaifa_no_list_1.hex", {"power_active_import": 5852, "power_active_total": None}),
        ("dlms_payload/kaifa_no_list_2.hex", {
            "power_active_total": 9745, "power_reactive_total": -435, "current_l1": 33.813, "current_l2": 28.103,
            "current_l3": 18.178, "voltage_l1_n": 216.8, "voltage_l2_n": 0, "voltage_l3_n": 218.8,
        }),
        ("dlms_payload/kaifa_no_list_3.hex", {
            "power_active_total": 4904, "current_l1": 14.571, "voltage_l3_n": 220.5,
            "energy_active_import_total": 79591144, "energy_reactive_import_total": 889389,
            "energy_reactive_export_total": 3210932,
        }),
        ("dlms_payload/kamstrup_no_list_1_three_phase.hex", {"power_active_total": 0, "voltage_l3_n": 0}),
        ("dlms_payload/kamstrup_no_list_2_single_phase.hex", {
            "power_active_import": 0, "power_active_total": None, "energy_active_import_total": 0, "current_l1": 0,
        }),
        ("dlms_hdlc/kaifa_real_41B.hex", {"power_active_import": 3631}),
        ("dlms_hdlc/kaifa_real_123B.hex", {
            "power_active_total": 625, "power_reactive_export": 131, "current_l1": 1.201, "current_l2": 1.905,
            "current_l3": 1.99, "voltage_l1_n": 238.7, "voltage_l3_n": 238.9,
        }),
        ("dlms_hdlc/kamstrup_real_229B.hex", {
            "power_active_total": 1468, "power_reactive_export": 462, "current_l1": 5.64, "current_l2": 2.02,
            "current_l3": 5.11, "voltage_l1_n": 232, "voltage_l2_n": 228, "voltage_l3_n": 233,
        }),
        ("dlms_hdlc/amshan_frame_with_escape_character_in_info.hex", {"power_active_import": 0x067D}),
    ],
)  # fmt: skip
def test_han_values_are_those_of_amshan(name: str, expected: dict[str, float | None]) -> None:
    maker = next((maker for maker in ("kaifa", "kamstrup") if maker in name), "aidon")
    (telegram,) = telegrams(name)
    holds(read(f"han-{maker}", telegram), **expected)


def test_the_austrian_telegram_is_put_together_and_needs_a_key() -> None:
    joiner = SegmentJoiner()
    stream = content("dlms_mbus_at/evn_sagemcom_t210_encrypted_2frames.hex")
    frames = [long_frame(frame) for frame in MbusFramer().feed(stream) if isinstance(frame, bytes)]
    parts = [joiner.add(frame) for frame in frames]
    assert parts[0] is None
    assert parts[1] is not None
    assert len(parts[1]) == 260
    with pytest.raises(TelegramError, match="needs the key") as caught:
        decode_notification(parts[1])
    assert caught.value.reason == "encrypted"


@pytest.mark.parametrize("name", ["FIN-Finder-7E.23.8.230.0020", "EMU_EMU-Professional-375-M-Bus", "abb_delta"])
def test_m_bus_records_are_those_that_libmbus_states(name: str) -> None:
    (telegram,) = telegrams(f"mbus/{name}.hex")
    text = (FOLDER / f"mbus/{name}.expected.xml").read_text("latin-1")
    records = re.findall(r"<DataRecord id.*?</DataRecord>", text, re.DOTALL)
    stated: list[dict[str, Any]] = [dict(re.findall(r"<(\w+)>(.*?)</\1>", record)) for record in records]
    stated = [record for record in stated if record["Value"]]
    assert len(telegram.items) == len(stated)
    for item, record in zip(telegram.items, stated, strict=True):
        assert item.number == Fraction(record["Value"]), record
        assert item.unit == record["Unit"]
        assert (".u" in item.code) == (record.get("Device", "0") != "0")
        assert (".t" in item.code) == (record.get("Tariff", "0") != "0")
    identity = re.search(r"<Id>(\d+)</Id>\s*<Manufacturer>(\w+)<", text)
    assert identity is not None
    assert (int(telegram.serial_number), telegram.identification[:3]) == (int(identity[1]), identity[2])


def test_what_the_m_bus_profile_reads() -> None:
    emu, finder = (
        read("mbus", telegrams(f"mbus/{name}.hex")[0])
        for name in ("EMU_EMU-Professional-375-M-Bus", "FIN-Finder-7E.23.8.230.0020")
    )
    holds(emu, energy_active_import_total=1364, power_active_total=-2, voltage_l1_n=225.7, current_l1=-0.066)
    holds(finder, energy_active_import_total=1728680, power_active_l1=90, voltage_l1_n=230, current_l1=0.6)


@pytest.mark.parametrize("name", [row["file"] for row in manifest() if row["file"].split("/")[0] in WAYS])
def test_pieces_and_junk_change_nothing(name: str) -> None:
    framer_type, _decode = WAYS[name.split("/", maxsplit=1)[0]]
    stream = content(name)
    whole = [each if isinstance(each, bytes) else str(each) for each in framer_type().feed(stream)]
    for size in (1, 7, 100):
        framer = framer_type()
        pieces = (stream[at : at + size] for at in range(0, len(stream), size))
        found = [each if isinstance(each, bytes) else str(each) for piece in pieces for each in framer.feed(piece)]
        assert found == whole
    junk = bytes((0xFF, 0x55, 0x00, 0x0D))
    assert [each if isinstance(each, bytes) else str(each) for each in framer_type().feed(junk + stream + junk)][
        : len(whole)
    ] == whole
