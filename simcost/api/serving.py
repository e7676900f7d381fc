"""Serving: a design under load."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcost import grammar
from simcost.api.arguments import Count, Model, Sets, cluster, count, counts_of, sets_of, several, unboxes
from simcost.errors import SpecError, nearest
from simcost.hardware import load as hardware
from simcost.result import Result

if TYPE_CHECKING:
    from simcost.scenarios.serve.question import Asked

_NO_SERVER = {"engine.host_request": "0 s", "engine.host_token": "0 s", "engine.host_delay": "0 s"}


@unboxes
def serve(
    model: Model, hw: str, isl: Count, osl: Count, concurrency: Count | Sequence[Count] | None = None, rate: float | str | Sequence[float | str] | None = None,
    gpus: Count | None = None, nodes: Count | None = None, set: Sets | None = None, engine: str | None = None, price: float | str | None = None,
    prefix_hit: float = 0.0, drafts: int = 0, acceptance: float | None = None, draft_model: Model | None = None,
    prefill_pool: str | None = None, decode_pool: str | None = None,
    events: bool = False, requests: Count | None = None, seed: int | Sequence[int] | str | None = None, warmup: float | None = None, prefix_from: str | None = None,
    offline: Count | None = None,
) -> Result:  # fmt: skip
    """A design under load: TTFT, TPOT, throughput and price in the steady state. `isl`, `osl`: tokens of prompts and answers, or a distribution ("lognormal:1024:0.8",
    "file:lengths.csv"). `concurrency`: users who each wait for their answer, or `rate`: requests per second that arrive at random; several values give several rows. `prefix_hit`: share of a
    prompt that the prefix cache holds, in the GPUs' pool, or by `prefix_from` in the host's memory ("host",
    "host:512GB" for each GPU) or dropped ("recompute"); `drafts`: tokens proposed per step, by the design's MTP module
    or by `draft_model`, each accepted with probability `acceptance`. `prefill_pool`,
    `decode_pool`: instances of each phase ("4:tp=8,ep=8"), None: every instance does both. `events`: also percentiles of a run request by
    request, of `requests` (10 per user; of an open loop 20 for each in flight, at least 1,000 per replica) drawn by `seed` (several, or "1..16": a run each, and means of them), whose first part `warmup` (0.1) is left out. `offline`: requests
    that all wait at the start with no server in front, as offline benchmarks send them: a load of its own, request by request. Raises SpecError
    for what cannot be, Infeasible for a plan that breaks a rule."""
    from simcost.scenarios.serve.result import result

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    stated = [
        f"--{name}" for name, value in (("requests", requests), ("seed", seed), ("warmup", warmup)) if value is not None
    ]
    if offline is not None:
        said = {"concurrency": concurrency, "rate": rate, "requests": requests, "warmup": warmup}
        for name in (each for each, value in said.items() if value is not None):
            raise SpecError(f"--offline {offline} says which requests there are and when: leave out --{name}")
        sets = {**_NO_SERVER, **sets}
        concurrency = requests = count("--offline", offline)
        warmup, events = 0.0, True
    elif stated and not events:
        raise SpecError(f"{stated[0]} needs --events, which simulates request by request")
    run = (requests, seed, warmup) if events else None
    return result(
        _asked(model, hw, isl, osl, concurrency, rate, sets, prefix_hit, drafts, acceptance, draft_model, price, prefill_pool, decode_pool, run, prefix_from)
    )  # fmt: skip


def launch(
    emit: str, model: Model, hw: str, isl: Count, osl: Count, concurrency: Count | None = None, rate: float | str | None = None,
    gpus: Count | None = None, nodes: Count | None = None, set: Sets | None = None, engine: str | None = None, prefix_hit: float = 0.0, drafts: int = 0,
    acceptance: float | None = None, draft_model: Model | None = None, prefill_pool: str | None = None, decode_pool: str | None = None,
) -> str:  # fmt: skip
    """Commands that start the engine `emit` (vllm, sglang, trtllm) for the question of `serve`: a shell script, with the files of options that it needs. Raises as
    `serve` does, and Infeasible for a plan that the engine cannot run."""
    from simcost.scenarios.serve.emit_from import emitted

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    load = 1 if concurrency is None and rate is None else concurrency  # no option of a server follows from it
    return emitted(
        _asked(model, hw, isl, osl, load, rate, sets, prefix_hit, drafts, acceptance, draft_model, None, prefill_pool, decode_pool, None), emit
    ).text  # fmt: skip


def _asked(
    model: Any, hw: str, isl: Any, osl: Any, concurrency: Any, rate: Any, sets: dict[str, Any], prefix_hit: float, drafts: int, acceptance: float | None, draft_model: Any,
    price: float | str | None, prefill_pool: str | None, decode_pool: str | None, run: tuple[Any, Any, float | None] | None, prefix_from: str | None = None,
) -> Asked:  # fmt: skip
    """The question of options. run: requests, seed and warm-up of a run request by request."""
    from simcost.scenarios.serve.question import Simulation, asked

    users = None if concurrency is None else [grammar.read("phase.batch", each) for each in _several(concurrency)]
    rates = None if rate is None else [rate_of(each) for each in _several(rate)]
    simulation = None
    if run is not None:
        requests, seed, warmup = run
        count = None if requests is None else grammar.read("phase.batch", requests)
        first, *more = [1] if seed is None else _seeds(seed)
        simulation = Simulation(count, first, 0.1 if warmup is None else warmup, tuple(more))
    return asked(
        model, hw, isl, osl, users, rates, sets, prefix_hit, drafts, acceptance, draft_model, price, prefill_pool, decode_pool, simulation, prefix_from
    )  # fmt: skip


def _seeds(said: Any) -> list[Any]:
    """One seed or several: 3, [1, 2], "1,2,8..15". What is no number stays as it is, for the check to refuse."""
    if not isinstance(said, str):
        found = list(said) if isinstance(said, (list, tuple)) else [said]
    else:
        try:
            found = grammar.axes([f"batch={said}"])["batch"]
        except SpecError:
            found = [said]
    if not found:
        raise SpecError("--seed is empty: give at least one seed")
    return found


def _several(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def rate_of(value: Any) -> Any:
    """A rate as written: "20/s", "1200/min", or a number per second; what is none of these stays as it is."""
    if not isinstance(value, str):
        return value
    number, _, unit = value.partition("/")
    per = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "hour": 3600.0}.get(unit.strip())
    try:
        return value if per is None else float(number) / per
    except ValueError:
        return value


def serve_plans(
    model: Model, hw: str | Sequence[str], gpus: Any, nodes: Any, isl: Any, limits: Mapping[str, Any], metric: str | None, cp: bool, sets: dict[str, Any],
    price: float | str | None, given: Mapping[str, Any],
) -> Result:  # fmt: skip
    """`plans` of phase "serve". limits: "ttft" and "tpot", None where not given; given: osl, rate, slo, prefix_hit, prefix_from. Raises SpecError and Infeasible."""
    from simcost.search import serve_plans as scenario
    from simcost.search.serve_load import Limits

    for name, value in (("isl", isl), ("osl", given["osl"])):
        if value is None:
            raise SpecError(
                f"--phase serve needs --{name}, the tokens of {'a prompt' if name == 'isl' else 'an answer'}"
            )
    devices = several("--hw", [hardware.spelled(name) for name in ([hw] if isinstance(hw, str) else hw)])
    stated = gpus is not None or nodes is not None or any(grammar.full(path) == "plan.gpus" for path in sets)
    clusters = [scenario.Cluster(name, counts_of(name, sets, gpus, nodes) if stated else None) for name in devices]
    sets = {path: value for path, value in sets.items() if grammar.full(path) != "plan.gpus"}
    rate = None if given["rate"] is None else _one_rate(rate_of(given["rate"]))
    kept = Limits(**{f"{name}_s": value for name, value in _limits(limits, given["slo"]).items()})
    hit = 0.0 if given["prefix_hit"] is None else given["prefix_hit"]
    place = given["prefix_from"]
    if place is not None and ":" in str(place):
        raise SpecError(f"--prefix-from {place}: no plan depends on the size of the host's memory: write host")
    question = scenario.Question(model, isl, given["osl"], rate, kept, sets, hit, price, metric, cp, place)
    return scenario.result(question, clusters)


def _one_rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < float("inf"):
        raise SpecError(f"--rate = {value!r} must be requests per second, above 0: 20/s, 900/min")
    return float(value)


_QUANTILE = re.compile(r"[@:. _]?p\d\d", re.IGNORECASE)


def _of_means(words: str) -> str:
    """What to do about a percentile, where one is asked for."""
    said = "; limits hold for means: simcost serve --events prints P50, P90 and P99 of the fleet that is found"
    return said if _QUANTILE.search(words) else ""


def _limits(given: Mapping[str, Any], slo: Any) -> dict[str, float]:
    """Seconds of every limit that is stated, by --ttft and --tpot or by --slo. Raises SpecError for one that is stated twice, and for what is none."""
    from simcost.search.objective import limit

    found = {name: limit(f"--{name}", value) for name, value in given.items() if value is not None}
    for part in [] if slo is None else str(slo).split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in given:
            raise SpecError(f"--slo {slo}: write ttft=2s,tpot=50ms{_of_means(part) or nearest(name, given)}")
        if _of_means(value):
            raise SpecError(f"--slo {slo}: write {name}={_QUANTILE.split(value)[0] or '2s'}{_of_means(value)}")
        if name in found:
            raise SpecError(
                f"the limit on {name} is given twice: --slo {slo}, and {'again' if given[name] is None else f'--{name} {given[name]}'}"
            )
        found[name] = limit(f"--slo {name}", value)
    return found
