"""What is asked of a design under load, as typed values: settings of the line or the API to a replica and its traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, settings, units
from simcost.errors import Infeasible, SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.engine_serving import ServingTerms, serving_terms
from simcost.hardware.engines import title
from simcost.num import minimum, num
from simcost.query import Query, make, settings_of, workload
from simcost.scenarios.serve import prefix as prefixes
from simcost.scenarios.serve.answer import Traffic, load_of
from simcost.scenarios.serve.pools import Fleet
from simcost.scenarios.serve.prefix import Prefix
from simcost.scenarios.serve.replica import Bounds, Replica, build, with_drafts
from simcost.serving.lengths import Lengths
from simcost.serving.lengths_text import parse
from simcost.serving.policy import Policy
from simcost.serving.speculative import emitted
from simcost.workload import Workload, about_of

MOST_DRAFTS, MOST_INSTANCES = 16, 100_000
MOST_SEEDS = 10_000  # runs of one load
_SIZES = ("tp", "cp", "pp", "ep", "dp_attention", "etp", "redundant_experts")
_MOST_USERS, _MOST_RATE = 10_000_000, 1e7


@frozen
class PoolAsked:
    """Instances of one phase, and what their plans set: "4:tp=8,ep=8"."""

    said: str
    instances: int
    sets: Mapping[str, Any]


@frozen
class Simulation:
    """A run request by request: `requests` of the whole fleet, None: as benchmarks send; `seed` of its draws, `more` of further runs; `warmup`: share of the requests that figures leave out at the start."""

    requests: int | None = None
    seed: int = 1
    warmup: float = 0.1
    more: tuple[int, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all runs."""
        return (self.seed, *self.more)


@frozen
class Asked:
    """A question. said: lengths of prompts and answers as they were written; loads: users of a closed loop, or
    requests a second of an open one (`open`); hit: share of a prompt in the prefix cache, which `prefix` says where
    it is; drafts: tokens
    that are proposed per step, by the design's MTP module or by `draft`; acceptance: chance of each; pools: of prefill and of decode, None: every instance does both;
    events: the run that is simulated, None: the mean field answers alone."""

    query: Query
    isl: Lengths
    osl: Lengths
    said: tuple[str, str]
    loads: tuple[float, ...]
    open: bool
    hit: float
    drafts: int
    acceptance: float
    draft: Query | None
    pools: tuple[PoolAsked, PoolAsked] | None = None
    events: Simulation | None = None
    prefix: Prefix = Prefix()

    @property
    def emitted(self) -> float:
        """Tokens that a sequence makes in a step."""
        return float(emitted(self.drafts, self.acceptance))

    @property
    def traffic(self) -> Traffic:
        """The traffic of all loads. [loads]"""
        loads = np.asarray(self.loads)
        return Traffic(
            self.isl.mean, self.osl.mean, self.isl.second_moment, self.osl.second_moment, None if self.open else loads, loads if self.open else None,
            0.0 if self.prefix.tier == prefixes.RECOMPUTE else self.hit, self.emitted, host=self.prefix.tier == prefixes.HOST,
        )  # fmt: skip


def asked(
    model: Any, hw: str, isl: Any, osl: Any, concurrency: Sequence[Any] | None, rate: Sequence[Any] | None, sets: Mapping[str, Any],
    prefix_hit: float = 0.0, drafts: int = 0, acceptance: float | None = None, draft_model: Any = None, price: float | str | None = None,
    prefill_pool: Any = None, decode_pool: Any = None, events: Simulation | None = None, prefix_from: Any = None,
) -> Asked:  # fmt: skip
    """A checked question. Raises SpecError for a load that is not said once, for lengths, shares and counts that are none, and for drafts without a chance of
    acceptance."""
    if (concurrency is None) == (rate is None):
        raise SpecError(
            "state the load with --concurrency (users who wait for their answers), --rate (requests per second) or --offline (requests that all wait at the start)"
        )
    said = str(isl), str(osl)
    prompts, answers = lengths_of("--isl", said[0]), lengths_of("--osl", said[1])
    loads = _loads(concurrency, rate)
    hit = share("--prefix-hit", prefix_hit, below_one=True)
    if not (isinstance(drafts, int) and not isinstance(drafts, bool) and 0 <= drafts <= MOST_DRAFTS):
        raise SpecError(f"--drafts = {drafts!r} must be a whole number from 0 to {MOST_DRAFTS}")
    if (drafts > 0) != (acceptance is not None):
        raise SpecError(
            "--drafts needs --acceptance, the probability that a draft is accepted"
            if drafts
            else "--acceptance needs --drafts"
        )
    if draft_model is not None and not drafts:
        raise SpecError("--draft-model proposes tokens: state how many per step with --drafts")
    taken = 0.0 if acceptance is None else share("--acceptance", acceptance)
    phase = {"context": int(np.ceil(prompts.mean)), "batch": 1}
    query = make(model, hw, True, phase, sets, {}, price)
    draft = None if draft_model is None else make(draft_model, hw, True, phase, _own(sets), {}, None)
    if (prefill_pool is None) != (decode_pool is None):
        raise SpecError("--prefill-pool and --decode-pool must be given together, each as in 4:tp=8,ep=8 (4 instances)")
    pools = None
    if events is not None:
        _checked(events, prefill_pool is not None)
    if prefill_pool is not None:
        if any(grammar.full(path) in ("plan.gpus", "plan.dp") for path in sets):
            raise SpecError(
                "--gpus and --dp cannot be combined with pools: --prefill-pool and --decode-pool count their instances"
            )
        pools = _pool("--prefill-pool", prefill_pool), _pool("--decode-pool", decode_pool)
    return Asked(
        query,
        prompts,
        answers,
        said,
        loads,
        rate is not None,
        hit,
        drafts,
        taken,
        draft,
        pools,
        events,
        prefixes.parse(prefix_from, hit),
    )


def _checked(events: Simulation, pools: bool) -> None:
    """Raises SpecError for a run that cannot be."""
    if pools:
        raise SpecError("--events cannot simulate pools: leave out --prefill-pool and --decode-pool")
    if len(set(events.seeds)) < len(events.seeds):
        raise SpecError("--seed names a seed twice: both runs would be the same")
    if len(events.seeds) > MOST_SEEDS:
        raise SpecError(f"--seed names {len(events.seeds):,} seeds: at most {MOST_SEEDS:,}")
    for option, value, least in (("--requests", events.requests, 1), *(("--seed", seed, 0) for seed in events.seeds)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise SpecError(f"{option} = {value!r} must be a whole number of at least {least}")
    share("--warmup", events.warmup, below_one=True)


def _pool(option: str, said: Any) -> PoolAsked:
    """Raises SpecError for a text that is no number of instances with the sizes of a plan."""
    how = f"{option} {said}: write how many instances and the sizes of each, as in 4:tp=8,ep=8"
    count, colon, sizes = str(said).partition(":")
    if not colon or not count.strip().isdecimal() or not 1 <= int(count) <= MOST_INSTANCES:
        raise SpecError(how)
    stated = grammar.assignments(
        [f"plan.{each.strip().removeprefix('plan.')}" for each in sizes.split(",") if each.strip()], None
    )
    wrong = [path for path in stated if path not in {f"plan.{size}" for size in _SIZES}]
    if wrong:
        raise SpecError(
            f"{option}: '{wrong[0]}' is not a size of an instance ({', '.join(_SIZES)}){nearest(wrong[0].removeprefix('plan.'), _SIZES)}"
        )
    return PoolAsked(str(said), int(count), stated)


def lengths_of(option: str, said: str) -> Lengths:
    """A length or a distribution, whose numbers are written as those of a context: 8k is 8,192."""
    if said.strip().startswith("file:"):
        return parse(said, option)
    plain = [
        units.whole(part.strip(), option, length=True) if part.strip()[-1:].isalpha() else part
        for part in said.split(":")
    ]
    return parse(":".join(map(str, plain)), option)


def _own(sets: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a draft model shares: all but those of the first model's config."""
    return {path: value for path, value in sets.items() if not path.startswith("model.")}


def _loads(concurrency: Sequence[Any] | None, rate: Sequence[Any] | None) -> tuple[float, ...]:
    if concurrency is not None:
        found = [float(settings.count("--concurrency", each)) for each in concurrency]
        if max(found, default=0.0) > _MOST_USERS:
            raise SpecError(f"--concurrency = {max(found):,.0f} must be at most {_MOST_USERS:,}")
        return tuple(found)
    assert rate is not None
    for each in rate:
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not 0.0 < each <= _MOST_RATE:
            raise SpecError(f"--rate = {each!r} must be requests per second, above 0 and at most {_MOST_RATE:,.0f}")
    return tuple(float(each) for each in rate)


def share(option: str, value: Any, below_one: bool = False) -> float:
    """Raises SpecError for what is no number from 0 to 1."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0.0 <= value <= 1.0
        or (below_one and value == 1.0)
    ):
        raise SpecError(f"{option} = {value!r} must be a share from 0 to {'below 1' if below_one else '1'}")
    return float(value)


def fleet(q: Asked) -> tuple[Fleet, ServingTerms]:
    """The pools of a question, and the terms of their engine. Raises SpecError and Infeasible for what cannot be."""
    assert q.pools is not None
    made = []
    for pool in q.pools:
        draft = None if q.draft is None else _with(q.draft, pool.sets)
        made.append(replica(replace(q, query=_with(q.query, pool.sets), draft=draft, pools=None), pool.instances))
    (prefill, _), (decode, terms) = made
    return Fleet(prefill, decode, float(q.pools[0].instances), float(q.pools[1].instances)), terms


def replica(q: Asked, instances: int = 1) -> tuple[Replica, ServingTerms]:
    """The replica of a question that so many instances share, and its engine's terms. Raises SpecError and Infeasible for what cannot be."""
    w = workload(q.query)
    terms = terms_of(w, settings_of(q.query.overrides), q.drafts > 0)
    policy = policy_of(terms)
    _taken(q, w, terms, policy)
    if q.drafts:
        w = with_drafts(w, None if q.draft is None else workload(q.draft))
    return build(w, policy, _bounds(q, policy, w, instances), q.drafts), terms


def _with(query: Query, sets: Mapping[str, Any]) -> Query:
    """A question with more settings."""
    return replace(query, overrides=query.overrides.merged(dict(sets)))


def _taken(q: Asked, w: Workload, terms: ServingTerms, policy: Policy) -> None:
    """Raises Infeasible for prompts that an engine without chunks would refuse."""
    prompt = float(load_of(q.traffic)[0].isl)
    if terms.chunked or prompt <= policy.tokens:
        return
    option = f"engine.{w.memory.names['tokens']}"
    raise Infeasible(
        f"{title(terms.engine)} {terms.version} processes a prompt in one step of at most {policy.tokens:,.0f} tokens ({option}), and refuses prompts of {prompt:,.0f} tokens: raise it, or allow chunks "
        "(engine.enable_chunked_prefill=true)"
    )


def terms_of(w: Workload, stated: Mapping[str, Any], drafts: bool) -> ServingTerms:
    """The serving terms of a workload's engine. `stated`: settings by the engine's own names."""
    return serving_terms(w.engine, stated, w.device, w.plan, about_of(w.model), drafts)


def policy_of(terms: ServingTerms) -> Policy:
    """How an engine of these terms batches."""
    tokens, sequences, host, overlap = (
        num(np.asarray(each, np.float64)) for each in (terms.tokens, terms.sequences, terms.host_step_s, terms.overlap)
    )
    # A step holds a token of every sequence: engines lower the number of sequences to the budget.
    sequences = minimum(sequences, tokens)
    return Policy(
        terms.policy, tokens, sequences, terms.stream_interval, host, terms.host_request_s, terms.admission, overlap, terms.host_token_s,
        terms.host_delay_s, terms.receive_interval,
    )  # fmt: skip


def _bounds(q: Asked, policy: Policy, w: Workload, instances: int) -> Bounds:
    """What the tables of a question must cover."""
    replicas = instances * float(np.asarray(w.plan.replicas * w.plan.copies))
    users = np.inf if q.open else max(np.ceil(max(q.loads) / replicas), 1.0)
    load, _ = load_of(q.traffic)
    prompts = q.isl.mean * (64.0 if q.open else min(users, 64.0))
    tokens, sequences = float(policy.tokens), float(policy.sequences)
    return Bounds(min(sequences, users), 2.0 * float(load.context), min(tokens, prompts), q.isl.mean)
