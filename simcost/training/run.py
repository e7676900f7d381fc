"""What a training run costs: steps, time, GPU-hours, money and energy of so many tokens; or the tokens of a budget.

A run is its steps, one after the other, over its goodput (`goodput.py`); a batch that grows is a run a stage. Most
likely to be wrong: what a price has in it (storage, network, idle nodes), and energy, by assumed shares of TDP, of
what GPUs draw and has no hosts or cooling in it. Anchor: DeepSeek-V3 (arXiv 2412.19437 table 1), 180 K H800-hours for
10^12 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from simcost.errors import Infeasible, SpecError
from simcost.frozen import frozen
from simcost.num import Num, ceil, every, floor
from simcost.training.goodput import require_positive

_HOUR = 3600.0
_EXACT = 1.0 + 1e-12  # budgets that are a whole number of steps stay one


@frozen
class Step:
    """One step: time [s] with its 90 % interval (the time itself where there is none), tokens of its batch, GPUs."""

    seconds: Num
    tokens: Num
    gpus: Num
    low_s: Num | None = None
    high_s: Num | None = None

    @property
    def tokens_per_s(self) -> Num:
        """Of all GPUs together."""
        return self.tokens / self.seconds

    @property
    def ends(self) -> tuple[Num, Num]:
        """Both ends of the interval. [s]"""
        return (
            self.seconds if self.low_s is None else self.low_s,
            self.seconds if self.high_s is None else self.high_s,
        )


@frozen
class Rates:
    """What a GPU costs: USD per hour, and power [W]; None where unknown. `goodput`: share of the time that trains."""

    usd_per_hour: Num | None = None
    watts: Num | None = None
    goodput: Num = 1.0


_NO_RATES = Rates()


@frozen
class Run:
    """`seconds` on the wall, with both ends of the step's 90 % interval; `gpu_hours`, `usd` and `joules` of all GPUs,
    None where the rate is unknown."""

    tokens: Num
    steps: Num
    seconds: Num
    low_s: Num
    high_s: Num
    gpu_hours: Num
    gpu_hours_low: Num
    gpu_hours_high: Num
    usd: Num | None = None
    usd_low: Num | None = None
    usd_high: Num | None = None
    joules: Num | None = None

    def __add__(self, other: Run) -> Run:
        """One after the other. The steps' errors are those of one model, and add up."""
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        parts: list[Any] = [None if a is None or b is None else a + b for a, b in pairs]
        return Run(*parts)


def of_steps(step: Step, steps: Num, rates: Rates = _NO_RATES) -> Run:
    """A run of so many steps. Raises SpecError for a step, a price or a goodput that is none."""
    _check(step, rates)
    times = [steps * each / rates.goodput for each in (step.seconds, *step.ends)]
    hours = [step.gpus * each / _HOUR for each in times]
    run = Run(steps * step.tokens, steps, *times, *hours)
    if rates.watts is not None:
        run = replace(run, joules=step.gpus * times[0] * rates.watts)
    if rates.usd_per_hour is None:
        return run
    usd, low, high = (each * rates.usd_per_hour for each in hours)
    return replace(run, usd=usd, usd_low=low, usd_high=high)


def of_tokens(step: Step, tokens: Num, rates: Rates = _NO_RATES) -> Run:
    """A run over at least `tokens`: whole steps. Raises SpecError for what is no number of tokens."""
    require_positive((("tokens", tokens),))
    return of_steps(step, ceil(tokens / step.tokens / _EXACT), rates)


def of_seconds(step: Step, seconds: Num, rates: Rates = _NO_RATES) -> Run:
    """A run that ends within so many seconds on the wall: whole steps. Raises SpecError where it has not one."""
    require_positive((("seconds", seconds),))
    return _within(step, seconds * rates.goodput / step.seconds, rates, "time")


def of_usd(step: Step, usd: Num, rates: Rates) -> Run:
    """A run that costs at most so much, at the expected time of a step. Raises SpecError without a price, or where the
    money pays for no step."""
    if rates.usd_per_hour is None:
        raise SpecError("a budget in USD needs a price: set usd_per_hour")
    require_positive((("usd", usd), ("usd_per_hour", rates.usd_per_hour)))
    of_one = step.gpus * step.seconds / rates.goodput / _HOUR * rates.usd_per_hour
    return _within(step, usd / of_one, rates, "budget")


def _within(step: Step, steps: Num, rates: Rates, what: str) -> Run:
    whole = floor(steps * _EXACT)
    if not every(np.asarray(whole) >= 1.0):
        raise SpecError(f"the {what} is too small for one step")
    return of_steps(step, whole, rates)


def ramped(stages: Sequence[tuple[Num, Step]], rates: Rates = _NO_RATES) -> Run:
    """A run whose batch grows: (tokens, step) of each stage, one after the other. Raises SpecError for no stage."""
    if not stages:
        raise SpecError("a batch ramp needs at least one stage")
    total, *rest = (of_tokens(step, tokens, rates) for tokens, step in stages)
    for each in rest:
        total = total + each
    return total


def ramp(
    first: int, increment: int, samples: float, last: int, tokens: float, seq: float
) -> tuple[tuple[float, int], ...]:
    """(tokens, global batch in sequences) of each stage of Megatron-LM's `--rampup-batch-size first increment samples`:
    from `first` to `last` sequences, each batch for an equal part of the `samples`; the rest of the `tokens` with the
    last. `seq`: tokens of a sequence. Raises SpecError for a ramp that Megatron-LM refuses, or longer than the run.
    Source: `megatron/core/num_microbatches_calculator.py`."""
    rises, rest = divmod(last - first, increment) if increment > 0 else (0, 1)
    if first < 1 or rises < 0 or rest:
        raise SpecError(f"a batch ramp must reach the global batch {last} from {first} in whole steps of {increment}")
    left = tokens - samples * seq
    if left < 0.0:
        raise SpecError(f"a batch ramp of {samples:,.0f} sequences is longer than the run of {tokens / seq:,.0f}")
    grown = [(samples / rises * seq, first + index * increment) for index in range(rises)]
    return (*grown, (left if rises else tokens, last))


@frozen
class Scale:
    """A run on so many GPUs: time of a step [s], speed over the first that can run, and how much of a proportional
    speedup that is; `run`: of the tokens asked for. `reason`: why it cannot run, with the rest None."""

    gpus: float
    step: Step | None
    speedup: float | None = None
    efficiency: float | None = None
    run: Run | None = None
    reason: str = ""


def strong_scaling(
    gpus: Sequence[float],
    step: Callable[[float], Step],
    tokens: Num,
    rates: Callable[[float], Rates] = lambda gpus: _NO_RATES,
) -> tuple[Scale, ...]:
    """The same run on every number of GPUs. `step`: of that many GPUs, with the same batch; it may raise Infeasible,
    which is a row with its reason; `rates`: price, power and goodput there."""
    found: list[Scale] = []
    first: Step | None = None
    for count in gpus:
        try:
            here = step(count)
        except Infeasible as refused:
            found.append(Scale(count, None, reason=str(refused)))
            continue
        first = here if first is None else first
        speedup = float(here.tokens_per_s / first.tokens_per_s)
        ideal = float(here.gpus / first.gpus)
        found.append(Scale(count, here, speedup, speedup / ideal, of_tokens(here, tokens, rates(count))))
    return tuple(found)


def _check(step: Step, rates: Rates) -> None:
    low, high = step.ends
    named: list[tuple[str, Any]] = [("step time", step.seconds), ("tokens of a step", step.tokens), ("gpus", step.gpus)]
    require_positive([*named, ("lower end of the step", low), ("goodput", rates.goodput)])
    if not every((np.asarray(low) <= step.seconds) & (np.asarray(high) >= step.seconds)):
        raise SpecError("the interval of a step must hold its time")
    if not every(np.asarray(rates.goodput) <= 1.0):
        raise SpecError("goodput is a share of the time: at most 1")
