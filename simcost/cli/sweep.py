"""The sweep command: a map of designs."""

from __future__ import annotations

from typing import Annotated

import typer

from simcost.cli import options as o
from simcost.cli.output import emit
from simcost.cli.pictures.also import also, ready


def sweep(
    model: o.ModelOrAxis = None, hw: o.HwOrAxis = None, phase: o.Phase = "decode", vary: o.Vary = None,
    pareto: Annotated[str, typer.Option("--pareto", help="Two metrics, of which no point on the front is beaten in both: tpot,params_total:more (the default of decode).")] = "",
    plot: o.Plot = None,
    batch: o.Batch = None, context: o.OfDecode = None, isl: o.OfPrefill = None, past: o.PastOfPrefill = None,
    prefill_tokens: o.PrefillTokens = None, prefill_past: o.PrefillPast = None, engine: o.Engine = None, set: o.Set = None, price: o.Price = None,
    gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A map of designs: heads, ranks, experts, widths and whatever else is varied; and the front of two metrics."""
    from simcost import api, grammar

    ready(plot)
    wanted = grammar.words("--pareto", pareto) if pareto else None
    result = api.sweep(
        model, hw, phase, grammar.axes(vary or []), wanted, batch, context, isl, past, grammar.assignments(set or [], engine), price, gpus, nodes,
        prefill_tokens=prefill_tokens, prefill_past=prefill_past,
    )  # fmt: skip
    also(result, plot, "pareto")
    return emit(result, format, output, strict, details)
