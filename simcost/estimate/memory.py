"""What a rank holds when a design runs in an engine: its memory at a batch and a context, and the largest of both that fit.

One function says what a batch takes, and the largest batch is found by asking it: what is promised does fit, one more does not. Most
likely to be wrong: see `model/activations.py`. Source: docs/theory/memory.md.
"""

from __future__ import annotations

import math

import numpy as np

from simcost import lower
from simcost.cost import memory as shares
from simcost.cost.memory import Memory
from simcost.estimate import stages
from simcost.frozen import frozen
from simcost.model import activations
from simcost.model.activations import Peak
from simcost.num import Num, ceil, every, floor, maximum, minimum, where
from simcost.plan import busiest
from simcost.workload import Workload


@frozen
class Kept:
    """memory: of the rank that holds most; held: what it holds; ranks: one of every kind of pipeline stage; peak: the activations of a
    rank."""

    workload: Workload
    peak: Peak
    memory: Memory
    held: stages.Held
    ranks: tuple[stages.Rank, ...]


def kept(w: Workload) -> Kept:
    """The memory of a workload on the rank that holds most; no kernel is priced."""
    experts = w.view.storage["experts"], w.view.quantised_input("experts")
    peak = activations.peak(w.model, w.plan, w.view.routing, w.view.activation, experts, w.memory)
    ranks = stages.ranks(w)
    held = stages.fullest(w, ranks, lambda one: shared_out(w, one, peak).short)
    return Kept(w, peak, shared_out(w, held, peak), held, ranks)


def shared_out(w: Workload, held: stages.Held, peak: Peak, batch: Num | None = None) -> Memory:
    """The memory of a rank at the asked batch, or at `batch` sequences over all replicas."""
    return _memory(w, held, peak, w.phase.batch if batch is None else batch, starting=False)


def at_start(w: Workload, held: stages.Held, peak: Peak) -> Memory:
    """The memory of a rank as the engine reads it at start-up, when its own largest step has run and no request."""
    return _memory(w, held, peak, w.plan.replicas * w.plan.copies, starting=True)


def _memory(w: Workload, held: stages.Held, peak: Peak, batch: Num, starting: bool) -> Memory:
    local, terms = stages.sequences(w, batch), w.memory
    tokens = terms.tokens if starting else maximum(terms.tokens, _rows(w, batch))
    # SGLang measures no peak: its reserve must hold what the requests at hand sample.
    sampled = minimum(terms.sampled, local) if terms.share_of == "free before load" else terms.sampled
    graphs: Num = 0.0
    if w.plan.cuda_graph == "on":
        graphs = activations.graph_bytes(held.all_layers, lower.has_experts(w.model), terms)
    most = peak.bytes_of(tokens, held.samples, sampled)
    cached = local * held.sequence(w, w.phase.context) + _prompts(w, held)
    return shares.shared_out(w.device.capacity, held.loaded.total, most, _exchange(w), graphs, cached, terms)


def _prompts(w: Workload, held: stages.Held) -> Num:
    """The caches of prompts that come in beside a decode step. [B]"""
    total: Num = 0.0
    for group in w.phase.groups[1:]:
        total = total + stages.sequences(w, group.batch) * held.sequence(w, group.context)
    return total


def _exchange(w: Workload) -> Num:
    """Buffers of the All2All: in decode engines take the low-latency kernels; on a rack those of NVLink, whose buffers are not known. [B]"""
    mode, scaleup = w.plan.all_to_all, w.device.scaleup
    if mode in ("nccl", "nvlink"):
        return 0.0
    low_latency = mode == "low_latency" or (mode == "auto" and w.phase.decode and not w.phase.beside)
    buffers = activations.exchange_bytes(w.model, w.plan, w.view.activation, low_latency, w.memory)
    return buffers if mode != "auto" or scaleup is None else where(scaleup.rack, 0.0, buffers)


def _rows(w: Workload, batch: Num) -> Num:
    """Rows of a step on one rank."""
    q_len = w.phase.q_len if w.phase.chunk is None else minimum(w.phase.chunk, w.phase.q_len)
    parts = w.plan.replicas * w.plan.copies * w.phase.microbatches
    rows = ceil(busiest(batch, parts) * q_len / w.plan.cp)
    for group in w.phase.beside:
        rows = rows + ceil(busiest(group.batch, parts) * group.q_len / w.plan.cp)
    return rows


def pool_tokens(kept: Kept) -> Num:
    """Tokens that the pools of one replica hold, as a start-up log counts them: those of the stage whose pool holds fewest; NaN where no layer keeps
    anything of a token."""
    w = kept.workload

    def tokens(held: stages.Held) -> Num:
        grows, pool = held.token_bytes(w) > 0.0, maximum(at_start(w, held, kept.peak).pool, 0.0)
        if w.memory.counted == "requests":
            each = held.sequence(w, w.phase.context) / w.phase.context
        else:
            each = held.token_bytes(w)
        return where(grows, floor(pool / maximum(each, 1e-30)), math.nan)

    return stages.least(w, kept.ranks, tokens)


def concurrency(kept: Kept) -> Num:
    """Requests of the asked length that the pools of all replicas hold, as a start-up log divides them."""
    w = kept.workload

    def requests(held: stages.Held) -> Num:
        return maximum(at_start(w, held, kept.peak).pool, 0.0) / maximum(held.sequence(w, w.phase.context), 1e-30)

    return stages.least(w, kept.ranks, requests) * w.plan.replicas * w.plan.copies


def max_batch(kept: Kept) -> Num:
    """The most requests of this length, over all replicas, whose caches the pool holds at once."""
    w = kept.workload
    replicas = w.plan.replicas * w.plan.copies

    def most(held: stages.Held) -> Num:
        each = held.sequence(w, w.phase.context)
        # More requests never leave a larger pool, so the one that a single request leaves bounds them all.
        bound = floor(maximum(shared_out(w, held, kept.peak, replicas).pool, 0.0) / maximum(each, 1e-30))
        bound = minimum(bound, shares.LIMIT)

        def fits(local: Num) -> Num:
            return 1.0 * (shared_out(w, held, kept.peak, local * replicas).short <= 0.0)

        sure = every(np.asarray(fits(maximum(bound, 1.0)), bool) | np.asarray(bound < 1.0))
        return bound if sure else shares.largest(fits, 0.0 * bound, bound)

    return stages.least(w, kept.ranks, most) * replicas


def max_context(kept: Kept) -> Num:
    """The longest context at which this batch still fits in decode; inf when the cache does not grow."""
    w = kept.workload
    batch = stages.sequences(w)

    def longest(held: stages.Held) -> Num:
        pool, kinds, prompts = shared_out(w, held, kept.peak).pool, held.kinds(w), _prompts(w, held)

        def fits(context: Num) -> Num:
            return 1.0 * (batch * held.sequence(w, context, kinds) + prompts <= pool)

        return shares.largest(fits, 0.0 * (pool + batch))

    return stages.least(w, kept.ranks, longest)


def metrics(kept: Kept, pools: bool = True) -> dict[str, Num]:
    """Memory metrics by name: of the rank that holds most [B], and with `pools` the tokens and requests that they admit."""
    held = kept.memory
    found = {
        "weight_bytes_per_gpu": held.weights,
        "kv_bytes_per_gpu": held.cache,
        "activation_bytes_per_gpu": held.activations,
        "non_torch_bytes_per_gpu": held.non_torch,
        "cuda_graph_bytes_per_gpu": held.graphs,
        "reserve_bytes_per_gpu": held.reserve,
        "kv_pool_bytes_per_gpu": held.pool,
    }
    if pools:
        found |= {"kv_pool_tokens": pool_tokens(kept), "max_concurrency": concurrency(kept)}
    found |= {
        "memory_used_bytes_per_gpu": held.used,
        "memory_capacity_bytes_per_gpu": held.capacity,
        "memory_short_bytes_per_gpu": maximum(held.short, 0.0),
    }
    return found | {"max_batch": max_batch(kept)} if pools else found
