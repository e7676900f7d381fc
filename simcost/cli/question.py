"""A command about a design under a plan: the options for the plan, declared once, and what the whole line says about each setting.

`--tp 8` is `--set plan.tp=8`; `--plan file` brings settings that nothing on the line states. Most likely to be wrong: an option that says what a path
says and is missing in `_PATHS`; then two values for one thing pass unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from simcost import settings
from simcost.cli.declared import Command, Option, Parameter, names
from simcost.cli.output import noting
from simcost.cli.pictures import pictured
from simcost.errors import SpecError
from simcost.settings import SIZES

_FILE, _ISO, _LLAMA = "plan", "iso", "assume_llama"
SWAPS = ("attention", "ffn")
_STEP = tuple(settings.of("phase"))
_PATHS = {
    **{key: key for key in _STEP},
    "engine": "engine",
    "price": "hw.price.usd_per_hour",
    "gpus": "plan.gpus",
    "nodes": "plan.gpus",
}


def parameters(command: Command) -> list[Parameter]:
    """The parameters of a command's function, and those of plans and pictures."""
    own = names(command.function)
    drawn = pictured.options() if command.pictured else []
    return [*command.parameters(), *added(command), *(one for one in drawn if one.name not in own)]


def added(command: Command) -> list[Parameter]:
    """The options of a plan that a command takes and that are not its own."""
    return [one for one in options() if one.name not in names(command.function)] if command.planned else []


@contextmanager
def settled(ctx: Any, taken: Iterable[str]) -> Iterator[None]:
    """A context in which a command runs: the options of a plan, those that are not its own (`taken`), leave `ctx.params`, and their values stand
    in its "set". `ctx`: the parser's context, or a `Line`. Raises SpecError for a value that is given twice."""
    from simcost.grammar import full

    given = {name: ctx.params.pop(name) for name in taken}
    file = given.pop(_FILE)
    typed = _typed(_said(ctx.params, given), full)
    ctx.params["set"] = [*(ctx.params["set"] or []), *_sizes(given)]
    notes = [] if file is None else _filled(ctx, file, typed)
    with noting(notes):
        yield


@cache
def options() -> list[Parameter]:
    """The options of a plan, each None where a line does not state it."""
    known = settings.of("plan")
    declared: dict[str, Any] = {
        key: Annotated[str | None, Option(f"--{key.replace('_', '-')}", metavar="<count>", help=sentence(known[key].meaning))]
        for key in SIZES
    }  # fmt: skip
    declared[_ISO] = Annotated[str | None, Option("--iso", help=sentence(settings.of("model")["iso"].meaning))]
    declared[_LLAMA] = Annotated[
        bool | None, Option("--assume-llama", help=sentence(settings.of("model")[_LLAMA].meaning))
    ]
    declared[_FILE] = Annotated[
        Path | None,
        Option("--plan", help="File of settings (.toml, .json): tables as in `simcost keys --schema`. Options of the command line override it."),
    ]  # fmt: skip

    return [Parameter(name, hint, hint.__metadata__[0], None) for name, hint in declared.items()]


def sentence(meaning: str) -> str:
    return f"{meaning[:1].upper()}{meaning[1:]}."


def _sizes(added: dict[str, Any]) -> list[str]:
    """Texts of --set. Raises SpecError for several values."""
    several = next((key for key, value in added.items() if isinstance(value, str) and "," in value), None)
    if several is not None:
        raise SpecError(
            f"--{several.replace('_', '-')} {added[several]}: it takes one value (--vary {_path(several)}={added[several]} tries each)"
        )
    return [f"{_path(key)}={'true' if value is True else value}" for key, value in added.items() if value is not None]


def _path(option: str) -> str:
    """What an option added here sets."""
    return f"model.{option}" if option in (_ISO, _LLAMA) else f"plan.{option}"


def _typed(said: Iterable[tuple[str, str]], full: Callable[[str], str]) -> dict[str, str]:
    """Path of every setting that the line states, in one spelling -> the words that do. Raises SpecError for one that two words state."""
    found: dict[str, str] = {}
    for written, words in said:
        path = full(written)
        if path in found:
            raise SpecError(f"'{path}' is given twice: {found[path]} and {words}")
        found[path] = words
    return found


def _said(given: dict[str, Any], added: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path as it is written, the words) of all that a line states."""
    for key, value in added.items():
        if value is not None:
            yield _path(key), f"--{key.replace('_', '-')}{'' if value is True else f' {value}'}"
    for key, path in _PATHS.items():
        both = key == "nodes" and given.get("gpus") is not None  # the answer is that they contradict
        if given.get(key) not in (None, "") and not both:
            value = f"{given[key]:g}" if isinstance(given[key], float) else given[key]
            yield path, f"--{key.replace('_', '-')} {value}"
    if given.get("solve") and "=" not in given["solve"]:
        yield given["solve"], f"--solve {given['solve']}"
    for option in ("set", "vary"):
        for text in given.get(option) or ():
            path, equals, _ = text.partition("=")
            if equals:  # else it is refused where it is read
                yield path.strip(), f"--{option} {text}"


def _filled(ctx: Any, file: Path, typed: dict[str, str]) -> list[str]:
    """Puts the settings of a file where the line states none. Returns what was left out, and why."""
    import json

    from simcost import grammar
    from simcost.cli import plan_file

    given, notes = ctx.params, []
    for path, value in plan_file.read(file).items():
        root, key = grammar.split(path)
        if path in typed:
            notes.append(f"{typed[path]} overrides {path} = {json.dumps(value)} of {file}")
        elif root == "phase" and not _takes(ctx, key):
            notes.append(
                f"{path} = {json.dumps(value)} of {file} is ignored: {given.get('phase') or _name(ctx)} does not use it"
            )
        elif root == "phase" and key in given:
            given[key] = str(value)
        else:
            given["set"].append(f"{path}={value if root == 'hw' else json.dumps(value)}")
    return notes


def _name(ctx: Any) -> str:
    """ "show memory" of "simcost show memory"."""
    return str(ctx.command_path.partition(" ")[2])


def _takes(ctx: Any, key: str) -> bool:
    """Whether a command reads a number of a step: by an option, or by --set where its step has it."""
    if key in ctx.params and not ctx.params.get("phase"):  # compare without one answers all of serving
        return key not in settings.of_training() or ctx.info_name == "train"
    step = ctx.params.get("phase") or (ctx.info_name if ctx.info_name in ("prefill", "train") else "decode")
    return step in settings.of("phase")[key].steps
