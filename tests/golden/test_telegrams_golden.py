"""Telegrams of our own making: every profile reads out of them what was put in, whatever changes in the drivers."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.model import Protocol
from drivers.telegrams.dlms import decode_dlms
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.hdlc import HdlcFramer
from drivers.telegrams.mbus import MbusFramer, long_frame
from drivers.telegrams.mbus_records import decode_mbus
from drivers.telegrams.obis_text import decode_iec62056, decode_p1
from drivers.telegrams.sml import SmlFramer, decode_sml
from drivers.telegrams.telegram import StreamFramer, Telegram
from drivers.telegrams.text_framer import TextFramer

FILES = sorted(Path(__file__).with_name("telegrams").glob("*.json"))
WAYS: dict[Protocol, tuple[type[StreamFramer], Callable[[bytes], Telegram]]] = {
    "dsmr-p1": (TextFramer, decode_p1),
    "iec62056-21": (TextFramer, decode_iec62056),
    "sml": (SmlFramer, decode_sml),
    "dlms-hdlc": (HdlcFramer, decode_dlms),
    "mbus": (MbusFramer, lambda frame: decode_mbus(long_frame(frame).data)),
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_was_put_in_comes_out(path: Path) -> None:
    document = load(path)
    profile = find_profile(document["model"])
    framer, decode = WAYS[profile.protocol]
    (frame,) = framer().feed(bytes.fromhex("".join(document["telegram"])))
    assert isinstance(frame, bytes)
    steps, flags = FieldReader(profile.fields)(decode(frame))
    found = {
        field.measurand: None if value is None else value * field.resolution.step
        for field, value in zip(profile.fields, steps, strict=True)
    }
    expected = {name: None if text is None else Decimal(text) for name, text in document["values"].items()}
    assert {name: found[name] for name in expected} == expected
    assert all((value is None) == bool(flag) for value, flag in zip(steps, flags, strict=False))


def test_every_profile_with_telegrams_has_one() -> None:
    profiles = [find_profile(model) for model in shipped_profiles()]
    assert {load(path)["model"] for path in FILES} == {each.model for each in profiles if each.protocol != "modbus"}


def test_the_files_are_what_their_maker_makes() -> None:
    """Run tests/golden/make_telegrams.py after a change on purpose."""
    maker = runpy.run_path(str(Path(__file__).with_name("make_telegrams.py")))
    assert maker["contents"]() == {path.name: path.read_text() for path in FILES}
