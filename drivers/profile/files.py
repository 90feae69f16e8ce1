"""Where profiles are: those that come with the package, and an installer's own folders, which win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drivers.near_names import near_models
from drivers.profile.model import Profile, ProfileError, ProfileMistake
from drivers.profile.parse import parse_profile

SHIPPED = Path(__file__).parents[1] / "profiles"


def load_profile(path: Path) -> Profile:
    """The profile in the file `path`; `ProfileError` also where unreadable or its model is not its name."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(
            str(path), (ProfileMistake("file", f"cannot be read: {error}", "a readable TOML file"),)
        ) from error
    profile = parse_profile(text, path.name)
    if profile.model != path.stem:
        mistake = ProfileMistake(
            "model", f"{profile.model!r} in a file named {path.name}", f"{path.stem!r}, as the file"
        )
        raise ProfileError(str(path), (mistake,))
    return profile


def shipped_profiles() -> Mapping[str, Path]:
    """Model -> file of the profiles that come with the package."""
    return _profiles_in(SHIPPED)


def find_profile(model: str, folders: Sequence[Path] = ()) -> Profile:
    """The profile of `model` from the first of `folders` that has it, else the shipped one."""
    known: dict[str, Path] = {}
    for folder in (*folders, SHIPPED):
        known = {**_profiles_in(folder), **known}
    if model not in known:
        near = " or ".join(map(repr, near_models(model, known)))
        problem = f"no profile of this name{f', did you mean {near}?' if near else ''}"
        raise ProfileError(model, (ProfileMistake("model", problem, "a model that `wattpost check-profile` lists"),))
    return load_profile(known[model])


def _profiles_in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
