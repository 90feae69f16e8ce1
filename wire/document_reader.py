"""The JSON document of a batch, read: exactly what `to_document` wrote, or what another sender wrote with less care."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from wire.batch import (
    BOOT_BYTES,
    DESCRIPTOR_BYTES,
    EPOCH_BYTES,
    Anchor,
    Batch,
    BatchKey,
    Column,
    Event,
    Quality,
    Reading,
    Series,
    Slots,
)
from wire.errors import WireError
from wire.events import check_json, parse_data
from wire.json_safe import json_safe
from wire.limits import (
    COUNT_MAX,
    FLAGS_MAX,
    REV_MAX,
    TIME_MS_MAX,
    check_device,
    check_kind,
    check_measurand,
    check_meter,
)
from wire.measurand import BY_NAME
from wire.node import Node
from wire.resolution import EXPONENT_MIN, Resolution, shortest
from wire.utc import parse_utc

NO_BOOT = bytes(BOOT_BYTES)  # of senders without monotonic time: mono_ms is Unix time
DEFAULT_RESOLUTIONS = {
    "V": Resolution(1, -1),
    "A": Resolution(1, -3),
    "W": Resolution(1, -1),
    "var": Resolution(1, -1),
    "VA": Resolution(1, -1),
    "Hz": Resolution(1, -2),
    "1": Resolution(1, -3),
    "%": Resolution(1, -1),
    "deg": Resolution(1, -1),
    "degC": Resolution(1, -2),
    "m3": Resolution(1, -3),
    "m3/h": Resolution(1, -3),
}
FINEST = Resolution(1, 0)
_MANTISSA_E_EXPONENT = re.compile(r"([0-9]{1,7})e(-?[0-9]{1,2})")
_FLAGS = {flag.name.lower(): flag.value for flag in Quality if flag.name} | {f"bit{n}": 1 << n for n in range(31)}
_FLAGS |= {"good": 0, "": 0}


def from_document(document: object) -> Batch:
    """The batch that a document says; raises `WireError` with the path of the mistake. `encode` checks the rest.

    Only device, epoch, and per reading meter, values and `at` (or `mono_ms`) are needed.
    """
    root = Node(document, "")
    device = root.key("device").checked(check_device)
    epoch = root.key("epoch").octets(EPOCH_BYTES)
    if not (root.key("readings").given or root.key("events").given):
        raise root.fail('neither "readings" nor "events" is there, one is needed')
    clock = _Clock.of(root)
    numbers = _Numbers(root)
    groups = _groups(root)
    for node in root.key("readings").items():
        _group_of(node, groups).rows.append(_row(node, clock, numbers))
    common = {name: _resolution(node) for name, node in root.key("resolution").members()}
    events = sorted((_event(node, clock, numbers) for node in root.key("events").items()), key=lambda event: event.seq)
    series = tuple(group.series(common) for group in groups)
    key = BatchKey(device, epoch, numbers.first, numbers.last(), _integer(root.key("rev"), 0, REV_MAX))
    confirm_wanted = root.key("confirm_wanted")
    return Batch(
        key, clock.boot, clock.anchor, confirm_wanted.given and confirm_wanted.boolean(), series, tuple(events)
    )


def _integer(node: Node, default: int, most: int) -> int:
    return node.integer(0, most) if node.given else default


class _Numbers:
    """Record numbers: as given, else one more than the record before."""

    def __init__(self, root: Node) -> None:
        first = root.key("first")
        given = [
            node.key("seq").record_number()
            for name in ("readings", "events")
            for node in root.key(name).items()
            if node.key("seq").given
        ]
        self.first = first.record_number() if first.given else min(given, default=1)
        self._last = root.key("last")
        self._latest = self.first - 1
        self._highest = self.first

    def take(self, node: Node) -> int:
        seq = node.key("seq")
        self._latest = seq.record_number() if seq.given else self._latest + 1
        self._highest = max(self._highest, self._latest)
        return self._latest

    def last(self) -> int:
        return self._last.record_number(self.first) if self._last.given else self._highest


@dataclass(frozen=True, slots=True)
class _Clock:
    """How the document's times become `mono_ms`."""

    boot: bytes
    anchor: Anchor | None

    @classmethod
    def of(cls, root: Node) -> _Clock:
        records = [*root.key("readings").items(), *root.key("events").items()]
        boots = (record.key("boot") for record in (root, *records))
        boot = next((boot.octets(BOOT_BYTES) for boot in boots if boot.given), None)
        return cls(boot or NO_BOOT, _anchor(root.key("anchor"), records, has_boot=boot is not None))

    def mono_ms(self, record: Node) -> int:
        at, mono = record.key("at"), record.key("mono_ms")
        boot = record.key("boot")
        if boot.given and boot.octets(BOOT_BYTES) != self.boot:
            raise boot.fail(f"another boot than the batch, which has {self.boot.hex()}")
        if not at.given:
            if not mono.given:
                raise at.fail("missing, and so is mono_ms: one of them is needed")
            return mono.integer(0, TIME_MS_MAX)
        if self.anchor is None:
            raise at.fail("cannot be turned into mono_ms: the batch has a boot and no anchor")
        since_boot = at.checked(parse_utc) - self.anchor.boot_utc_ms
        if mono.given and mono.integer(0, TIME_MS_MAX) != since_boot:
            raise mono.fail(f"says another time than at and anchor, which give {since_boot}; leave out one of them")
        if not 0 <= since_boot <= TIME_MS_MAX:
            raise at.fail("is before the boot that anchor dates, or too late")
        return since_boot


def _anchor(anchor: Node, records: Sequence[Node], *, has_boot: bool) -> Anchor | None:
    """As given, else as a record says with both `at` and `mono_ms`, else that of Unix time where there is no boot."""
    if anchor.given:
        return Anchor(
            anchor.key("boot_utc_ms").integer(0, TIME_MS_MAX),
            _integer(anchor.key("uncertainty_ms"), 0, TIME_MS_MAX),
        )
    dated = [record for record in records if record.key("at").given]
    for record in dated:
        mono = record.key("mono_ms")
        if mono.given:
            boot_utc_ms = record.key("at").checked(parse_utc) - mono.integer(0, TIME_MS_MAX)
            if not 0 <= boot_utc_ms <= TIME_MS_MAX:
                raise mono.fail("is more than at has since 1970; leave out one of them")
            return Anchor(boot_utc_ms, 0)
    return Anchor(0, 0) if dated and not has_boot else None


@dataclass(frozen=True, slots=True)
class _Row:
    seq: int
    mono_ms: int
    values: Mapping[str, Node]
    quality: Mapping[str, int]
    node: Node


def _row(node: Node, clock: _Clock, numbers: _Numbers) -> _Row:
    values = node.key("values")
    if not values.given:
        raise values.expected("an object")
    quality = _quality(node.key("quality"), values)
    return _Row(numbers.take(node), clock.mono_ms(node), dict(values.members()), quality, node)


def _quality(node: Node, values: Node) -> Mapping[str, int]:
    """Flags by measurand; what is not an object holds for all values."""
    if not isinstance(node.value, dict):
        flags = _flags(node)
        return {name: flags for name, _ in values.members()}
    for name, flag in node.members():
        if not values.key(name).present:
            raise flag.fail("is a measurand that values do not have")
    return {name: _flags(flags) for name, flags in node.members()}


def _flags(node: Node) -> int:
    """A list of names, one name, or the number itself; nothing, or "good", is 0."""
    if not node.given:
        return 0
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.integer(0, FLAGS_MAX)
    flags = 0
    for item in node.items() if isinstance(node.value, list) else (node,):
        if not isinstance(item.value, str) or item.value not in _FLAGS:
            raise item.expected(f"a quality flag ({', '.join(filter(None, _FLAGS))})")
        flags |= _FLAGS[item.value]
    return flags


@dataclass(slots=True)
class _Group:
    """What becomes one series."""

    meter: str
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)
    slots: Slots | None = None
    descriptor: bytes | None = None
    rows: list[_Row] = field(default_factory=list)

    def series(self, common: Mapping[str, Resolution]) -> Series:
        names = dict.fromkeys(self.resolutions)
        for row in self.rows:
            names.update(dict.fromkeys(row.values))
        columns = tuple(self._column(name, common) for name in names)
        readings = tuple(_reading(row, columns) for row in sorted(self.rows, key=lambda row: row.seq))
        slots = self.slots or Slots(len(readings), len(readings))
        return Series(self.meter, columns, readings, slots, self.descriptor)

    def _column(self, name: str, common: Mapping[str, Resolution]) -> Column:
        check_measurand(name)
        given = self.resolutions.get(name) or common.get(name)
        if given:
            return Column(name, given)
        nodes = [row.values[name] for row in self.rows if name in row.values]
        return Column(name, _exact_resolution(name, [node for node in nodes if node.given]))


def _groups(root: Node) -> list[_Group]:
    groups = []
    for node in root.key("meters").items():
        slots, descriptor = node.key("slots"), node.key("descriptor")
        group = _Group(
            node.key("meter").checked(check_meter),
            {name: _resolution(value) for name, value in node.key("resolution").members()},
            _slots(slots) if slots.given else None,
            descriptor.octets(DESCRIPTOR_BYTES) if descriptor.given else None,
        )
        groups.append(group)
    return groups


def _slots(node: Node) -> Slots:
    return Slots(*(_integer(node.key(name), 0, COUNT_MAX) for name in ("due", "read", "explained")))


def _resolution(node: Node) -> Resolution:
    text = str(node.value)
    pair = _MANTISSA_E_EXPONENT.fullmatch(text)
    if pair:
        return node.passed(lambda parts: Resolution(int(parts[1]), int(parts[2])), pair)
    return node.passed(Resolution.parse, node.decimal())


def _group_of(node: Node, groups: list[_Group]) -> _Group:
    """The group that a reading names by meter, and by `series` where a meter has several."""
    meter = node.key("meter").checked(check_meter)
    series = node.key("series")
    if series.given:
        group = groups[series.integer(0, len(groups) - 1)]
        if group.meter != meter:
            raise series.fail(f"is of meter {group.meter!r}, the reading of {meter!r}")
        return group
    for group in groups:
        if group.meter == meter:
            return group
    groups.append(_Group(meter))
    return groups[-1]


def _exact_resolution(name: str, nodes: Iterable[Node]) -> Resolution:
    """The usual step of the unit when all values are multiples of it, else the power of ten that fits all."""
    numbers = [_without_noise(node) for node in nodes]
    known = BY_NAME.get(name)
    usual = DEFAULT_RESOLUTIONS.get(known.unit, FINEST) if known else FINEST
    needed = min((_exponent(number) for number in numbers), default=0)
    if needed >= usual.exponent:
        return usual
    if needed < EXPONENT_MIN:
        raise WireError(f"{name}: a value has more than {-EXPONENT_MIN} decimals; give its resolution or round it")
    return Resolution(1, needed)


def _without_noise(node: Node) -> Decimal:
    """The number; of a float, the 15 digits that a float is sure to keep: 0.1 + 0.2 is 0.3."""
    number = node.decimal()
    return Decimal(f"{node.value:.15g}") if isinstance(node.value, float) else number


def _exponent(number: Decimal) -> int:
    return shortest(number)[1] if number else 0


def _reading(row: _Row, columns: Sequence[Column]) -> Reading:
    values = tuple(_steps(row.values.get(column.measurand), column.resolution) for column in columns)
    flags = tuple(row.quality.get(column.measurand, 0) for column in columns) if any(row.quality.values()) else ()
    return Reading(row.seq, row.mono_ms, values, flags)


def _steps(node: Node | None, resolution: Resolution) -> int | None:
    if node is None or not node.given:
        return None
    return node.passed(resolution.to_steps, node.decimal())


def _event(node: Node, clock: _Clock, numbers: _Numbers) -> Event:
    seq, mono_ms = numbers.take(node), clock.mono_ms(node)
    meter = node.key("meter")
    kind = node.key("kind").checked(check_kind)
    return Event(seq, mono_ms, kind, meter.checked(check_meter) if meter.given else None, _data(node))


def _data(event: Node) -> dict[str, Any]:
    """The data; of `data_json`, where it is there, which keeps apart numbers and text."""
    data, exact = event.key("data"), event.key("data_json")
    shown = {name: member.value for name, member in data.members()}
    check_json(shown, data.path)
    if not exact.given:
        return shown
    plain = parse_data(exact.text(), exact.path)
    if data.given and json_safe(shown) != json_safe(plain):
        raise exact.fail("says something else than data; leave out one of them")
    return plain
