"""The events of a batch as bytes: number, time, kind, meter and canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any

from wire.batch import Event
from wire.errors import WireError
from wire.limits import (
    EVENT_BYTES_MAX,
    EVENT_DEPTH_MAX,
    EVENTS_MAX,
    INT64_MAX,
    INT64_MIN,
    METER_BYTES_MAX,
    SEQ_MAX,
    check_kind,
    check_meter,
    check_range,
)
from wire.varint import Reader, svarint, uvarint

KIND_CHARS_MAX = 64


def canonical_json(data: object) -> bytes:
    """The one way to write JSON here: keys sorted, no spaces, UTF-8 without escapes that are not needed."""
    return json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def encode_events(events: Sequence[Event], first: int, base_ms: int) -> bytes:
    """Count and events; raises `WireError` on data that JSON cannot say."""
    check_range("number of events", len(events), 0, EVENTS_MAX)
    out = bytearray(uvarint(len(events)))
    seq, mono_ms = first, base_ms
    json_bytes = 0
    for event in events:
        what = f"event {event.seq}"
        kind = check_kind(event.kind).encode()
        meter = b"" if event.meter is None else check_meter(event.meter).encode()
        plain = dict(event.data)
        check_json(plain, what)
        data = canonical_json(plain) if plain else b""
        json_bytes += len(data)
        out += uvarint(check_range(f"{what}: step of seq", event.seq - seq, 0, SEQ_MAX)) + svarint(
            event.mono_ms - mono_ms
        )
        seq, mono_ms = event.seq, event.mono_ms
        for text in (kind, meter, data):
            out += uvarint(len(text)) + text
    check_range("bytes of event data", json_bytes, 0, EVENT_BYTES_MAX)
    return bytes(out)


def read_events(reader: Reader, first: int, base_ms: int) -> tuple[Event, ...]:
    """The events that `encode_events` wrote; the caller checks their numbers and times."""
    count = reader.uvarint("number of events", EVENTS_MAX)
    seq, mono_ms = first, base_ms
    bytes_left = EVENT_BYTES_MAX
    events = []
    for _ in range(count):
        seq += reader.uvarint("seq of event", SEQ_MAX)
        mono_ms += reader.svarint("mono_ms of event")
        kind = check_kind(reader.text("kind of event", KIND_CHARS_MAX))
        meter = reader.text("meter of event", METER_BYTES_MAX)
        text = reader.text("data of event", bytes_left)
        bytes_left -= len(text.encode())
        data = parse_data(text, f"event {seq}") if text else {}
        events.append(Event(seq, mono_ms, kind, check_meter(meter) if meter else None, data))
    return tuple(events)


def parse_data(text: str, what: str) -> dict[str, Any]:
    """The JSON object of an event; raises `WireError` on anything that JSON or this format does not have."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{what}: data is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise WireError(f"{what}: data is not a JSON object")
    check_json(data, what)
    return data


def check_json(value: object, what: str, depth: int = EVENT_DEPTH_MAX) -> None:
    """Passes what every JSON reader takes alike: finite numbers, 64-bit integers, Unicode text, little nesting."""
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            raise WireError(f"{what}: data is nested deeper than {EVENT_DEPTH_MAX}")
        if isinstance(value, dict):
            for key in value:
                _check_key(key, what)
            value = value.values()
        for inner in value:
            check_json(inner, what, depth - 1)
    else:
        _check_scalar(value, what)


def _check_key(key: object, what: str) -> None:
    if not isinstance(key, str):
        raise WireError(f"{what}: data has a key that is not text: {key!r}")
    _check_scalar(key, what)


def _check_scalar(value: object, what: str) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise WireError(f"{what}: data has half of a surrogate pair") from error
    elif isinstance(value, int):
        check_range(f"{what}: integer", value, INT64_MIN, INT64_MAX)
    elif isinstance(value, float):
        if not isfinite(value):
            raise WireError(f"{what}: data has a number that is not finite")
    elif value is not None:
        raise WireError(f"{what}: data has a {type(value).__name__}, which JSON cannot say")
