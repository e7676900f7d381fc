"""Percentiles and means of a trace, as benchmarks state them.

TTFT is until the first token is sent; TPOT = (last token - first sent) / (osl - 1), a mean of each request; ITL is
every gap between two tokens as they are made; E2E until the last token. Most likely to be wrong: benchmarks differ in
what they cut at the start, so the cut is asked for and printed. Sources: vLLM `benchmarks/serve.py`, NVIDIA GenAI-Perf
(metrics); docs/theory/serving-events.md.
"""

from __future__ import annotations

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array
from simcost.serving.trace import Steps, Trace

SHARES = (0.5, 0.9, 0.99)


@frozen
class Spread:
    """Mean and percentiles of one figure; NaN where no request has it (TPOT of one-token answers)."""

    mean: float
    p50: float
    p90: float
    p99: float


@frozen
class Summary:
    """A run after its warm-up. `warmup`: requests left out at the start, `requests`: those counted. [s] `ttft_s` to
    `e2e_s`, `queueing_s` (from the scheduler's queue to admission) by request, `itl_s` by token. Per replica, from the
    end of the last request left out to the last end: `requests_per_s`, `output_tokens_per_s`; means over that time of
    `running` and `queued` requests, the share of KV tokens taken and of time spent in steps. Of the whole run,
    from its start to its last end: `run_requests_per_s`, `run_output_tokens_per_s`, `steps`, `preemptions`."""

    warmup: int
    requests: int
    ttft_s: Spread
    tpot_s: Spread
    itl_s: Spread
    e2e_s: Spread
    queueing_s: Spread
    requests_per_s: float
    output_tokens_per_s: float
    running: float
    queued: float
    kv_used_fraction: float
    busy_fraction: float
    run_requests_per_s: float
    run_output_tokens_per_s: float
    steps: int
    preemptions: int


def summary(trace: Trace, warmup: int) -> Summary:
    """Figures of all but the first `warmup` requests sent; rates and means are of the time after as many ends. Raises
    SpecError for fewer than 0, and where none is left."""
    requests = len(trace.isl)
    if not 0 <= warmup < requests or warmup % 1:
        raise SpecError(
            f"warm-up = {warmup:g} must be a whole number from 0 to {requests - 1:,}, of {requests:,} requests"
        )
    kept = slice(int(warmup), None)
    arrival, printed, last = trace.arrival[kept], trace.printed[kept], trace.last_token[kept]
    more = trace.osl[kept] > 1
    start = float(np.sort(trace.last_token)[int(warmup) - 1]) if warmup else 0.0
    span, later = float(np.max(trace.last_token)) - start, trace.last_token > start
    means, whole = _means(trace.steps, start, span), float(np.max(trace.last_token))
    return Summary(
        warmup=int(warmup),
        requests=requests - int(warmup),
        ttft_s=spread(printed - arrival),
        tpot_s=spread((last - printed)[more] / (trace.osl[kept][more] - 1)),
        itl_s=_gaps(trace, start),
        e2e_s=spread(last - arrival),
        queueing_s=spread(trace.admitted[kept] - trace.queued[kept]),
        requests_per_s=_rate(float(np.sum(later)), span),
        output_tokens_per_s=_rate(float(np.sum(trace.osl[later])), span),
        running=means[0],
        queued=means[1],
        kv_used_fraction=means[2] / trace.pool_tokens,
        busy_fraction=means[3],
        run_requests_per_s=_rate(requests, whole),
        run_output_tokens_per_s=_rate(float(np.sum(trace.osl)), whole),
        steps=int(np.sum(trace.steps.count)),
        preemptions=trace.preemptions,
    )


def spread(values: Array, weights: Array | None = None) -> Spread:
    """Mean and percentiles; `weights`: how often each value counts. A percentile is the least value that the share does
    not exceed."""
    if not len(values) or (weights is not None and not np.sum(weights)):
        return Spread(np.nan, np.nan, np.nan, np.nan)
    order = np.argsort(values, kind="stable")
    total = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    at = np.searchsorted(total, np.asarray(SHARES) * total[-1] * (1.0 - 1e-12), side="left")
    p50, p90, p99 = values[order][at].tolist()
    return Spread(float(np.average(values, weights=weights)), p50, p90, p99)


def _rate(count: float, span: float) -> float:
    return count / span if span > 0.0 else float("inf")


def _means(steps: Steps, start: float, span: float) -> tuple[float, float, float, float]:
    """Means over `span` from `start`: requests running and in the queue, KV tokens taken, share of time in steps. A row
    that `start` cuts counts in part."""
    seconds = steps.seconds
    inside = np.clip((steps.end - start) / np.where(seconds > 0.0, seconds, 1.0), 0.0, 1.0)
    if span <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    sums = (
        np.sum(inside * seconds * steps.running),
        np.sum(inside * (seconds * steps.waiting + steps.early)),
        np.sum(inside * steps.used_seconds),
        np.sum(inside * seconds),
    )
    running, queued, used, busy = (float(each) / span for each in sums)
    return running, queued, used, busy


def _gaps(trace: Trace, start: float) -> Spread:
    """Gaps between two tokens of a sequence that end after `start`, from rows of like steps: the first step's gap
    reaches back over steps of prompts alone, for those that decoded before to the last decode step, for those that
    started in between to their own start. Later gaps of a row count as their mean."""
    steps = trace.steps
    decode = np.flatnonzero(steps.made > 0.0)
    ends, firsts = steps.end[decode], (steps.end - steps.seconds + steps.first)[decode]
    # Who starts in a row has the next token at the end of the first step of the next row with decode.
    starts = np.flatnonzero(steps.started > 0.0)
    following = np.searchsorted(decode, starts, side="right")
    started = steps.started[starts]
    joined = np.bincount(following, started, len(decode))
    old = np.maximum(steps.batch[decode] - joined, 0.0)
    later = steps.count[decode] - 1.0
    gaps = [
        firsts - np.concatenate([[0.0], ends])[:-1],
        firsts[following] - steps.end[starts],
        steps.first[decode] + steps.slope[decode] * steps.count[decode] / 2.0,
        trace.stalls,
    ]
    kept = ends > start
    weights = [old * kept, started * kept[following], later * steps.batch[decode] * kept, np.ones(len(trace.stalls))]
    return spread(np.concatenate(gaps), np.concatenate(weights))
