"""The configuration of the box: `load` a file, get `Settings`, or every mistake in it."""

from __future__ import annotations

from agent.settings.keys import KeyReferenceError, key_file
from agent.settings.load import DEFAULT_PATH, DEFAULT_STATUS_PATH, load, parse
from agent.settings.mistake import ConfigMistake, SettingsError, describe
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

__all__ = [
    "DEFAULT_PATH",
    "DEFAULT_STATUS_PATH",
    "BatchSettings",
    "BoxSettings",
    "BufferSettings",
    "BusSettings",
    "ClockSettings",
    "ConfigMistake",
    "KeyReferenceError",
    "MeterSettings",
    "Settings",
    "SettingsError",
    "UplinkSettings",
    "describe",
    "key_file",
    "load",
    "parse",
]
