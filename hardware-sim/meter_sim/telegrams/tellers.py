"""From what a meter measures to its telegram, worded as the meters do. `meter_sim.telegrams.encoders` does the framing.

A number goes out in steps, as on the real meters; `Numbers.codes` has it back in the vocabulary's unit, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from drivers.profile.model import Field
from drivers.profile.parse import Profile
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

Values = Mapping[str, float]
HOURLY_EVERY = 6  # lists with counters, which real HAN meters send once an hour, so that nobody waits for them

MEASURANDS: dict[str, str] = {  # groups C.D.E of OBIS codes (IEC 62056-61)
    "1.8.0": "energy_active_import_total",
    "1.8.1": "energy_active_import_tariff1",
    "1.8.2": "energy_active_import_tariff2",
    "2.8.0": "energy_active_export_total",
    "2.8.1": "energy_active_export_tariff1",
    "2.8.2": "energy_active_export_tariff2",
    "3.8.0": "energy_reactive_import_total",
    "4.8.0": "energy_reactive_export_total",
    "1.7.0": "power_active_import",
    "2.7.0": "power_active_export",
    "3.7.0": "power_reactive_import",
    "4.7.0": "power_reactive_export",
    "16.7.0": "power_active_total",
    "14.7.0": "frequency",
    "13.7.0": "power_factor_total",
}
for _phase in (1, 2, 3):
    _c = 20 * _phase
    MEASURANDS |= {
        f"{_c + 1}.7.0": f"power_active_import_l{_phase}",
        f"{_c + 2}.7.0": f"power_active_export_l{_phase}",
        f"{_c + 16}.7.0": f"power_active_l{_phase}",
        f"{_c + 11}.7.0": f"current_l{_phase}",
        f"{_c + 12}.7.0": f"voltage_l{_phase}_n",
    }


@dataclass(slots=True)
class Numbers:
    """Collects what is told: `steps` says how often `step` goes into a value, and remembers it under its code."""

    values: Values
    codes: dict[str, Fraction] = field(default_factory=dict)

    def has(self, code: str) -> bool:
        return _measurand(code) in self.values

    def steps(self, code: str, step: str, scale: str = "1", name: str = "") -> int:
        """`scale` is what one unit of the code is in the vocabulary's unit, where the code does not say its unit."""
        size = Fraction(Decimal(step))
        steps = round(Fraction(self.values[name or _measurand(code)]) / size)
        self.codes[code] = steps * size / Fraction(Decimal(scale))
        return steps

    def text(self, code: str, digits: str, unit: str) -> str:
        """A line of text: `digits` is the form with zeros, such as 000000.000; powers and energies are in thousands."""
        thousand = 3 if unit.startswith("k") else 0
        decimals = len(digits.partition(".")[2])
        step = Decimal(1).scaleb(thousand - decimals)
        steps = self.steps(code, str(step))
        sign = "-" if steps < 0 else ""
        number = f"{Decimal(abs(steps)).scaleb(-decimals):f}".rjust(len(digits), "0")
        return f"({sign}{number}*{unit})"


def _measurand(code: str) -> str:
    return MEASURANDS.get(code.rpartition(":")[2], "")


Teller = Callable[[Numbers, int, float, int], bytes]
"""Numbers, serial number, Unix time, number of the telegram -> telegram."""


def _lines(numbers: Numbers, forms: Iterable[tuple[str, str, str]]) -> list[str]:
    return [f"{code}{numbers.text(code, digits, unit)}" for code, digits, unit in forms if numbers.has(code)]


def _forms(group: str, energy: str, power: str, volts: str, amperes: str) -> list[tuple[str, str, str]]:
    """Code, digits and unit of all that a text telegram may say, phases last."""
    energies = [(f"{group}{code}", energy, "kWh") for code in ("1.8.0", "1.8.1", "1.8.2", "2.8.0", "2.8.1", "2.8.2")]
    powers = [(f"{group}{code}", power, "kW") for code in ("1.7.0", "2.7.0")]
    phases = []
    for c in (20, 40, 60):
        phases += [
            (f"{group}{c + 12}.7.0", volts, "V"),
            (f"{group}{c + 11}.7.0", amperes, "A"),
            (f"{group}{c + 1}.7.0", power, "kW"),
            (f"{group}{c + 2}.7.0", power, "kW"),
        ]
    return energies + powers + phases


def _stamp(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%y%m%d%H%M%S")


def tell_p1(numbers: Numbers, serial_number: int, unix_s: float, _number: int) -> bytes:
    """DSMR 5, as a Dutch meter has it: two tariffs, no total; gas on the first M-Bus channel."""
    equipment = str(serial_number).encode().hex().upper()
    forms = [form for form in _forms("1-0:", "000000.000", "00.000", "000.0", "000") if not form[0].endswith(".8.0")]
    numbers.steps("7-0:3.0.0", "0.001", name="volume_gas_total")
    gas = f"({float(numbers.codes['7-0:3.0.0']):09.3f}*m3)"
    lines = [
        "1-3:0.2.8(50)",
        f"0-0:1.0.0({_stamp(unix_s)}W)",
        f"0-0:96.1.1({equipment})",
        "0-0:96.14.0(0001)",
        *_lines(numbers, forms),
        "0-0:96.13.0()",
        "0-1:24.1.0(003)",
        f"0-1:96.1.0({equipment})",
        f"0-1:24.2.1({_stamp(unix_s)}W){gas}",
    ]
    return p1(lines)


def tell_p1_v3(numbers: Numbers, serial_number: int, _unix_s: float, _number: int) -> bytes:
    """DSMR 3: no check sum, powers to ten watts, gas on a line of its own."""
    forms = [("1-0:1.8.1", "00000.000", "kWh"), ("1-0:1.8.2", "00000.000", "kWh"), ("1-0:2.8.1", "00000.000", "kWh")]
    forms += [("1-0:2.8.2", "00000.000", "kWh"), ("1-0:1.7.0", "0000.00", "kW"), ("1-0:2.7.0", "0000.00", "kW")]
    lines = [f"0-0:96.1.1({str(serial_number).encode().hex().upper()})", *_lines(numbers, forms)]
    return p1(lines, check=False)


def tell_mode_d(numbers: Numbers, serial_number: int, _unix_s: float, _number: int) -> bytes:
    """As an EasyMeter pushes it: long codes with group F, four decimals."""
    lines = [f"0-0:96.1.255*255({serial_number})"]
    codes = ("1.8.0", "2.8.0", "36.7.0", "56.7.0", "76.7.0", "16.7.0")
    for code in (f"1-0:{code}" for code in codes):
        if numbers.has(code):
            digits, unit = ("00000000.0000", "kWh") if ".8." in code else ("000000.00", "W")
            lines.append(f"{code}*255{numbers.text(code, digits, unit)}")
    return mode_d(lines)


def tell_mode_c(numbers: Numbers, serial_number: int, _unix_s: float, _number: int) -> bytes:
    """A readout with short codes, as the standard's own examples have them."""
    forms = _forms("1-0:", "000000.000", "00.000", "000.0", "000.00")
    short = [line.removeprefix("1-0:") for line in _lines(numbers, forms)]
    return mode_c(["F.F(00)", f"0.0.0({serial_number})", *short])[1]


def tell_sml(numbers: Numbers, serial_number: int, _unix_s: float, _number: int) -> bytes:
    """Numbers with unit and exponent; the server id has the serial number that is printed on the meter."""
    server = b"\x0a\x01EMH\x00" + serial_number.to_bytes(4, "big")
    forms = [("1-0:1.8.0", 30, -1, 8), ("1-0:2.8.0", 30, -1, 8), ("1-0:16.7.0", 27, -1, 4), ("1-0:14.7.0", 44, -1, 2)]
    for c in (20, 40, 60):
        forms += [(f"1-0:{c + 16}.7.0", 27, -1, 4), (f"1-0:{c + 12}.7.0", 35, -1, 2), (f"1-0:{c + 11}.7.0", 33, -2, 2)]
    entries: list[tuple[str, int | None, int, bytes | int, int]] = [("1-0:96.50.1*1", None, 0, b"EMH", 0)]
    for code, unit, exponent, size in forms:
        if numbers.has(code):
            entries.append((code, unit, exponent, numbers.steps(code, f"1e{exponent}"), size))
    return sml(server, entries)


HAN_INSTANT = ("1.7.0", "2.7.0", "3.7.0", "4.7.0")
HAN_CURRENTS = ("31.7.0", "51.7.0", "71.7.0")
HAN_VOLTAGES = ("32.7.0", "52.7.0", "72.7.0")
HAN_COUNTERS = ("1.8.0", "2.8.0", "3.8.0", "4.8.0")


def _hourly(number: int) -> bool:
    return number % HOURLY_EVERY == 0


def tell_aidon(numbers: Numbers, serial_number: int, _unix_s: float, number: int) -> bytes:
    """Each value with its unit and exponent."""
    entries: list[tuple[str, str | int, int, int, int]] = [
        ("1-1:0.2.129", "AIDON_V0001", 0, 0, 0),
        ("0-0:96.1.0", f"73599928{serial_number}", 0, 0, 0),
        ("0-0:96.1.7", "6525", 0, 0, 0),
    ]
    groups = [
        (HAN_INSTANT[:2], 0, 27, 6),
        (HAN_INSTANT[2:], 0, 29, 6),
        (HAN_CURRENTS, -1, 33, 16),
        (HAN_VOLTAGES, -1, 35, 18),
    ]
    if _hourly(number):
        groups += [(HAN_COUNTERS[:2], 1, 30, 6), (HAN_COUNTERS[2:], 1, 32, 6)]
    for codes, exponent, unit, tag in groups:
        known = [f"1-0:{code}" for code in codes if numbers.has(code)]
        entries += [(code, numbers.steps(code, f"1e{exponent}"), exponent, unit, tag) for code in known]
    return hdlc(aidon(entries))


def tell_kaifa(numbers: Numbers, serial_number: int, unix_s: float, number: int) -> bytes:
    """Values alone, told apart by their count; a three-phase meter."""
    values: list[str | int] = ["KFM_001", f"69706314{serial_number}", "MA304H3E"]
    values += [numbers.steps(f"1-0:{code}", "1") for code in HAN_INSTANT]
    values += [numbers.steps(f"1-0:{code}", "0.001", "0.001") for code in HAN_CURRENTS if numbers.has(code)]
    values += [numbers.steps(f"1-0:{code}", "0.1", "0.1") for code in HAN_VOLTAGES if numbers.has(code)]
    if _hourly(number):
        values.append(_stamp(unix_s))
        values += [numbers.steps(f"1-0:{code}", "1") for code in HAN_COUNTERS]
    return hdlc(kaifa(values))


def tell_kamstrup(numbers: Numbers, serial_number: int, _unix_s: float, number: int) -> bytes:
    """Codes and values by turns, in steps that only the manual says."""
    entries: list[tuple[str, str | int, int]] = [
        ("1-1:0.0.5", f"57065672{serial_number}", 0),
        ("1-1:96.1.1", "6841121BN243101040", 0),
    ]
    groups = [(HAN_INSTANT, "1", "1", 6), (HAN_CURRENTS, "0.01", "0.01", 6), (HAN_VOLTAGES, "1", "1", 18)]
    if _hourly(number):
        groups.append((HAN_COUNTERS, "10", "10", 6))
    for codes, step, scale, tag in groups:
        known = [f"1-1:{code}" for code in codes if numbers.has(code)]
        entries += [(code, numbers.steps(code, step, scale), tag) for code in known]
    return hdlc(kamstrup("Kamstrup_V0001", entries))


MBUS_RECORDS: dict[str, tuple[int, str, tuple[tuple[str, str, str, str, str, int], ...]]] = {
    # Medium, maker, and of each record: name, measurand, step, DIB, VIB, bytes.
    "mbus": (
        2,
        "EMU",
        (
            ("energy", "energy_active_import_total", "1", "04", "03", 4),
            ("energy.backward", "energy_active_export_total", "1", "04", "833C", 4),
            ("power", "power_active_total", "1", "04", "2B", 4),
            ("frequency", "frequency", "0.1", "02", "FB2E", 2),
            *(
                record
                for phase in (1, 2, 3)
                for record in (
                    (f"power.ff0{phase}", f"power_active_l{phase}", "1", "04", f"ABFF0{phase}", 4),
                    (f"voltage.ff0{phase}", f"voltage_l{phase}_n", "0.1", "02", f"FDC8FF0{phase}", 2),
                    (f"current.ff0{phase}", f"current_l{phase}", "0.001", "04", f"FDD9FF0{phase}", 4),
                )
            ),
        ),
    ),
    "mbus-heat": (
        4,
        "KAM",
        (
            ("energy", "energy_heat_total", "1000", "04", "06", 4),
            ("volume", "volume_total", "0.001", "04", "13", 4),
            ("power", "power_heat", "1", "04", "2B", 4),
            ("flow", "flow_volume", "0.001", "04", "3B", 4),
            ("flow_temperature", "temperature_flow", "0.1", "02", "5A", 2),
            ("return_temperature", "temperature_return", "0.1", "02", "5E", 2),
        ),
    ),
    "mbus-water": (
        7,
        "HYD",
        (
            ("volume", "volume_total", "0.001", "04", "13", 4),
            ("flow", "flow_volume", "0.001", "04", "3B", 4),
            ("external_temperature", "temperature", "0.1", "02", "66", 2),
        ),
    ),
}


def tell_mbus(kind: str, address: int, numbers: Numbers, serial_number: int, number: int) -> bytes:
    """The answer to REQ_UD2."""
    medium, maker, forms = MBUS_RECORDS[kind]
    records = b""
    for code, name, step, dib, vib, size in forms:
        if name in numbers.values:
            records += mbus_record(dib, vib, numbers.steps(code, step, name=name), size)
    return mbus(address, mbus_answer(str(serial_number), maker, medium, records, number & 0xFF))


TELLERS: dict[str, tuple[float, Teller]] = {  # model -> seconds between telegrams (0: is asked), and who words them
    "dsmr-p1": (1, tell_p1),
    "dsmr-p1-v3": (10, tell_p1_v3),
    "sml": (2, tell_sml),
    "iec62056-21": (0, tell_mode_c),
    "iec62056-21-push": (2, tell_mode_d),
    "han-aidon": (10, tell_aidon),
    "han-kaifa": (10, tell_kaifa),
    "han-kamstrup": (10, tell_kamstrup),
}


def told_values(profile: Profile, codes: Mapping[str, Fraction]) -> dict[str, float]:
    """What a reader of the telegram learns, by measurand."""
    found = {each.measurand: _sum(each, codes) for each in profile.fields}
    return {name: float(value) for name, value in found.items() if value is not None}


def _sum(wanted: Field, codes: Mapping[str, Fraction]) -> Fraction | None:
    for parts in wanted.sums:
        if all(code in codes for _sign, code in parts):
            return wanted.scale * sum((sign * codes[code] for sign, code in parts), Fraction(0))
    return None
