"""Which profile a device's name stands for: `H100-SXM`, `NVIDIA A100-SXM4-80GB`, `4090`.

A name is taken as a set of words. It stands for a profile when it has the first word of the profile's name and no word that the profile's name,
title and `aliases` lack; for nothing when several profiles are left, unless it is the name, the title or an alias of one. Most likely to be wrong: a part
that has no profile here, whose name says less than that of one that has.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from simcost.errors import SpecError, nearest
from simcost.files import exists, folder, is_dir, is_file
from simcost.frozen import frozen

Words = frozenset[str]
_WORD, _MEMORY = r"[a-z0-9.]+", r"\b(\d+)[ -]?gi?b?\b"  # "80 GB", "80G"
_SAID = frozenset(("nvidia", "amd", "intel", "google", "aws", "huawei", "instinct", "geforce", "tesla", "gpu"))


@frozen
class _Card:
    """title: of the profile; first: word of its name; exact: words of its name, of its title and of each alias; all: any of them."""

    title: str
    first: str
    exact: tuple[Words, ...]
    all: Words


def names() -> list[str]:
    """Names of the shipped profiles, sorted."""
    return sorted(path.parent.name for path in folder("hwprofiles").glob("*/profile.toml"))


def shipped(name: str) -> bool:
    """Whether it is the name of a shipped profile, in any case."""
    return "/" not in name and os.path.isfile(folder("hwprofiles") / name.lower() / "profile.toml")


def of(name: str) -> str | None:
    """The shipped profile that a name stands for; None where it stands for none. Raises SpecError where it may be several."""
    if shipped(name):
        return name.lower()
    if "/" in name:
        return None
    words = _words(name)
    named = [profile for profile, card in _cards().items() if words in card.exact]
    like = named or [profile for profile, card in _cards().items() if card.first in words and words <= card.all]
    if len(like) > 1:
        several = " or ".join(f"{profile} ({_cards()[profile].title})" for profile in like)
        raise SpecError(f"hardware '{name}' can be {several}: write one of these names")
    return like[0] if like else None


def find(name: str) -> Path:
    """Path of a shipped profile by name or alias, or of a given profile.toml or its directory. Raises SpecError naming the nearest, or the
    profiles that a name may stand for."""
    path = Path(name)
    path = path / "profile.toml" if is_dir(path) else path
    known = None if is_file(path) and not shipped(name) else of(name)
    if known is not None:
        return folder("hwprofiles") / known / "profile.toml"
    if is_file(path):
        return path
    if "," in name:
        raise SpecError(
            f"--hw {name}: one device here; several stand side by side with --vary hw={name}, in `plans`, and in `compare` as --variant hw=..."
        )
    raise SpecError(
        f"unknown hardware '{name}' (neither a name of 'simcost list hardware' nor a profile.toml){_near(name.lower())}"
    )


def _near(name: str) -> str:
    """The nearest name. One with another number, or with as many other letters before it, is another part and no slip of the pen."""
    said = nearest(name, names())
    found = "".join(re.findall(r"'(.+)'", said))
    mine, its = (re.split(r"\d", each)[0] for each in (name, found))
    numbers, others = (re.findall(r"\d+", each) for each in (name, found))
    other = numbers != others or (mine != its and len(mine) == len(its))
    return f"; the nearest name, '{found}', is a different device" if found and other else said


def spelled(name: str) -> str:
    """A device as answers name it: as it was asked for, a shipped one by the name of its profile. Raises SpecError for a name that may be several."""
    return name if exists(Path(name)) and not shipped(name) else of(name) or name


def reading(name: str) -> list[str]:
    """A line where a name stands for a shipped profile of another name, which is said with its title."""
    found = spelled(name)
    return [] if found.lower() == name.lower() else [f"hw={name} is read as {found}, {_cards()[found].title}"]


@cache
def _cards() -> dict[str, _Card]:
    return {name: _card(name) for name in names()}


def _card(name: str) -> _Card:
    """Of the lines before the first table: a name is looked up in all profiles, and most of a profile is in its tables."""
    import tomllib

    path = folder("hwprofiles") / name / "profile.toml"
    try:
        head = tomllib.loads(path.read_text(encoding="utf-8").partition("\n[")[0])
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError):
        head = {}  # who asks for this profile is told
    said, aliases = head.get("title"), head.get("aliases")
    known = str(said) if isinstance(said, str) else name
    also = [one for one in aliases if isinstance(one, str)] if isinstance(aliases, list) else []
    exact = tuple(dict.fromkeys(_words(one) for one in (name, known, *also)))
    return _Card(known, name.partition("-")[0], exact, frozenset().union(*exact))


def _words(name: str) -> Words:
    """Of "NVIDIA H100 SXM5 80 GB": h100, sxm, sxm5, 80gb."""
    found = set(re.findall(_WORD, re.sub(_MEMORY, r"\1gb", name.lower()))) - _SAID
    return frozenset(found | {"sxm" for word in found if re.fullmatch(r"sxm\d", word)})
