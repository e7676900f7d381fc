"""Plans of training of one device and number: all priced by closed forms, the best splits by the executor.

Most likely to be wrong: a plan that the closed form of its schedule calls slower than it is by more than `NEAR`;
docs/theory/training-plans.md states their errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.cost.cost import Cost
from simcost.cost.price import paid
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.prices import Price
from simcost.model import flops
from simcost.num import Index
from simcost.query import engine_of, make, model_of
from simcost.result import number
from simcost.scenarios.train.answer import metrics
from simcost.scenarios.train.question import Asked as Question
from simcost.scenarios.train.question import recipe
from simcost.search.train_space import SPLIT, Space, space
from simcost.training import memory, precision, step
from simcost.training.batch import FILL
from simcost.training.closed_form.grid import Asked
from simcost.training.closed_form.steps import Steps, steps

BEST = 10  # splits that the executor prices
NEAR = 0.1  # of the time of a split's best plan: those of other schedules are priced by the executor too
WAYS = 3  # schedules of a split that the executor prices, at most
_BILLION = 1_000_000_000.0  # tokens, of a price
RANKS = {"tokens_per_s_per_gpu": 1, "mfu": 1, "step_s": -1, "usd_per_billion_tokens": -1}
_COLUMNS = ("vpp", "schedule", "micro_batch", "recompute", "zero_stage")
_FOLLOW = ("dp", "dp_attention", "etp")  # of the other sizes
SHOWN = (
    "step_s",
    "step_low_s",
    "step_high_s",
    "tokens_per_s_per_gpu",
    "mfu",
    "bubble_fraction",
    "exposed_communication",
    "memory_peak_bytes",
    "usd_per_billion_tokens",
)


@frozen
class Searched:
    """All plans of one number of devices. `label`: the device among others; `price`: USD per device and hour; `paid`: the same with its range."""

    label: str
    space: Space
    steps: Steps
    price: float | None
    convention: str
    paid: Price | None

    def values(self, i: int) -> dict[str, Any]:
        """Metrics of a plan by closed forms."""
        asked = self.space.asked
        job = asked.job(self.space.grid.row(i))
        seconds = float(self.steps.seconds[i])
        speed = job.tokens / seconds / asked.gpus
        of_token = float(flops.flops_per_token(job.model, float(job.recipe.seq), self.convention, bool(job.model.mtp)))
        found = {
            "step_s": seconds,
            "tokens_per_s_per_gpu": speed,
            "memory_peak_bytes": float(self.steps.memory[i]),
            "mfu": flops.mfu(
                of_token, speed * asked.gpus, asked.gpus, float(job.device.peak(job.precision.forward.peak))
            ),
        }
        if self.price is not None:
            found["usd_per_billion_tokens"] = _BILLION / speed * self.price / 3600.0
        return {name: number(value) for name, value in found.items()}

    def executed(self, i: int) -> tuple[dict[str, Any], Cost]:
        """Metrics of a plan by the executor, and the cost of its step."""
        one = step.run(self.space.asked.job(self.space.grid.row(i)))
        found = metrics(one, memory.of_ranks(one), self.price, self.convention)
        return {name: found[name] for name in SHOWN if name in found}, one.cost.cost.on(self.label)


@frozen
class Candidate:
    """A split with its best plan: `at` [plans] among those of `of`, `values`; `cost` where the executor priced it."""

    of: Searched
    split: int
    at: int
    values: dict[str, Any]
    cost: Cost | None = None


def searched(q: Question, label: str, gpus: int, cp: bool, convention: str) -> Searched:
    """All plans of a number of devices, priced by closed forms. Raises SpecError as `space`."""
    o = q.overrides
    for key in _FOLLOW:
        if key in o.plan:
            raise SpecError(f"plan.{key} follows from tp, cp, ep, pp and the GPUs: set those instead")
    if str(o.plan.get("stages", "even")) != "even":
        raise SpecError(
            "plan.stages applies to one pipeline, but plans tries several: leave it out, and set it in train for the best plan"
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
    model, _ = precision.parted(model_of(serving), precision.load(asked_recipe.precision))
    asked = Asked(model, device, fixed, replace(asked_recipe, global_batch=batch), float(gpus), engine_of(o))
    there = space(asked, columns, cp)
    priced = steps(asked, there.grid) if len(there.grid) else Steps(np.zeros(0), np.zeros(0))
    price = paid(device.price, q.usd_per_hour)
    return Searched(label, there, priced, None if price is None else float(price.usd), convention, price)


def fitting(each: Searched) -> Iterator[Candidate]:
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


def ranked(found: list[Candidate], metric: str) -> list[Candidate]:
    """Candidates by what the metric says, the best `BEST` of them, and the best of each device and number, priced by the executor."""

    def worth(one: Candidate) -> float:
        return -RANKS[metric] * float(one.values[metric])

    found = sorted(found, key=worth)
    for _ in range(3 * (BEST + len({id(one.of) for one in found}))):
        first: dict[int, int] = {}
        for i, one in enumerate(found):
            first.setdefault(id(one.of), i)
        waiting = [i for i in (*range(min(BEST, len(found))), *first.values()) if found[i].cost is None]
        if not waiting:
            break
        executed = _executed(found.pop(waiting[0]))
        found = sorted([*found, *executed], key=worth)
    return found


def _executed(one: Candidate) -> list[Candidate]:
    """The fastest of the plans of a split that the closed forms tell apart by less than `NEAR`, one per schedule, as the
    executor prices them; nothing where none fits there."""
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


def least(each: Searched) -> dict[int, float]:
    """What the plan of each split that lacks least lacks. [B]"""
    short = each.steps.memory - float(each.space.asked.device.capacity)
    order = np.lexsort((short, each.space.split))
    return {int(split): float(short[at]) for split, at in zip(*_firsts(each.space.split[order], order), strict=True)}
