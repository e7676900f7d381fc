"""Who works when: the passes of a pipeline rank by rank, the memory of a training step over time, the phases of a step of reinforcement learning, the stages of a recipe.

Of `schedule` and `train` the order of passes is computed again from what was asked: a result has no room for every pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simcost.report.bars import Bar, Chart, chart
from simcost.report.figures import gantt
from simcost.report.figures.marks import beside
from simcost.report.figures.scales import scale
from simcost.report.figures.style import SERIES, Style, canvas, headed, key, settings, short, wrapped
from simcost.report.learning.timeline import KINDS
from simcost.result import Result, Row
from simcost.units import show

NAME = "timeline"
COMMANDS = ("schedule", "train", "rl", "recipe")
NEEDS = "schedule, train, rl, recipe"
_PHASE = {"train": ("micro_batch", "global_batch", "seq")}
_DAYS = ("stage_start_s", "stage_s")


def applies(result: Result) -> bool:
    """Whether a result says when what runs."""
    if result.command == "rl":
        return any(row.get("end_s") is not None for row in result.tables.get("phases", ()))
    if result.command == "recipe":
        return any(row.get("stage_s") for row in result.tables.get("stages", ()))
    return "hw" in result.inputs if result.command == "train" else "schedules" in result.inputs


def charts(result: Result) -> Sequence[Chart]:
    """What is drawn: a chart a schedule, or one. [s]"""
    if result.command == "schedule":
        return _schedules(result)
    return {"train": _training, "rl": _phases, "recipe": _stages}[result.command](result)


def _schedules(result: Result) -> Sequence[Chart]:
    from simcost.scenarios import schedule as scenario

    given = dict(result.inputs)
    question = scenario.question(**{name: value for name, value in given.items() if name != "schedules"})
    return [chart(one) for one in scenario.result(given["schedules"], question)[1]]


def _training(result: Result) -> Sequence[Chart]:
    from simcost.report.training_timeline import charts as of_step
    from simcost.scenarios.train.question import asked, job
    from simcost.training import step

    given = result.inputs
    sets = {**given["set"], "engine": given["engine"]}
    phase = {key: given.get(key) for key in _PHASE["train"]}
    others = {key: given[key] for key in ("routing",) if key in given}
    question = asked(given["model"], given["hw"], phase, {**sets, **others}, given["stack"], given.get("usd_per_hour"))
    return of_step(step.run(job(question)))


def _phases(result: Result) -> Sequence[Chart]:
    rows = [row for row in result.tables["phases"] if row.get("end_s") is not None]
    pools = list(dict.fromkeys(str(row["pool"]) for row in rows))
    bars = [Bar(pools.index(str(row["pool"])), str(row["phase"]), -1, 0, float(row["start_s"]), float(row["end_s"]), said=_within(row)) for row in rows]  # fmt: skip
    kinds = {name: (colour, words) for name, (colour, words) in KINDS.items()}
    return [Chart("", "", bars, len(pools), kinds=kinds, rows=tuple(pools))]


def _within(row: Row) -> str:
    """The interval of a phase, and what its time rests on."""
    low, high = row.get("low_s"), row.get("high_s")
    within = "" if low is None or high is None else f"90 %: {show(float(low), 'seconds')} to {show(float(high), 'seconds')}"  # fmt: skip
    return "; ".join(filter(None, (within, str(row.get("rests_on") or ""))))


def _stages(result: Result) -> Sequence[Chart]:
    rows = [row for row in result.tables["stages"] if row.get("stage_s")]
    kinds = {name: (SERIES[at % len(SERIES)], name) for at, name in enumerate(dict.fromkeys(str(row["command"]) for row in rows))}  # fmt: skip
    start, lasts = _DAYS
    bars = [Bar(at, str(row["command"]), -1, 0, float(row[start]), float(row[start]) + float(row[lasts]), said=str(row.get("says") or "")) for at, row in enumerate(rows)]  # fmt: skip
    hours = tuple(f"{float(row['gpu_hours']):,.0f} GPU hours" if row.get("gpu_hours") else "" for row in rows)
    return [Chart("", "", bars, len(rows), kinds=kinds, rows=tuple(short(row["recipe_stage"], 24) for row in rows), beside=hours)]  # fmt: skip


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `charts`."""
    return drawn(charts(result), result, look)


def drawn(found: Sequence[Chart], result: Result, look: Style) -> Any:
    """A figure of charts that are known: all below each other on one axis of time, each with its memory where it has one."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    last = max(bar.end for each in found for bar in each.bars)
    unit = scale("stage_start_s" if result.command == "recipe" else "time_s", [last])
    share = 1.0 if look.slide else 0.6
    tall = [max(height * share * 0.8, 0.9) for each in found for height in gantt.heights(each)]
    kinds = [(colour, words) for colour, words in gantt.kinds_drawn(found) if result.command != "recipe" or words != "waits"]  # fmt: skip
    filled = 5 if any(each.memory for each in found) else 0
    columns = (2 if filled else 3) if look.slide else 1  # names of parts of memory are long
    with settings(look):
        figure, axes, place = canvas(look, tall, key=-(-(len(kinds) + filled) // columns), sharex=True)
        rows, more = iter(axes[:, 0]), dict[str, Any]()
        for each in found:
            axis = next(rows)
            gantt.passes(figure, axis, each, last, look.width * 0.85)
            for at, words in enumerate(each.beside):
                beside(axis, at, words, look)
            axis.set_title(wrapped(each.title, look, look.font - 1.5, 2, 0.82), loc="left", fontsize=max(look.font - 1.5, 7.0))  # fmt: skip
            if each.memory:
                axis = next(rows)
                gantt.memory(axis, each, last)
                axis.set_ylabel("memory per GPU [GiB]" if look.slide else "GiB")
                handles, words = axis.get_legend_handles_labels()
                more |= {short(word, look.letters(0.85 / columns)): handle for handle, word in list(zip(handles, words, strict=True))[-filled:]}  # fmt: skip
        axis = axes[-1, 0]
        axis.set_xlabel(f"time [{unit.unit}]")
        axis.set_xticks([at * unit.factor for at in MaxNLocator(8 if look.slide else 5).tick_values(0.0, unit.of(last)) if unit.of(last) >= at >= 0.0])  # fmt: skip
        axis.xaxis.set_major_formatter(lambda value, _: f"{unit.of(value):,.4g}")
        key(
            place,
            [*(Patch(facecolor=colour) for colour, _ in kinds), *more.values()],
            [*(words for _, words in kinds), *more],
            columns,
        )
        headed(figure, look, _question(result), result)
    return figure


def _question(result: Result) -> str:
    what = {"schedule": "each pipeline rank", "train": "each pipeline rank", "rl": "each pool of GPUs", "recipe": "each stage"}[result.command]  # fmt: skip
    return f"When does {what} run?" if result.command == "recipe" else f"When does {what} work, and when does it wait?"
