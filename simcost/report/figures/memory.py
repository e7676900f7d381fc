"""What fills the memory of a GPU: its parts in a row, what the engine keeps free among them, and the capacity; a bar a design point, a pipeline stage or a rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simcost.report.figures import style as look_of
from simcost.report.figures.points import labels
from simcost.report.figures.scales import scale
from simcost.report.figures.style import HATCHES, INK, RED, SERIES, Style, canvas, headed, key, settings, short, tip
from simcost.result import Result

NAME = "memory"
COMMANDS = ("show memory", "decode", "prefill", "explain", "train")
NEEDS = "show memory, decode, prefill, explain, train"
_RESERVE = "kept free by the engine"
_SERVING = {
    "weight_bytes_per_gpu": "weights", "kv_bytes_per_gpu": "cache of the batch", "activation_bytes_per_gpu": "activations", "cuda_graph_bytes_per_gpu": "CUDA graphs",
    "non_torch_bytes_per_gpu": "runtime and buffers outside torch", "reserve_bytes_per_gpu": _RESERVE,
}  # fmt: skip
_TRAINING = {
    "parameter_bytes": "weights", "gradient_bytes": "gradients", "optimizer_bytes": "optimizer", "activation_bytes": "activations", "other_bytes": "buffers, temporaries, runtime",
}  # fmt: skip
_MOST = 16  # bars of a figure


class Filled(NamedTuple):
    """One bar. `parts`: (name, bytes) in order, all together what the answer calls used. [B]"""

    name: str
    parts: Sequence[tuple[str, float]]
    capacity: float


def applies(result: Result) -> bool:
    """Whether a result says what a GPU holds."""
    return bool(bars(result))


def bars(result: Result) -> list[Filled]:
    """What is drawn. [B]"""
    if result.command == "train":
        capacity = result.metrics.get("memory_capacity_bytes")
        rows = result.tables.get("pipeline ranks", ())
        return [_filled(f"rank {row['rank']}", row, _TRAINING, capacity) for row in rows[:_MOST]] if capacity else []
    if result.command not in ("decode", "prefill", "explain", "show memory"):
        return []
    if sweep := result.tables.get("sweep"):
        rows = [row for row in sweep[:200] if row.get("feasible") and row.get("memory_capacity_bytes_per_gpu")][:_MOST]  # fmt: skip
        return [_filled(name, row, _SERVING, row["memory_capacity_bytes_per_gpu"]) for row, name in zip(rows, labels(result, rows)[1], strict=True)]  # fmt: skip
    capacity = result.metrics.get("memory_capacity_bytes_per_gpu")
    if not capacity:
        return []
    stages = result.tables.get("memory", ())
    if len(stages) > 1:
        return [_filled(f"stage {row['stage']}", row, _SERVING, capacity) for row in stages[:_MOST]]
    return [_filled("", result.metrics, _SERVING, capacity)]


def _filled(name: str, row: Mapping[str, Any], words: Mapping[str, str], capacity: Any) -> Filled:
    parts = [(word, float(row.get(key) or 0.0)) for key, word in words.items()]
    return Filled(name, parts, float(capacity or 0.0))


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib. Drawn values are those of `bars`."""
    every = bars(result)
    capacity = max(bar.capacity for bar in every)
    most = max(capacity, *(sum(size for _, size in bar.parts) for bar in every))
    unit = scale("memory_used_bytes_per_gpu", [most])
    with settings(look):
        columns = 3 if look.slide else 1
        figure, axes, place = canvas(look, [0.85 + 0.42 * len(every)], key=-(-(len(every[0].parts) + 2) // columns))
        axis = axes[0, 0]
        left = [0.0] * len(every)
        for i, (name, _) in enumerate(every[0].parts):
            sizes = [bar.parts[i][1] for bar in every]
            if not any(sizes):
                continue
            words = f"{name}: {unit.shown(sizes[0])}" if len(every) == 1 else name
            free = {"color": "none", "edgecolor": INK, "linestyle": ":"}
            filled = {"color": SERIES[i], "hatch": HATCHES[i], "edgecolor": look_of.PAPER}
            drawn = axis.barh(
                range(len(every)), [unit.of(size) for size in sizes], left=[unit.of(start) for start in left], height=0.6, linewidth=0.6, label=words,
                **(free if name == _RESERVE else filled),
            )  # fmt: skip
            for patch, bar, size in zip(drawn, every, sizes, strict=True):
                tip(figure, patch, f"{bar.name + ': ' if bar.name else ''}{name}: {unit.shown(size)} of {unit.shown(bar.capacity)} per GPU")  # fmt: skip
            left = [start + size for start, size in zip(left, sizes, strict=True)]
        axis.axvline(unit.of(capacity), color=RED, linestyle="--", linewidth=1.4, label=f"capacity: {unit.shown(capacity, 4)}")  # fmt: skip
        axis.set(
            xlim=(0.0, 1.03 * unit.of(most)), ylim=(len(every) - 0.5, -0.5), xlabel=f"memory per GPU [{unit.unit}]", yticks=range(len(every)),
            yticklabels=[short(bar.name, 30 if look.slide else 14) for bar in every],
        )  # fmt: skip
        if not any(bar.name for bar in every):
            axis.set_yticks([])
        if "sweep" in result.tables:
            axis.set_ylabel(labels(result, ())[0])
        handles, words = axis.get_legend_handles_labels()
        key(place, handles, words, columns)
        headed(figure, look, _question(every, unit), result)
    return figure


def _question(every: Sequence[Filled], unit: Any) -> str:
    fullest = max(every, key=lambda bar: sum(size for _, size in bar.parts))
    used = sum(size for _, size in fullest.parts)
    if used > fullest.capacity:
        return f"What needs {unit.shown(used)} where a GPU has {unit.shown(fullest.capacity)}?"
    return f"What fills {unit.shown(used)} of the {unit.shown(fullest.capacity)} of a GPU?"
