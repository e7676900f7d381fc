"""plans --phase train: every way to train a design on N devices, ranked by closed forms, the best by the executor.

A row is a split at the best of its schedules, virtual stages, micro-batches, recomputations and stages of ZeRO that
fit; one that cannot run, or fits in no way, is a row with its reason. Most likely to be wrong: see `search/train_search.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from simcost.cost.cost import joined, probability_less, tied
from simcost.cost.price import is_money, unsure, with_range
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.pool import Piece, mapped
from simcost.provenance import VERSION, Kind, Note
from simcost.query import engine_of
from simcost.result import Result, Row, number
from simcost.scenarios import price_notes
from simcost.scenarios.inputs import stated
from simcost.scenarios.train.question import Asked as Question
from simcost.scenarios.train.run import of_row, said_of_rows
from simcost.search.train_search import BEST, RANKS, SHOWN, Candidate, Searched, fitting, least, ranked, searched
from simcost.training.batch import FILL
from simcost.training.run import Step
from simcost.units import show

EXECUTOR, CLOSED = "executor", "closed form"


@frozen
class Cluster:
    """Devices of which plans are asked for, and how many."""

    hw: str
    gpus: tuple[int, ...]


def result(
    q: Question,
    clusters: Sequence[Cluster],
    cp: bool,
    metric: str | None,
    convention: str,
    tokens: float | None = None,
) -> Result:
    """One row a split, best first, with its run of so many `tokens`. Raises SpecError for what is no question, and where no device can be asked."""
    ranked_by = _metric(metric)
    pieces = [
        Piece((q._replace(hw=cluster.hw), cluster.hw, count, cp, convention), f"{count:,} x {cluster.hw}", float(count))
        for cluster in clusters
        for count in cluster.gpus
    ]
    found = mapped(searched, pieces)
    if ranked_by.startswith("usd_") and any(each.price is None for each in found):
        raise SpecError(f"--metric {ranked_by}: a device has no price with a source: state one with --price")
    candidates = ranked([one for each in found for one in fitting(each)], ranked_by)
    table = [*_rows(candidates, ranked_by, tokens), *(row for each in found for row in _refused(each, candidates))]
    ties = sum(bool(row.get("best_or_tied")) for row in table) - 1
    counted = {
        "plans": sum(len(each.space.splits) for each in found),
        "plans_feasible": len(candidates),
        "plans_tied": max(ties, 0),
        "points": sum(len(each.space.grid) for each in found),
    }
    return Result(
        "plans",
        _inputs(q, found, clusters, cp, ranked_by, convention) | ({} if tokens is None else {"tokens": tokens}),
        counted,
        {**_best(table, clusters), "plans": table},
        (*_notes(q, found), *(() if tokens is None else (said_of_rows(tokens),))),
        (),
        _verdict(found, table, counted),
        bool(candidates),
    )


def _best(table: Sequence[Row], clusters: Sequence[Cluster]) -> dict[str, list[Row]]:
    """A first small table where several devices, or several numbers of one, are asked for."""
    several = len(clusters) > 1
    if not several and len(clusters[0].gpus) == 1:
        return {}
    found: dict[Any, Row] = {}
    for row in table:
        found.setdefault(row["hw" if several else "gpus"], row)
    hidden = ("tp", "cp", "pp", "ep", "dp", "schedule", "vpp", "micro_batch", "recompute", "zero_stage")
    rows = [
        {"hw": row["hw"], "gpus": row["gpus"], "plan": _words(row), **{k: v for k, v in row.items() if k not in hidden}}
        for row in found.values()
    ]
    return {"best per device" if several else "best per number of GPUs": rows}


def _metric(metric: str | None) -> str:
    name = metric or "tokens_per_s_per_gpu"
    known = {each: each for each in RANKS} | {each.removesuffix("_s").split("_")[0]: each for each in RANKS}
    if name not in known:
        raise SpecError(f"--metric {name}: plans of training can be ranked by {', '.join(RANKS)}{nearest(name, RANKS)}")
    return known[name]


def _rows(found: Sequence[Candidate], metric: str, tokens: float | None) -> list[Row]:
    """Plans that fit as rows, with how surely each lies behind the best."""
    sure = [one for one in found if one.cost is not None]
    places = _places(sure, metric)
    best = float(found[0].values[metric]) if found else 1.0
    rows = []
    place = {id(one): i for i, one in enumerate(sure)}
    for one in found:
        at = place.get(id(one))
        values = {name: one.values[name] for name in SHOWN if name in one.values}
        row = {**_sizes(one.of, one.split), **_options(one), "feasible": True, metric: values[metric]}
        row |= {"versus_best": number(float(values[metric]) / best - 1.0)}
        row |= {name: None if at is None else column[at] for name, column in places.items()}
        rows.append(
            {
                **row,
                **with_range({**({} if tokens is None else _run(one, tokens)), **values}, one.of.paid),
                "priced_by": CLOSED if one.cost is None else EXECUTOR,
                **_end(one.of),
            }
        )
    return rows


def _places(found: Sequence[Candidate], metric: str) -> dict[str, list[Any]]:
    """Of plans that the executor priced, best first: the probability that each is behind the best one, and whether the
    best one cannot be told from it. In money the range of a device's price counts too."""
    costs = [
        unsure(one.cost, one.of.label, one.of.paid) if is_money(metric) else one.cost
        for one in found
        if one.cost is not None
    ]
    if not costs:
        return {}
    values = np.array([float(one.values[metric]) for one in found])
    ratio = (values / values[0]) ** -RANKS[metric]  # of what is less for the better one
    every = joined(costs, lambda values: np.asarray(values, np.float64))
    first = every.each(lambda value: np.asarray(value)[:1])
    behind = np.asarray(probability_less(first, every, 1.0 / ratio), np.float64)
    return {
        "probability_behind": [None, *(number(max(one, 1.0 - one)) for one in behind[1:])],
        "best_or_tied": np.asarray(tied(every, first, ratio), bool).tolist(),
    }


def _sizes(of: Searched, split: int) -> Row:
    asked, (tp, cp, ep, pp) = of.space.asked, (int(size) for size in of.space.splits[split])
    return {
        "hw": of.label,
        "gpus": int(asked.gpus),
        "tp": tp,
        "cp": cp,
        "pp": pp,
        "ep": ep,
        "dp": int(asked.gpus) // (tp * cp * pp),
    }


def _run(one: Candidate, tokens: float) -> Row:
    """The run of a plan, as `simcost train` prices it."""
    job = one.of.space.asked.job(one.of.space.grid.row(one.at))
    step = Step(
        one.values["step_s"],
        float(job.tokens),
        float(job.plan.devices),
        one.values.get("step_low_s"),
        one.values.get("step_high_s"),
    )
    return of_row(step, job, tokens, one.of.price)


def _options(one: Candidate) -> Row:
    row = one.of.space.grid.row(one.at)
    return {name: row[name] for name in ("schedule", "vpp", "micro_batch", "recompute", "zero_stage")}


def _refused(each: Searched, found: Sequence[Candidate]) -> Iterator[Row]:
    """Splits without a plan that fits, with the reason."""
    fits = {one.split for one in found if one.of is each}
    lacks = least(each)
    for split, why in enumerate(each.space.why):
        if split not in fits:
            reason = why or f"short by {show(lacks[split], 'memory')} per GPU with every setting"
            yield {**_sizes(each, split), "feasible": False, "reason": reason, **_end(each)}


def _end(each: Searched) -> Row:
    """Whose answer a row is, so that files can be put together."""
    asked = each.space.asked
    return {
        "model": asked.model.name,
        "engine": asked.engine,
        "phase": "train",
        "seq": asked.recipe.seq,
        "global_batch": asked.recipe.global_batch,
        "simcost": VERSION,
    }


def _inputs(
    q: Question, found: Sequence[Searched], clusters: Sequence[Cluster], cp: bool, metric: str, convention: str
) -> dict[str, Any]:
    o, names = q.overrides, [cluster.hw for cluster in clusters]
    counts = list(dict.fromkeys(count for cluster in clusters for count in cluster.gpus))
    return {
        "model": stated(q.model),
        "hw": names[0] if len(names) == 1 else names,
        "gpus": counts[0] if len(counts) == 1 else counts,
        **{
            key: value
            for key, value in {"seq": found[0].space.asked.recipe.seq, **o.phase}.items()
            if value is not None
        },
        "engine": engine_of(o),
        "phase": "train",
        "cp": cp,
        "metric": metric,
        "stack": q.stack,
        "flops_convention": convention,
        **({} if q.usd_per_hour is None else {"usd_per_hour": q.usd_per_hour}),
        "set": {
            f"{root}.{key}": value
            for root in ("model", "hw", "plan", "stack")
            for key, value in getattr(o, root).items()
        },
    }


def _notes(q: Question, found: Sequence[Searched]) -> Iterator[Note]:
    yield from (Note(line) for line in q.said)
    devices = {each.label: each.paid for each in found}
    yield from (
        note for name, paid in devices.items() for note in price_notes.of(name, paid, q.usd_per_hour is not None)
    )
    recipe_ = found[0].space.asked.recipe
    if q.overrides.phase.get("global_batch") is None:
        said = ", ".join(dict.fromkeys(f"{each.space.asked.recipe.global_batch:,}" for each in found))
        yield Note(
            f"global_batch = {said}: {FILL} sequences per GPU, so that every plan has the same number of "
            "micro-batches for each pipeline stage",
            Kind.ASSUMED,
        )
    yield Note(
        f"plans are of precision {recipe_.precision}, optimizer {recipe_.optimizer}, stack {recipe_.stack}, "
        f"plan.sequence_parallel={q.overrides.plan.get('sequence_parallel', 'on where tp is above 1')}; "
        f"rows after the best {BEST} are priced by closed forms and have no interval",
        Kind.ASSUMED,
    )


def _verdict(found: Sequence[Searched], table: Sequence[Row], counted: dict[str, int]) -> str:
    sentence = f"{counted['plans_feasible']:,} of {counted['plans']:,} splits can run ({counted['points']:,} plans)"
    if not counted["plans_feasible"]:
        lacks = [(bytes_, each, split) for each in found for split, bytes_ in least(each).items()]
        if not lacks:
            return sentence
        bytes_, each, split = min(lacks, key=lambda lack: lack[0])
        return f"{sentence}; the closest plan lacks {show(bytes_, 'memory')} per GPU ({_words(_sizes(each, split))})"
    best = table[0]
    one, low, high = (show(float(best[name]), "seconds") for name in ("step_s", "step_low_s", "step_high_s"))
    rate = f"MFU {float(best['mfu']):.1%}, {float(best['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU"
    many = counted["plans_tied"]
    others = f"; {many:,} {'is' if many == 1 else 'are'} tied with the best" if many else ""
    if "run_s" in best:
        run = [show(float(best["run_s"]), "duration"), f"{float(best['run_gpu_hours']):,.0f} GPU hours"]
        run += [show(float(best["run_usd"]), "usd")] if "run_usd" in best else []
        others = f"; its run: {', '.join(run)}{others}"
    where = f"{best['gpus']:,} x {best['hw']}, " if len({(row["hw"], row["gpus"]) for row in table}) > 1 else ""
    return f"{sentence}; best: {where}{_words(best)}: step {one} (90 %: {low} to {high}), {rate}{others}"


def _words(row: Row) -> str:
    """A plan in words: sizes above 1, and what else it is."""
    sizes = [f"{name}={row[name]}" for name in ("tp", "cp", "ep", "pp", "dp") if row[name] != 1]
    rest = (
        [f"{row['schedule']}" + (f" vpp {row['vpp']}" if row["vpp"] > 1 else "")]
        if row.get("pp", 1) > 1 and "schedule" in row
        else []
    )
    given = (
        [f"micro-batch {row['micro_batch']}", f"recompute {row['recompute']}", f"ZeRO-{row['zero_stage']}"]
        if "schedule" in row
        else []
    )
    return ", ".join([*(sizes or ["1 GPU"]), *rest, *given])
