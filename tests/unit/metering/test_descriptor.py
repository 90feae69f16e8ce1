"""The short hash by which a batch refers to what its values mean."""

from __future__ import annotations

from agent.core.metering.descriptor import descriptor_ref

DESCRIPTOR = {"model": "eastron-sdm630", "ct_ratio": 1.0, "point": None}


def test_it_does_not_depend_on_the_order_of_keys() -> None:
    assert descriptor_ref(DESCRIPTOR) == descriptor_ref(dict(reversed(DESCRIPTOR.items())))


def test_it_changes_with_every_value() -> None:
    changed = [descriptor_ref(DESCRIPTOR | {key: "other"}) for key in DESCRIPTOR]
    assert len({descriptor_ref(DESCRIPTOR), *changed}) == 1 + len(DESCRIPTOR)


def test_it_is_the_same_for_ever() -> None:
    assert descriptor_ref(DESCRIPTOR).hex() == "d8e104b7"
