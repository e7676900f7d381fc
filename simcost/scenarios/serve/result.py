"""The Result of a design under load: one operating point, or a row for each of several loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost.price import with_range
from simcost.errors import Infeasible, SpecError
from simcost.estimate import memory
from simcost.estimate import step as steps
from simcost.hardware.engine_serving import ServingTerms
from simcost.num import Array, Num
from simcost.plan import Phase
from simcost.pool import Piece, elsewhere, mapped
from simcost.provenance import Kind, Note
from simcost.query import workload
from simcost.result import Result, Row, number
from simcost.scenarios import fitting, memory_notes, notes
from simcost.scenarios.inputs import inputs, stated
from simcost.scenarios.serve import prefix as prefixes
from simcost.scenarios.serve import simulated
from simcost.scenarios.serve.answer import Answer, answer, metrics
from simcost.scenarios.serve.pools import Fleet, transfer_s
from simcost.scenarios.serve.pools import answer as answer_pools
from simcost.scenarios.serve.question import Asked, fleet, replica
from simcost.scenarios.serve.replica import Replica
from simcost.serving.lengths import Lengths
from simcost.serving.point import HOST_LINK, KV_CACHE, LOAD, PREFILL, SEQUENCES
from simcost.serving.summary import Summary, summary
from simcost.units import show

_STEADY = "the result is a steady state (mean field); --events also simulates bursts and requests that start together"
_RUN = "figures without p50, p90, p99 or 'run' are a steady state (mean field), which requests that start together, or few, do not reach"

_BUSY = 0.8  # of a front end: where its queue takes twice the time of its work, which no fit has seen


def result(q: Asked) -> Result:
    """The answer. Raises SpecError and Infeasible."""
    pools: Fleet | None = None
    if q.pools is None:
        r, terms = replica(q)
        found = answer(r, q.traffic)
    else:
        pools, terms = fleet(q)
        r, found = pools.decode, answer_pools(pools, q.traffic)
    if not np.all(found.fits):
        raise Infeasible(_no_room(q, r))
    usd, paid = q.query.price(r.workload.device), q.query.paid(r.workload.device)
    columns = with_range(metrics(found, None if usd is None else float(usd)), paid)
    prompts = r if pools is None else pools.prefill
    if q.traffic.hit:
        columns |= prefixes.columns(q.prefix, prompts, found)
    words = [_limit(q, r, found, i) for i in range(len(q.loads))]
    one = len(q.loads) == 1
    rows = [_row(q, columns, words, i) for i in range(len(q.loads))]
    tables: dict[str, list[Row]] = {} if one else {"loads": rows}
    if q.events is not None:
        runs = _runs(q, r, np.broadcast_to(np.asarray(columns["running"], np.float64), (len(q.loads),)))
        for row, of_load in zip(rows, runs, strict=True):
            whole = simulated.mean(of_load)
            row |= simulated.columns(whole, q.emitted) | _rates(q, r, row, whole)
        if one:
            tables["request by request"] = list(simulated.table(simulated.mean(runs[0]), q.emitted))
        if q.events.more:
            tables["runs"] = [
                {"seed": seed, **_named(q, i), **simulated.columns(run, q.emitted)}
                for i, of_load in enumerate(runs)
                for seed, run in zip(q.events.seeds, of_load, strict=True)
            ]
    step = step_of(q, r, found)
    fits = bool(np.all(np.isfinite(found.point.ttft_s)))
    verdict = _verdict(q, columns, words)
    if q.events is not None and one:
        verdict = f"request by request {simulated.said(rows[0], tables['request by request'])}; steady state: {verdict}"
    head: dict[str, Any] = dict(rows[0]) if one else {"points": len(rows)}
    if pools is not None:
        head["kv_transfer_s"] = number(transfer_s(pools, q.isl.mean))
    return Result(
        "serve", _inputs(q, r), head, tables,
        (*_notes(q, r, terms), *_front_end(q, prompts, found), *(prefixes.notes(q.prefix, prompts, found) if q.traffic.hit else ()), *warnings(q, step)), notes.references(step.workload, step), verdict, fits,
    )  # fmt: skip


def _no_room(q: Asked, r: Replica) -> str:
    """Why not even one request of the mean lengths runs, and what would let it."""
    longest = q.isl.mean + q.osl.mean
    said = f"no memory for a request of {longest:,.0f} tokens: {fitting.verdict(r.kept(longest), timed=False)[0]}"
    if q.pools is not None or q.drafts:
        return said  # advice is for one plan, of the model alone
    sets = {"phase.context": float(np.ceil(longest)), "phase.batch": 1.0}
    alone = replace(q.query, overrides=q.query.overrides.merged(sets))
    more = fitting.advice(alone, memory.kept(workload(alone)))
    return f"{said}; {more.replace('context=', 'isl + osl = ')}"


def _rates(q: Asked, r: Replica, row: Row, found: Summary) -> Row:
    """Rates of a run, with the interval of the steady state's."""
    steady, low, high = (row[f"output_tokens_per_s{end}"] for end in ("", "_low", "_high"))
    users = None if q.open else float(row["concurrency"])
    return simulated.rates(found, r, users, q.emitted, (low / steady, high / steady))


def _runs(q: Asked, r: Replica, running: Array) -> list[list[Summary]]:
    """Figures of every load, a run a seed. running: requests in flight at each load [loads]."""
    assert q.events is not None
    seeds, requests = q.events.seeds, q.events.requests
    every = [simulated.lasting(r, float(n)) if requests is None and q.open else requests for n in running]
    _check(q, r, every)
    pieces = [
        Piece((q, r, load, each, seed), f"{_load(q, i)}, seed {seed}", load)
        for i, (load, each) in enumerate(zip(q.loads, every, strict=True))
        for seed in seeds
    ]
    found = mapped(_simulated, pieces)
    return [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]


def _check(q: Asked, r: Replica, requests: Sequence[int | None]) -> None:
    """Raises SpecError for more runs than one process does in a quarter of a minute; workers of a cluster may have more."""
    assert q.events is not None
    if not q.events.more or elsewhere:
        return
    each = [simulated.requests_of(r, None if q.open else load, n) for load, n in zip(q.loads, requests, strict=True)]
    count = sum(each) * len(q.events.seeds)
    if count > simulated.MOST:
        raise SpecError(
            f"--seed: {len(q.events.seeds):,} seeds make {count:,} requests of one replica, at most {simulated.MOST:,} in one process: use fewer seeds or --requests, or --scheduler"
        )


def _users_and_rate(q: Asked, load: float) -> tuple[float | None, float | None]:
    return (None, load) if q.open else (load, None)


def _simulated(q: Asked, r: Replica, load: float, requests: int | None, seed: int) -> Summary:
    """Figures of a run at one load, its start left out."""
    assert q.events is not None
    users, rate = _users_and_rate(q, load)
    t = q.traffic
    trace = simulated.run(r, q.isl, q.osl, users, rate, requests, seed, float(t.hit), q.emitted, t.host)
    return summary(trace, int(q.events.warmup * len(trace.isl)))


def _row(q: Asked, columns: dict[str, Num], words: list[str], i: int) -> Row:
    row = _named(q, i)
    for key, value in columns.items():
        row[key] = number(np.broadcast_to(np.asarray(value, np.float64), (len(q.loads),))[i])
    return {
        key: value
        for key, value in row.items()
        if not (key.startswith("usd_per_million_cached_tokens") and value is None)
    } | {"limit": words[i]}


def _named(q: Asked, i: int) -> Row:
    """A load by its number."""
    return {"rate_per_s" if q.open else "concurrency": number(q.loads[i])}


def _limit(q: Asked, r: Replica, a: Answer, i: int) -> str:
    """What keeps the fleet from more throughput, in words."""
    code = int(np.broadcast_to(a.point.limit, (len(q.loads),))[i])
    names = r.workload.memory.names
    if code == KV_CACHE:
        return "KV cache (full: no more sequences fit)"
    if code == SEQUENCES:
        return f"max sequences ({names['sequences']} = {r.policy.sequences:,.0f} per replica)"
    if code == HOST_LINK:
        return "host link (saturated by cached prefixes; hw.links.host.bandwidth)"
    if code == PREFILL and q.pools is not None:
        return "prefill pool (its replicas are busy all the time)"
    if code == PREFILL:
        return f"prefill (prompts take most of the time; {names['tokens']} = {r.policy.tokens:,.0f})"
    assert code == LOAD
    return "load (all requests are served)" if q.open else "load (all users are served at once)"


def step_of(q: Asked, r: Replica, a: Answer) -> steps.Step:
    """A decode step at the first operating point, whose kernels stand for the answer's."""
    running = float(np.ravel(a.point.running)[0])
    if q.pools is not None:
        running = running / (q.pools[1].instances * float(np.asarray(r.workload.plan.replicas)))
    w, plan = r.workload, r.workload.plan
    batch = max(round(running), 1) * plan.replicas * plan.copies
    phase = Phase(
        batch, 1.0, float(np.ravel(a.load.context)[0]), microbatches=plan.pp, routing=w.phase.routing, decode=True
    )
    return steps.run(replace(w, phase=phase, view=replace(w.view, phase=phase)), checked=True)


def _inputs(q: Asked, r: Replica) -> dict[str, Any]:
    base = inputs(q.query, r.workload)
    for name in ("context", "batch"):
        base.pop(name, None)
    load = "rate" if q.open else "concurrency"
    values = [number(each) for each in q.loads]
    more: dict[str, Any] = {
        load: values[0] if len(values) == 1 else values,
        "isl": _said(q.said[0], q.isl),
        "osl": _said(q.said[1], q.osl),
    }
    if q.pools is not None:
        more |= {"prefill_pool": q.pools[0].said, "decode_pool": q.pools[1].said}
        base.pop("plan", None)
    if q.events is not None:
        more |= {
            "events": True,
            "seed": list(q.events.seeds) if q.events.more else q.events.seed,
            "warmup": q.events.warmup,
        }
        if q.events.requests is not None:
            more["requests"] = q.events.requests
    if q.hit:
        more["prefix_hit"] = q.hit
        if q.prefix.tier != prefixes.POOL:
            size = "" if q.prefix.bytes is None else f":{show(q.prefix.bytes, 'bytes')}"
            more["prefix_from"] = f"{q.prefix.tier}{size}"
    if q.drafts:
        more |= {"drafts": q.drafts, "acceptance": q.acceptance}
        if q.draft is not None:
            more["draft_model"] = stated(q.draft.model)
    return {"model": base.pop("model"), "hw": base.pop("hw"), **more, **base}


def _said(text: str, lengths: Lengths) -> Any:
    """A number as one, a distribution as it was written."""
    return text if ":" in text else number(lengths.mean)


def _notes(q: Asked, r: Replica, terms: ServingTerms) -> list[Note]:
    policy = r.policy
    title = terms.engine
    found = [
        Note(
            f"{title} {terms.version}: {policy.name.replace('_', ' ')} policy, {policy.tokens:,.0f} tokens per step, at most {policy.sequences:,.0f} sequences per replica, "
            f"host {show(float(policy.host_step_s), 'seconds')} per step ({terms.sources['host_step']})",
            Kind.ORIGIN,
        ),
        Note(_STEADY if q.events is None else _RUN, Kind.SCOPE),
    ]
    if q.events is not None and q.events.more:
        text = f"percentiles are means over {len(q.events.seeds):,} runs, one a seed; table 'runs' has each"
        found.append(Note(text, Kind.SCOPE))
    if q.drafts:
        found.append(draft_note(r))
    return found


def _front_end(q: Asked, r: Replica, found: Answer) -> list[Note]:
    """Where the one process that is assumed to take requests in turn would be busy nearly all the time."""
    each = r.policy.host_request_s + r.policy.host_token_s * q.isl.mean
    rate = found.point.requests_per_s * found.busy / found.prompt_replicas
    busy = float(np.max(np.asarray(rate * each)))
    if busy <= _BUSY:
        return []
    text = (
        f"TTFT may be far too long: engine.host_request and engine.host_token, fitted to servers of large models, take {show(float(each), 'seconds')} of a request "
        f"in a process that is assumed to handle one at a time, {busy:.0%} of its time at this load; engines answer more requests: --set engine.host_request='3 ms'"
    )
    return [Note(text, Kind.ASSUMED)]


def draft_note(r: Replica) -> Note:
    """What the proposer takes of memory."""
    assert r.workload.draft is not None
    draft, bare = r.workload.draft, replace(r, workload=replace(r.workload, draft=None))
    tokens = 4096.0
    weights = r.kept(tokens).memory.weights - bare.kept(tokens).memory.weights
    each = (r.rank_bytes(tokens) - bare.rank_bytes(tokens)) / tokens
    whose = f"{draft.modules:,.0f} MTP module{'s' * (draft.modules > 1.0)}" if draft.shared else "the draft model"
    return Note(
        f"{whose} of {r.workload.model.name}: {show(float(weights), 'memory')} of weights per GPU and {float(each):,.0f} B per token are subtracted from the pool",
        Kind.SAID,
    )


def warnings(q: Asked, step: steps.Step) -> list[Note]:
    """Notes of a decode step; where the design's MTP module proposes tokens, not that nobody runs it."""
    idle = memory_notes.mtp(step.workload.model) if q.drafts and q.draft is None else []
    said = notes.of_serving(q.query, step.workload, q.prefix.tier == prefixes.HOST)
    return [note for note in said if note not in idle]


def _verdict(q: Asked, columns: dict[str, Num], words: list[str]) -> str:
    said = []
    count = len(q.loads)

    def of(name: str, i: int) -> float:
        return float(np.broadcast_to(np.asarray(columns[name]), (count,))[i])

    over = [i for i in range(count) if not np.isfinite(of("ttft_s", i))]
    if count > 1:
        done = [of("output_tokens_per_s", i) for i in range(count)]
        best = next(i for i in range(count) if done[i] >= max(done) * (1.0 - 1e-6))
        what = f"{count} loads: at most {of('output_tokens_per_s', best):,.0f} output tokens/s ({_load(q, best)})"
        return what if not over else f"{what}; beyond capacity from {_load(q, over[0])}"
    if over:
        capacity = of("capacity_requests_per_s", 0)
        return (
            f"beyond capacity: {_rate(q.loads[0])} requests/s arrive, {_rate(capacity)} can be served, "
            f"{_rate(q.loads[0] - capacity)} accumulate; limit: {words[0]}"
        )
    for name, text in (("ttft", "TTFT"), ("tpot", "TPOT"))[: 2 if q.osl.mean > 1.0 else 1]:
        low, high = (show(of(f"{name}_{end}_s", 0), "seconds") for end in ("low", "high"))
        said.append(f"{text} {show(of(f'{name}_s', 0), 'seconds')} ({low} to {high})")
    whole, each = (_rate(of(f"output_tokens_per_s{of_what}", 0)) for of_what in ("", "_per_gpu"))
    said.append(f"{whole} output tokens/s, {each} per GPU")
    said.append(f"{show(of('utilisation', 0), 'fraction')} of capacity")
    return f"{', '.join(said)}; limit: {words[0]}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:,.3g}"


def _load(q: Asked, i: int) -> str:
    return f"{_rate(q.loads[i])} requests/s" if q.open else f"concurrency {q.loads[i]:,.0f}"
