"""What somebody probably meant who wrote a name that does not exist. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MODELS_MAX = 3
PART_MIN = 3  # characters of a model that are enough to recognise it


def near_name(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is spelled most like `word`, in whatever case; None where none is near."""
    import difflib  # noqa: PLC0415 - only when there is a mistake

    names = {name.lower(): name for name in known}
    matches = difflib.get_close_matches(word.lower(), names, n=1)
    return names[matches[0]] if matches else None


def near_models(word: str, known: Iterable[str]) -> list[str]:
    """Models that `word` may mean, the likeliest first: `SDM630` is on the meter, `eastron-sdm630` is its profile."""
    plain = _plain(word)
    if len(plain) <= 1:
        return []
    models = sorted(known)
    parts = [model for model in models if plain in _plain(model) or any(part in plain for part in _parts(model))]
    if parts:
        return sorted(parts, key=lambda model: _rank(plain, _plain(model)))[:MODELS_MAX]
    spellings = {part: model for model in models for part in (*_parts(model), _plain(model))}
    near = near_name(plain, spellings)
    return [] if near is None else [spellings[near]]


def _rank(word: str, model: str) -> tuple[int, int]:
    """A model that is all in the word comes first, then one that ends with it; of equals the shorter."""
    return 0 if model in word else 1 if model.endswith(word) else 2, len(model)


def _parts(model: str) -> list[str]:
    """The model, without its maker too, as far as something can be recognised by it."""
    words = model.split("-")
    parts = [_plain("".join(words[at:])) for at in range(len(words))]
    return [part for part in parts if len(part) >= PART_MIN and not part.isdecimal()]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
