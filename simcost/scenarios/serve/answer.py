"""The numbers of a design under load: operating points of a fleet, their intervals, and what tokens cost.

Most likely to be wrong: how far an engine and its release differ from the kernels that tables know, which its kernels' errors stand for. Source: docs/theory/serving.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost import price
from simcost.estimate.step import SPREAD
from simcost.frozen import frozen
from simcost.num import Z90, Mask, Num, exp, maximum, sqrt
from simcost.scenarios.serve.replica import Replica
from simcost.serving import loop
from simcost.serving.point import Load, OperatingPoint, Room

# Sigma of the log of the time to the first token beyond that of its kernels: waits depend on how requests come, bursts and mixed lengths above all, which a mean field does not see. It is what
# makes nine of ten measured times lie inside the interval, of answers whose host terms come from rows of other families of models (`simcost validate serving`: the 90 % quantile of |log error|
# is 0.85 of 2,433 rows; the same from the other families alone covers 88 % of dense models, 90 of GQA-MoE and hybrids, 94 of MLA). The time between tokens has no such term: what releases of an engine differ by is in the errors of its kernels already (`cost.cost.ANYWHERE`).
FIRST = 0.50


@frozen
class Traffic:
    """What users ask of a fleet. isl, osl: mean tokens of prompts and answers; isl2, osl2: their second moments; hit: share of a prompt that the prefix cache
    holds; `host`: in the memory of the host, not in the pool; `users` of a closed loop, or `rate` of an open one [1/s], whichever is not None; emitted: tokens of a step of a
    sequence; together: requests that hold one prompt in the pool between them, as several answers to one query do."""

    isl: Num
    osl: Num
    isl2: Num
    osl2: Num
    users: Num | None = None
    rate: Num | None = None
    hit: Num = 0.0
    emitted: Num = 1.0
    together: Num = 1.0
    host: bool = False


@frozen
class Answer:
    """`point`: of one replica that serves anybody, of which there are `busy` among all `replicas` of the fleet, on `devices` in all. Errors: one standard deviation
    of the log. usage: shares of a request's cost of its new prompt tokens, its cached ones, its answer; fits: whether the pool
    holds a request; spare: tokens of the pools of all replicas that compute prompts that no running request holds; prompt_replicas: how many these are."""

    traffic: Traffic
    load: Load
    point: OperatingPoint
    busy: Num
    replicas: Num
    devices: Num
    tpot_error: Num
    ttft_error: Num
    usage: tuple[Num, Num, Num]
    fits: Mask
    spare: Num = 0.0
    prompt_replicas: Num = 1.0

    @property
    def tokens_per_s(self) -> Num:
        """Output tokens of the fleet. [1/s]"""
        return self.point.requests_per_s * self.busy * self.traffic.osl


def load_of(t: Traffic, admission: str = "prompt") -> tuple[Load, Num]:
    """(what a request brings to a scheduler, tokens of the pool that it holds on average while it runs)."""
    hit = np.floor(t.isl * t.hit)
    # A running request that is looked at has, by its share of the time, an answer longer than the mean, and made half of it.
    made = t.osl2 / (2.0 * t.osl)
    spread = np.maximum(t.isl2 / (t.isl * t.isl) - 1.0, 0.0)
    context = t.isl + made
    load = Load(np.maximum(t.isl - hit, 1.0), t.osl, context, hit, spread, t.emitted)
    kept = t.isl / t.together
    return load, kept + (2.0 * made if admission == "whole" else made)


def brought(r: Replica, t: Traffic) -> tuple[Load, Room]:
    """(what a request brings to a replica, how many may run there)."""
    load, held = load_of(t, r.policy.admission)
    room = r.room(np.ceil(held))
    return brought_to(r, load, t), replace(room, kv=maximum(room.kv, 1e-6))


def brought_to(r: Replica, load: Load, t: Traffic) -> Load:
    """What requests bring to the replica that computes their prompts: with the time on its stages, and on its link. Raises SpecError for a link that is not known."""
    lag = r.lag(np.minimum(load.isl, r.chunk), load.hit)
    return replace(load, lag_s=lag, link_s=r.link_s(load.hit) if t.host else 0.0)


def answer(r: Replica, t: Traffic) -> Answer:
    """The operating points of a fleet of such replicas. Elementwise."""
    plan = r.workload.plan
    replicas = plan.replicas * plan.copies
    load, room = brought(r, t)
    if t.users is not None:
        # With fewer users than replicas some of these stand idle, and those that work serve one user each.
        busy = np.minimum(t.users, replicas)
        point = loop.closed(r, r.policy, load, t.users / busy, room)
    else:
        assert t.rate is not None
        busy = replicas
        point = loop.open_loop(r, r.policy, load, t.rate / replicas, room)
    past = maximum(load.hit + (load.isl - point.chunk) / 2.0, 0.0)
    size = np.minimum(point.chunk, r.chunk)  # of one micro-batch of a pipeline
    decode, chunk = r.table.deviation(point.running, load.context, size, past)
    of_step = (point.decode_s * decode + point.prefill_s * chunk + point.host_s * SPREAD) / point.tpot_s
    usage = _usage(r, load, point)
    _, held = load_of(t, r.policy.admission)
    return Answer(
        t,
        load,
        point,
        busy,
        replicas,
        plan.devices,
        of_step,
        sqrt(chunk**2 + FIRST**2),
        usage,
        room.kv >= 1.0,
        (room.kv * replicas - point.running * busy) * held,
        replicas,
    )


def _usage(r: Replica, load: Load, point: OperatingPoint) -> tuple[Num, Num, Num]:
    """Shares of a request's cost that its new prompt tokens, its cached ones and its answer take: by the time that each takes of the replica."""
    bare = loop.prompt_seconds(r, r.policy, replace(load, hit=0.0), point.running)
    cached = np.maximum(point.prompt_s - bare, 0.0)
    out = load.osl * (point.decode_s + point.host_s) / np.maximum(point.running, 1.0)
    whole = bare + cached + out
    return bare / whole, cached / whole, out / whole


def metrics(a: Answer, usd_per_hour: Num | None) -> dict[str, Num]:
    """All metrics by name (`simcost.metrics`), in SI."""
    p, t = a.point, a.traffic
    wide, wide_first = exp(Z90 * a.tpot_error), exp(Z90 * a.ttft_error)
    rest = np.maximum(t.osl - 1.0, 0.0)
    tpot = np.where(rest > 0.0, p.tpot_s, np.nan)  # an answer of one token has no time between two
    requests = p.requests_per_s * a.busy
    found: dict[str, Num] = {
        "ttft_s": p.ttft_s,
        "ttft_low_s": p.ttft_s / wide_first,
        "ttft_high_s": p.ttft_s * wide_first,
        "queueing_s": p.queueing_s,
        "tpot_s": tpot,
        "tpot_low_s": tpot / wide,
        "tpot_high_s": tpot * wide,
        "itl_s": tpot * t.emitted,
        "e2e_s": p.ttft_s + rest * p.tpot_s,
        "e2e_low_s": p.ttft_s / wide_first + rest * p.tpot_s / wide,  # both ends together: what is off is off in both
        "e2e_high_s": p.ttft_s * wide_first + rest * p.tpot_s * wide,
        "requests_per_s": requests,
        "output_tokens_per_s": requests * t.osl,
        "output_tokens_per_s_low": 0.0,
        "output_tokens_per_s_high": 0.0,
        "input_tokens_per_s": requests * t.isl,
        "output_tokens_per_s_per_gpu": requests * t.osl / a.devices,
        "output_tokens_per_s_per_user": 1.0 / tpot,
        "running": np.where(rest > 0.0, p.running * a.busy, 0.0),
        "queued": p.waiting * a.busy,
        "kv_used_fraction": p.kv_used_fraction,
        "utilisation": p.utilisation * a.busy / a.replicas,
        "capacity_requests_per_s": p.capacity_per_s * a.replicas,
        "gpus": a.devices,
    }
    for name, slower, longer in (("low", 1.0, found["e2e_high_s"]), ("high", -1.0, found["e2e_low_s"])):
        if t.users is not None:
            served = t.users / longer
        else:  # what comes, as far as the fleet can serve it
            assert t.rate is not None
            served = np.minimum(t.rate, p.capacity_per_s * a.replicas / wide**slower)
        found[f"output_tokens_per_s_{name}"] = served * t.osl
    if usd_per_hour is not None:
        prompt, cached, out = a.usage
        hits = a.load.hit

        def usd(share: Num, tokens: Num) -> Num:
            return price.usd_per_million(share / requests, tokens, a.devices, usd_per_hour)

        found["usd_per_million_input_tokens"] = usd(prompt, a.load.isl)
        found["usd_per_million_output_tokens"] = usd(out, t.osl)
        none = np.asarray(hits) <= 0.0
        found["usd_per_million_cached_tokens"] = np.where(none, np.nan, usd(cached, maximum(hits, 1.0)))
    return found
