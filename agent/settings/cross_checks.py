"""Checks that need more than one key, or knowledge of meters and topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.metering.addresses import TCP, expected_unit
from agent.settings.ports import is_tcp_port, port_expected
from agent.settings.tables import MistakeReport, Table, Tables, dotted
from drivers.near_names import near_name
from wire import topics
from wire.errors import WireError

if TYPE_CHECKING:
    from drivers.profile.parse import CtAppliedBy, Profile

ONE_BILLING_UNIT_BYTES = 3600


def check_together(tables: Tables, profile_folders: Sequence[Path], report: MistakeReport) -> None:
    """All checks across keys; what is wrong goes to `report`."""
    for bus in tables.buses:
        _check_port(bus, report)
    _check_unique(tables.buses, "name", "bus", report)
    _check_unique(tables.buses, "port", "bus", report)
    _check_unique(tables.meters, "name", "meter", report)
    _check_meters(tables, profile_folders, report)
    _check_endpoint(tables.single["uplink"], report)
    _check_topics(tables, report)
    _check_key(tables.single["uplink"], report)
    _warn(tables, report)


def _check_port(bus: Table, report: MistakeReport) -> None:
    port = bus.get("port")
    if port is None or port.startswith("/"):
        return
    path = (*bus.path, "port")
    if not port.startswith(TCP):
        report.mistake(path, f'is "{port}"', port_expected(port))
        return
    host, colon, number = port.removeprefix(TCP).rpartition(":")
    if not colon or not host or "/" in host or not is_tcp_port(number):
        report.mistake(path, f'is "{port}"', 'expected host and port as in "tcp://192.168.1.20:502"')
    for key in ("baudrate", "parity", "stopbits"):
        if bus.get(key) is not None:
            report.warning((*bus.path, key), "has no effect on a tcp:// line", "leave it out")
    if bus.get("rs485") not in {None, "auto"}:
        report.warning((*bus.path, "rs485"), "has no effect on a tcp:// line", "leave it out")


def _check_unique(entries: Sequence[Table], key: str, what: str, report: MistakeReport) -> None:
    seen: dict[str, Table] = {}
    for table in entries:
        value = table.get(key)
        if value is None:
            continue
        if value in seen:
            other = f"{what}[{seen[value].path[-1]}]"
            report.mistake((*table.path, key), f'"{value}" is already used by {other}', "give each its own")
        seen.setdefault(value, table)


def _check_meters(tables: Tables, profile_folders: Sequence[Path], report: MistakeReport) -> None:
    buses = {bus.get("name") for bus in tables.buses} - {None}
    addresses: dict[tuple[str, int], Table] = {}
    profiles: dict[str, Profile | None] = {}
    for meter in tables.meters:
        model = meter.get("model")
        if model is not None:
            if model not in profiles:
                profiles[model] = _profile(meter, profile_folders, report)
            _check_measurands(meter, profiles[model], report)
            if (profile := profiles[model]) is not None:
                _check_factor(meter, "ct_ratio", profile.ct, "current", report)
                _check_factor(meter, "vt_ratio", profile.vt, "voltage", report)
        profile = profiles.get(model or "")
        _check_address(meter, buses, addresses, report, has_unit=_has_unit(profile))
        _check_unit(meter, tables, "modbus" if profile is None else profile.protocol, report)
    _check_shared_lines(tables, profiles, report)


def _has_unit(profile: Profile | None) -> bool:
    """Whether meters on one line are told apart by an address."""
    return profile is None or profile.protocol in {"modbus", "mbus"}


def _check_shared_lines(tables: Tables, profiles: Mapping[str, Profile | None], report: MistakeReport) -> None:
    from drivers.building import share_a_line  # noqa: PLC0415 - not needed for a file without meters

    first: dict[str, tuple[Table, Profile]] = {}
    for meter in tables.meters:
        bus, profile = meter.get("bus"), profiles.get(meter.get("model") or "")
        if bus is None or profile is None:
            continue
        other, theirs = first.setdefault(bus, (meter, profile))
        if not share_a_line(profile, theirs):
            problem = f"is {profile.protocol}, but {dotted(other.path)} on the same line is {theirs.protocol}"
            report.mistake((*meter.path, "bus"), problem, "give each protocol a [[bus]] of its own")


def _check_unit(meter: Table, tables: Tables, protocol: str, report: MistakeReport) -> None:
    unit, bus = meter.get("unit"), meter.get("bus")
    port = next((each.get("port") for each in tables.buses if each.get("name") == bus), None)
    expected = None if unit is None or port is None else expected_unit(protocol, port, unit)
    if expected is not None:
        where = "an M-Bus" if protocol == "mbus" else "a serial line"
        problem = f"is {unit}, which is no meter's on {where}"
        report.mistake((*meter.path, "unit"), problem, f"expected a whole number from {expected}")


def _check_address(
    meter: Table, buses: set[str], addresses: dict[tuple[str, int], Table], report: MistakeReport, *, has_unit: bool
) -> None:
    bus, unit = meter.get("bus"), meter.get("unit")
    if bus is None:
        return
    if bus not in buses:
        report.mistake((*meter.path, "bus"), f'"{bus}" is not the name of a [[bus]]', _suggest(bus, buses))
    if unit is None or not has_unit:
        return
    if (bus, unit) in addresses:
        other = dotted(addresses[bus, unit].path)
        report.warning((*meter.path, "unit"), f"is {unit}, as that of {other}", "two meters cannot share a unit id")
    addresses.setdefault((bus, unit), meter)


def _profile(meter: Table, profile_folders: Sequence[Path], report: MistakeReport) -> Profile | None:
    from drivers.profile.files import find_profile  # noqa: PLC0415 - not needed for a file without meters
    from drivers.profile.parse import ProfileError  # noqa: PLC0415 - not needed for a file without meters

    try:
        return find_profile(meter["model"], profile_folders)
    except ProfileError as error:
        for mistake in error.mistakes:
            problem = (
                mistake.problem if mistake.path == "model" else f"in its profile, {mistake.path}: {mistake.problem}"
            )
            report.mistake((*meter.path, "model"), f'"{meter["model"]}": {problem}', f"expected {mistake.expected}")
        return None


def _check_factor(meter: Table, key: str, applied_by: CtAppliedBy, what: str, report: MistakeReport) -> None:
    """A factor that nobody applies is a mistake; one that the meter applies itself is stated with the data, no more."""
    ratio, path = meter.get(key), (*meter.path, key)
    if ratio is None or ratio == 1:
        return
    if applied_by == "none":
        problem = f"is {ratio:g}, but {meter['model']} is connected directly, without {what} transformers"
        report.mistake(path, problem, "expected 1, or another model")
    elif applied_by == "meter":
        problem = f"is {ratio:g}, and {meter['model']} applies the factor that is set in it by itself"
        report.warning(path, problem, "it is stated with the data, and multiplies nothing")


def _check_measurands(meter: Table, profile: Profile | None, report: MistakeReport) -> None:
    wanted = meter.get("measurands")
    if wanted is None:
        return
    path = (*meter.path, "measurands")
    known = None if profile is None else list(profile.measurands)
    if not wanted:
        report.mistake(path, "is empty", "name at least one, or leave the key out for the profile's own choice")
    for index, name in enumerate(wanted):
        if name in wanted[:index]:
            report.mistake((*path, index), f'"{name}" is there twice', "name each once")
        elif known is not None and name not in known:
            report.mistake((*path, index), f'"{name}" is not known to {meter["model"]}', _suggest(name, known))


def _suggest(name: str, known: Sequence[str] | set[str]) -> str:
    meant = near_name(name, known)
    if meant:
        return f'did you mean "{meant}"?'
    return f"known are: {', '.join(sorted(known))}" if known else "none is known"


def _check_endpoint(uplink: Table, report: MistakeReport) -> None:
    endpoint = uplink.get("endpoint")
    if endpoint is None:
        return
    forbidden = next((c for c in endpoint if c in ":/@?#" or c.isspace()), None)
    is_ipv6 = endpoint.count(":") > 1 and not set(endpoint) - set("0123456789abcdefABCDEF:.")
    if forbidden is not None and not is_ipv6:
        report.mistake(
            (*uplink.path, "endpoint"),
            f'is "{endpoint}", which has {forbidden!r} in it',
            "expected the host name alone; the port has a key of its own",
        )


def _check_topics(tables: Tables, report: MistakeReport) -> None:
    box, uplink = tables.single["box"].get("id") or "box", tables.single["uplink"]
    checks: Mapping[str, Callable[[str], object]] = {
        "topic": topics.check_publish_topic,
        "receipts": topics.check_filter,
    }
    for key, check in checks.items():
        template = uplink.get(key)
        if template is None:
            continue
        try:
            check(topics.expand(template, box))
        except WireError as error:
            report.mistake((*uplink.path, key), str(error), f"expected {_TOPIC_EXAMPLES[key]}")


_TOPIC_EXAMPLES = {
    "topic": 'a topic such as "$aws/rules/wattpost_batch/{box}" or "wattpost/{box}/batches"',
    "receipts": 'a topic such as "wattpost/{box}/receipts"',
}


def _check_key(uplink: Table, report: MistakeReport) -> None:
    key = uplink.get("key")
    if key is None:
        return
    path = (*uplink.path, "key")
    if key.startswith("pkcs11:"):
        problem = "is a PKCS#11 URI, which this version cannot use yet"
        report.mistake(path, problem, 'expected "credential:NAME" or a path to a PEM file')
    elif key.startswith("credential:"):
        name = key.removeprefix("credential:")
        if not name or "/" in name or name.startswith("."):
            report.mistake(path, f'is "{key}"', "expected a name of a systemd credential after credential:")
    elif "://" in key or key.startswith("-----BEGIN"):
        report.mistake(path, "is neither", 'expected "credential:NAME" or a path to a PEM file')


def _warn(tables: Tables, report: MistakeReport) -> None:
    if not tables.meters and not report.mistakes:
        report.warning((), "no [[meter]] is configured, so nothing will be read", "add a [[bus]] and a [[meter]]")
    used = {meter.get("bus") for meter in tables.meters}
    for bus in tables.buses:
        if tables.meters and bus.get("name") not in used:
            report.warning(bus.path, f'no meter is on bus "{bus.get("name")}"', "remove it, or add its meters")
    batch = tables.single["batch"]
    max_bytes, max_age_ms = batch.get("max_bytes"), batch.get("max_age")
    if max_bytes is not None and max_bytes > ONE_BILLING_UNIT_BYTES:
        report.warning(
            (*batch.path, "max_bytes"),
            f"is {max_bytes}, so that a batch may take several 5 KB billing units of AWS IoT",
            f"{ONE_BILLING_UNIT_BYTES} keeps it to one",
        )
    for meter in tables.meters:
        interval_ms = meter.get("interval")
        if interval_ms is not None and max_age_ms is not None and interval_ms > max_age_ms:
            problem = "is longer than batch.max_age, so that each batch has one reading"
            report.warning((*meter.path, "interval"), problem, "a longer batch.max_age costs less")
