"""`workloads/engines/options/<name>.toml`: the options that one release of an engine documents, and how parts of a
plan are said in them.

Most likely to be wrong: an option that a later release renames; the file names the release and its source, and
`tests/oracles/engine_options.py` compares it with a release's package.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from string import Template
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.texts import NoJSON, json_value, toml_table

SCHEMA = 1
KINDS = ("count", "fraction", "number", "flag", "json", "text")
_KEYS = (
    "schema", "engine", "version", "source", "command", "file", "options", "ranks", "formats", "says", "needs",
    "nodes", "router",
)  # fmt: skip
_TABLES = ("options", "ranks", "formats", "says", "nodes", "router")
_FORMATS = ("weights", "kv", "activation", "state")
Said = Mapping[str, Any]  # option -> its value; true: a flag


@frozen
class Options:
    """Of one release of an engine. command: words that start a server, with $model; file: of the keys that stand in
    no option, "" where there is none; takes: option -> what it takes, in the order of printing; says: part of a plan
    or of a server -> options; nodes: the same of several nodes; router: what stands before two pools; formats: kind
    -> our name -> the engine's; spread: "all" where experts lie on every rank of a stage or none;
    tensor_with_replicas: whether attention is cut beside replicas; spanning: exchanges for which they lie on every
    rank; needs: words of a plan -> words of which one must stand beside them."""

    engine: str
    version: str
    source: str
    command: tuple[str, ...]
    file: str
    takes: Mapping[str, str | Sequence[str]]
    says: Mapping[str, Any]
    nodes: Mapping[str, Any]
    router: Mapping[str, Any]
    formats: Mapping[str, Mapping[str, str]]
    spread: str
    tensor_with_replicas: bool
    spanning: tuple[str, ...]
    needs: Mapping[str, Sequence[str]]

    def said(self, part: str, **values: Any) -> Said:
        """The options of a part, their $names filled in and checked; none where the engine says nothing of it."""
        return self.filled(self.says.get(part, {}), **values)

    def filled(self, said: Said, **values: Any) -> Said:
        """Options with $names filled in and checked. Raises SpecError for a value that an option does not take."""
        return {
            name: self.checked(name, filled(value, values) if isinstance(value, str) else value)
            for name, value in said.items()
        }

    def checked(self, name: str, value: Any) -> Any:
        """A value of an option as it is printed. Raises SpecError for an option that is not documented, or a value
        that it does not take."""
        where = f"{engines.title(self.engine)} {self.version}: {name}"
        if name not in self.takes:
            raise SpecError(f"{where} is not a documented option{nearest(name, self.takes)}")
        kind = self.takes[name]
        if not isinstance(kind, str):
            if str(value) not in kind:
                raise SpecError(f"{where} must be one of {', '.join(kind)}, not {value!r}")
            return str(value)
        return _KIND[kind](value, where)


def filled(text: str, values: Mapping[str, Any]) -> str:
    """A text with its $names filled in."""
    return Template(text).substitute(values)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0.0:
        raise SpecError(f"{where} must be a number of at least 0, not {value!r}")
    return number


def _count(value: Any, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise SpecError(f"{where} must be a whole number, not {value!r}")
    return int(number)


def _fraction(value: Any, where: str) -> float:
    number = _number(value, where)
    if not 0.0 < number <= 1.0:
        raise SpecError(f"{where} must be a number in (0, 1], not {value!r}")
    return math.floor(number * 1000.0) / 1000.0 or number  # downwards: a server that asks for more than there is fails


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{where} must be true or false, not {value!r}")
    return value


def _json(value: Any, where: str) -> str:
    try:
        return json.dumps(json_value(str(value), where))
    except NoJSON:
        raise SpecError(f"{where} must be JSON, not {value!r}") from None


def text(value: Any, where: str) -> str:
    """A word that names something. Raises SpecError for one that is empty, reads as an option, or would not be
    printed."""
    if not isinstance(value, str) or not value or value.startswith("-") or not value.isprintable():
        raise SpecError(f"{where} must be a name, a path or an address, not {value!r}")
    return value


_KIND = {"count": _count, "fraction": _fraction, "number": _number, "flag": _flag, "json": _json, "text": text}


@cache
def load(engine: str) -> Options:
    """The options of an engine. Raises SpecError for an engine that has none, naming those that have, and for a
    broken file."""
    if engine not in engines.names():
        known = ", ".join(engines.names())
        raise SpecError(
            f"a launch command can be written for one of {known}, not for {engine!r}{nearest(engine, engines.names())}"
        )
    path = folder("workloads") / "engines" / "options" / f"{engine}.toml"
    return _options(engine, toml_table(path), f"engines/options/{engine}.toml")


def _options(engine: str, table: Mapping[str, Any], where: str) -> Options:
    for key in table:
        if key not in _KEYS:
            raise SpecError(f"{where}: '{key}' is unknown{nearest(key, _KEYS)}")
    if table.get("schema") != SCHEMA or table.get("engine") != engine:
        raise SpecError(f'{where}: needs schema = {SCHEMA} and engine = "{engine}"')
    for key in ("version", "source", "command", *_TABLES):
        if not table.get(key):
            raise SpecError(f"{where}: needs '{key}'")
    for name, kind in table["options"].items():
        if isinstance(kind, str) and kind not in KINDS:
            raise SpecError(f"{where}: option '{name}' takes one of {', '.join(KINDS)} or words, not {kind!r}")
    if table["ranks"].get("experts") not in ("all", "any") or "tensor_with_replicas" not in table["ranks"]:
        raise SpecError(f"{where}: [ranks] needs experts = all or any, and tensor_with_replicas")
    if set(table["formats"]) != set(_FORMATS):
        raise SpecError(f"{where}: [formats] needs {', '.join(_FORMATS)}")
    for name in _named(table):
        if name not in table["options"]:
            raise SpecError(f"{where}: '{name}' is used but is not in [options]{nearest(name, table['options'])}")
    ranks = table["ranks"]
    return Options(
        engine=engine,
        version=str(table["version"]),
        source=str(table["source"]),
        command=tuple(table["command"]),
        file=str(table.get("file", "")),
        takes=table["options"],
        says=table["says"],
        nodes=table["nodes"],
        router=table["router"],
        formats=table["formats"],
        spread=ranks["experts"],
        tensor_with_replicas=ranks["tensor_with_replicas"],
        spanning=tuple(ranks.get("spanning", ())),
        needs=table.get("needs", {}),
    )


def _named(table: Mapping[str, Any]) -> set[str]:
    """Every option that some part says."""
    says, nodes = dict(table["says"]), table["nodes"]
    settings, plan = says.pop("settings", {}), says.pop("plan", {})
    of_nodes = [held.get(key, {}) for held in (nodes, nodes.get("replicas", {})) for key in ("each", "later")]
    words = [name for names in settings.values() for name in names]
    return {*words, *(name for said in (*says.values(), *plan.values(), *of_nodes) for name in said)}
