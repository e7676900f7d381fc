"""The Python API: the command line's questions as typed functions that return a Result.

    import simcost
    r = simcost.decode("deepseek-v3", "h200", batch=64, context=4096, set={"plan.tp": 8})
    print(r.metrics["tpot_s"], r.to_frame(), r.frame("metrics"))

`set` maps paths to values, `vary` maps paths to lists of values (their product is one sweep), `price` is USD per device
and hour, `gpus` or `nodes` the size of the cluster, `engine` whose kernels run (the same as set={"engine": ...}). A model is a name or a
config as a mapping; numbers may be NumPy's. `ask(result.command, result.inputs)` asks a question again. All functions raise
`simcost.errors.SimcostError` with one clear line for anything a user can get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from simcost.errors import SpecError, nearest
from simcost.pool import Progress, quiet
from simcost.result import Result, headings, pages, printers

if TYPE_CHECKING:
    from simcost.api.answers import bibtex, cite, diff
    from simcost.api.catalogue import (
        keys,
        list_engines,
        list_hardware,
        list_models,
        list_scaling_laws,
        loss,
        show_hardware,
        show_memory,
        show_model,
        show_scaling_law,
    )
    from simcost.api.distilling import distill
    from simcost.api.learning import rl
    from simcost.api.pipelines import schedule
    from simcost.api.recipes import recipe
    from simcost.api.searches import plans, sensitivity, solve, sweep
    from simcost.api.serving import launch, serve
    from simcost.api.steps import compare, crossover, decode, explain, prefill
    from simcost.api.thinking import think
    from simcost.api.tracing import trace
    from simcost.api.training import train

__all__ = [
    "ask",
    "bibtex",
    "cite",
    "compare",
    "crossover",
    "decode",
    "diff",
    "distill",
    "explain",
    "figures",
    "keys",
    "launch",
    "list_engines",
    "list_hardware",
    "list_models",
    "list_scaling_laws",
    "loss",
    "plans",
    "prefill",
    "recipe",
    "rl",
    "schedule",
    "scheduler",
    "sensitivity",
    "serve",
    "show_hardware",
    "show_memory",
    "show_model",
    "show_scaling_law",
    "solve",
    "sweep",
    "think",
    "trace",
    "train",
]


def _printed(result: Result) -> str:
    from simcost.report.text import as_console  # a query that prints nothing loads no rich

    return as_console(result)


def _page(result: Result) -> str:
    from simcost.report.notebook import as_html

    return as_html(result)


def _headed(result: Result) -> list[str]:
    from simcost.report.answer import headline

    return headline.heading(result, headline.lines(result))


printers[:] = [_printed]
headings[:] = [_headed]
pages[:] = [_page]


# Where functions are defined: a question loads its own and no other.
_HOMES = {
    "answers": ("bibtex", "cite", "diff"),
    "catalogue": (
        "keys",
        "list_engines",
        "list_hardware",
        "list_models",
        "list_scaling_laws",
        "loss",
        "show_hardware",
        "show_memory",
        "show_model",
        "show_scaling_law",
    ),
    "distilling": ("distill",),
    "learning": ("rl",),
    "pipelines": ("schedule",),
    "recipes": ("recipe",),
    "searches": ("plans", "sensitivity", "solve", "sweep"),
    "serving": ("launch", "serve"),
    "steps": ("compare", "crossover", "decode", "explain", "prefill"),
    "thinking": ("think",),
    "tracing": ("trace",),
    "training": ("train",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_ASKED_AGAIN = (
    "decode", "prefill", "sweep", "compare", "explain", "plans", "crossover", "sensitivity", "show model", "show hardware", "show memory", "train", "serve", "recipe", "rl", "think", "distill",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """A function, or the room `figures`, when it is first asked for."""
    if name == "figures":
        return import_module("simcost.api.figures")
    if name not in _HOME:
        raise AttributeError(f"module 'simcost.api' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"simcost.api.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def scheduler(address: str, progress: Progress = quiet) -> AbstractContextManager[object]:
    """A context in which workers of Dask distributed (extra `scale`) do the work of `sweep` with `out`, `plans`, `compare` and `serve` with events: those of "tcp://host:port", or
    processes of this machine, "local:4". `progress` is called with how much is done, how much there is in all, and a few words. Raises SpecError where no worker can be reached, and where
    a worker differs from this process."""
    from simcost.scale.cluster import opened

    return opened(address, progress)


def ask(command: str, inputs: Mapping[str, Any]) -> Result:
    """Ask the question of a result again: `command` and `inputs` of a Result, or of its JSON."""
    from simcost.scenarios.inputs import arguments

    if command not in _ASKED_AGAIN:
        known = ", ".join(_ASKED_AGAIN)
        raise SpecError(f"'{command}' cannot be asked again (only {known}){nearest(command, _ASKED_AGAIN)}")
    name, stated = ("solve", inputs["solve"]) if "solve" in inputs else (command.replace(" ", "_"), inputs)
    question: Callable[..., Result] = getattr(import_module(__name__), name)
    return question(**arguments(stated, list(signature(question).parameters)))
