"""The think command: what answers under thinking budgets cost."""

from __future__ import annotations

from typing import Annotated

import typer

from simcost.cli import options as o
from simcost.cli.output import check, emit


def think(
    model: o.Model,
    isl: Annotated[str, typer.Option("--isl", metavar="<lengths>", help="Tokens of a prompt, a number or a distribution as of serve.")],
    hw: Annotated[str | None, typer.Option("--hw", help="Profile name, or a profile.toml; without one --usd-per-million.", autocompletion=o.hardware_names)] = None,
    osl: Annotated[str | None, typer.Option("--osl", metavar="<lengths>", help="Tokens of an answer, thinking included, as the model would write them: lognormal:16000:0.6, file:lengths.csv.")] = None,
    levels: Annotated[str | None, typer.Option("--levels", help="Levels of published lengths instead: low,medium,high.")] = None,
    lengths_of: Annotated[str | None, typer.Option("--lengths-of", help="--levels: the model whose published lengths count; default --model.")] = None,
    benchmark: Annotated[str | None, typer.Option("--benchmark", help="--levels: of which benchmark, where there are several.")] = None,
    sigma: Annotated[float | None, typer.Option("--sigma", help="--levels: spread of the log of lengths; else the row's own, or an assumed one.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Caps on an answer, each a row: 1k,8k,32k.")] = None,
    max_osl: Annotated[str | None, typer.Option("--max-osl", metavar="<count>", help="One cap on all levels.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", metavar="<count>", help="Tokens that follow a thought that was cut.")] = None,
    concurrency: Annotated[str | None, typer.Option("--concurrency", metavar="<count>", help="Queries at a time.")] = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Queries that come at random: 2/s, 90/min.")] = None,
    usd_per_million: Annotated[str | None, typer.Option("--usd-per-million", help="A price list instead of the fleet's: USD for a million tokens of prompts and answers, 0.28:0.42, cached prompts as a third.")] = None,
    parallel: Annotated[str, typer.Option("--parallel", help="Several answers at a time: best:8, majority:16, tree:16:4:8 (parts at a time, branches of each kept, levels).")] = "single",
    accuracy: Annotated[str | None, typer.Option("--accuracy", help="CSV of budget or level and accuracy, pass@8, majority@16: shares from 0 to 1.")] = None,
    versus: Annotated[str | None, typer.Option("--versus", help="A larger model to move to.", autocompletion=o.model_names)] = None,
    versus_osl: Annotated[str | None, typer.Option("--versus-osl", metavar="<lengths>", help="Its lengths, where they differ.")] = None,
    versus_lengths_of: Annotated[str | None, typer.Option("--versus-lengths-of", help="--levels: whose published lengths it has.")] = None,
    versus_plan: Annotated[str | None, typer.Option("--versus-plan", help="Its plan, over the first one's: tp=8,gpus=8.")] = None,
    versus_usd_per_million: Annotated[str | None, typer.Option("--versus-usd-per-million", help="Its price list.")] = None,
    versus_accuracy: Annotated[str | None, typer.Option("--versus-accuracy", help="Its accuracy, as --accuracy.")] = None,
    pretrain_tokens: Annotated[str | None, typer.Option("--pretrain-tokens", help="Tokens the model was trained on, 15T: how many queries pay a longer training.")] = None,
    versus_tokens: Annotated[str | None, typer.Option("--versus-tokens", help="Those of the larger model; default the same.")] = None,
    train: Annotated[str | None, typer.Option("--train", help="Plan of the longer training: gpus=256,tp=8,global_batch=512.")] = None,
    law: Annotated[str | None, typer.Option("--law", help="One scaling law (simcost list scaling-laws); default all.")] = None,
    law_range: Annotated[str, typer.Option("--law-range", help="How far laws reach: fitted, or published.", autocompletion=o.starting(("fitted", "published")))] = "fitted",
    gpus: o.Gpus = None, nodes: o.Nodes = None,
    prefix_hit: Annotated[float, typer.Option("--prefix-hit", help="Share of a prompt that the prefix cache holds: 0.56.")] = 0.0,
    events: Annotated[bool, typer.Option("--events", help="Latency from a run request by request, a budget at a time.")] = False,
    requests: Annotated[str | None, typer.Option("--requests", metavar="<count>", help="--events: requests of each run.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="--events: of its draws; default 1.")] = None,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Answers under thinking budgets: tokens, latency, energy and $ of a query, of one that is solved, and what more tokens buy."""
    from simcost import api, grammar

    check(format, output)
    result = api.think(
        model, hw, isl, osl, levels, budget, lengths_of, benchmark, sigma, max_osl, answer, concurrency, rate, usd_per_million, parallel, accuracy,
        versus, versus_osl, versus_lengths_of, versus_plan, versus_usd_per_million, versus_accuracy, pretrain_tokens, versus_tokens, train, law, law_range,
        gpus, nodes, grammar.assignments(set or [], engine), None, price, prefix_hit, events, requests, seed,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
