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
from inspect import signature
from typing import Any

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
from simcost.errors import SpecError, nearest
from simcost.pool import Progress, quiet
from simcost.result import Result, headings, pages, printers

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


def __getattr__(name: str) -> Any:
    """`figures`, which a query does not load."""
    if name == "figures":
        from importlib import import_module

        return import_module("simcost.api.figures")
    raise AttributeError(f"module 'simcost.api' has no attribute {name!r}")


_QUESTIONS: dict[str, Callable[..., Result]] = {
    "decode": decode, "prefill": prefill, "sweep": sweep, "compare": compare, "explain": explain, "plans": plans, "crossover": crossover, "sensitivity": sensitivity,
    "show model": show_model, "show hardware": show_hardware, "show memory": show_memory, "train": train, "serve": serve, "recipe": recipe, "rl": rl, "think": think, "distill": distill,
}  # fmt: skip


def scheduler(address: str, progress: Progress = quiet) -> AbstractContextManager[object]:
    """A context in which workers of Dask distributed (extra `scale`) do the work of `sweep` with `out`, `plans`, `compare` and `serve` with events: those of "tcp://host:port", or
    processes of this machine, "local:4". `progress` is called with how much is done, how much there is in all, and a few words. Raises SpecError where no worker can be reached, and where
    a worker differs from this process."""
    from simcost.scale.cluster import opened

    return opened(address, progress)


def ask(command: str, inputs: Mapping[str, Any]) -> Result:
    """Ask the question of a result again: `command` and `inputs` of a Result, or of its JSON."""
    from simcost.scenarios.inputs import arguments

    if command not in _QUESTIONS:
        known = ", ".join(_QUESTIONS)
        raise SpecError(f"'{command}' cannot be asked again (only {known}){nearest(command, _QUESTIONS)}")
    question, stated = (solve, inputs["solve"]) if "solve" in inputs else (_QUESTIONS[command], inputs)
    return question(**arguments(stated, list(signature(question).parameters)))
