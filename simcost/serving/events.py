"""Requests through one replica, event by event: what no mean field sees (the burst at the start, finite runs, mixed
lengths, prompts before decode).

Most likely to be wrong: lengths and arrivals are drawn apart from each other; all replicas of a fleet get equal shares.
The loop itself is `replica.py`. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from simcost.errors import SpecError, nearest, watched, watchers
from simcost.registry import discover
from simcost.serving import arrivals as sending
from simcost.serving.lengths import Lengths
from simcost.serving.policy import Policy
from simcost.serving.replica import Replica
from simcost.serving.step_table import Extent, StepTable, StepTimes
from simcost.serving.trace import Trace

ADMISSIONS = ("prompt", "whole")
_LEAST = {
    "tokens": 1.0,
    "sequences": 1.0,
    "stream_interval": 1.0,
    "host_step_s": 0.0,
    "host_request_s": 0.0,
    "host_token_s": 0.0,
    "host_delay_s": 0.0,
    "receive_interval": 1.0,
    "overlap": 0.0,
}
_LOOKS = 50  # at how far a run is, where somebody watches
_ISL, _OSL = 1, 2  # streams of random numbers; that of arrivals is 0


def simulate(
    times: StepTimes,
    policy: Policy,
    arrivals: sending.Arrivals,
    isl: Lengths,
    osl: Lengths,
    requests: int,
    pool_tokens: float,
    seed: int,
    *,
    prefix_hit: float = 0.0,
    link_token_s: float = 0.0,
    longest_jump: float = math.inf,
) -> Trace:
    """`requests` requests through one replica. `times(batch, context, tokens, past)` [s]: of a step in which `batch`
    sequences decode after `context` tokens on average and `tokens` of prompts follow `past` cached ones; without the
    host's time, which the policy adds. `pool_tokens`: KV tokens that fit; `prefix_hit`: share of each prompt whose KV
    is there already; `link_token_s`: what each of its tokens takes of a link to the host's memory [s];
    `longest_jump`: most steps at once (1: one by one, for checks).

    The same arguments give the same bytes. Raises SpecError for settings out of range, and for a request that the pool
    cannot hold alone."""
    _within("requests", requests, 1, math.inf, whole=True)
    _within("seed", seed, 0, math.inf, whole=True)
    _within("prefix_hit", prefix_hit, 0.0, 1.0)
    _within("link_token_s", link_token_s, 0.0, math.inf)
    _within("longest_jump", longest_jump, 1.0, math.inf)
    module = plug_in(policy)
    prompts, answers = (
        each.samples(np.random.default_rng([seed, stream]), requests) for each, stream in ((isl, _ISL), (osl, _OSL))
    )
    most = int(np.max(prompts + answers)) - 1
    if not most <= pool_tokens:
        raise SpecError(f"a request of {most:,} tokens does not fit in the KV pool of {pool_tokens:,.0f} tokens")
    users = arrivals.users if isinstance(arrivals, sending.Closed) else requests
    # Each holds the KV of its prompt, so that no more than these ever run together.
    sequences = int(min(policy.sequences, users, requests, pool_tokens / float(np.min(prompts))))
    extent = Extent(
        batch=sequences,
        tokens=int(min(policy.tokens, sequences * most)),
        least=float(np.min(prompts)),
        typical=float(np.mean(prompts) + np.mean(answers) / 2.0),
        most=float(most),
    )
    table = StepTable(times, extent, float(policy.host_step_s), module.shares_step)
    # At least one token of a prompt is computed, for its logits.
    cached = np.minimum(np.floor(prefix_hit * prompts), prompts - 1).astype(np.int64)
    sent = sending.times(arrivals, requests, seed)
    # A step is prepared while another runs: a new request waits for one more, as long as those of a full replica.
    prepared = float(np.asarray(times(float(sequences), extent.typical, 0.0, 0.0))) + policy.host_step_s
    delay = float(policy.overlap * prepared) + policy.host_delay_s
    run = Replica(
        table, module, policy, sequences, pool_tokens, prompts, answers, cached, sent, delay, link_token_s=link_token_s
    )
    run.longest_jump = longest_jump
    if watchers:  # the same steps, with a look at how far they are
        for share in watched(range(1, _LOOKS + 1), "requests, in fiftieths"):
            run.run(max(share * requests // _LOOKS, 1))
    run.run()
    return run.trace(prompts, answers)


def plug_in(policy: Policy) -> ModuleType:
    """The file of a policy. Raises SpecError for an unknown name or admission, numbers out of range, and what the file
    refuses."""
    known = discover("simcost.serving.policies")
    if policy.name not in known:
        raise SpecError(f"unknown policy {policy.name!r} (one of {', '.join(known)}){nearest(policy.name, known)}")
    if policy.admission not in ADMISSIONS:
        said = f"unknown admission {policy.admission!r} (one of {', '.join(ADMISSIONS)})"
        raise SpecError(f"policy {policy.name}: {said}{nearest(policy.admission, ADMISSIONS)}")
    for name, least in _LEAST.items():
        _within(f"policy {policy.name}: {name}", getattr(policy, name), least, math.inf)
    known[policy.name].check(policy)
    return known[policy.name]


def _within(name: str, value: float, least: float, most: float, whole: bool = False) -> None:
    if not least <= value <= most or (whole and value % 1 != 0):
        bounds = f"at least {least:g}" if math.isinf(most) else f"{least:g} to {most:g}"
        raise SpecError(f"{name} = {value:g} is out of range ({'a whole number, ' if whole else ''}{bounds})")
