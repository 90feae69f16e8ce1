"""Whose database this is, and from which number it goes on: decided once, when the agent starts."""

from __future__ import annotations

from dataclasses import dataclass

NUMBERS_RESERVED = 4096


@dataclass(frozen=True, slots=True)
class BoxIdentity:
    """Who writes a buffer: configured box id, /etc/machine-id, and BOOT_BYTES of the kernel's boot id."""

    box_id: str
    machine_id: str
    boot: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says: `next_seq` is the next number to give, numbers up to `reserved` may have been given."""

    box_id: str
    machine_id: str
    boot: bytes
    clean: bool
    next_seq: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Start:
    """`epoch_reason`: why a new epoch must begin, or None. `skip`: the numbers to leave out, or None."""

    epoch_reason: str | None
    skip: tuple[int, int] | None = None


def decide_start(stored: Stored | None, box_id: str, machine_id: str, boot: bytes) -> Start:
    """A new epoch where numbers could collide with another history of the same name.

    After an unclean end of another boot the disk may have lost the last commits although it had promised them; the
    numbers that they may have used are left out. A killed process alone loses no committed page.
    """
    if stored is None:
        return Start("new database")
    if stored.box_id != box_id:
        return Start(f"database of box {stored.box_id}")
    if stored.machine_id != machine_id:
        return Start("database of another machine")
    if not stored.clean and stored.boot != boot and stored.reserved >= stored.next_seq:
        return Start(None, (stored.next_seq, stored.reserved))
    return Start(None)
