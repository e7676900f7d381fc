"""A command about a design under a plan: the options for the plan, declared once, and what the whole line says about each setting.

`--tp 8` is `--set plan.tp=8`; `--plan file` brings settings that nothing on the line states. Most likely to be wrong: an option that says what a path
says and is missing in `_PATHS`; then two values for one thing pass unseen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from simcost import settings
from simcost.cli.output import noting
from simcost.cli.pictures.pictured import Pictured, parsed
from simcost.errors import SpecError
from simcost.settings import SIZES

_FILE, _ISO, _LLAMA = "plan", "iso", "assume_llama"
_SWAPS = ("attention", "ffn")
_STEP = tuple(settings.of("phase"))
_PATHS = {
    **{key: key for key in _STEP},
    "engine": "engine",
    "price": "hw.price.usd_per_hour",
    "gpus": "plan.gpus",
    "nodes": "plan.gpus",
}


class Question(Pictured):
    """Adds the options of a plan to a command that has --set, and leaves their values there."""

    def __init__(self, *words: Any, params: list[Any], **more: Any) -> None:
        own = {one.name for one in params}
        self.added = [copy.copy(one) for one in _options() if one.name not in own]
        super().__init__(*words, params=[*params, *self.added], **more)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the plan's in a section of their own: sizes share a line."""
        every, added = self.params, self.added
        self.params = [one for one in every if one not in added]
        super().format_options(ctx, formatter)
        self.params = every
        sizes = ", ".join(one.opts[0] for one in added if one.name in SIZES)
        lines = [
            (f"{sizes} <count>", "Sizes of the plan: --tp 8 is --set plan.tp=8."),
            *((f"--set model.{key}=...", _sentence(settings.of("model")[key].meaning)) for key in _SWAPS),
            *(one.get_help_record(ctx) for one in added if one.name not in SIZES),
        ]
        with formatter.section("Plan and swaps"):
            formatter.write_dl(lines)

    def invoke(self, ctx: Any) -> Any:
        """Raises SpecError for a value that is given twice."""
        # Here, not further in: imports in deeper frames cross a block of the interpreter's stack over and over, which costs numpy's 13 ms.
        import simcost.api  # noqa: F401
        from simcost.grammar import full

        added = {one.name: ctx.params.pop(one.name) for one in self.added}
        file = added.pop(_FILE)
        typed = _typed(_said(ctx.params, added), full)
        ctx.params["set"] = [*(ctx.params["set"] or []), *_sizes(added)]
        notes = [] if file is None else _filled(ctx, file, typed)
        with noting(notes):
            return super().invoke(ctx)


@cache
def _options() -> list[Any]:
    known = settings.of("plan")
    declared: dict[str, Any] = {
        key: Annotated[str | None, typer.Option(f"--{key.replace('_', '-')}", metavar="<count>", help=_sentence(known[key].meaning))]
        for key in SIZES
    }  # fmt: skip
    declared[_ISO] = Annotated[str | None, typer.Option("--iso", help=_sentence(settings.of("model")["iso"].meaning))]
    declared[_LLAMA] = Annotated[
        bool | None, typer.Option("--assume-llama", help=_sentence(settings.of("model")[_LLAMA].meaning))
    ]
    declared[_FILE] = Annotated[
        Path | None,
        typer.Option("--plan", help="File of settings (.toml, .json): tables as in `simcost keys --schema`. Options of the command line override it."),
    ]  # fmt: skip

    return parsed(declared)


def _sentence(meaning: str) -> str:
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
