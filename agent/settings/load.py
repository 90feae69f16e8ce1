"""From a file to `Settings`, or to everything that is wrong with it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.settings.cross_checks import check_together
from agent.settings.key_positions import scan
from agent.settings.keys import CREDENTIAL_PREFIX
from agent.settings.mistake import ConfigMistake, Named, SettingsError
from agent.settings.model import StatusTable
from agent.settings.settings import (
    BatchSettings,
    BoxSettings,
    BufferSettings,
    BusSettings,
    ClockSettings,
    MeterSettings,
    Settings,
    UplinkSettings,
)
from agent.settings.tables import MistakeReport, Table, Tables, check_tables, dotted
from wire import topics

DEFAULT_PATH = Path("/etc/wattpost/agent.toml")
DEFAULT_STATUS_PATH = Path(StatusTable().path)
FILE_BYTES_MAX = 1_000_000


def load(path: Path) -> Settings:
    """The settings of a file; raises `SettingsError` with all its mistakes. Reads that file and meter profiles only."""
    return parse(_read(path), path)


def parse(data: bytes, path: Path) -> Settings:
    """As `load`, from bytes; relative paths in them, and the folder of profiles, are seen from the folder of `path`."""
    text, document = _parse_toml(data, path)
    report = MistakeReport(scan(text))
    folders = (path.parent.absolute() / "profiles",)
    tables = check_tables(document, report)
    check_together(tables, folders, report)
    if report.mistakes:
        mistakes = sorted(report.mistakes, key=lambda mistake: mistake.line or 0)
        raise SettingsError(path, mistakes, report.warnings, _named(tables, path.parent.absolute(), mistakes))
    return _build(tables, path.parent.absolute(), folders, hashlib.sha256(data).hexdigest()[:8], report)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise SettingsError(path, [ConfigMistake("", None, problem, unreadable_step(path, error))]) from error
    if len(data) > FILE_BYTES_MAX:
        problem = f"is larger than {FILE_BYTES_MAX} bytes"
        raise SettingsError(path, [ConfigMistake("", None, problem, "this is not a configuration file")])
    return data


def unreadable_step(path: Path, error: OSError) -> str:
    """What to do about a configuration file that cannot be read."""
    if isinstance(error, IsADirectoryError):
        return f"name the file in it, such as {path / DEFAULT_PATH.name}"
    if isinstance(error, PermissionError):
        return f"run this with sudo, or make it readable for this user: ls -l {path}"
    return "copy config/agent.example.toml there, or name another file with --config"


def _parse_toml(data: bytes, path: Path) -> tuple[str, Mapping[str, Any]]:
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        mistake = ConfigMistake("", line, "has bytes that are not UTF-8", "save the file as UTF-8")
        raise SettingsError(path, [mistake]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, [_syntax_mistake(str(error), text)]) from error
    except RecursionError as error:
        raise SettingsError(path, [_syntax_mistake("brackets nested too deeply", text)]) from error


def _syntax_mistake(message: str, text: str) -> ConfigMistake:
    """tomllib says `Expected '=' after a key ... (at line 3, column 5)` or `(at end of document)`."""
    problem, _, where = message.rpartition(" (at ")
    digits = where.removeprefix("line ").partition(",")[0]
    line = int(digits) if digits.isdigit() else text.count("\n") + 1
    hint = 'correct this first, the rest of the file is checked after that (text stands in "quotes")'
    return ConfigMistake("", line, f"is not valid TOML: {problem or message}", hint)


def _build(
    tables: Tables, folder: Path, profile_folders: tuple[Path, ...], revision: str, report: MistakeReport
) -> Settings:
    single = tables.single
    buffer, batch = single["buffer"], single["batch"]
    return Settings(
        box=BoxSettings(id=single["box"]["id"]),
        clock=ClockSettings(source=single["clock"]["source"]),
        buses=tuple(BusSettings(**bus.values) for bus in tables.buses),
        meters=tuple(_meter(meter) for meter in tables.meters),
        buffer=BufferSettings(folder / buffer["path"], buffer["max_size"], buffer["durability"]),
        batch=BatchSettings(batch["max_age"], batch["max_bytes"]),
        uplink=_uplink(single["uplink"], single["box"]["id"], folder),
        status_path=folder / single["status"]["path"],
        status_interval_ms=single["status"]["interval"],
        profile_folders=profile_folders,
        revision=revision,
        warnings=tuple(report.warnings),
    )


def _named(tables: Tables, folder: Path, mistakes: Iterable[ConfigMistake]) -> Named:
    wrong = {mistake.path for mistake in mistakes}

    def good(table: Table, name: str) -> str | None:
        value: str | None = table.get(name)
        return None if dotted((*table.path, name)) in wrong else value

    uplink = tables.single["uplink"]
    ca, cert, key = (good(uplink, name) for name in ("ca", "cert", "key"))
    return Named(
        ca=folder / ca if ca else None,
        cert=folder / cert if cert else None,
        key=_key(key, folder) if key else None,
        ports=tuple(good(bus, "port") for bus in tables.buses),
        written={
            f"{name}.path": folder / path
            for name in ("buffer", "status")
            if (path := good(tables.single[name], "path")) is not None
        },
    )


def _key(reference: str, folder: Path) -> str:
    return reference if reference.startswith(CREDENTIAL_PREFIX) else str(folder / reference)


def _meter(table: Table) -> MeterSettings:
    values = dict(table.values)
    measurands = values.pop("measurands")
    return MeterSettings(
        interval_ms=values.pop("interval"), measurands=None if measurands is None else tuple(measurands), **values
    )


def _uplink(table: Table, box: str, folder: Path) -> UplinkSettings:
    return UplinkSettings(
        endpoint=table["endpoint"],
        port=table["port"],
        ca=folder / table["ca"],
        cert=folder / table["cert"],
        key=_key(table["key"], folder),
        topic=topics.expand(table["topic"], box),
        receipts=topics.expand(table["receipts"], box),
        confirm=table["confirm"],
        fleet_size=table["fleet_size"],
        keep_alive_s=table["keep_alive"] // 1000,
        confirm_interval_ms=table["confirm_interval"],
    )
