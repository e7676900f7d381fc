"""keys: what a user may set, with its values, its default, what it needs, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simcost import settings, units
from simcost.hardware import engine_file, engines
from simcost.result import Result, Row
from simcost.settings import Setting


def result(roots: Sequence[str]) -> Result:
    """One table a root of `settings.ROOTS`; none named: all."""
    named = settings.groups(roots)
    tables = {root: [_row(one) for one in every(root)] for root in named}
    return Result("keys", {"groups": named}, {"keys": sum(map(len, tables.values()))}, tables)


def every(root: str) -> Iterator[Setting]:
    """The settings of a root; those of an engine by the name that each engine has for them."""
    known = settings.of(root)
    named = [setting for part in engine_file.SETTINGS.values() for setting in part]
    yield from (one for one in known.values() if root != "engine" or one.key not in named)
    for engine in engines.names() if root == "engine" else ():
        for part in engine_file.SETTINGS:
            for setting, name in engine_file.setting_names(engine, part).items():
                if setting not in engine_file.OWN:
                    yield _of_engine(known[setting], engine, name)


def _of_engine(one: Setting, engine: str, name: str) -> Setting:
    """A setting as an engine has it: its name, its words, and its sense where the name says the opposite."""
    words = engine_file.scale(engine, one.key)
    if words is not None:
        one = one._replace(kind=settings.CHOICE, choices=tuple(words))
    said = f"not: {one.meaning}" if name.startswith(engine_file.OPPOSITE) else one.meaning
    return one._replace(key=name, meaning=f"{engines.title(engine)}: {said}")


def _takes(one: Setting) -> str:
    """The values that a key takes; of a device a quantity with its unit, or a multiple of what stands."""
    if one.root != "hw" or one.kind in (settings.NAME, settings.FLAG):
        return one.takes
    return f"{units.symbol(one.kind) if one.kind not in ('count', 'fraction') else 'number'}, or x1.5"


def _steps(one: Setting) -> list[str]:
    """Of a setting that not every step takes: which do."""
    return [] if set(one.steps) >= set(settings.STEPS) else [f"a step of {' or '.join(one.steps)}"]


def _row(one: Setting) -> Row:
    return {
        "key": one.path, "takes": _takes(one), "default": one.default, "meaning": one.meaning,
        "needs": "; ".join(
            (*_steps(one), *(f"{f'{value}: ' if value else ''}{settings.NEEDS[need]}" for value, need in one.needs))
        ),
        "aliases": ", ".join(one.aliases), "source": one.source,
    }  # fmt: skip
