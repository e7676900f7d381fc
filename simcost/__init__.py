"""simcost: what does this transformer cost on this hardware, why, and what if I change it?

The public functions live in `simcost.api` and are loaded on first use, so that `import simcost` stays instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simcost.provenance import VERSION

__version__ = VERSION
__all__ = [
    "__version__",
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

if TYPE_CHECKING:
    from simcost.api import (
        ask,
        bibtex,
        cite,
        compare,
        crossover,
        decode,
        diff,
        distill,
        explain,
        figures,
        keys,
        launch,
        list_engines,
        list_hardware,
        list_models,
        list_scaling_laws,
        loss,
        plans,
        prefill,
        recipe,
        rl,
        schedule,
        scheduler,
        sensitivity,
        serve,
        show_hardware,
        show_memory,
        show_model,
        show_scaling_law,
        solve,
        sweep,
        think,
        trace,
        train,
    )


def __getattr__(name: str) -> Any:
    if name in __all__:
        from simcost import api

        return getattr(api, name)
    raise AttributeError(f"module 'simcost' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
