"""One grammar instead of flags: `path=value` and `path=a,b,c` over model, hw, plan and phase.

`model.kv_lora_rank=1024`, `hw.memory.bandwidth="6 TB/s"` or `x1.5`, `plan.tp=8`, `batch=1,8,64`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

from simcost import dtypes, settings, units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.engine_file import VERSION, known_settings, setting_of
from simcost.plan import Plan
from simcost.settings import ROOTS, STACK, Setting
from simcost.texts import NoJSON, json_value

PHASE = tuple(settings.of("phase"))
_ENGINE = "engine"
NAMES = ("model", "hw")  # of a question: which model and which device, not a setting of one


@frozen
class Overrides:
    """Values by their path without the root."""

    model: dict[str, Any] = field(default_factory=dict)
    hw: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    phase: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    stack: dict[str, Any] = field(default_factory=dict)

    def merged(self, assignments: Mapping[str, Any]) -> Overrides:
        """With `path -> value` on top."""
        tables = {root: dict(getattr(self, root)) for root in (*ROOTS, STACK)}
        for path, value in assignments.items():
            root, key = split(path)
            tables[root][key] = value
        return Overrides(**tables)


def split(path: str) -> tuple[str, str]:
    """("plan", "tp") of "plan.tp", of "plan.tensor_parallel_size" too; bare phase names stand for phase.*. Raises SpecError for unknown roots and
    keys."""
    root, _, key = path.partition(".")
    if path in (*NAMES, _ENGINE):
        return path, path
    phase, plan = settings.spelled("phase"), settings.spelled("plan")
    if not key and root in phase:
        return "phase", phase[root]
    if root not in (*ROOTS, STACK) or not key:
        raise SpecError(
            f"unknown path '{path}' (model.<key>, hw.<key>, plan.<key>, {_ENGINE}, {_ENGINE}.<key>, {STACK}.<flag> or {', '.join(PHASE)}){_meant(path)}"
        )
    if root == _ENGINE and key not in known_settings():
        raise SpecError(
            f"unknown path '{path}' (engines have {', '.join(known_settings())}){nearest(key, known_settings())}"
        )
    if root == "plan" and key in (*phase, _ENGINE):
        raise SpecError(f"unknown path '{path}'; did you mean '{phase.get(key, key)}'?")
    for table, spellings in (("plan", plan), ("phase", phase)):
        if root == table and key not in spellings:
            raise SpecError(
                f"unknown path '{path}' ({table} has {', '.join(settings.of(table))}){nearest(key, spellings)}"
            )
        if root == table:
            return root, spellings[key]
    return root, key


def _meant(path: str) -> str:
    """The paths whose last words are those of a path without its root ("bandwidth"), else the nearest."""
    ends = [one.path for one in settings.EVERY if path and one.path.endswith(f".{path}")]
    if not ends:
        known = [*settings.spelled("phase"), _ENGINE, *("plan." + key for key in settings.spelled("plan"))]
        return nearest(path, [*known, "model.<config key>", "hw.memory.bandwidth"])
    return f"; did you mean {' or '.join(repr(one) for one in ends)}?"


def full(path: str) -> str:
    """One spelling of a path: "batch" for "phase.batch"."""
    root, key = split(path)
    return key if root == "phase" or path in (*NAMES, _ENGINE) else f"{root}.{key}"


_ANOTHER = re.compile(r",\s*(?=[a-z_]+\.[a-z_.]+=)")  # before the next path of a text that sets several


def assignments(texts: Iterable[str], engine: str | None = None) -> dict[str, Any]:
    """{path: value} of "path=value" texts; `engine`: of the option that says the same as engine=..., None where it was not given."""
    found: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise SpecError(f"--set {text}: write path=value, for example plan.tp=8")
        if _ANOTHER.search(value):
            raise SpecError(
                f"--set {text}: one path=value each: {' '.join(f'--set {one}' for one in _ANOTHER.split(text))}"
            )
        name = full(path.strip())
        if name in found:
            raise SpecError(f"--set {text}: '{name}' is set twice")
        found[name] = parsed(name, value.strip())
    if engine is not None:
        if _ENGINE in found:
            raise SpecError(f"engine is set twice: --engine {engine} and --set {_ENGINE}={found[_ENGINE]}")
        found[_ENGINE] = engine
    return found


def axes(texts: Iterable[str]) -> dict[str, list[Any]]:
    """{path: values} of "path=a,b,c" texts."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise SpecError(f"--vary {text}: write path=a,b,c, for example plan.tp=1,2,4,8")
        name = full(path.strip())
        parts = [part.strip() for part in values.split(",")]
        if any(not part for part in parts):
            raise SpecError(f"--vary {text}: an empty value between commas")
        if name in found:
            raise SpecError(f"--vary {text}: '{name}' is varied twice")
        found[name] = [value for part in parts for value in _range(name, part) or [parsed(name, part)]]
    return found


_RANGE = re.compile(r"([^.:\s]+)\.\.([^.:\s]+)(?::(x?)([^.:\s]+))?\Z")
MOST = 1_000_000  # values of a range


def _range(path: str, text: str) -> list[int]:
    """The counts of "256..1024:64" (both ends, in steps), of "1..64:x2" (each twice the one before) and of "1..8"; [] for what is no range. Raises
    SpecError for one without end, and for one that is empty."""
    match = _RANGE.match(text)
    if match is None:
        return []
    ends = [read(path, parsed(path, part)) for part in (match[1], match[2], match[4] or "1")]
    if any(isinstance(end, bool) or not isinstance(end, (int, float)) or end != int(end) for end in ends):
        raise SpecError(f"--vary {path}={text}: a range needs whole numbers, as in 256..1024:64 or 1..64:x2")
    first, last, step = map(int, ends)
    if first > last or step < 1 or (match[3] and (step < 2 or first < 1)):
        raise SpecError(
            f"--vary {path}={text}: a range must go from the smaller number to the larger, in steps of at least 1, or of x2 or more"
        )
    if not match[3]:
        if (last - first) // step >= MOST:
            raise SpecError(f"--vary {path}={text}: more than {MOST:,} values")
        return list(range(first, last + 1, step))
    found = [first]
    while found[-1] * step <= last:
        found.append(found[-1] * step)
    return found


def words(option: str, text: str) -> list[str]:
    """The words of "a,b,c". Raises SpecError for an empty one."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise SpecError(f"{option} {text}: an empty value between commas")
    return found


def whole(option: str, text: str) -> int:
    """A whole number of a command line. Raises SpecError naming the option."""
    value = read("plan.gpus", text)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{option} {text}: must be a whole number, or several such as 1,2,4,8")
    return int(value)


def parsed(path: str, text: str) -> Any:
    """What a text stands for at a path: a number, a word, true, false or null. Raises SpecError for infinity and NaN."""
    root, key = split(path)
    if root == "hw" or (root == _ENGINE and key == VERSION):
        return text.strip("\"'")
    if path in NAMES:
        return text.strip("\"'")
    try:
        return json_value(text, f"{path}={text}")
    except NoJSON:
        return text.strip("\"'")


def read(path: str, value: Any) -> Any:
    """A value as the rest of simcost takes it: counts such as "64k" as numbers, words, formats and units as simcost spells them. Whatever is not
    understood stays as it is, for the check of its key to refuse. Raises SpecError for an unknown engine, and for a count whose suffix may mean two
    numbers."""
    root, key = split(path)
    if path == _ENGINE:
        return engines.checked(value)
    if path in NAMES:
        return value
    if not isinstance(value, str) or value[:1] in ("x", "X", "*"):  # a multiple
        return value
    if root == "hw":
        return hardware.respelled(key, value)
    one = setting(root, key)
    if one is not None and one.kind in settings.WHOLE:
        return units.whole(value, path, one.kind == settings.LENGTH)
    if one is not None and one.kind == settings.FORMAT:
        return dtypes.spelled(value)
    return value.lower() if one is not None and value.lower() in one.choices else value


def setting(root: str, key: str) -> Setting | None:
    """What is known of a key, by any spelling; None of a model's key that settings do not list, and of a device's."""
    name = setting_of(key) if root == _ENGINE else settings.spelled(root).get(key, key)
    return None if root == "hw" else settings.of(root).get(name)


def taken(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """({path in one spelling: value, or list of values, as `read`}, a line for each that a reader should see again: a count with a suffix, a unit in
    another case). Raises SpecError for a path that is given in two spellings."""
    found: dict[str, Any] = {}
    said: list[str] = []
    for written, value in given.items():
        path = full(written)
        if path in found:
            raise SpecError(f"'{path}' is given twice: {' and '.join(one for one in given if full(one) == path)}")
        values = value if isinstance(value, list) else [value]
        both = [(one, read(path, one)) for one in values]
        said += [f"{path}={one} is read as {_shown(now)}" for one, now in both if _news(one, now)]
        found[path] = [now for _, now in both] if isinstance(value, list) else both[0][1]
    return found, said


def _news(written: Any, taken: Any) -> bool:
    """Digits that became a number, and words in another case, are none."""
    if not isinstance(written, str) or written == taken:
        return False
    return written[-1:].isalpha() if not isinstance(taken, str) else " " in taken


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def plan_of(overrides: Mapping[str, Any]) -> Plan:
    """A Plan from checked values; counts may be arrays already. Keys of training alone are not of it. The same Plan for the same values, so that what was worked out for it is found at once."""
    if any(hasattr(value, "shape") or isinstance(value, (list, dict, set)) for value in overrides.values()):
        return _plan(overrides)
    return _plan_of(tuple((key, type(value), value) for key, value in overrides.items()))


@lru_cache(maxsize=256)
def _plan_of(stated: tuple[tuple[str, type, Any], ...]) -> Plan:
    return _plan({key: value for key, _, value in stated})


def _plan(overrides: Mapping[str, Any]) -> Plan:
    known = {one.key: one for one in settings.PLAN}
    return Plan(**{
        key: value if hasattr(value, "shape") else settings.checked(known[key], value, known[key].path)
        for key, value in overrides.items()
        if key in known
    })  # fmt: skip
