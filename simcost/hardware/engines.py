"""Serving engines as facts: `workloads/engines/<name>.toml`. Which exist, and whose tables stand in for whose.

Most likely to be wrong: an order of substitutes, a judgement of which engines share kernels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.texts import toml_table

ANY, TORCH = "any", "torch"
LIBRARIES = ("nccl", "deepep", "nvlink")  # whatever engine calls them, the kernels are the same
SCHEMA = 1
_VERSION = re.compile(r"(\d{1,9}(?:\.\d{1,9})*)(?:\.?(rc|post)(\d{1,9}))?")
_PARTS = 6  # numbers of the longest version, padded with zeros


@cache
def names() -> tuple[str, ...]:
    """Engines that ship, by name."""
    return tuple(sorted(path.stem for path in (folder("workloads") / "engines").glob("*.toml")))


def choices() -> tuple[str, ...]:
    """Values of `engine=`: "any", the engines that ship, "torch"."""
    return (ANY, *names(), TORCH)


def checked(name: object) -> str:
    """An engine's name, which may be written in any case and as people call it ("TensorRT-LLM"). Raises SpecError naming the nearest for what
    is none of `choices`."""
    found = str(name).lower()
    found = found if found in choices() else _titles().get(_bare(found), found)
    if found not in choices():
        raise SpecError(f"engine must be one of {', '.join(choices())}, not {name!r}{nearest(found, choices())}")
    return found


@cache
def _titles() -> dict[str, str]:
    """Engine of each name as people write it, without case and separators."""
    said = {_bare(word): name for name in names() for word in (name, title(name))}
    return {**said, "pytorch": TORCH}


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def title(name: str) -> str:
    """Name for people: "vLLM" of "vllm"; of what is no engine the word itself."""
    return str(table(name)["title"]) if name in names() else name


def version_order(text: str) -> tuple[tuple[int, str], ...]:
    """A key to sort versions by: "1.3.0rc9" comes before "1.3.0rc20", that before "1.3.0" and "1.3.0.post1"; a word before all numbers."""
    found = _VERSION.fullmatch(text)
    if found is None:
        return ((-1, text),)
    numbers = [int(part) for part in found[1].split(".")]
    stage = {"rc": -1, None: 0, "post": 1}[found[2]]
    return tuple((number, "") for number in (*numbers, *[0] * (_PARTS - len(numbers)), stage, int(found[3] or 0)))


@cache
def substitutes() -> Mapping[str, tuple[str, ...]]:
    """Engine -> engines whose tables stand in for its own, in order. Raises SpecError for a file that names what is no other
    engine."""
    return {name: _substitutes(name) for name in names()}


def _substitutes(name: str) -> tuple[str, ...]:
    stated = table(name).get("tables", {})
    found = stated.get("substitutes") if isinstance(stated, Mapping) else None
    if not isinstance(found, list) or any(one not in names() or one == name for one in found):
        raise SpecError(
            f"engines/{name}.toml: 'tables.substitutes' = {found!r} must list other engines ({', '.join(names())})"
        )
    return tuple(found)


@cache
def table(name: str) -> Mapping[str, object]:
    """The tables of an engine's file. Raises SpecError where it does not say which engine it is."""
    path = folder("workloads") / "engines" / f"{name}.toml"
    found = toml_table(path)
    if found.get("schema") != SCHEMA or found.get("name") != name or not isinstance(found.get("title"), str):
        raise SpecError(f'{path}: needs schema = {SCHEMA}, name = "{name}" and a title')
    return found
