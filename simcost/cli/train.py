"""The train command: a training step, and the run that it is one of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit


def train(
    model: o.Model, hw: o.Hw, gpus: o.Gpus = None, nodes: o.Nodes = None,
    micro_batch: o.MicroBatch = None, global_batch: o.GlobalBatch = None, seq: o.Seq = None, stack: o.Stack = None,
    tokens: Annotated[str | None, Option("--tokens", help="Also price a run of this many tokens: 14.8T, 300B.")] = None,
    days: Annotated[float | None, Option("--days", help="Also price a run of this many days.")] = None,
    usd: Annotated[float | None, Option("--usd", help="Also price a run that costs this much in USD.")] = None,
    flops_convention: o.FlopsConvention = None,
    rampup: Annotated[str | None, Option("--rampup", metavar="<first:increment:samples>", help="Of the run: a batch that grows to the global one, as Megatron-LM's --rampup-batch-size: 3072:1536:114.5M.")] = None,
    scaling: Annotated[str, Option("--scaling", metavar="<count>", help="Also train the same batch on other numbers of GPUs: 256,512,1024.")] = "",
    mtbf: o.Mtbf = None,
    restart: o.Restart = None,
    checkpoint_rate: o.CheckpointRate = None,
    checkpoint_interval: o.CheckpointInterval = None,
    timeline: Annotated[Path | None, Option("--timeline", help="Draw the step: .png, .svg, .pdf, a page as .html (extra 'plot'), or .trace.json for Perfetto.")] = None,
    levers: Annotated[bool, Option("--levers/--no-levers", help="Show what single changes would do to the step.")] = True,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A training step: time, MFU, memory of every stage, bubbles, exposed communication, price; and what levers would change."""
    from simcost import api, grammar

    check(format, output)
    result = api.train(
        model, hw, gpus, nodes, micro_batch, global_batch, seq, tokens, days, usd, grammar.assignments(set or [], engine), stack,
        None, price, flops_convention or "reference", levers, timeline, rampup, grammar.words("--scaling", scaling) if scaling else None, mtbf, restart, checkpoint_rate, checkpoint_interval,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
