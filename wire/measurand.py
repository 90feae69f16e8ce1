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


def _phases(
    start: int, stem: str, unit: str, obis_codes: tuple[str, ...] = (), kind: Kind = "instant"
) -> list[Measurand]:
    """`stem` for L1, L2 and L3; `obis_codes` are value groups C, or from there to the end."""
    tail = ".7.0" if kind == "instant" else ".8.0"
    codes = [f"1-0:{code}" + ("" if "." in code else tail) for code in obis_codes]
    return [Measurand(start + i, f"{stem}_l{i + 1}", unit, kind, codes[i] if codes else None) for i in range(3)]


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
    Measurand(36, "energy_apparent_total", "VAh", "counter", None),
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
    *_phases(50, "energy_active_sum", "Wh", ("35", "55", "75"), "counter"),
    *_phases(53, "energy_reactive_import", "varh", ("23", "43", "63"), "counter"),
    *_phases(56, "energy_reactive_export", "varh", ("24", "44", "64"), "counter"),
    *_phases(59, "energy_reactive_sum", "varh", (), "counter"),
    Measurand(62, "energy_apparent_import_total", "VAh", "counter", "1-0:9.8.0"),
    Measurand(63, "energy_apparent_export_total", "VAh", "counter", "1-0:10.8.0"),
    # Counters that a person can set to 0 at the meter.
    Measurand(64, "energy_active_import_resettable", "Wh", "counter", None),
    Measurand(65, "energy_active_export_resettable", "Wh", "counter", None),
    Measurand(66, "energy_active_sum_resettable", "Wh", "counter", None),
    # The same counters as float32, of meters that have them as integers too.
    Measurand(67, "energy_active_import_total_f32", "Wh", "counter", None),
    Measurand(68, "energy_active_export_total_f32", "Wh", "counter", None),
    Measurand(69, "power_active_import", "W", "instant", "1-0:1.7.0"),
    Measurand(70, "power_active_export", "W", "instant", "1-0:2.7.0"),
    *_phases(71, "power_active_import", "W", ("21", "41", "61")),
    *_phases(74, "power_active_export", "W", ("22", "42", "62")),
    Measurand(77, "power_reactive_import", "var", "instant", "1-0:3.7.0"),
    Measurand(78, "power_reactive_export", "var", "instant", "1-0:4.7.0"),
    Measurand(79, "power_active_demand", "W", "instant", None),
    Measurand(80, "phase_angle_total", "deg", "instant", None),
    *_phases(81, "phase_angle", "deg", ("81.7.4", "81.7.15", "81.7.26")),
    *_phases(84, "thd_voltage", "%", ("32.7.124", "52.7.124", "72.7.124")),
    Measurand(87, "thd_voltage_avg", "%", "instant", None),
    *_phases(88, "thd_current", "%", ("31.7.124", "51.7.124", "71.7.124")),
    Measurand(91, "temperature", "degC", "instant", None),
    # Water, heat, gas (EN 13757-1).
    Measurand(92, "volume_total", "m3", "counter", "8-0:1.0.0"),
    Measurand(93, "flow_volume", "m3/h", "instant", "8-0:2.0.0"),
    Measurand(94, "energy_heat_total", "Wh", "counter", "6-0:1.0.0"),
    Measurand(95, "power_heat", "W", "instant", "6-0:8.0.0"),
    Measurand(96, "temperature_flow", "degC", "instant", "6-0:10.0.0"),
    Measurand(97, "temperature_return", "degC", "instant", "6-0:11.0.0"),
    Measurand(98, "volume_gas_total", "m3", "counter", "7-0:3.0.0"),
)

BY_NAME = {measurand.name: measurand for measurand in VOCABULARY}
BY_NUMBER = {measurand.number: measurand for measurand in VOCABULARY}
