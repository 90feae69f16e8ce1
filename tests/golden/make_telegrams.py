"""Write tests/golden/telegrams anew, for telegrams that were changed on purpose: PYTHONPATH=.:hardware-sim python FILE.

Made up, in the form of the national specifications; written without the drivers. Each has the values that were put in.
"""

from __future__ import annotations

import json
from pathlib import Path

from meter_sim.telegrams.encoders import (
    aidon,
    hdlc,
    kaifa,
    kamstrup,
    mbus,
    mbus_answer,
    mbus_record,
    mode_c,
    mode_d,
    p1,
    sml,
)

FOLDER = Path(__file__).with_name("telegrams")
Values = dict[str, str | None]


def netherlands() -> tuple[bytes, Values]:
    lines = [
        "1-3:0.2.8(50)", "0-0:1.0.0(251121103000W)", "0-0:96.1.1(4530303030303030303132333435363738)",
        "1-0:1.8.1(001234.567*kWh)", "1-0:1.8.2(000987.654*kWh)", "1-0:2.8.1(000000.100*kWh)",
        "1-0:2.8.2(000000.023*kWh)", "0-0:96.14.0(0002)", "1-0:1.7.0(00.000*kW)", "1-0:2.7.0(01.503*kW)",
        "0-0:96.7.21(00004)", "1-0:99.97.0(1)(0-0:96.7.19)(251001101500W)(0000000240*s)", "0-0:96.13.0()",
        "1-0:32.7.0(231.4*V)", "1-0:52.7.0(229.9*V)", "1-0:72.7.0(230.0*V)", "1-0:31.7.0(002.17*A)",
        "1-0:51.7.0(002.20*A)", "1-0:71.7.0(002.31*A)", "1-0:21.7.0(00.000*kW)", "1-0:41.7.0(00.000*kW)",
        "1-0:61.7.0(00.000*kW)", "1-0:22.7.0(00.480*kW)", "1-0:42.7.0(00.500*kW)", "1-0:62.7.0(00.523*kW)",
        "0-1:24.1.0(003)", "0-1:96.1.0(4730303233353631323231343231363139)", "0-1:24.2.1(251121102500W)(01234.567*m3)",
    ]  # fmt: skip
    return p1(lines, "ACM5\\1NL50"), {
        "power_active_total": "-1503", "power_active_l3": "-523", "power_active_export": "1503",
        "energy_active_import_total": "2222221", "energy_active_export_total": "123",
        "energy_active_import_tariff1": "1234567", "voltage_l1_n": "231.4", "current_l3": "2.31",
        "volume_gas_total": "1234.567", "volume_total": None, "frequency": None,
    }  # fmt: skip


def netherlands_before_4() -> tuple[bytes, Values]:
    lines = [
        "0-0:96.1.1(4B414D303030303030303030303030)", "1-0:1.8.1(00185.000*kWh)", "1-0:1.8.2(00084.500*kWh)",
        "1-0:2.8.1(00013.000*kWh)", "1-0:2.8.2(00019.000*kWh)", "0-0:96.14.0(0001)", "1-0:1.7.0(0000.98*kW)",
        "1-0:2.7.0(0000.00*kW)", "0-0:17.0.0(999*A)", "0-0:96.3.10(1)", "0-0:96.13.1()", "0-0:96.13.0()",
        "0-1:24.1.0(3)", "0-1:96.1.0(3238313031453631373038389930337131)",
        "0-1:24.3.0(120517020000)(08)(60)(1)(0-1:24.2.1)(m3)", "(00124.477)",
    ]  # fmt: skip
    return p1(lines, "ACM4NL22", check=False), {
        "power_active_total": "980", "energy_active_import_total": "269500", "energy_active_export_total": "32000",
        "volume_gas_total": "124.477", "voltage_l1_n": None,
    }  # fmt: skip


def sweden() -> tuple[bytes, Values]:
    lines = [
        "0-0:1.0.0(251121103000W)", "1-0:1.8.0(00006678.394*kWh)", "1-0:2.8.0(00000000.100*kWh)",
        "1-0:3.8.0(00000021.988*kvarh)", "1-0:4.8.0(00001020.971*kvarh)", "1-0:1.7.0(0001.727*kW)",
        "1-0:2.7.0(0000.000*kW)", "1-0:3.7.0(0000.010*kvar)", "1-0:4.7.0(0000.309*kvar)", "1-0:21.7.0(0001.023*kW)",
        "1-0:41.7.0(0000.350*kW)", "1-0:61.7.0(0000.353*kW)", "1-0:22.7.0(0000.000*kW)", "1-0:42.7.0(0000.000*kW)",
        "1-0:62.7.0(0000.000*kW)", "1-0:32.7.0(240.3*V)", "1-0:52.7.0(240.1*V)", "1-0:72.7.0(241.3*V)",
        "1-0:31.7.0(004.2*A)", "1-0:51.7.0(001.6*A)", "1-0:71.7.0(001.7*A)",
    ]  # fmt: skip
    return p1(lines, "ACM5\\253SE"), {
        "power_active_total": "1727", "power_reactive_total": "-299", "energy_active_import_total": "6678394",
        "energy_reactive_export_total": "1020971", "current_l1": "4.2", "power_active_l1": "1023",
    }  # fmt: skip


def hungary() -> tuple[bytes, Values]:
    lines = [
        "0-0:1.0.0(251121103000W)", "0-0:42.0.0(ACM1234567)", "0-0:96.1.0(100200300)", "0-0:96.14.0(0001)",
        "1-0:1.8.0(000112.345*kWh)", "1-0:1.8.1(000100.345*kWh)", "1-0:1.8.2(000012.000*kWh)",
        "1-0:2.8.0(000001.002*kWh)", "1-0:15.8.0(000113.347*kWh)", "1-0:32.7.0(230.8*V)", "1-0:31.7.0(001*A)",
        "1-0:13.7.0(0.954)", "1-0:14.7.0(50.01*Hz)", "1-0:1.7.0(00.213*kW)", "1-0:2.7.0(00.000*kW)",
        "0-0:98.1.0(251101000000W)(000100.000*kWh)(000002.000*kvarh)", "0-0:96.13.0()",
    ]  # fmt: skip
    return p1(lines, "ACM5\\2HU"), {
        "power_active_total": "213", "energy_active_import_total": "112345", "energy_active_export_total": "1002",
        "power_factor_total": "0.954", "frequency": "50.01", "voltage_l2_n": None,
    }  # fmt: skip


def germany() -> tuple[bytes, Values]:
    server = bytes.fromhex("0a01454d480000a1b2c3")
    entries = [
        ("1-0:96.50.1*1", None, 0, b"EMH", 0), ("1-0:96.1.0", None, 0, server, 0), ("1-0:1.8.0", 30, -1, 123456789, 8),
        ("1-0:1.8.1", 30, -1, 123456789, 8), ("1-0:2.8.0", 30, -1, 98765, 8), ("1-0:16.7.0", 27, 0, -1234, 4),
        ("1-0:36.7.0", 27, 0, -500, 4), ("1-0:32.7.0", 35, -1, 2301, 4), ("1-0:31.7.0", 33, -2, 218, 4),
        ("1-0:14.7.0", 44, -1, 500, 4), ("1-0:96.90.2*1", None, 0, b"\x1b" * 5, 0),
    ]  # fmt: skip
    return sml(server, entries), {
        "power_active_total": "-1234", "power_active_l1": "-500", "energy_active_import_total": "12345678.9",
        "energy_active_export_total": "9876.5", "voltage_l1_n": "230.1", "current_l1": "2.18", "frequency": "50",
        "energy_active_import_tariff2": None,
    }  # fmt: skip


def readout() -> tuple[bytes, Values]:
    lines = [
        "F.F(00)", "0.0(12345678)", "C.1.0(87654321)", "1.8.1(012345.6789*kWh)", "1.8.2(000001.0000*kWh)",
        "1.8.1*01(011111.0000*kWh)", "2.8.0(000000.0001*kWh)", "32.7(230.1*V)", "31.7(001.50*A)", "C.5.0(0401)",
    ]  # fmt: skip
    return b"".join(mode_c(lines, "ACM5MODEC")), {
        "energy_active_import_total": "12346678.9", "energy_active_export_total": "0.1", "voltage_l1_n": "230.1",
        "current_l1": "1.5", "power_active_total": None, "energy_active_import_tariff1": "12345678.9",
    }  # fmt: skip


def pushed() -> tuple[bytes, Values]:
    lines = ["1-0:1.8.0*255(00012345.6789012*kWh)", "1-0:1.7.0*255(-00123.45*W)", "1-0:21.7.0*255(-00100.00*W)"]
    return mode_d(lines, "ACM5MODED"), {
        "energy_active_import_total": "12345678.9012", "power_active_total": "-123.45", "power_active_l1": "-100",
        "power_active_l2": None,
    }  # fmt: skip


def norway_aidon() -> tuple[bytes, Values]:
    entries = [
        ("1-0:0.2.129", "AIDON_V0001", 0, 0, 0), ("0-0:96.1.0", "7359992890000001", 0, 0, 0),
        ("1-0:1.7.0", 0, 0, 27, 6), ("1-0:2.7.0", 2500, 0, 27, 6), ("1-0:3.7.0", 12, 0, 29, 6),
        ("1-0:4.7.0", 0, 0, 29, 6), ("1-0:31.7.0", 41, -1, 33, 16), ("1-0:32.7.0", 2314, -1, 35, 18),
        ("1-0:1.8.0", 123456, 1, 30, 6), ("1-0:2.8.0", 654, 1, 30, 6),
    ]  # fmt: skip
    return hdlc(aidon(entries)), {
        "power_active_total": "-2500", "power_reactive_total": "12", "current_l1": "4.1", "voltage_l1_n": "231.4",
        "energy_active_import_total": "1234560", "energy_active_export_total": "6540",
    }  # fmt: skip


def norway_kaifa() -> tuple[bytes, Values]:
    texts = ["KFM_001", "6970631400000001", "MA304H3E"]
    values = [1500, 0, 7, 0, 2001, 2002, 2003, 2301, 2302, 2303, "x" * 12, 12345678, 9, 1, 2]
    return hdlc(kaifa([*texts, *values])), {
        "power_active_total": "1500", "power_reactive_total": "7", "current_l2": "2.002", "voltage_l3_n": "230.3",
        "energy_active_import_total": "12345678", "energy_reactive_export_total": "2",
    }  # fmt: skip


def norway_kamstrup() -> tuple[bytes, Values]:
    entries = [
        ("1-1:0.0.5", "5706567000000001", 0), ("1-1:96.1.1", "6841121BN243101040", 0), ("1-1:1.7.0", 3000, 6),
        ("1-1:2.7.0", 0, 6), ("1-1:31.7.0", 1304, 6), ("1-1:32.7.0", 230, 18), ("1-1:1.8.0", 1234567, 6),
    ]  # fmt: skip
    return hdlc(kamstrup("Kamstrup_V0001", entries)), {
        "power_active_total": "3000", "current_l1": "13.04", "voltage_l1_n": "230",
        "energy_active_import_total": "12345670", "energy_active_export_total": None,
    }  # fmt: skip


def m_bus(medium: int, *records: bytes) -> bytes:
    return mbus(1, mbus_answer("12345678", "ACM", medium, b"".join(records)))


def electricity() -> tuple[bytes, Values]:
    frame = m_bus(
        2, mbus_record("8410", "03", 1234567, 4), mbus_record("8420", "03", 1000, 4),
        mbus_record("04", "833C", 77, 4), mbus_record("04", "2B", -4321, 4), mbus_record("02", "FDC8FF01", 2305, 2),
        mbus_record("03", "FDD9FF01", 4321, 3), mbus_record("12", "FD48", 2410, 2), mbus_record("02", "FB2E", 500, 2),
    )  # fmt: skip
    return frame, {
        "energy_active_import_total": "1235567", "energy_active_import_tariff2": "1000",
        "energy_active_export_total": "77", "power_active_total": "-4321", "voltage_l1_n": "230.5",
        "current_l1": "4.321", "frequency": "50",
    }  # fmt: skip


def heat() -> tuple[bytes, Values]:
    frame = m_bus(
        4, mbus_record("0C", "06", 56789, 4, bcd=True), mbus_record("0C", "14", 12345, 4, bcd=True),
        mbus_record("0B", "2D", 123, 3, bcd=True), mbus_record("0B", "3B", 456, 3, bcd=True),
        mbus_record("0A", "5A", 655, 2, bcd=True), mbus_record("0A", "5E", 431, 2, bcd=True),
        mbus_record("4C", "06", 50000, 4, bcd=True),
    )  # fmt: skip
    return frame, {
        "energy_heat_total": "56789000", "volume_total": "123.45", "power_heat": "12300", "flow_volume": "0.456",
        "temperature_flow": "65.5", "temperature_return": "43.1",
    }  # fmt: skip


def water() -> tuple[bytes, Values]:
    frame = m_bus(7, mbus_record("0C", "13", 123456, 4, bcd=True), mbus_record("0B", "3B", 12, 3, bcd=True))
    return frame, {"volume_total": "123.456", "flow_volume": "0.012", "temperature_flow": None}


TELEGRAMS = {  # file: profile, what makes it
    "p1_netherlands_5": ("dsmr-p1", netherlands),
    "p1_netherlands_2": ("dsmr-p1-v3", netherlands_before_4),
    "p1_sweden": ("dsmr-p1", sweden),
    "p1_hungary": ("dsmr-p1", hungary),
    "sml_germany": ("sml", germany),
    "mode_c": ("iec62056-21", readout),
    "mode_d": ("iec62056-21-push", pushed),
    "han_aidon": ("han-aidon", norway_aidon),
    "han_kaifa": ("han-kaifa", norway_kaifa),
    "han_kamstrup": ("han-kamstrup", norway_kamstrup),
    "mbus_electricity": ("mbus", electricity),
    "mbus_heat": ("mbus-heat", heat),
    "mbus_water": ("mbus-water", water),
}


def contents() -> dict[str, str]:
    """The files: the telegram in hexadecimal, 32 bytes a line, and what is in it."""
    files = {}
    for name, (model, make) in TELEGRAMS.items():
        telegram, values = make()
        rows = [telegram[at : at + 32].hex() for at in range(0, len(telegram), 32)]
        document = {"model": model, "values": values, "telegram": rows}
        files[f"{name}.json"] = json.dumps(document, indent=1) + "\n"
    return files


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in contents().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
