"""Finds profiles: our own by name, others by the path of their file or as an entry point."""

import re
import tomllib
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from broker.profiles.document import NAME_PATTERN, ProfileDocument
from broker.profiles.encoders import encoder
from broker.profiles.profile import Profile
from broker.redis.catalogue import Reading
from broker.wire.folding import FoldRule

__all__ = ["ENTRY_POINT_GROUP", "ProfileError", "built_in_names", "load_profiles"]

ENTRY_POINT_GROUP: Final = "runcast.profiles"
"""Entry points of this group name a TOML text, or the path of a file."""

_NAME: Final = re.compile(NAME_PATTERN)
_SUFFIX: Final = ".toml"
_RULE_FORMS: Final = ("BlockSection", "ControlSection", "literal[False]")


class ProfileError(ValueError):
    """A profile can't be used. The text is one line that says which, and why."""


def built_in_names() -> list[str]:
    """The names of our own."""
    return sorted(
        entry.name.removesuffix(_SUFFIX)
        for entry in files("broker.profiles").iterdir()
        if entry.name.endswith(_SUFFIX)
    )


def load_profiles(names: Sequence[str], usual: Reading, fold: FoldRule) -> list[Profile]:
    """The profiles, in this order.

    Args:
        names: of our own, of entry points, or paths of files that end in `.toml`.
        usual: how runs are read where a profile does not say.
        fold: what `?fold=text` merges where it does not say.

    Raises:
        ProfileError: one can't be used, or two want the same path.
    """
    profiles = [_load(name, usual, fold) for name in dict.fromkeys(names)]
    by_name: dict[str, Profile] = {}
    taken: list[tuple[str, str, Profile]] = []
    for profile in profiles:
        if profile.name in by_name:
            raise ProfileError(f"there are two profiles called {profile.name}: rename one's file")
        by_name[profile.name] = profile
        for route in profile.routes:
            for method in route.served_methods:
                for its_method, path, other in taken:
                    if method == its_method and _overlap(route.path, path):
                        raise ProfileError(_conflict(profile, other, method, route.path))
                taken.append((method, route.path, profile))
    return profiles


def _overlap(path: str, other: str) -> bool:
    """Whether a request may be meant for either."""
    segments, others = path.split("/"), other.split("/")
    return len(segments) == len(others) and all(
        one == two or one.startswith("{") or two.startswith("{")
        for one, two in zip(segments, others, strict=True)
    )


def _conflict(profile: Profile, other: Profile, method: str, path: str) -> str:
    if profile is other:
        return f"profile {profile.name} has {method} {path} twice"
    return (
        f"profiles {other.name} and {profile.name} both have {method} {path}: serve them by edges "
        "of their own, or give one of them another path in a file of your own"
    )


def _load(name: str, usual: Reading, fold: FoldRule) -> Profile:
    text, short = _find(name)
    if _NAME.fullmatch(short) is None:
        raise ProfileError(f"profile {name}: its name must match {NAME_PATTERN}")
    try:
        document = ProfileDocument.model_validate(tomllib.loads(text))
        return Profile(short, document, encoder(document.encoder), usual, fold)
    except ValidationError as error:
        raise ProfileError(f"profile {name}: {_first_line(error)}") from None
    except ValueError as error:
        raise ProfileError(f"profile {name}: {error}") from None


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Which of the forms of a rule was tried is pydantic's matter.
    parts = [str(part) for part in first["loc"] if part not in _RULE_FORMS]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such key"
    return f"{'.'.join(parts)}: {message}" if parts else message


def _find(name: str) -> tuple[str, str]:
    """The text, and the short name."""
    if name.endswith(_SUFFIX):
        path = Path(name)
        try:
            return path.read_text(encoding="utf-8"), path.stem
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"profile {name}: can't be read: {error}") from None
    if name in built_in_names():
        return files("broker.profiles").joinpath(name + _SUFFIX).read_text("utf-8"), name
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            found = point.load()
            text = found.read_text(encoding="utf-8") if isinstance(found, Path) else str(found)
        except Exception as error:
            # Somebody else's module: whatever is wrong with it, this profile can't be used.
            raise ProfileError(f"profile {name}: {point.value}: {error}") from error
        return text, name
    raise ProfileError(
        f"profile {name}: there is none; ours are {', '.join(built_in_names())}, "
        "and the path of a file of your own ends in .toml"
    )
