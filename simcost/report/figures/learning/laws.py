"""What published scaling laws say: the loss against training tokens at the size of the model, and by how much a size is above the least loss of one training compute (isoFLOP).

Curves are computed again from the laws and from what was asked: a result has no room for them. They end where a law was fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simcost.num import Array
from simcost.report.figures.scales import Scale
from simcost.report.figures.style import (
    FAINT,
    LINES,
    MARKERS,
    SERIES,
    Style,
    canvas,
    headed,
    key,
    settings,
    short,
    ticks,
    tip,
)
from simcost.result import Result
from simcost.units import show

NAME = "laws"
COMMANDS = ("loss",)
NEEDS = "loss, where a law reaches"
_POINTS = 120  # of a curve
_WIDE = 1.5  # decades on each side of what was asked


class Curve(NamedTuple):
    """A law along tokens or sizes: loss and its 90 % interval (NaN where the source states no error). [tokens or parameters], [nats]"""

    law: str
    x: Array
    nats: Array
    low: Array
    high: Array


class Best(NamedTuple):
    """The compute-optimal point of a law: parameters as it counts them, tokens, and loss where it gives one. [nats]"""

    law: str
    params: float
    tokens: float
    loss: float | None


def applies(result: Result) -> bool:
    """Whether a law says something of what was asked."""
    return result.command == "loss" and bool(result.tables.get("loss") or bests(result))


def bests(result: Result) -> list[Best]:
    """Where each law has its least loss; laws that count FLOPs of a token have no size in parameters and are left out."""
    return [
        Best(str(row["scaling_law"]), float(row["optimal_params"]), float(row["optimal_tokens"]), row.get("optimal_loss"))
        for row in result.tables.get("compute-optimal", ()) if row.get("optimal_params")
    ]  # fmt: skip


def along_tokens(result: Result) -> list[Curve]:
    """The loss of the model against training tokens, by every law that gives it."""
    if "model" not in result.inputs:
        return []
    from simcost.scaling_laws import evaluate, load

    counts, tokens, extent = _counts(result), float(result.inputs["tokens"]), str(result.inputs["range"])
    xs = np.geomspace(tokens / 10.0**_WIDE, tokens * 10.0**_WIDE, _POINTS)
    found = []
    for row in result.tables.get("loss", ()):
        said = evaluate.loss(load.load(str(row["scaling_law"])), counts, xs, extent)
        found.append(_curve(str(row["scaling_law"]), xs, said))
    return found


def along_sizes(result: Result) -> list[Curve]:
    """Loss above the least of each law against the size, at the training compute of the question, with the interval of that difference; designs are as the model at every size, dense without one."""
    from simcost.scaling_laws import evaluate, load
    from simcost.scaling_laws.counts import dense, flops_per_token, size

    extent, found = str(result.inputs["range"]), []
    shape = _counts(result) if "model" in result.inputs else dense(1.0)
    for row in result.tables.get("compute-optimal", ()):
        if row.get("optimal_loss") is None or not row.get("optimal_params"):
            continue
        law = load.load(str(row["scaling_law"]))
        middle = float(row["optimal_params"]) / float(
            np.asarray(size(law.params, shape.scaled(1.0)))
        )  # as optima are found, without vocabulary
        best, designs = shape.scaled(middle), shape.scaled(middle * np.geomspace(10.0**-_WIDE, 10.0**_WIDE, _POINTS))
        flops = float(row["training_flops"])
        said = evaluate.difference(law, (best, flops / flops_per_token(law, best)), (designs, flops / flops_per_token(law, designs)), extent)  # fmt: skip
        found.append(_curve(law.name, np.asarray(size(law.params, designs), float), said))
    return found


def _counts(result: Result) -> Any:
    from simcost import grammar
    from simcost.query import Query, model_of
    from simcost.scaling_laws.counts import of

    given = result.inputs
    sequence = float(given["isl"])
    query = Query(given["model"], "", True, grammar.Overrides(phase={"context": sequence}).merged(given["set"]))
    return of(model_of(query), sequence)


def _curve(name: str, xs: Array, said: Any) -> Curve:
    every = (np.broadcast_to(np.asarray(each, float), xs.shape) for each in (said.nats, said.low, said.high))
    return Curve(name, xs, *every)


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `along_tokens`, `along_sizes`, `bests` and the tables."""
    tokens, sizes, best = along_tokens(result), along_sizes(result), bests(result)
    names = list(dict.fromkeys([*(one.law for one in (*tokens, *sizes)), *(one.law for one in best)]))
    panels = [bool(tokens), bool(sizes or best)]
    columns = 3 if look.slide else 1
    with settings(look):
        wide = sum(panels) if look.slide else 1
        marks = len(names) + bool(best) + bool(tokens)
        figure, axes, place = canvas(look, [3.3] if look.slide else [1.9] * sum(panels), wide, -(-marks // columns))
        places = iter(axes.flat)
        handles: dict[str, Any] = {}
        if tokens:
            handles |= _tokens(figure, next(places), result, tokens, names, look)
        if sizes or best:
            handles |= _sizes(figure, next(places), result, sizes, best, names, look)
        order = [name for name in (*names, "this model", "least loss of a law") if name in handles]
        key(place, [handles[name] for name in order], [short(name, look.letters(0.85 / columns)) for name in order], columns)  # fmt: skip
        question = "How large a model, on how many tokens, does this compute buy?" if not tokens else "What loss do published laws give, and is the model too small or too large for its compute?"  # fmt: skip
        note = "bands: 90 % interval, where a source states errors; losses of different laws do not compare"
        headed(figure, look, question, result, note)
    return figure


def _colour(name: str, names: Sequence[str]) -> tuple[str, str, str]:
    at = names.index(name)
    return SERIES[at % len(SERIES)], LINES[at % len(LINES)], MARKERS[at % len(MARKERS)]


def _lines(axis: Any, curves: Sequence[Curve], names: Sequence[str], scale: Scale) -> dict[str, Any]:
    found = {}
    for one in curves:
        colour, line, _ = _colour(one.law, names)
        found[one.law] = axis.plot(one.x / scale.factor, one.nats, line, color=colour, label=one.law)[0]
        axis.fill_between(one.x / scale.factor, one.low, one.high, color=colour, alpha=0.15, linewidth=0.0, label="band")  # fmt: skip
    return found


def _tokens(figure: Any, axis: Any, result: Result, curves: Sequence[Curve], names: Sequence[str], look: Style) -> dict[str, Any]:  # fmt: skip
    unit, given = Scale(1.0, "", ""), float(result.inputs["tokens"])
    found = _lines(axis, curves, names, unit)
    rows = {str(row["scaling_law"]): row for row in result.tables["loss"]}
    for name, row in rows.items():
        colour, _, marker = _colour(name, names)
        within = "" if row.get("loss_low") is None else f" ({row['loss_low']:.3f} to {row['loss_high']:.3f})"
        dot = axis.plot([given], [row["loss"]], marker, color=colour, label="this model")[0]
        tip(figure, dot, f"{name}: {row['loss']:.3f} nats{within} on {show(given, 'tokens')} tokens, size counted as {show(float(row['law_params']), 'tokens')} parameters")  # fmt: skip
    found["this model"] = axis.axvline(given, color=FAINT, linestyle=":", linewidth=1.2, label="asked")
    spoken = np.concatenate([one.x[~np.isnan(one.nats)] for one in curves])
    _axis(axis, spoken, look)
    axis.set(xlabel="training tokens", ylabel="loss [nats per token]")
    return found


def _sizes(figure: Any, axis: Any, result: Result, curves: Sequence[Curve], best: Sequence[Best], names: Sequence[str], look: Style) -> dict[str, Any]:  # fmt: skip
    found = _lines(axis, curves, names, Scale(1.0, "", ""))
    for one in best:
        colour, line, marker = _colour(one.law, names)
        said = (
            f"{one.law}: least loss at {show(one.params, 'tokens')} parameters on {show(one.tokens, 'tokens')} tokens"
        )
        if one.loss is None:
            drawn = axis.axvline(one.params, color=colour, linestyle=line, linewidth=1.2, label="optimum")
            found.setdefault(one.law, drawn)
        else:
            drawn = axis.plot([one.params], [0.0], "*", color=colour, markersize=11 if look.slide else 7, markeredgecolor="#1a1a1b", markeredgewidth=0.6, label="optimum")[0]  # fmt: skip
            found["least loss of a law"] = drawn
            said += f", {one.loss:.3f} nats"
        tip(figure, drawn, said)
    above = {str(row["scaling_law"]): row.get("loss_over_optimal") for row in result.tables["compute-optimal"]}
    for row in result.tables.get("loss", ()):
        if above.get(str(row["scaling_law"])) is not None and any(one.law == row["scaling_law"] for one in curves):
            colour, _, marker = _colour(str(row["scaling_law"]), names)
            dot = axis.plot([row["law_params"]], [above[str(row["scaling_law"])]], marker, color=colour, label="this model")[0]  # fmt: skip
            tip(figure, dot, f"{row['scaling_law']}: this model is {above[str(row['scaling_law'])]:.4f} nats above the least loss of its compute")  # fmt: skip
    spoken = [one.x[~np.isnan(one.nats)] for one in curves]
    _axis(axis, np.concatenate([*spoken, np.array([one.params for one in best])]), look)
    flops = [float(row["training_flops"]) for row in result.tables["compute-optimal"]]
    axis.set(xlabel="parameters, as each law counts them", ylabel="loss above the least [nats]")
    if curves:
        most = max(float(np.nanmax(one.nats)) for one in curves)
        axis.set_ylim(-0.6 * most, 1.25 * most)
    low, high = (show(end, "training_flops") for end in (min(flops), max(flops)))
    axis.set_title(f"at {low if low == high else f'{low} to {high}'} of training", loc="left")
    if not curves:
        axis.set_yticks([])
        axis.set_ylabel("")
    return found


def _axis(axis: Any, xs: Array, look: Style) -> None:
    low, high = float(xs.min()), float(xs.max())
    axis.set_xscale("log")
    ticks(axis, "x", low, high, look, few=not look.slide)
    axis.set_xlim(low / 1.15, high * 1.15)
    axis.grid(True, which="major")
