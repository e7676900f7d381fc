"""Pages of the command line: docs/cli/index.md, commands by what a user wants to do, and one page per command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from navigation import DOCS, commands, page_name, title

from simcost.cli.app import app
from simcost.cli.help.examples import EXAMPLES
from simcost.cli.line import parser

WORDS = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}
SHOWN = ("tasks", "howto")  # folders whose pages are named beside a command that they run
GOALS = {
    "decode": "know the time per output token, the throughput, the memory and the price of a decode step",
    "prefill": "know the time to first token of a prompt, or of a chunk of one",
    "explain": "see why a step takes its time, op by op, with formula and source",
    "compare": "put designs beside each other and see which terms differ",
    "plans": "find the best way to split a model over GPUs, or the cheapest GPU that meets a limit",
    "sweep": "map many designs, plans or devices, and find the Pareto front of two metrics",
    "sensitivity": "see which numbers a result depends on most",
    "crossover": "find the length at which attention costs more than the FFN, and KV reads more than weight reads",
    "serve": "know TTFT, TPOT, throughput and cost per token under traffic, and how many GPUs the traffic needs",
    "think": "choose a thinking budget, or compare samples, trees and longer answers",
    "train": "know time, MFU, memory and price of a training step, and of a whole run",
    "schedule": "compare pipeline schedules from the durations of their passes",
    "rl": "price a step of reinforcement learning, phase by phase",
    "distill": "compare ways to train a small model from a large one",
    "recipe": "price a published training recipe, or your own, stage by stage",
    "loss": "estimate training loss and compute-optimal sizes by published scaling laws",
    "diff": "see what changed between two saved results",
    "cite": "list the sources of a result, also as BibTeX",
    "list models": "see which models ship",
    "list hardware": "see which devices ship",
    "list engines": "see which engines and releases are known",
    "list scaling-laws": "see which scaling laws ship",
    "show model": "count parameters, cache and FLOPs of a model",
    "show hardware": "see every fact of a device with its source",
    "show memory": "see what fills the memory of a GPU, and how many requests fit",
    "show scaling-law": "see the formula, coefficients and ranges of a scaling law",
    "keys": "look up what `--set` and `--vary` may name",
    "schema": "read results or plan files by program",
    "calibrate report": "see how accurate the curves of a device are on rows that they were not fitted to",
    "calibrate doctor": "check whether measurements are sound",
    "calibrate transfer": "see how well one device's measurements predict another device",
    "calibrate run": "measure your own GPU or CPU",
    "calibrate memory": "compare the start-up log of an engine with predicted memory",
    "calibrate import csv": "use kernel measurements of your own",
    "calibrate import aiconfigurator": "import the tables of the package aiconfigurator-core",
    "validate blocks": "run real layers and compare them with predictions",
    "validate kernels": "compare predictions with published kernel timings",
    "validate memory": "compare predictions with start-up logs of engines",
    "validate training": "compare predictions with published training steps",
    "validate serving": "compare predictions with measured serving, or with a benchmark of your own",
    "validate recipes": "compare predictions with published recipes and steps of reinforcement learning",
    "trace": "compare a trace of torch.profiler with the prediction, kernel by kernel",
}


def kind(hint: Any) -> str:
    """A parameter's type in a word: typer keeps it in other places by version, the function's annotation stays."""
    inner = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is list:
        return f"{kind(inner[0])}, several"
    return kind(inner[0]) if inner else WORDS[hint]


def default(parameter: Any) -> str:
    """The default of a parameter; empty for a flag that is off."""
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False or parameter.default == "":
        return ""
    if parameter.default is True:
        return f"`{parameter.opts[0]}`"
    return f"{parameter.default}"


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that answers by its words after `simcost`, groups opened."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from leaves(inner, f"{name} {word}".strip())


def users(name: str) -> list[Path]:
    """Pages of `SHOWN` that run a command."""
    runs = re.compile(rf"^(?:\$ )?simcost {re.escape(name)}(?: |$)", re.MULTILINE)
    return [
        page
        for folder in SHOWN
        for page in sorted((DOCS / folder).glob("*.md"))
        if runs.search(page.read_text(encoding="utf-8"))
    ]


def page(name: str, command: Any) -> str:
    """One command: what it answers, examples, parameters, and the guides that use it."""
    lines = [f"# simcost {name}", "", " ".join((command.help or "").split()), ""]
    lines += ["```", *(f"simcost {example}" for example in EXAMPLES[name]), "```", ""]
    lines += ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    hints = get_type_hints(inspect.unwrap(command.callback))
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        shown = ", ".join(f"`{o}`" for o in names) if names[0].startswith("-") else f"`{parameter.name.upper()}`"
        counted = getattr(parameter, "metavar", None) == "<count>"
        hint = hints.get(parameter.name, Path if parameter.name == "plan" else str)  # of what `cli.question` adds
        meaning = getattr(parameter, "help", "") or ""
        lines.append(f"| {shown} | {'count' if counted else kind(hint)} | {default(parameter)} | {meaning} |")
    found = users(name)
    if found:
        guides = ", ".join(f"[{title(one)}](../{one.relative_to(DOCS).as_posix()})" for one in found)
        lines += ["", f"Guides that use it: {guides}."]
    return "\n".join([*lines, ""])


def index() -> str:
    """Commands by what a user wants to do."""
    lines = [
        "# Command line",
        "",
        "One page per command, generated by `python docs/generate.py`; `simcost COMMAND --help` prints the same. [Settings](../settings.md) lists what `--set` and `--vary` may name.",
        "",
    ]
    for subject, names in commands().items():
        lines += [f"## {subject}", "", "| to | use |", "|---|---|"]
        lines += [f"| {GOALS[name]} | [`simcost {name}`]({page_name(name)}.md) |" for name in names]
        lines.append("")
    lines += [
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        "| 0 | answered |",
        "| 2 | wrong input: one line on stderr, and no output |",
        "| 3 | `--strict` and the design does not fit; `calibrate doctor`: a kind of kernel is unsound |",
        "",
    ]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every page of the command line."""
    found = dict(leaves(parser.whole(app)))
    unlike = found.keys() ^ GOALS.keys()
    if unlike:
        raise SystemExit(f"docs/commands.py: GOALS and the commands differ in {', '.join(sorted(unlike))}")
    home = DOCS / "cli"
    return {
        home / "index.md": index(),
        **{home / f"{page_name(name)}.md": page(name, one) for name, one in found.items()},
    }
