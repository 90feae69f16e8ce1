"""Reason codes of MQTT 5 that both ends act on (MQTT 5.0, section 2.4)."""

from __future__ import annotations

FAILURE = 0x80  # this code and all higher ones
NOT_AUTHORIZED = 0x87
OVERLOADED = frozenset({0x88, 0x89, 0x97, 0x9F})  # unavailable, busy, quota exceeded, connection rate exceeded
