"""The compare command: designs side by side, serving or training."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Option
from simcost.cli.output import emit


def compare(
    models: Annotated[list[str], Argument(help="Models, each as --model takes it; one is enough with --variant.", autocompletion=o.model_names)],
    hw: o.Hw, batch: o.Batch = None, context: o.Context = None, isl: o.Isl = None, engine: o.Engine = None, set: o.Set = None, price: o.Price = None, gpus: o.Gpus = None, nodes: o.Nodes = None,
    prefill_batch: Annotated[str | None, Option("--prefill-batch", metavar="<count>", help="Prompts of a prefill step; default one per replica and copy.")] = None,
    images: o.Images = None, variant: o.Variant = None,
    phase: Annotated[str | None, Option("--phase", help="train: a training step of each, in place of decode and prefill.", autocompletion=o.starting(("train",)))] = None,
    micro_batch: o.MicroBatch = None, global_batch: o.GlobalBatch = None, seq: o.Seq = None, stack: o.Stack = None, flops_convention: o.FlopsConvention = None, tokens: o.RunTokens = None,
    scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Designs side by side, then the terms in which they differ, largest first."""
    from simcost import api, grammar
    from simcost.cli.progress import scheduled

    with scheduled(scheduler):
        result = api.compare(
            models, hw, batch, context, isl, grammar.assignments(set or [], engine), price, gpus, nodes, prefill_batch, variants=variant or [], images=images,
            phase=phase, micro_batch=micro_batch, global_batch=global_batch, seq=seq, stack=stack, flops_convention=flops_convention, tokens=tokens,
        )  # fmt: skip
    return emit(result, format, output, strict, details)
