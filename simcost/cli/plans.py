"""The plans command: every way to split a design over devices, for a step, for a load, or to train it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit
from simcost.cli.pictures.also import also, ready
from simcost.errors import SpecError


def plans(
    model: o.Model, hw: o.Hws, gpus: o.Counts = "", nodes: o.Nodes = None,
    phase: Annotated[str, Option("--phase", help="decode, prefill, train, or serve: fleets for a load.", autocompletion=o.starting(("decode", "prefill", "train", "serve")))] = "decode",
    batch: Annotated[str, Option("--batch", help="Sequences over all copies to try: 64,128,256; default: the best batch that memory allows.")] = "",
    context: o.OfDecode = None,
    isl: Annotated[str | None, Option("--isl", metavar="<count>", help="prefill: new tokens of each prompt, default 4,096; serve: tokens of a prompt, or lengths as simcost serve takes them.")] = None,
    osl: Annotated[str | None, Option("--osl", metavar="<lengths>", help="serve: tokens of an answer.")] = None,
    rate: Annotated[str | None, Option("--rate", help="serve: requests that come at random, 20/s or 900/min; default the most that one GPU can take.")] = None,
    slo: Annotated[str | None, Option("--slo", help="serve: both limits at once, ttft=2s,tpot=50ms.")] = None,
    prefix_hit: Annotated[float | None, Option("--prefix-hit", help="serve: share of a prompt that the prefix cache holds.")] = None,
    prefix_from: Annotated[str | None, Option("--prefix-from", metavar="<where>", help="serve: where cached prefixes are: pool (of the GPUs, the default), host (the host's memory), recompute (nowhere: computed again).")] = None,
    metric: o.Metric = None,
    tpot: Annotated[str | None, Option("--tpot", help="Only plans whose time per output token is at most this: 50ms, or 0.05 (seconds).")] = None,
    ttft: Annotated[str | None, Option("--ttft", help="Only plans whose time to first token is at most this: 2s, or 2 (seconds).")] = None,
    seq: Annotated[str | None, o.count("seq", "train: ")] = None,
    micro_batch: Annotated[str | None, Option("--micro-batch", metavar="<count>", help="train: sequences of a micro-batch; default: 1, 2 and 4 are tried.")] = None,
    global_batch: Annotated[str | None, Option("--global-batch", metavar="<count>", help="train: sequences of a step, over all replicas; default 4 per GPU.")] = None,
    stack: o.Stack = None, flops_convention: o.FlopsConvention = None, tokens: o.RunTokens = None,
    plot: Annotated[Path | None, Option("--plot", help="serve: also draw tokens/s per GPU against tokens/s per user to this .png, .svg, .pdf or .html (extra 'plot').")] = None,
    cp: Annotated[bool, Option("--cp", help="Split sequences over devices too (context parallelism).")] = False,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Every way to split a design over N devices, of one or several kinds, best first; those that cannot run with their reason. With --phase serve how many GPUs a load needs within limits, and which plan they run. With --phase train every way to train it: splits with their schedule, virtual stages, micro-batch, recomputation and ZeRO."""
    from simcost import api, grammar
    from simcost.cli.progress import scheduled

    check(format, output)
    if plot is not None and phase != "serve":
        raise SpecError(f"--plot does not apply to --phase {phase}: use -o x.png, which draws plans of every phase")
    ready(plot)
    tried = grammar.axes([f"batch={batch}"])["batch"] if batch else None
    counts = grammar.words("--gpus", gpus) if gpus else []
    with scheduled(scheduler):
        result = api.plans(
            model, grammar.words("--hw", hw), [grammar.whole("--gpus", count) for count in counts] or None, nodes, phase, tried, context, isl, metric, tpot, ttft, cp,
            grammar.assignments(set or [], engine), price, seq=seq, micro_batch=micro_batch, global_batch=global_batch, stack=stack, flops_convention=flops_convention,
            osl=osl, rate=rate, slo=slo, prefix_hit=prefix_hit, prefix_from=prefix_from, tokens=tokens,
        )  # fmt: skip
    also(result, plot, "pareto")
    return emit(result, format, output, strict, details)
