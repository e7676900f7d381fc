"""plans --phase train: every way to train a design on N devices, ranked by closed forms, the best by the executor.

A row is a split at the best of its schedules, virtual stages, micro-batches, recomputations and stages of ZeRO that fit; one that cannot run, or fits in no way, is a row with its reason. Most likely to be wrong: a plan that the closed form of
its schedule calls slower than it is by more than `NEAR`; docs/theory/training-plans.md states their errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.cost.cost import Cost, joined, probability_less, tied
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.num import Index
from simcost.provenance import VERSION, Kind, Note
from simcost.query import engine_of, make, model_of
from simcost.result import Result, Row, number
from simcost.scenarios.inputs import stated
from simcost.scenarios.train.answer import metrics
from simcost.scenarios.train.question import Asked as Question
from simcost.scenarios.train.question import recipe
from simcost.search.train_space import SPLIT, Space, space
from simcost.training import flops, memory, step
from simcost.training.closed_form.grid import Asked
from simcost.training.closed_form.steps import Steps, steps
from simcost.training.job import FILL
from simcost.units import show

BEST = 10  # splits that the executor prices
NEAR = 0.1  # of the time of a split's best plan: those of other schedules are priced by the executor too
WAYS = 3  # schedules of a split that the executor prices, at most
RANKS = {"tokens_per_s_per_gpu": 1, "mfu": 1, "step_s": -1, "usd_per_billion_tokens": -1}
EXECUTOR, CLOSED = "executor", "closed form"
_COLUMNS = ("vpp", "schedule", "micro_batch", "recompute", "zero_stage")
_FOLLOW = ("dp", "dp_attention", "etp")  # of the other sizes
_SHOWN = ("step_s", "step_low_s", "step_high_s", "tokens_per_s_per_gpu", "mfu", "bubble_fraction", "exposed_communication", "memory_peak_bytes", "usd_per_billion_tokens")  # fmt: skip


@frozen
class Cluster:
    """Devices of which plans are asked for, and how many."""

    hw: str
    gpus: tuple[int, ...]


@frozen
class Searched:
    """All plans of one number of devices. `label`: the device among others; `price`: USD a device and hour."""

    label: str
    space: Space
    steps: Steps
    price: float | None
    convention: str

    def values(self, i: int) -> dict[str, Any]:
        """Metrics of a plan by closed forms."""
        asked = self.space.asked
        job = asked.job(self.space.grid.row(i))
        seconds = float(self.steps.seconds[i])
        speed = job.tokens / seconds / asked.gpus
        of_token = float(flops.flops_per_token(job.model, float(job.recipe.seq), self.convention, bool(job.model.mtp)))
        found = {
            "step_s": seconds, "tokens_per_s_per_gpu": speed, "memory_peak_bytes": float(self.steps.memory[i]),
            "mfu": flops.mfu(of_token, speed * asked.gpus, asked.gpus, float(job.device.peak(job.precision.forward.peak))),
        }  # fmt: skip
        if self.price is not None:
            found["usd_per_billion_tokens"] = 1e9 / speed * self.price / 3600.0
        return {name: number(value) for name, value in found.items()}

    def executed(self, i: int) -> tuple[dict[str, Any], Cost]:
        """Metrics of a plan by the executor, and the cost of its step."""
        one = step.run(self.space.asked.job(self.space.grid.row(i)))
        found = metrics(one, memory.of_ranks(one), self.price, self.convention)
        return {name: found[name] for name in _SHOWN if name in found}, one.cost.cost.on(self.label)


@frozen
class Candidate:
    """A split with its best plan: `at` [plans] among those of `of`, `values`; `cost` where the executor priced it."""

    of: Searched
    split: int
    at: int
    values: dict[str, Any]
    cost: Cost | None = None


def result(q: Question, clusters: Sequence[Cluster], cp: bool, metric: str | None, convention: str) -> Result:
    """One row a split, best first. Raises SpecError for what is no question, and where no device can be asked."""
    ranked_by = _metric(metric)
    found = [
        searched(q._replace(hw=cluster.hw), cluster.hw, count, cp, convention)
        for cluster in clusters
        for count in cluster.gpus
    ]
    if ranked_by.startswith("usd_") and any(each.price is None for each in found):
        raise SpecError(f"--metric {ranked_by}: a device has no price with a source; give one with --price")
    candidates = _ranked([one for each in found for one in _fitting(each)], ranked_by)
    table = [*_rows(candidates, ranked_by), *(row for each in found for row in _refused(each, candidates))]
    ties = sum(bool(row.get("best_or_tied")) for row in table) - 1
    counted = {
        "plans": sum(len(each.space.splits) for each in found), "plans_feasible": len(candidates), "plans_tied": max(ties, 0),
        "points": sum(len(each.space.grid) for each in found),
    }  # fmt: skip
    return Result(
        "plans", _inputs(q, found, clusters, cp, ranked_by, convention), counted, {"plans": table}, tuple(_notes(q, found)), (),
        _verdict(found, table, counted), bool(candidates),
    )  # fmt: skip


def _metric(metric: str | None) -> str:
    name = metric or "tokens_per_s_per_gpu"
    known = {each: each for each in RANKS} | {each.removesuffix("_s").split("_")[0]: each for each in RANKS}
    if name not in known:
        raise SpecError(f"--metric {name}: what ranks plans of training: {', '.join(RANKS)}{nearest(name, RANKS)}")
    return known[name]


def searched(q: Question, label: str, gpus: int, cp: bool, convention: str) -> Searched:
    """All plans of a number of devices, priced by closed forms. Raises SpecError as `space`."""
    o = q.overrides
    for key in _FOLLOW:
        if key in o.plan:
            raise SpecError(
                f"plan.{key} follows from tp, cp, ep, pp and the GPUs, which plans tries: state one of these"
            )
    if str(o.plan.get("stages", "even")) != "even":
        raise SpecError(
            "plan.stages is of one pipeline, and plans tries several: leave it out, and ask train for the best one"
        )
    device = hardware.load(q.hw, o.hw)
    serving = make(q.model, q.hw, True, {}, {f"model.{key}": value for key, value in o.model.items()}, {}, None)
    asked_for = {key: value for key, value in o.plan.items() if key in (*SPLIT, *_COLUMNS)}
    counts = settings.of("plan")
    columns = {key: settings.checked(counts[key], value, f"plan.{key}") for key, value in asked_for.items()}
    if o.phase.get("micro_batch") is not None:
        columns["micro_batch"] = settings.count("micro_batch", o.phase["micro_batch"])
    fixed = grammar.plan_of({key: value for key, value in o.plan.items() if key not in (*SPLIT, "vpp", "gpus")})
    if "sequence_parallel" not in o.plan:
        fixed = replace(fixed, sequence_parallel="on")
    asked_recipe = recipe(q)
    batch = asked_recipe.global_batch or FILL * gpus
    asked = Asked(
        model_of(serving), device, fixed, replace(asked_recipe, global_batch=batch), float(gpus), engine_of(o)
    )
    there = space(asked, columns, cp)
    priced = steps(asked, there.grid) if len(there.grid) else Steps(np.zeros(0), np.zeros(0))
    price = device.usd_per_hour if q.usd_per_hour is None else q.usd_per_hour
    return Searched(label, there, priced, None if price is None else float(price), convention)


def _fitting(each: Searched) -> Iterator[Candidate]:
    """Every split with a plan that fits, at the fastest one."""
    fits = each.steps.memory <= float(each.space.asked.device.capacity)
    order = np.lexsort((each.steps.seconds, each.space.split))
    order = order[fits[order]]
    for split, at in zip(*(_firsts(each.space.split[order], order)), strict=True):
        yield Candidate(each, int(split), int(at), each.values(int(at)))


def _firsts(of: Index, order: Index) -> tuple[Index, Index]:
    """(every number, the first plan that has it)."""
    numbers, first = np.unique(of, return_index=True)
    return numbers, order[first]


def _ranked(found: list[Candidate], metric: str) -> list[Candidate]:
    """Candidates by what the metric says, the best `BEST` of them priced by the executor."""

    def worth(one: Candidate) -> float:
        return -RANKS[metric] * float(one.values[metric])

    found = sorted(found, key=worth)
    for _ in range(3 * BEST):
        waiting = [i for i, one in enumerate(found[:BEST]) if one.cost is None]
        if not waiting:
            break
        executed = _executed(found.pop(waiting[0]))
        found = sorted([*found, *executed], key=worth)
    return found


def _executed(one: Candidate) -> list[Candidate]:
    """The fastest of the plans of a split that the closed forms tell apart by less than `NEAR`, one a schedule, as the executor prices them; nothing where none fits there."""
    each = one.of
    mine = np.flatnonzero(
        (each.space.split == one.split) & (each.steps.memory <= float(each.space.asked.device.capacity))
    )
    seconds = each.steps.seconds[mine]
    near = mine[np.argsort(seconds, kind="stable")][: int((seconds <= seconds.min() * (1.0 + NEAR)).sum())]
    ways: dict[int, int] = {}
    for at in near:
        ways.setdefault(int(each.space.grid["schedule"][at]), int(at))
    tried = []
    for at in list(ways.values())[:WAYS]:
        values, cost = each.executed(at)
        if float(values["memory_peak_bytes"]) <= float(each.space.asked.device.capacity):
            tried.append(Candidate(each, one.split, at, values, cost))
    return sorted(tried, key=lambda way: float(way.values["step_s"]))[:1]


def _rows(found: Sequence[Candidate], metric: str) -> list[Row]:
    """Plans that fit as rows, with how surely each lies behind the best."""
    sure = [one for one in found if one.cost is not None]
    places = _places([one.cost for one in sure if one.cost is not None])
    best = float(found[0].values[metric]) if found else 1.0
    rows = []
    for i, one in enumerate(found):
        values = {name: one.values[name] for name in _SHOWN if name in one.values}
        row = {**_sizes(one.of, one.split), **_options(one), "feasible": True, metric: values[metric]}
        row |= {"versus_best": number(float(values[metric]) / best - 1.0)}
        row |= {name: column[i] if i < len(sure) else None for name, column in places.items()}
        rows.append({**row, **values, "priced_by": CLOSED if one.cost is None else EXECUTOR, **_end(one.of)})
    return rows


def _places(costs: Sequence[Cost]) -> dict[str, list[Any]]:
    """Of plans that the executor priced, best first: the probability that each is behind the best one, and whether the best one cannot be told from it."""
    if not costs:
        return {}
    every = joined(costs, lambda values: np.asarray(values, np.float64))
    first = every.each(lambda value: np.asarray(value)[:1])
    behind = np.asarray(probability_less(first, every), np.float64)
    return {
        "probability_behind": [None, *(number(max(one, 1.0 - one)) for one in behind[1:])],
        "best_or_tied": np.asarray(tied(every, first), bool).tolist(),
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


def _options(one: Candidate) -> Row:
    row = one.of.space.grid.row(one.at)
    return {name: row[name] for name in ("schedule", "vpp", "micro_batch", "recompute", "zero_stage")}


def _refused(each: Searched, found: Sequence[Candidate]) -> Iterator[Row]:
    """Splits without a plan that fits, with the reason."""
    fits = {one.split for one in found if one.of is each}
    least = _least(each)
    for split, why in enumerate(each.space.why):
        if split not in fits:
            reason = why or f"short by {show(least[split], 'memory')} a GPU in every way"
            yield {**_sizes(each, split), "feasible": False, "reason": reason, **_end(each)}


def _least(each: Searched) -> dict[int, float]:
    """What the plan of each split that lacks least lacks. [B]"""
    short = each.steps.memory - float(each.space.asked.device.capacity)
    order = np.lexsort((short, each.space.split))
    return {int(split): float(short[at]) for split, at in zip(*_firsts(each.space.split[order], order), strict=True)}


def _end(each: Searched) -> Row:
    """Whose answer a row is, so that files can be put together."""
    asked = each.space.asked
    return {
        "model": asked.model.name, "engine": asked.engine, "phase": "train", "seq": asked.recipe.seq, "global_batch": asked.recipe.global_batch,
        "simcost": VERSION,
    }  # fmt: skip


def _inputs(
    q: Question, found: Sequence[Searched], clusters: Sequence[Cluster], cp: bool, metric: str, convention: str
) -> dict[str, Any]:
    o, names = q.overrides, [cluster.hw for cluster in clusters]
    counts = list(dict.fromkeys(count for cluster in clusters for count in cluster.gpus))
    return {
        "model": stated(q.model), "hw": names[0] if len(names) == 1 else names, "gpus": counts[0] if len(counts) == 1 else counts,
        **{key: value for key, value in {"seq": found[0].space.asked.recipe.seq, **o.phase}.items() if value is not None},
        "engine": engine_of(o), "phase": "train", "cp": cp, "metric": metric, "stack": q.stack, "flops_convention": convention,
        **({} if q.usd_per_hour is None else {"usd_per_hour": q.usd_per_hour}),
        "set": {f"{root}.{key}": value for root in ("model", "hw", "plan", "stack") for key, value in getattr(o, root).items()},
    }  # fmt: skip


def _notes(q: Question, found: Sequence[Searched]) -> Iterator[Note]:
    yield from (Note(line) for line in q.said)
    recipe_ = found[0].space.asked.recipe
    if q.overrides.phase.get("global_batch") is None:
        said = ", ".join(dict.fromkeys(f"{each.space.asked.recipe.global_batch:,}" for each in found))
        yield Note(
            f"global_batch = {said}: {FILL} sequences a GPU, so that every plan has as many micro-batches for each pipeline stage",
            Kind.ASSUMED,
        )
    yield Note(
        f"plans are of precision {recipe_.precision}, optimizer {recipe_.optimizer}, stack {recipe_.stack}; rows beyond the best {BEST} are priced by closed forms, without an interval",
        Kind.ASSUMED,
    )


def _verdict(found: Sequence[Searched], table: Sequence[Row], counted: dict[str, int]) -> str:
    sentence = f"{counted['plans_feasible']:,} of {counted['plans']:,} splits can run ({counted['points']:,} plans)"
    if not counted["plans_feasible"]:
        lacks = [(bytes_, each, split) for each in found for split, bytes_ in _least(each).items()]
        if not lacks:
            return sentence
        bytes_, each, split = min(lacks, key=lambda lack: lack[0])
        return f"{sentence}; the nearest lacks {show(bytes_, 'memory')} a GPU ({_words(_sizes(each, split))})"
    best = table[0]
    times = f"step {show(float(best['step_s']), 'seconds')} (90 %: {show(float(best['step_low_s']), 'seconds')} to {show(float(best['step_high_s']), 'seconds')})"
    many = counted["plans_tied"]
    others = f"; {many:,} {'is' if many == 1 else 'are'} tied with the best" if many else ""
    where = f"{best['gpus']:,} x {best['hw']}, " if len({(row["hw"], row["gpus"]) for row in table}) > 1 else ""
    return f"{sentence}; best: {where}{_words(best)}: {times}, MFU {float(best['mfu']):.1%}, {float(best['tokens_per_s_per_gpu']):,.0f} tokens/s per GPU{others}"


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
