"""What a value means in a dispute: stated as an event when it changes and once a day, referred to by a short hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from wire.batch import DESCRIPTOR_BYTES


def descriptor_ref(descriptor: Mapping[str, Any]) -> bytes:
    """DESCRIPTOR_BYTES of the SHA-256 of the descriptor as canonical JSON."""
    text = json.dumps(descriptor, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()[:DESCRIPTOR_BYTES]
