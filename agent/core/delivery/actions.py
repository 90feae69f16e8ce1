"""What delivery knows of a batch, how a publish can end, and what the machine asks its caller to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent.core.time_units import HOUR_MS, MINUTE_MS, SECOND_MS


@dataclass(frozen=True, slots=True)
class SendLimits:
    in_flight_max: int = 8  # publishes without PUBACK; AWS allows 100
    tracked_max: int = 512
    awaiting_max: int = 256  # accepted, without a receipt: here the backlog halts until the cloud answers
    load_count: int = 32
    backlog_per_s: float = 50.0  # AWS drops beyond 100 publishes/s of a connection, both ways together
    receipt_timeout_ms: int = 30 * SECOND_MS
    receipt_timeout_max_ms: int = 30 * MINUTE_MS
    receipt_grace_ms: int = 15 * SECOND_MS  # a receipt cannot know of what was sent so shortly before it
    late_ask_ms: int = 2 * HOUR_MS  # or twice `confirm_interval_ms`
    denied_pause_ms: int = 30 * SECOND_MS
    denied_pause_max_ms: int = 10 * MINUTE_MS
    park_after: int = 5
    park_ms: int = HOUR_MS
    load_retry_ms: int = 30 * SECOND_MS
    flying_max_ms: int = 2 * MINUTE_MS  # a publish without PUBACK or time-out for so long is stuck in the client
    ack_timeouts_max: int = 3  # each leaks a receive-maximum slot in awscrt


@dataclass(frozen=True, slots=True)
class Sealed:
    """What delivery knows of a batch in the buffer. Ids ascend in the order of sealing."""

    id: int
    epoch: bytes
    first: int
    last: int
    size: int
    confirm_wanted: bool


class PublishOutcome(Enum):
    """How a publish ended. Only ACCEPTED says anything about the far end."""

    ACCEPTED = "accepted"
    TIMEOUT = "timeout"
    DENIED = "denied"
    BUSY = "busy"
    REFUSED = "refused"
    LOST = "lost"


# Actions


@dataclass(frozen=True, slots=True)
class Publish:
    id: int


@dataclass(frozen=True, slots=True)
class Load:
    """Read at most `limit` deliverable batches below `below_id` (None: from the newest), newest first."""

    below_id: int | None
    limit: int


@dataclass(frozen=True, slots=True)
class Reconnect:
    """Close the connection and open a new one, for `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A PUBACK is enough (`confirm = "puback"`): the batch may be deleted."""

    id: int


Action = Publish | Load | Reconnect | Confirmed
