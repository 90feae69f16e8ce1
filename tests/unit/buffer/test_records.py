"""How a group commit is kept: what goes in comes out."""

from __future__ import annotations

import msgspec
import pytest

from agent.core.records import GROUP_BYTES, Group, NewEvent, NewReading, pack_group, unpack_group

RECORDS = [
    NewReading(1, 5_000, (2300, None, -5)),
    NewEvent(5_001, "meter_silent", "main", {"reason": "silent"}),
    NewReading(2, 5_002, (), ()),
    NewReading(2, 9_500, (7,), (), 10_000),
    NewReading(2, 2**45, (2**62, -(2**62)), (0, 32)),
    NewEvent(6_000, "stop"),
    NewEvent(6_001, "gap", "größe", {"slots": None, "nested": {"a": [1, 2.5, True]}}),
]


def test_a_group_comes_back_as_it_was() -> None:
    group = Group(RECORDS, {"main": 3, "größe": 0})
    assert unpack_group(pack_group(group)) == group


def test_an_empty_group_too() -> None:
    assert unpack_group(pack_group(Group([]))) == Group([], {})


def test_a_group_fills_a_page_of_the_buffer_so_that_it_is_overwritten_in_place() -> None:
    assert GROUP_BYTES <= len(pack_group(Group([NewEvent(1, "stop")]))) <= GROUP_BYTES + 10
    long = Group([NewEvent(1, "stop", None, {"text": "x" * 2 * GROUP_BYTES})])
    assert len(pack_group(long)) < 2 * GROUP_BYTES + 40
    assert unpack_group(pack_group(long)) == long


def packed(*parts: object) -> bytes:
    return msgspec.msgpack.encode(parts)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xc1",
        pack_group(Group(RECORDS))[:-3],
        packed(),
        packed({}, []),
        packed({}, [1], b""),
        packed({}, [[1, 2, [3]]], b""),
        packed({}, [[1, 2, 3, []]], b""),
        packed({}, [[1, "stop", None, []]], b""),
        packed({"main": "x"}, [], b""),
    ],
)
def test_damage_is_one_named_error(damaged: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        unpack_group(damaged)


def test_a_group_of_an_agent_that_did_not_note_the_slots_is_read() -> None:
    body = packed({"main": 1}, [[1, 5_000, [2300, None], [0]], [5_001, "stop", None, {}]], b"padding")
    readings = [NewReading(1, 5_000, (2300, None), (0,)), NewEvent(5_001, "stop")]
    assert unpack_group(body) == Group(readings, {"main": 1})
