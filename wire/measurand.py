"""The vocabulary: measurands as registered numbers, with unit, kind and OBIS code (IEC 62056-61).

Import is positive (energy taken from the grid); `power_active` below zero is export. Numbers are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["instant", "counter"]


@dataclass(frozen=True, slots=True)
class Measurand:
    number: int
    name: str
    unit: str
    kind: Kind
    obis: str | None


def _phases(start: int, stem: str, unit: str, tariff_codes: tuple[str, str, str]) -> list[Measurand]:
    return [
        Measurand(start + i, f"{stem}_l{i + 1}", unit, "instant", f"1-0:{code}.7.0")
        for i, code in enumerate(tariff_codes)
    ]


VOCABULARY: tuple[Measurand, ...] = (
    Measurand(1, "voltage_l1_n", "V", "instant", "1-0:32.7.0"),
    Measurand(2, "voltage_l2_n", "V", "instant", "1-0:52.7.0"),
    Measurand(3, "voltage_l3_n", "V", "instant", "1-0:72.7.0"),
    Measurand(4, "voltage_l1_l2", "V", "instant", None),
    Measurand(5, "voltage_l2_l3", "V", "instant", None),
    Measurand(6, "voltage_l3_l1", "V", "instant", None),
    Measurand(7, "current_l1", "A", "instant", "1-0:31.7.0"),
    Measurand(8, "current_l2", "A", "instant", "1-0:51.7.0"),
    Measurand(9, "current_l3", "A", "instant", "1-0:71.7.0"),
    Measurand(10, "current_n", "A", "instant", "1-0:91.7.0"),
    Measurand(11, "current_sum", "A", "instant", "1-0:90.7.0"),
    Measurand(12, "power_active_total", "W", "instant", "1-0:16.7.0"),
    *_phases(13, "power_active", "W", ("36", "56", "76")),
    Measurand(16, "power_reactive_total", "var", "instant", "1-0:131.7.0"),
    *_phases(17, "power_reactive", "var", ("151", "171", "191")),
    Measurand(20, "power_apparent_total", "VA", "instant", "1-0:9.7.0"),
    *_phases(21, "power_apparent", "VA", ("29", "49", "69")),
    Measurand(24, "power_factor_total", "1", "instant", "1-0:13.7.0"),
    *_phases(25, "power_factor", "1", ("33", "53", "73")),
    Measurand(28, "frequency", "Hz", "instant", "1-0:14.7.0"),
    Measurand(29, "energy_active_import_total", "Wh", "counter", "1-0:1.8.0"),
    Measurand(30, "energy_active_export_total", "Wh", "counter", "1-0:2.8.0"),
    Measurand(31, "energy_active_sum_total", "Wh", "counter", "1-0:15.8.0"),
    Measurand(32, "energy_active_net_total", "Wh", "instant", "1-0:16.8.0"),
    Measurand(33, "energy_reactive_import_total", "varh", "counter", "1-0:3.8.0"),
    Measurand(34, "energy_reactive_export_total", "varh", "counter", "1-0:4.8.0"),
    Measurand(35, "energy_reactive_sum_total", "varh", "counter", None),
    Measurand(36, "energy_apparent_total", "VAh", "counter", "1-0:9.8.0"),
    Measurand(37, "energy_active_import_l1", "Wh", "counter", "1-0:21.8.0"),
    Measurand(38, "energy_active_import_l2", "Wh", "counter", "1-0:41.8.0"),
    Measurand(39, "energy_active_import_l3", "Wh", "counter", "1-0:61.8.0"),
    Measurand(40, "energy_active_export_l1", "Wh", "counter", "1-0:22.8.0"),
    Measurand(41, "energy_active_export_l2", "Wh", "counter", "1-0:42.8.0"),
    Measurand(42, "energy_active_export_l3", "Wh", "counter", "1-0:62.8.0"),
    Measurand(43, "energy_active_import_tariff1", "Wh", "counter", "1-0:1.8.1"),
    Measurand(44, "energy_active_import_tariff2", "Wh", "counter", "1-0:1.8.2"),
    Measurand(45, "energy_active_export_tariff1", "Wh", "counter", "1-0:2.8.1"),
    Measurand(46, "energy_active_export_tariff2", "Wh", "counter", "1-0:2.8.2"),
    Measurand(47, "voltage_ln_avg", "V", "instant", None),
    Measurand(48, "voltage_ll_avg", "V", "instant", None),
    Measurand(49, "current_avg", "A", "instant", None),
)

BY_NAME = {measurand.name: measurand for measurand in VOCABULARY}
BY_NUMBER = {measurand.number: measurand for measurand in VOCABULARY}
