"""The run that a step is one of: its goal, a batch that grows, failures and checkpoints, and the same run on other numbers of GPUs.

Most likely to be wrong: see `failures.py`. Source: docs/theory/training-run.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from simcost.cost import power
from simcost.errors import Infeasible, SpecError
from simcost.frozen import frozen
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.result import Row, number
from simcost.scenarios.train import failures
from simcost.scenarios.train.failures import Failures
from simcost.scenarios.train.question import of
from simcost.training import goodput, memory, run, step
from simcost.training.job import Job
from simcost.training.run import Rates, Run, Step
from simcost.training.step import TrainStep
from simcost.units import show

_DAY = 86400.0
GOALS = ("tokens", "days", "usd")
# Of a run in a row of designs or plans.
IN_ROWS = ("run_s", "run_gpu_hours", "run_gpu_hours_low", "run_gpu_hours_high", "run_usd", "run_usd_low", "run_usd_high", "goodput")  # fmt: skip


class Ramp(NamedTuple):
    """Megatron-LM's --rampup-batch-size: from `first` sequences in steps of `increment` over so many `samples`."""

    first: int
    increment: int
    samples: float

    def __str__(self) -> str:
        return f"{self.first}:{self.increment}:{self.samples:.15g}"


@frozen
class RunAsked:
    """What is asked of the run. `goal`: at most one of tokens, days, usd; `scaling`: numbers of GPUs."""

    goal: Mapping[str, float]
    rampup: Ramp | None = None
    scaling: tuple[int, ...] = ()
    failures: Failures = Failures()

    def stated(self) -> dict[str, Any]:
        """All that was said, as an answer repeats it."""
        said: dict[str, Any] = dict(self.goal)
        said |= {"rampup": str(self.rampup)} if self.rampup else {}
        said |= {"scaling": list(self.scaling)} if self.scaling else {}
        return said | self.failures.stated()


def checked(q: RunAsked) -> RunAsked:
    """Raises SpecError for two goals, and for what has no meaning without one."""
    if len(q.goal) > 1:
        raise SpecError(f"--{' and --'.join(q.goal)}: state one of them; the others follow from it")
    if not q.goal and q.rampup:
        raise SpecError("--rampup applies to a training run: state its length by --tokens, --days or --usd")
    if not q.goal and not q.scaling:
        q.failures.need("--tokens, --days or --usd")
    return q


class Priced(NamedTuple):
    """The step on which a run stands, and the price of a GPU hour, None where it is unknown."""

    step: TrainStep
    usd_per_hour: float | None

    @property
    def of_run(self) -> Step:
        """The step as runs count it."""
        low, high = self.step.interval
        return Step(self.step.seconds, float(self.step.job.tokens), float(self.step.job.plan.devices), low, high)

    def changed(self, plan: Mapping[str, Any], recipe: Mapping[str, Any]) -> Priced:
        """The same question with other sizes. Raises SpecError and Infeasible."""
        job = self.step.job
        asked: Plan = replace(job.plan, mla_form="auto", **plan)
        other = of(job.model, job.device, asked, replace(job.recipe, **recipe), job.engine)
        return self._replace(step=step.run(other))


def figures(priced: Priced, q: RunAsked) -> tuple[dict[str, object], dict[str, list[Row]], list[Note]]:
    """(metrics, tables, notes) of what is asked of the run. Raises SpecError for a goal without a price, or too small for a step."""
    values: dict[str, object] = {}
    tables: dict[str, list[Row]] = {}
    notes: list[Note] = []
    kept = failures.kept(priced.step.job, q.failures)
    tokens = None
    if q.goal:
        rates = _rates(priced, kept)
        stages = _ramp(priced, q)
        whole = _whole(priced, q, stages, rates)
        tokens = float(whole.tokens)
        values = _metrics(whole, kept, failures.checkpoint(priced.step.job))
        if stages:
            tables["batch ramp"] = _ramp_table(stages, whole, priced, rates)
    if q.scaling:
        tables["scaling"] = _scaling(priced, q, tokens)
    if q.goal or q.scaling:
        notes.append(failures.note(q.failures, kept, priced.step.job))
    return values, tables, notes


def of_row(one: Step, job: Job, tokens: float, usd_per_hour: float | None) -> Row:
    """The run of `tokens` as a row of designs or plans says it: what `figures` says without a ramp and with the defaults of failures and checkpoints. `one`: the step of `job`; without its interval the run has
    none. Raises SpecError for a step that is none."""
    kept = failures.kept(job, Failures())
    whole = run.of_tokens(one, tokens, Rates(usd_per_hour, goodput=float(kept.share)))
    found = _metrics(whole, kept, failures.checkpoint(job))
    known = [name for name in IN_ROWS if one.low_s is not None or not name.endswith(("_low", "_high"))]
    return {name: found[name] for name in known if name in found}


def said_of_rows(tokens: float) -> Note:
    """Every number behind the goodput of the runs of rows, with its source."""
    found = failures.defaults(
        Failures(), f"{show(failures.STORAGE_PER_GPU, 'bytes_per_s')} per GPU", "at the best interval"
    )
    return Note(f"runs of {show(tokens, 'tokens')} tokens as simcost train prices them: {', '.join(found)}", Kind.ASSUMED)  # fmt: skip


Grown = tuple[tuple[float, int, Step], ...]  # (tokens, global batch, step) of each stage before the last batch


def _ramp(priced: Priced, q: RunAsked) -> Grown:
    """Stages of a batch that grows to the step's own. Raises SpecError for a ramp that is none, Infeasible for a batch that cannot be cut."""
    if q.rampup is None:
        return ()
    job, ramp = priced.step.job, q.rampup
    seq = float(job.recipe.seq)
    stages = run.ramp(ramp.first, ramp.increment, ramp.samples, job.global_batch, ramp.samples * seq, seq)
    found = []
    for tokens, batch in stages[:-1]:
        try:
            found.append((tokens, batch, priced.changed({}, {"global_batch": batch}).of_run))
        except Infeasible as refused:
            raise Infeasible(f"--rampup {ramp}: {str(refused).removeprefix('plan: ')}") from None
    return tuple(found)


def _whole(priced: Priced, q: RunAsked, stages: Grown, rates: Rates) -> Run:
    """The run, its ramp first. Raises SpecError where the ramp alone is longer than the goal."""
    ((name, value),) = q.goal.items()
    one = priced.of_run
    grown = run.ramped([(tokens, each) for tokens, _, each in stages], rates) if stages else None
    left = value
    if grown is not None:
        used = {"tokens": grown.tokens, "days": grown.seconds / _DAY, "usd": grown.usd or 0.0}[name]
        left = value - float(used)
        if left <= 0.0:
            raise SpecError(f"--rampup {q.rampup}: the ramp alone takes {float(used):,.4g} {name} of {value:,.4g}")
    rest = {
        "tokens": lambda: run.of_tokens(one, left, rates), "days": lambda: run.of_seconds(one, left * _DAY, rates), "usd": lambda: run.of_usd(one, left, rates),
    }[name]()  # fmt: skip
    return rest if grown is None else grown + rest


def _metrics(whole: Run, kept: goodput.Goodput, checkpoint: float) -> dict[str, object]:
    found: dict[str, object] = {
        "run_tokens": number(whole.tokens), "run_steps": number(whole.steps), "run_s": number(whole.seconds), "run_gpu_hours": number(whole.gpu_hours),
        "run_gpu_hours_low": number(whole.gpu_hours_low), "run_gpu_hours_high": number(whole.gpu_hours_high), "run_gpu_hours_of_steps": number(whole.gpu_hours * kept.share),
    }  # fmt: skip
    if whole.usd is not None:
        found |= {"run_usd": number(whole.usd), "run_usd_low": number(whole.usd_low), "run_usd_high": number(whole.usd_high)}  # fmt: skip
    if whole.joules is not None:
        found["run_joules_assumed"] = number(whole.joules)
    return found | failures.metrics(kept, checkpoint)


def _ramp_table(stages: Grown, whole: Run, priced: Priced, rates: Rates) -> list[Row]:
    """A row a batch, in order; the last is the step's own."""
    rows = []
    left = float(whole.tokens)
    for tokens, batch, each in stages:
        mine = run.of_tokens(each, tokens, rates)
        left -= float(mine.tokens)
        rows.append(_ramp_row(batch, each, mine))
    one = priced.of_run
    return [*rows, _ramp_row(priced.step.job.global_batch, one, run.of_tokens(one, left, rates))]


def _ramp_row(batch: int, each: Step, mine: Run) -> Row:
    return {
        "global_batch": batch, "run_tokens": number(mine.tokens), "run_steps": number(mine.steps), "step_s": number(each.seconds),
        "tokens_per_s_per_gpu": number(each.tokens_per_s / each.gpus), "run_s": number(mine.seconds), "run_gpu_hours": number(mine.gpu_hours),
    }  # fmt: skip


def _scaling(priced: Priced, q: RunAsked, tokens: float | None) -> list[Row]:
    """A row a number of GPUs, with the step's own batch; those that cannot run with their reason."""
    job = priced.step.job
    known: dict[float, Priced] = {}

    def on(gpus: float) -> Step:
        plan = {"gpus": gpus, "dp": None} if job.plan.dp is not None else {"gpus": gpus}
        known[gpus] = priced.changed(plan, {"global_batch": job.global_batch})
        return known[gpus].of_run

    def rates(gpus: float) -> Rates:
        return _rates(known[gpus], failures.kept(known[gpus].step.job, q.failures))

    found = run.strong_scaling([float(each) for each in q.scaling], on, tokens or float(job.tokens), rates)
    return [_scaling_row(each, known, tokens is not None, rates) for each in found]


def _scaling_row(each: run.Scale, known: Mapping[float, Priced], of_run: bool, rates: Callable[[float], Rates]) -> Row:
    row: Row = {"gpus": int(each.gpus), "feasible": each.step is not None}
    if each.step is None or each.run is None:
        return {**row, "reason": each.reason.removeprefix("plan: ")}
    one, most = known[each.gpus].step, memory.worst(memory.of_ranks(known[each.gpus].step))
    row |= {
        "fits": most.short <= 0.0, "micro_batches": one.job.microbatches, "step_s": number(each.step.seconds), "step_low_s": number(each.step.low_s),
        "step_high_s": number(each.step.high_s), "tokens_per_s_per_gpu": number(each.step.tokens_per_s / each.step.gpus), "speedup": number(each.speedup),
        "efficiency": number(each.efficiency), "bubble_fraction": number(one.bubble), "memory_peak_bytes": number(most.used),
        "goodput": number(rates(each.gpus).goodput),
    }  # fmt: skip
    if of_run:
        row |= {"run_s": number(each.run.seconds), "run_gpu_hours": number(each.run.gpu_hours)}
        row |= {} if each.run.usd is None else {"run_usd": number(each.run.usd)}
    return row


def _rates(priced: Priced, kept: goodput.Goodput) -> Rates:
    watts = power.drawn(priced.step.job.device, priced.step.cost.cost)
    return Rates(priced.usd_per_hour, None if watts is None else float(watts), float(kept.share))


def scaled(counts: Sequence[int]) -> tuple[int, ...]:
    """Numbers of GPUs, in order. Raises SpecError for none, and for one named twice."""
    twice = [count for count in counts if list(counts).count(count) > 1]
    if not counts or twice:
        raise SpecError(
            f"--scaling {f'names {twice[0]:,} twice' if twice else 'is empty: give at least one number of GPUs'}"
        )
    return tuple(counts)
