"""All stored readings, one by one, for comparison and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cloud.ports import Stores
from wire.batch import Anchor, Batch
from wire.codec import decode
from wire.document import to_document


def readings(stores: Stores, device: str | None = None) -> Iterator[dict[str, Any]]:
    """Per device, ascending by (epoch, seq): {device, epoch, seq, meter, at|None, boot, mono_ms, values, quality}.

    Never yields a record number twice. A batch without an anchor is dated by the anchor that is stored for its boot.
    """
    for name in [device] if device is not None else stores.batches.devices():
        anchors = stores.anchors.of(name)
        epoch, through = b"", 0
        for stored in stores.batches.of(name):
            batch = decode(stored.data)
            if batch.key.epoch != epoch:
                epoch, through = batch.key.epoch, 0
            yield from _after(batch, through, anchors)
            through = max(through, batch.key.last)


def _after(batch: Batch, through: int, anchors: Mapping[bytes, Anchor]) -> Iterator[dict[str, Any]]:
    dated = batch if batch.anchor else replace(batch, anchor=anchors.get(batch.boot))
    identity = {"device": batch.key.device, "epoch": batch.key.epoch.hex()}
    for reading in to_document(dated)["readings"]:
        if reading["seq"] > through:
            yield {
                **identity,
                "seq": reading["seq"],
                "meter": reading["meter"],
                "at": reading["at"],
                "boot": batch.boot.hex(),
                "mono_ms": reading["mono_ms"],
                "values": reading["values"],
                "quality": reading["quality"],
            }
