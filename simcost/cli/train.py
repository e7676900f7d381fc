"""The train command: a training step, and the run that it is one of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcost.cli import options as o
from simcost.cli.output import check, emit


def _stacks(incomplete: str) -> list[str]:
    from simcost.training.stack import names

    return [name for name in names() if name.startswith(incomplete)]


def _conventions(incomplete: str) -> list[str]:
    from simcost.training.flops import conventions

    return [name for name in conventions() if name.startswith(incomplete)]


def train(
    model: o.Model, hw: o.Hw, gpus: o.Gpus = None, nodes: o.Nodes = None,
    micro_batch: Annotated[str | None, o.count("micro_batch")] = None, global_batch: Annotated[str | None, o.count("global_batch")] = None,
    seq: Annotated[str | None, o.count("seq")] = None,
    stack: Annotated[str | None, typer.Option("--stack", help="Training stack, whose flags --set stack.<flag>=... changes; default megatron-core-te.", autocompletion=_stacks)] = None,
    tokens: Annotated[str | None, typer.Option("--tokens", help="Also the run of so many tokens: 14.8T, 300B.")] = None,
    days: Annotated[float | None, typer.Option("--days", help="Also the run of so many days.")] = None,
    usd: Annotated[float | None, typer.Option("--usd", help="Also the run of so much money.")] = None,
    flops_convention: Annotated[str, typer.Option("--flops-convention", help="How MFU counts FLOPs: reference (causal), palm, megatron, torchtitan, 6n and others.", autocompletion=_conventions)] = "reference",
    rampup: Annotated[str | None, typer.Option("--rampup", metavar="<first:increment:samples>", help="Of the run: a batch that grows to the global one, as Megatron-LM's --rampup-batch-size: 3072:1536:114.5M.")] = None,
    scaling: Annotated[str, typer.Option("--scaling", metavar="<count>", help="The same batch on other numbers of GPUs: 256,512,1024.")] = "",
    mtbf: Annotated[str | None, typer.Option("--mtbf", help="Of the run: mean time between failures of one GPU: 50000h; default Llama 3's.")] = None,
    restart: Annotated[str | None, typer.Option("--restart", help="Of the run: time from a failure to the next step: 15min; default 10 min, assumed.")] = None,
    checkpoint_rate: Annotated[str | None, typer.Option("--checkpoint-rate", help="Of the run: bytes that all ranks together write a second: '200 GB/s'; default 122 MB/s a GPU, Llama 3's.")] = None,
    checkpoint_interval: Annotated[str | None, typer.Option("--checkpoint-interval", help="Of the run: training between two checkpoints: 1h; default the best one (Daly).")] = None,
    timeline: Annotated[Path | None, typer.Option("--timeline", help="Draw the step: .png, .svg, .html (extra 'plot'), or .trace.json for Perfetto.")] = None,
    levers: Annotated[bool, typer.Option("--levers/--no-levers", help="What single changes would do to the step.")] = True,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A training step: time, MFU, memory of every stage, bubbles, exposed communication, price; and what levers would change."""
    from simcost import api, grammar

    check(format, output)
    result = api.train(
        model, hw, gpus, nodes, micro_batch, global_batch, seq, tokens, days, usd, grammar.assignments(set or [], engine), stack,
        None, price, flops_convention, levers, timeline, rampup, grammar.words("--scaling", scaling) if scaling else None, mtbf, restart, checkpoint_rate, checkpoint_interval,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
