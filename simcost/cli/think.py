"""The think command: what answers under thinking budgets cost."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit


def think(
    model: o.Model,
    isl: Annotated[str, Option("--isl", metavar="<lengths>", help="Tokens of a prompt: a number, or a distribution as simcost serve takes it.")],
    hw: Annotated[str | None, Option("--hw", help="Profile name, or a profile.toml; not needed with --usd-per-million.", autocompletion=o.hardware_names)] = None,
    osl: Annotated[str | None, Option("--osl", metavar="<lengths>", help="Tokens of an answer, thinking included, as the model would write them: lognormal:16000:0.6, file:lengths.csv.")] = None,
    levels: Annotated[str | None, Option("--levels", help="Levels of thinking with published lengths, in place of --osl: low,medium,high.")] = None,
    lengths_of: Annotated[str | None, Option("--lengths-of", help="--levels: the model whose published lengths are used; default --model.")] = None,
    benchmark: Annotated[str | None, Option("--benchmark", help="--levels: benchmark of the published lengths, where there are several.")] = None,
    sigma: Annotated[float | None, Option("--sigma", help="--levels: spread (sigma of the log) of the lengths; default: the published one, else an assumed one.")] = None,
    budget: Annotated[str | None, Option("--budget", help="Caps on the tokens of an answer, one row each: 1k,8k,32k.")] = None,
    max_osl: Annotated[str | None, Option("--max-osl", metavar="<count>", help="One cap on the tokens of an answer, for all levels.")] = None,
    answer: Annotated[str | None, Option("--answer", metavar="<count>", help="Tokens of the answer after thinking was cut.")] = None,
    concurrency: Annotated[str | None, Option("--concurrency", metavar="<count>", help="Queries that run at the same time.")] = None,
    rate: Annotated[str | None, Option("--rate", help="Queries that arrive at random: 2/s, 90/min.")] = None,
    usd_per_million: Annotated[str | None, Option("--usd-per-million", help="Price list in place of the fleet's cost: USD per million tokens of prompts and answers, 0.28:0.42; a third number is for cached prompts.")] = None,
    parallel: Annotated[str, Option("--parallel", help="Several answers per query: best:8, majority:16, tree:16:4:8 (parts at a time, branches per kept part, levels).")] = "single",
    accuracy: Annotated[str | None, Option("--accuracy", help="CSV of budget or level and accuracy, pass@8, majority@16: shares from 0 to 1.")] = None,
    versus: Annotated[str | None, Option("--versus", help="A larger model to compare with.", autocompletion=o.model_names)] = None,
    versus_osl: Annotated[str | None, Option("--versus-osl", metavar="<lengths>", help="Tokens of an answer of the larger model, where they differ.")] = None,
    versus_lengths_of: Annotated[str | None, Option("--versus-lengths-of", help="--levels: the model whose published lengths the larger one uses.")] = None,
    versus_plan: Annotated[str | None, Option("--versus-plan", help="Plan of the larger model, where it differs: tp=8,gpus=8.")] = None,
    versus_usd_per_million: Annotated[str | None, Option("--versus-usd-per-million", help="Price list of the larger model.")] = None,
    versus_accuracy: Annotated[str | None, Option("--versus-accuracy", help="Accuracy of the larger model, as --accuracy.")] = None,
    pretrain_tokens: Annotated[str | None, Option("--pretrain-tokens", help="Tokens that the model was trained on (15T); answers after how many queries a longer training pays.")] = None,
    versus_tokens: Annotated[str | None, Option("--versus-tokens", help="Training tokens of the larger model; default the same.")] = None,
    train: Annotated[str | None, Option("--train", help="Plan of the longer training: gpus=256,tp=8,global_batch=512.")] = None,
    law: Annotated[str | None, Option("--law", help="One scaling law (simcost list scaling-laws); default all.")] = None,
    law_range: Annotated[str, Option("--law-range", help="Range in which laws are used: fitted, or published.", autocompletion=o.starting(("fitted", "published")))] = "fitted",
    gpus: o.Gpus = None, nodes: o.Nodes = None,
    drafts: o.Drafts = 0,
    acceptance: o.Acceptance = None,
    draft_model: o.DraftModel = None,
    prefill_pool: o.PrefillPool = None,
    decode_pool: o.DecodePool = None,
    versus_drafts: Annotated[int, Option("--versus-drafts", help="Tokens proposed per step for the larger model.")] = 0,
    versus_acceptance: Annotated[float | None, Option("--versus-acceptance", help="Probability that a draft of the larger model is accepted.")] = None,
    versus_draft_model: Annotated[str | None, Option("--versus-draft-model", help="Model that proposes tokens for the larger one.", autocompletion=o.model_names)] = None,
    versus_prefill_pool: Annotated[str | None, Option("--versus-prefill-pool", metavar="<n:sizes>", help="Instances of the larger model that prefill.")] = None,
    versus_decode_pool: Annotated[str | None, Option("--versus-decode-pool", metavar="<n:sizes>", help="Instances of the larger model that decode.")] = None,
    prefix_hit: Annotated[float, Option("--prefix-hit", help="Share of a prompt that the prefix cache holds: 0.56.")] = 0.0,
    events: Annotated[bool, Option("--events", help="Simulate request by request, once per budget: P50 and P95 of latency.")] = False,
    requests: Annotated[str | None, Option("--requests", metavar="<count>", help="--events: requests of each simulation.")] = None,
    seed: Annotated[int | None, Option("--seed", help="--events: seed of the random draws; default 1.")] = None,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Answers under thinking budgets: tokens, latency, energy and $ of a query, of a solved query, and what more tokens bring."""
    from simcost import api, grammar

    check(format, output)
    result = api.think(
        model, hw, isl, osl, levels, budget, lengths_of, benchmark, sigma, max_osl, answer, concurrency, rate, usd_per_million, parallel, accuracy,
        versus, versus_osl, versus_lengths_of, versus_plan, versus_usd_per_million, versus_accuracy, pretrain_tokens, versus_tokens, train, law, law_range,
        gpus, nodes, grammar.assignments(set or [], engine), None, price, prefix_hit, events, requests, seed,
        drafts, acceptance, draft_model, prefill_pool, decode_pool, versus_drafts, versus_acceptance, versus_draft_model, versus_prefill_pool, versus_decode_pool,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
