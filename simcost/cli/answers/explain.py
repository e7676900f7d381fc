"""The explain command: every op of a step, or one of them in full."""

from __future__ import annotations

from simcost.cli import options as o
from simcost.cli.output import emit


def explain(
    model: o.Model, hw: o.Hw, phase: o.Phase = "decode",
    batch: o.Batch = None, context: o.OfDecode = None, isl: o.OfPrefill = None, past: o.PastOfPrefill = None,
    prefill_tokens: o.PrefillTokens = None, prefill_past: o.PrefillPast = None, engine: o.Engine = None, set: o.Set = None, price: o.Price = None, gpus: o.Gpus = None, nodes: o.Nodes = None,
    op: o.Op = None, top: o.Top = None, order: o.Order = "time", format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A step's total, then every op of it: shape, FLOPs, bytes, intensity, bound, time, share, basis, formula, source."""
    from simcost import api, grammar

    result = api.explain(
        model, hw, phase, batch, context, isl, past, grammar.assignments(set or [], engine), price, gpus, nodes,
        prefill_tokens=prefill_tokens, prefill_past=prefill_past, order=order, op=op, top=top,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
