"""Step 1: decode each message and check who sent it."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.core.invariants import check_batch
from cloud.ingest.invocation import Invocation, PendingMessage, failing
from cloud.ports import InboundMessage, Stores
from wire.batch import BatchKey
from wire.codec import decode, digest, peek
from wire.errors import WireError


def examine(messages: Sequence[InboundMessage], stores: Stores) -> tuple[list[PendingMessage], Invocation]:
    """The state of each message, in their order; copies of one message share it."""
    states: dict[tuple[str, str, str | None], PendingMessage] = {}
    examined = [_state_of(inbound, states) for inbound in messages]
    return examined, Invocation(list(states.values()), stores)


def _state_of(inbound: InboundMessage, states: dict[tuple[str, str, str | None], PendingMessage]) -> PendingMessage:
    content_digest = digest(inbound.data)
    identity = (content_digest, inbound.device, inbound.client_id)
    if identity in states:
        states[identity].copies += 1
    else:
        message = states[identity] = PendingMessage(inbound, content_digest)
        with failing([message]):
            _examine_one(message)
    return states[identity]


def _examine_one(message: PendingMessage) -> None:
    """Decode the batch, or refuse it with the reason. The key is kept only if the sender may use it."""
    try:
        key = peek(message.inbound.data).key
    except WireError as error:
        message.refuse(f"undecodable: {error}")
        return
    if problem := _identity_problem(message.inbound, key):
        message.refuse(f"identity: {problem}")
        return
    message.key = key
    try:
        batch = decode(message.inbound.data)
    except WireError as error:
        message.refuse(f"undecodable: {error}")
        return
    check_batch(batch)
    message.batch = batch


def _identity_problem(inbound: InboundMessage, key: BatchKey) -> str | None:
    if inbound.client_id is not None and inbound.client_id != inbound.device:
        return f"client id {inbound.client_id!r} sent to the topic of {inbound.device!r}"
    if key.device != inbound.device:
        return f"the batch says device {key.device!r}, its door says {inbound.device!r}"
    return None
