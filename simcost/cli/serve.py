"""The serve command: a design under load."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit, write
from simcost.errors import SpecError


def serve(
    model: o.Model, hw: o.Hw,
    isl: Annotated[str, Option("--isl", metavar="<lengths>", help="Tokens of a prompt: 1024, 8k (8,192), lognormal:1024:0.8 (mean, sigma of the log), uniform:256:4096, exponential:1024, file:lengths.csv.")],
    osl: Annotated[str, Option("--osl", metavar="<lengths>", help="Tokens of an answer, as --isl.")],
    concurrency: Annotated[str | None, Option("--concurrency", metavar="<count>", help="Users who each send their next request when an answer ends: 64, or 1,4,16,64.")] = None,
    rate: Annotated[str | None, Option("--rate", help="Requests that come at random: 20/s, 900/min, or several.")] = None,
    offline: Annotated[str | None, Option("--offline", metavar="<count>", help="Requests that all wait at the start, with no server in front, as trtllm-bench and vllm bench throughput send them: the run's throughput.")] = None,
    gpus: o.Gpus = None, nodes: o.Nodes = None,
    prefix_hit: Annotated[float, Option("--prefix-hit", help="Share of a prompt that the prefix cache holds: 0.56.")] = 0.0,
    prefix_from: Annotated[str | None, Option("--prefix-from", metavar="<where>", help="Where cached prefixes are: pool (of the GPUs, the default), host or host:512GB (the host's memory, per GPU), recompute (nowhere: computed again).")] = None,
    drafts: o.Drafts = 0,
    acceptance: o.Acceptance = None,
    draft_model: o.DraftModel = None,
    prefill_pool: o.PrefillPool = None,
    decode_pool: o.DecodePool = None,
    events: Annotated[bool, Option("--events", help="Also simulate request by request: P50, P90 and P99, with bursts and finite runs.")] = False,
    requests: Annotated[str | None, Option("--requests", metavar="<count>", help="--events: requests in all; default 10 per user; at a rate 20 for each in flight, at least 1,000 per replica.")] = None,
    seed: Annotated[str | None, Option("--seed", metavar="<seeds>", help="--events: seed of the random draws; default 1. Several (1,2,3 or 1..16) are one run each, and the figures are their means.")] = None,
    warmup: Annotated[float | None, Option("--warmup", help="--events: share of the requests left out at the start; default 0.1.")] = None,
    emit_for: Annotated[str | None, Option("--emit", metavar="<engine>", help="Print the launch command of the plan instead: vllm, sglang, trtllm.", autocompletion=o.starting(("vllm", "sglang", "trtllm")))] = None,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A design under load: TTFT, TPOT, throughput, what limits them and what tokens cost, at a concurrency or a rate."""
    from simcost import api, grammar
    from simcost.cli.progress import scheduled

    if emit_for is not None:
        if format:
            raise SpecError("--emit prints a shell script: --format does not apply")
        if prefix_from is not None:
            raise SpecError("--emit has no options for a cache in the host's memory: leave out --prefix-from")
        sets = grammar.assignments(set or [], engine)
        text = api.launch(
            emit_for, model, hw, isl, osl, concurrency, rate, gpus, nodes, sets, None, prefix_hit, drafts, acceptance, draft_model, prefill_pool, decode_pool
        )  # fmt: skip
        write(output, text)
        return 0
    if scheduler is not None and not events and offline is None:
        raise SpecError("--scheduler applies to simulations request by request: add --events")
    runs = seed if seed is None or not seed.isdecimal() else int(seed)
    check(format, output)
    with scheduled(scheduler):
        result = api.serve(
            model, hw, isl, osl, concurrency, rate, gpus, nodes, grammar.assignments(set or [], engine), None, price, prefix_hit, drafts, acceptance, draft_model,
            prefill_pool, decode_pool, events, requests, runs, warmup, prefix_from, offline,
        )  # fmt: skip
    return emit(result, format, output, strict, details)
