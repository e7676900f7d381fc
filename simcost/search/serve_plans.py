"""plans --phase serve: how many GPUs a load needs within limits on TTFT and TPOT, of one device or of several, and
which plan they run.

A row is a plan with as many instances as carry the load, or, without a load, at the largest one that it takes; beside
these the best fleet of a device whose prefill and decode run on pools of
their own. Most likely to be wrong: limits hold for means of a steady state; percentiles of bursts are seen by events
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.cost.price import HIGH, LOW
from simcost.errors import Infeasible, SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.pool import Piece, mapped
from simcost.provenance import Kind, Note
from simcost.query import engine_of
from simcost.result import Result, Row
from simcost.scenarios import notes
from simcost.scenarios.inputs import inputs
from simcost.scenarios.serve import prefix as prefixes
from simcost.scenarios.serve.question import Asked, asked
from simcost.search import serve_pareto, serve_pools, serve_rows, serve_unmet
from simcost.search.serve_fleets import AGGREGATED, Fleets, Line, Wanted, aggregated, line
from simcost.search.serve_load import Limits
from simcost.search.serve_rows import Told
from simcost.search.serve_space import Space, built, space

_BEST = (
    "gpus",
    "fleet_usd_per_hour",
    "ttft_s",
    "ttft_low_s",
    "ttft_high_s",
    "tpot_s",
    "tpot_low_s",
    "tpot_high_s",
    "batch_per_replica",
    "requests_per_s",
    "within_limits_requests_per_s",
    "output_tokens_per_s",
    "output_tokens_per_s_per_gpu",
    "utilisation",
    "usd_per_million_output_tokens",
)


@frozen
class Cluster:
    """A device by its profile, and the numbers of them that there are: None for as many as it takes."""

    hw: str
    gpus: tuple[int, ...] | None


@frozen
class Question:
    """What is asked of every device. rate: requests per second, None for as many as can be; limits: of mean times;
    metric: what ranks, None for the default; prefix_from: where hits of the prefix cache are, as `serve` takes it."""

    model: Any
    isl: Any
    osl: Any
    rate: float | None
    limits: Limits
    sets: Mapping[str, Any]
    prefix_hit: float
    price: float | str | None
    metric: str | None
    cp: bool
    prefix_from: str | None = None

    def of(self, hw: str) -> Asked:
        """Of one device. Raises SpecError."""
        loads = [1.0 if self.rate is None else self.rate]
        return asked(
            self.model, hw, self.isl, self.osl, None, loads, self.sets, self.prefix_hit, price=self.price, prefix_from=self.prefix_from
        )  # fmt: skip


@frozen
class _Searched:
    """One device: its lines, and its fleets for each number of GPUs."""

    of: Line
    price: float | None
    fleets: list[Fleets]
    front: list[Row]


def result(q: Question, clusters: Sequence[Cluster]) -> Result:
    """All fleets, best first. Raises SpecError where no device can be asked, Infeasible where no plan keeps the
    limits."""
    labels = _labels(clusters)
    spaces: list[Space] = []
    refused: list[Row] = []
    errors: list[SpecError] = []
    for cluster, label in zip(clusters, labels, strict=True):
        try:
            spaces.append(space(q.of(cluster.hw), label, cluster.gpus, q.cp))
        except SpecError as error:
            refused.append({"hw": label, "feasible": False, "reason": str(error)})
            errors.append(error)
    if not spaces:
        raise errors[0]
    prices = [_price(each) for each in spaces]
    metric = serve_rows.metric(
        q.metric, q.rate, [(each.label, price) for each, price in zip(spaces, prices, strict=True)]
    )
    counts = {cluster_label: cluster.gpus for cluster, cluster_label in zip(clusters, labels, strict=True)}
    pieces = [
        Piece((q, each, price, counts[each.label]), each.label, float(len(each.good)))
        for each, price in zip(spaces, prices, strict=True)
        if len(each.good)
    ]
    found = mapped(_searched, pieces)
    fleets = [one for each in found for one in each.fleets]
    told = Told(metric, q.rate, _end(spaces[0]), {each.label: each.asked.query.paid(each.device) for each in spaces})
    table = [*serve_rows.ranked(told, fleets), *serve_rows.unable(told, fleets, spaces), *refused]
    running = [row for row in table if row["feasible"]]
    if not running and not any(one.most[0] > 0.0 for one in fleets):
        raise Infeasible(serve_unmet.nearest([each.of for each in found], spaces, q.limits))
    tables: dict[str, list[Row]] = {}
    if running:
        tables = {"best per device": serve_rows.best(table)} if len(running) > 1 else {}
    tables |= {"plans": table, "pareto": [row for each in found for row in each.front]}
    first = spaces[0]
    return Result(
        "plans",
        _inputs(q, clusters, metric, first),
        _counted(spaces, running),
        tables,
        tuple(dict.fromkeys(_notes(q, spaces))),
        tuple(dict.fromkeys(line for each in spaces for line in notes.references(_workload(each)))),
        serve_rows.verdict(told, running, q.limits)
        if running
        else serve_unmet.beyond(q.rate or 0.0, fleets, counts, q.limits),
        bool(running),
    )


def _searched(q: Question, each: Space, price: float | None, gpus: tuple[int, ...] | None) -> _Searched:
    of = line(each, q.limits)
    # A rate says how many GPUs it takes: the most that there are is all that counts.
    counts = [None] if gpus is None else [max(gpus)] if q.rate is not None else list(gpus)
    fleets: list[Fleets] = []
    try:
        both, why = serve_pools.sides(of, q.limits), ""
    except SpecError as error:
        both, why = None, str(error)
    for count in counts:
        wanted = Wanted(q.limits, q.rate, count, price)
        fleets.append(aggregated(of, wanted))
        if both is None:
            fleets.append(serve_pools.without(of, why))
        else:
            fleets.append(serve_pools.disaggregated(of, wanted, both))
    front = serve_pareto.aggregated(of, q.limits)
    if both is not None:
        front += serve_pareto.disaggregated(
            of, Wanted(q.limits, q.rate, None if gpus is None else max(gpus), price), both
        )
    return _Searched(of, price, fleets, front)


def _labels(clusters: Sequence[Cluster]) -> list[str]:
    """One unique name a device: its own, where two share it what was typed. Raises SpecError for a device that is not
    known."""
    names = [hardware.load(cluster.hw).name for cluster in clusters]
    return [cluster.hw if names.count(name) > 1 else name for name, cluster in zip(names, clusters, strict=True)]


def _price(each: Space) -> float | None:
    usd = each.asked.query.price(each.device)
    return None if usd is None else float(usd)


def _workload(each: Space) -> Any:
    rows = each.good if len(each.good) else range(len(each.table))
    return built(each.asked, each.model, each.device, each.fixed, each.table[rows])


def _counted(spaces: Sequence[Space], running: Sequence[Row]) -> dict[str, Any]:
    """The numbers of the best fleet; how many plans were looked at, and how many can serve."""
    names = [name for each in _BEST for name in (each, each + LOW, each + HIGH)]
    best = {name: running[0][name] for name in names if running and running[0].get(name) is not None}
    return {
        **best,
        "plans": sum(len(each.table) for each in spaces),
        "plans_feasible": len(
            {(row["hw"], row["plan"].partition(" x ")[2]) for row in running if row["mode"] == AGGREGATED}
        ),
        "plans_tied": max(sum(bool(row.get("best_or_tied")) for row in running) - 1, 0),
    }


def _lengths(first: Space) -> list[int | str]:
    """Tokens of prompts and answers, or their distributions as they were written."""
    return [int(text) if text.isdecimal() else text for text in first.asked.said]


def _end(first: Space) -> Row:
    """Whose answer a row is, so that files can be put together."""
    isl, osl = _lengths(first)
    return {
        "model": first.model.name,
        "engine": engine_of(first.asked.query.overrides),
        "phase": "serve",
        "isl": isl,
        "osl": osl,
    }


def _inputs(q: Question, clusters: Sequence[Cluster], metric: str, first: Space) -> dict[str, Any]:
    base = inputs(first.asked.query, None)
    for name in ("batch", "context", "hw"):
        base.pop(name, None)
    names = [cluster.hw for cluster in clusters]
    counts = list(dict.fromkeys(count for cluster in clusters for count in cluster.gpus or ()))
    isl, osl = _lengths(first)
    limits = {
        f"{name}_s": value
        for name, value in (("ttft", q.limits.ttft_s), ("tpot", q.limits.tpot_s))
        if value < float("inf")
    }
    return {
        "model": base.pop("model"),
        "hw": names[0] if len(names) == 1 else names,
        **({"gpus": counts[0] if len(counts) == 1 else counts} if counts else {}),
        "phase": "serve",
        **({} if q.rate is None else {"rate": q.rate}),
        "isl": isl,
        "osl": osl,
        **({"prefix_hit": q.prefix_hit} if q.prefix_hit else {}),
        **({} if q.prefix_from in (None, prefixes.POOL) else {"prefix_from": q.prefix_from}),
        "limits": limits,
        "metric": metric,
        "cp": q.cp,
        **base,
    }


def _notes(q: Question, spaces: Sequence[Space]) -> list[Note]:
    found = [
        Note(
            "limits apply to mean times in a steady state with random requests; serve --events also simulates bursts and percentiles",
            Kind.SCOPE,
        ),
        Note(
            "plans keep experts whole or split them over all ranks of an instance; --set plan.ep=N tries a size in between",
            Kind.SCOPE,
        ),
        Note(
            "pools: the cache of a prompt is sent when its prefill ends, over the network, or inside a rack over its links",
            Kind.ASSUMED,
        ),
    ]
    if q.limits.ttft_s == float("inf"):
        found.insert(
            0,
            Note(
                "no limit on TTFT (--ttft): loads up to 99.5 % of capacity are allowed, where queues are long",
                Kind.LIMIT,
            ),
        )
    host = q.prefix_from == prefixes.HOST
    if host:
        found.append(Note("a plan asks for no size of the host's memory: serve --prefix-from host:512GB says what it holds", Kind.SCOPE))  # fmt: skip
    for each in spaces:
        found += notes.of_serving(each.asked.query, _workload(each), host)
    return found
