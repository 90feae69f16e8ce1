"""Append the meters of a scan to a configuration, as `[[bus]]` and `[[meter]]` tables; keep the rest as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from agent.adapters.system.lending_fifo import same_port
from agent.cli.scan.run import FoundMeter
from agent.core.metering.addresses import SERIAL_UNIT_MAX, TCP
from agent.settings import BusSettings, ConfigMistake, Settings, SettingsError
from agent.settings.load import parse, unreadable_step

SURE_MIN = 0.3  # below half of this, a meter is not written
UNITS = range(1, SERIAL_UNIT_MAX + 1)  # of meters; on a network also others, if the device has none of these
DEFAULT_LINE, CUSTOMER_PORT = "rs485", "customer-port"
BY_ID = Path("/dev/serial/by-id")
WRITE_STEP = "run this with sudo, or name a file of your own with --config"


class WriteError(Exception):
    """Nothing was written; `str()` says why and what to do."""


@dataclass(slots=True)
class Addition:
    """Text to append, and the messages about it."""

    text: str = ""
    said: list[str] = field(default_factory=list)


def tables(
    found: Sequence[FoundMeter], buses: Sequence[BusSettings], meters: Iterable[tuple[str, int, str]]
) -> Addition:
    """Tables for meters that are not configured yet. `meters` are the configured ones: bus, unit and name."""
    there = {(bus, unit): name for bus, unit, name in meters}
    names = {bus.name for bus in buses}
    meter_names = set(there.values())
    known = {same_port(bus.port): bus for bus in buses}
    made = Addition()
    for one in found:
        port = same_port(one.port)
        if port in known and not _fits(known[port], one):
            text = f"{_where(one)}: not written: bus {known[port].name} of the configuration has other settings"
            made.said.append(f"{text}; change them to {one.setting}")
            continue
        if not one.identified.candidates or one.identified.candidates[0].confidence < SURE_MIN / 2:
            made.said.append(f"{_where(one)}: not written: its model is unknown; make one: wattpost new-profile")
            continue
        if one.unit not in UNITS and (why := _beside(one, found)):
            made.said.append(f"{_where(one)}: not written: {why}")
            continue
        if port not in known:
            known[port] = _bus(one, names)
            names.add(known[port].name)
            made.text += _bus_table(known[port])
            made.said.append(f"added bus {known[port].name} ({known[port].port})")
        bus = known[port].name
        if (bus, one.unit) in there:
            made.said.append(f"{_where(one)}: already configured as meter {there[bus, one.unit]}")
            continue
        model = one.identified.candidates[0].model
        rest = model.partition("-")[2]
        name = _free(model if rest.isdecimal() else rest or model, meter_names)
        meter_names.add(name)
        there[bus, one.unit] = name
        made.text += _meter_table(one, bus, name, model)
        made.said.append(f"added meter {name} ({model}, unit {one.unit} on {bus})")
    return made


def _beside(one: FoundMeter, found: Sequence[FoundMeter]) -> str:
    """Why a unit id outside 1 to 247 is not written. On a network it is, unless it may be another meter's second id."""
    if one.setting is not None:
        return "its unit id is not valid on a serial line; set one from 1 to 247 on the meter"
    same = [each for each in found if each.port == one.port and _may_be_one(each, one)]
    same.sort(key=lambda each: (each.unit not in UNITS, -each.unit))  # if 0 is forwarded, all meters answer to it
    return "" if same[0] is one else f"it may be the same meter as unit {same[0].unit}"


def _may_be_one(one: FoundMeter, other: FoundMeter) -> bool:
    models = [[each.model for each in found.identified.candidates[:1]] for found in (one, other)]
    numbers = {found.identified.serial_number for found in (one, other)} - {""}
    return models[0] == models[1] and len(numbers) < 2  # noqa: PLR2004 - two numbers are two meters


def _fits(bus: BusSettings, found: FoundMeter) -> bool:
    setting = found.setting
    return setting is None or (
        bus.baudrate in {None, setting.baudrate}
        and bus.parity in {None, setting.parity}
        and bus.stopbits in {None, setting.stopbits}
    )


def _where(found: FoundMeter) -> str:
    return f"unit {found.unit} on {found.port}"


def _bus(found: FoundMeter, names: set[str]) -> BusSettings:
    setting, port = found.setting, lasting_name(found.port)
    if found.sends:  # its profile has the line settings
        return BusSettings(_free(CUSTOMER_PORT, names), port, None, None, None)
    if setting is None:
        return BusSettings(_free("tcp-" + port.removeprefix(TCP).rpartition(":")[0], names), port, None, None, None)
    return BusSettings(_free(DEFAULT_LINE, names), port, setting.baudrate, setting.parity, setting.stopbits)


def lasting_name(port: str) -> str:
    """The adapter's name in /dev/serial/by-id, which survives replugging; its absolute path if it has none."""
    if port.startswith(TCP):
        return port
    with suppress(OSError):
        real = os.path.realpath(port)
        return next((str(link) for link in sorted(BY_ID.iterdir()) if os.path.realpath(link) == real), _whole(port))
    return _whole(port)


def _whole(port: str) -> str:
    return os.path.abspath(port)  # noqa: PTH100 - without the `..` that Path.absolute() leaves; links stay


def _free(wanted: str, taken: set[str]) -> str:
    base = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "-" for letter in wanted)
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def _bus_table(bus: BusSettings) -> str:
    lines = ["", "[[bus]]", f"name = {_text(bus.name)}", f"port = {_text(bus.port)}"]
    if bus.baudrate is not None:
        lines += [f"baudrate = {bus.baudrate}", f"parity = {_text(bus.parity or 'N')}", f"stopbits = {bus.stopbits}"]
    return "\n".join(lines) + "\n"


def _meter_table(found: FoundMeter, bus: str, name: str, model: str) -> str:
    best = found.identified.candidates[0]
    number = f", serial number {found.identified.serial_number}" if found.identified.serial_number else ""
    comment = f"# Found by wattpost scan{number}: {best.decided} ({best.confidence:.0%} sure)."
    lines = ["", _printable(comment), "[[meter]]", f"name = {_text(name)}", f"bus = {_text(bus)}"]
    others = [other for other in found.identified.tied if other != model]
    if others:
        lines.insert(2, f"# It may also be {' or '.join(others)}: look at the type on the meter.")
    return "\n".join([*lines, f"unit = {found.unit}", f"model = {_text(model)}"]) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # TOML's basic strings have the same escapes


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def check(config: Path) -> None:
    """Raises `WriteError` if `add_to` could not write. Called first, so that no scan runs for minutes in vain."""
    path = config.resolve()
    _current(path)
    if not os.access(path.parent, os.W_OK):
        raise WriteError(f"cannot write {path}: no permission for its folder; {WRITE_STEP}")


def add_to(config: Path, found: Sequence[FoundMeter]) -> list[str]:
    """Append the tables to the file, checked and in one step; returns what was done. Raises `WriteError`."""
    path = config.resolve()
    settings, data = _current(path)
    meters = [(meter.bus, meter.unit, meter.name) for meter in settings.meters]
    addition = tables(found, settings.buses, meters)
    if not addition.text:
        return [*addition.said, f"{config} is unchanged"]
    text = data.decode("utf-8-sig")
    text += "" if not text or text.endswith("\n") else "\n"
    _check(path, settings, (text + addition.text).encode(), addition.text)
    try:
        backup = _replace(path, (text + addition.text).encode())
    except OSError as error:
        raise WriteError(f"cannot write {error.filename or path}: {error.strerror}; {WRITE_STEP}") from error
    said = [*addition.said, f"written to {config}; the old file is {backup}"]
    return [*said, f"next: wattpost check-config --config {quote(str(config))}, then systemctl reload wattpost"]


def _current(path: Path) -> tuple[Settings, bytes]:
    try:
        data = path.read_bytes()
        return parse(data, path), data
    except OSError as error:
        raise WriteError(f"cannot read {path}: {error.strerror}; {unreadable_step(path, error)}") from error
    except SettingsError as error:
        raise WriteError(f"{_mistakes(path, error.mistakes)}\nnothing was written; correct this first") from error


def _check(path: Path, before: Settings, data: bytes, added: str) -> None:
    """Raises `WriteError` unless the new file is valid and still has all buses and meters of the old one."""
    try:
        after = parse(data, path)
    except SettingsError as error:
        text = f"{_mistakes(path, error.mistakes)}\nnothing was written; add these tables by hand:\n{added}"
        raise WriteError(text) from error
    if after.buses[: len(before.buses)] != before.buses or after.meters[: len(before.meters)] != before.meters:
        raise WriteError(f"cannot append tables to {path}; nothing was written; add these by hand:\n{added}")


def _mistakes(path: Path, mistakes: Iterable[ConfigMistake]) -> str:
    from agent.settings import describe  # noqa: PLC0415 - only where there are any

    return "\n".join(describe(path, mistake) for mistake in mistakes)


def _replace(path: Path, data: bytes) -> Path:
    """Keep the old file under another name, and replace it by the new one, with the same mode and owner."""
    number = 1
    while (backup := path.with_name(f"{path.name}.bak{number if number > 1 else ''}")).exists():
        number += 1
    shutil.copy2(path, backup)
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path, draft)
    old = path.stat()
    with suppress(PermissionError):
        os.chown(draft, old.st_uid, old.st_gid)
    draft.replace(path)
    return backup
