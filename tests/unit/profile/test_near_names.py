"""What is suggested for a name that does not exist."""

from __future__ import annotations

import pytest

from drivers.near_names import near_models, near_name
from drivers.profile.files import find_profile, shipped_profiles
from drivers.profile.parse import ProfileError


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("SDM630", "eastron-sdm630"),
        ("sdm630mct", "eastron-sdm630-mct"),
        ("Eastron SDM630 Modbus V2", "eastron-sdm630"),
        ("SDM-630", "eastron-sdm630"),
        ("sdm63O", "eastron-sdm630"),
        ("estron-sdm630", "eastron-sdm630"),
        ("B23 112-100", "abb-b23"),
        ("EM24 DIN", "carlo-gavazzi-em24"),
        ("iEM3155", "schneider-iem3155"),
        ("p1", "dsmr-p1"),
    ],
)
def test_what_is_written_on_a_meter_leads_to_its_profile(word: str, first: str) -> None:
    assert near_models(word, shipped_profiles())[0] == first


def test_a_maker_alone_leads_to_some_of_its_models() -> None:
    assert near_models("Janitza", shipped_profiles()) == ["janitza-b23", "janitza-umg604", "janitza-umg96rm"]


@pytest.mark.parametrize("word", ["nope", "", "-", "x", "211 and nothing else"])
def test_nothing_is_suggested_where_nothing_is_near(word: str) -> None:
    assert near_models(word, shipped_profiles()) == []


def test_models_of_ones_own_are_suggested_too() -> None:
    assert near_models("ACME 1", ["acme-1", "eastron-sdm630"]) == ["acme-1"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("SDM630", "no profile of this name, did you mean 'eastron-sdm630' or 'eastron-sdm630-mct'?"),
        ("nope", "no profile of this name"),
    ],
)
def test_an_unknown_model_is_never_answered_with_a_list_of_all(model: str, says: str) -> None:
    with pytest.raises(ProfileError) as caught:
        find_profile(model)
    (mistake,) = caught.value.mistakes
    assert (mistake.problem, mistake.expected) == (says, "a model that `wattpost check-profile` lists")


def test_other_names_are_found_in_any_case() -> None:
    assert near_name("Durabilty", ["max_age", "durability"]) == "durability"
    assert near_name("MAIN2", ["Main"]) == "Main"
    assert near_name("solar", ["Main"]) is None
