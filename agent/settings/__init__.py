"""The configuration of the box: `load` a file, get `Settings`, or every mistake in it."""

from __future__ import annotations

from agent.settings.keys import KeyReferenceError, key_file
from agent.settings.load import DEFAULT_PATH, DEFAULT_STATUS_PATH, load, parse
from agent.settings.mistake import Mistake, SettingsError, describe
from agent.settings.settings import BatchSettings, Box, Buffer, Bus, Clock, Meter, Settings, Uplink

__all__ = [
    "DEFAULT_PATH",
    "DEFAULT_STATUS_PATH",
    "BatchSettings",
    "Box",
    "Buffer",
    "Bus",
    "Clock",
    "KeyReferenceError",
    "Meter",
    "Mistake",
    "Settings",
    "SettingsError",
    "Uplink",
    "describe",
    "key_file",
    "load",
    "parse",
]
