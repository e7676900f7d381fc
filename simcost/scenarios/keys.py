"""keys: what a user may set, with its values, its default, what it needs, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simcost import settings, units
from simcost.hardware import engine_terms, engines
from simcost.result import Result, Row
from simcost.settings import Setting


def result(roots: Sequence[str]) -> Result:
    """One table a root of `settings.ROOTS`; none named: all."""
    named = settings.groups(roots)
    tables = {root: [_row(one) for one in every(root)] for root in named}
    return Result("keys", {"groups": named}, {"keys": sum(map(len, tables.values()))}, tables)


def every(root: str) -> Iterator[Setting]:
    """The settings of a root; those of an engine's memory by the name that each engine has for them."""
    known = settings.of(root)
    yield from (one for one in known.values() if root != "engine" or one.key not in engine_terms.SETTINGS)
    for engine in engines.names() if root == "engine" else ():
        for setting, name in engine_terms.setting_names(engine).items():
            yield known[setting]._replace(key=name, meaning=f"{engines.title(engine)}: {known[setting].meaning}")


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
