from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.archive_object import ArchiveError, name_of, pack, unpack
from cloud.ports import InboundMessage

TEXT = st.text(max_size=10)
DELIVERIES = st.lists(
    st.builds(
        InboundMessage, device=TEXT, data=st.binary(max_size=30), door=TEXT, principal=st.none() | TEXT, trace=TEXT
    )
)


@given(DELIVERIES)
def test_what_is_packed_comes_out_with_its_provenance(messages: list[InboundMessage]) -> None:
    assert list(unpack(pack(messages))) == messages


def test_a_retry_writes_the_same_object(box: Any) -> None:
    again = [box.message(1, 2), box.message(3, 4)]
    assert name_of(pack(again)) == name_of(pack([box.message(1, 2), box.message(3, 4)]))


@pytest.mark.parametrize("cut", [-1, 6, 12])
def test_a_cut_object_is_an_error(box: Any, cut: int) -> None:
    with pytest.raises(ArchiveError):
        list(unpack(pack([box.message(1, 2)])[:cut]))


def test_another_file_is_an_error() -> None:
    with pytest.raises(ArchiveError, match="starts with"):
        list(unpack(b"PK\x03\x04 something"))
