"""A receipt: what the cloud holds durably. Cumulative and idempotent; specified in `docs/wire-format.md`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from wire.batch import EPOCH_BYTES
from wire.errors import WireError
from wire.limits import SEQ_MAX

VERSION = 1
RECEIPT_BYTES_MAX = 128 << 10
RANGES_MAX = 100
REASON_CHARS_MAX = 200
PACE_MAX = 1e6
APART = "none of its records is stored"  # in the reason of a held batch: it may come again under other numbers

T = TypeVar("T")

_EPOCH = re.compile(rf"[0-9a-f]{{{2 * EPOCH_BYTES}}}")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_SHOWN_CHARS_MAX = 60  # of a wrong value, in the error


@dataclass(frozen=True, slots=True)
class Receipt:
    """`through`: all records up to it are durable or accounted for (0: none); `digest` of the batch that ends there.

    `ranges` are stored beyond `through`, `range_digests` (as many, or none) of the batches that end them; `held` are in
    quarantine with their reason; `pace` is the most batches of backlog per second, None as fast as the box likes.
    `answers` are digests of batches that this receipt answers and that are stored, each proven by itself.
    """

    epoch: bytes
    through: int
    digest: str | None = None
    ranges: tuple[tuple[int, int], ...] = ()
    held: tuple[tuple[int, int, str], ...] = ()
    pace: float | None = None
    range_digests: tuple[str | None, ...] = ()
    answers: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """What travels. Beyond the limits the lowest ranges and the start of a reason are kept: all of it is a hint."""
        document: dict[str, Any] = {
            "v": VERSION,
            "epoch": self.epoch.hex(),
            "through": self.through,
            "digest": self.digest,
            "ranges": [list(span) for span in self.ranges[:RANGES_MAX]],
            "held": [[first, last, why[:REASON_CHARS_MAX]] for first, last, why in self.held[:RANGES_MAX]],
            "pace": self.pace,
        }
        if self.range_digests:
            document["range_digests"] = self.range_digests[:RANGES_MAX]
        if self.answers:
            document["answers"] = self.answers[:RANGES_MAX]
        text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace")  # escapes in ASCII would take an uncommon reason beyond all limits


def parse_receipt(data: bytes) -> Receipt:
    """The receipt in `data`. Unknown keys are ignored; anything else unexpected raises `WireError` naming the key."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise WireError(f"receipt of {len(data)} bytes is over {RECEIPT_BYTES_MAX}")
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise WireError(f"receipt is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WireError("receipt is not a JSON object")
    if document.get("v") != VERSION:
        raise WireError(f"receipt v is {_show(document.get('v'))}, this reader knows {VERSION}")
    ranges = _list(document, "ranges", _range)
    range_digests = _list(document, "range_digests", _digest_or_none)
    if range_digests and len(range_digests) != len(ranges):
        raise WireError(f"receipt range_digests has {len(range_digests)} entries for {len(ranges)} ranges")
    return Receipt(
        epoch=bytes.fromhex(_match(document, "epoch", _EPOCH)),
        through=_number("through", document.get("through"), least=0),
        digest=None if document.get("digest") is None else _match(document, "digest", _DIGEST),
        ranges=ranges,
        held=_list(document, "held", _held),
        pace=_pace(document.get("pace")),
        range_digests=range_digests,
        answers=_list(document, "answers", _digest),
    )


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "..."


def _match(document: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise WireError(f"receipt {key} is {_show(value)}, not {pattern.pattern}")
    return value


def _number(what: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= SEQ_MAX:
        raise WireError(f"receipt {what} is {_show(value)}, not a whole number in {least}..{SEQ_MAX}")
    return value


def _list(document: dict[str, Any], key: str, parse: Callable[[str, object], T]) -> tuple[T, ...]:
    items = document.get(key)
    if items is None:
        return ()
    if not isinstance(items, list) or len(items) > RANGES_MAX:
        raise WireError(f"receipt {key} is not a list of at most {RANGES_MAX}")
    return tuple(parse(f"{key}[{i}]", item) for i, item in enumerate(items))


def _range(what: str, item: object) -> tuple[int, int]:
    if not isinstance(item, list) or len(item) != 2:  # noqa: PLR2004 - first and last
        raise WireError(f"receipt {what} is {_show(item)}, not [first, last]")
    first = _number(what, item[0], least=1)
    return first, _number(what, item[1], least=first)


def _held(what: str, item: object) -> tuple[int, int, str]:
    if not isinstance(item, list) or len(item) != 3 or not isinstance(item[2], str):  # noqa: PLR2004 - as said
        raise WireError(f"receipt {what} is {_show(item)}, not [first, last, reason]")
    reason = item[2][:REASON_CHARS_MAX]
    # JSON escapes can give half a surrogate pair, which no file or terminal takes.
    return *_range(what, item[:2]), reason.encode(errors="replace").decode()


def _digest(what: str, item: object) -> str:
    if not isinstance(item, str) or not _DIGEST.fullmatch(item):
        raise WireError(f"receipt {what} is {_show(item)}, not {_DIGEST.pattern}")
    return item


def _digest_or_none(what: str, item: object) -> str | None:
    return None if item is None else _digest(what, item)


def _pace(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= PACE_MAX:
        raise WireError(f"receipt pace is {_show(value)}, not a number over 0 and up to {PACE_MAX:.0f}")
    return float(value)
