"""Where attention overtakes the FFN by length, and where the cache's reads overtake those of the weights by batch."""

from __future__ import annotations

from typing import Any

from simcost.report.figures.style import BLUE, FAINT, ORANGE, Style, canvas, headed, key, settings, ticks, tip
from simcost.result import Result

NAME = "crossover"
COMMANDS = ("crossover",)
NEEDS = "crossover"


def applies(result: Result) -> bool:
    """Whether a result has lengths to draw."""
    return len(result.tables.get("prefill FLOPs by length", ())) > 1


def draw(result: Result, look: Style) -> Any:
    """A figure of matplotlib: FLOPs per token by length, and the context at which the cache's reads equal the weights', by batch."""
    lengths = result.tables["prefill FLOPs by length"]
    reads = [row for row in result.tables.get("decode reads by batch", ()) if row.get("context")]
    panels = 2 if reads else 1
    with settings(look):
        columns = 3 if look.slide else 1
        figure, grid, place = canvas(look, [3.6] if look.slide else [1.9] * panels, panels if look.slide else 1, -(-3 // columns))  # fmt: skip
        left, x = grid.flat[0], [row["length"] for row in lengths]
        meet = result.metrics.get("prefill_crossover_tokens")
        grows = "N·d for each token, N²d in all" if meet else "bounded by windows or states"
        for name, marker, words, colour in (
            ("attention_core_flops_per_token", "o-", f"attention: {grows}", BLUE), ("ffn_flops_per_token", "s--", "FFN: d² for each token, Nd² in all", ORANGE),
        ):  # fmt: skip
            line = left.loglog(x, [row[name] for row in lengths], marker, color=colour, label=words)[0]
            tip(figure, line, words)
        if meet:
            left.axvline(meet, color=FAINT, linestyle=":", label=f"equal at {meet:,} tokens")
        left.set(xlabel="prompt [tokens]", ylabel="work [FLOP per token]")
        left.set_title("prefill: work of a token", loc="left")
        handles, names = left.get_legend_handles_labels()
        key(place, handles, names, columns)
        _engineering(left, x, look)
        if reads:
            right = grid.flat[1]
            batches = [row["batch"] for row in reads]
            line = right.loglog(batches, [row["context"] for row in reads], "o-", color=BLUE)[0]
            tip(figure, line, "on the line a step reads as many bytes of cache as of weights")
            right.set(xlabel="batch [sequences]", ylabel="context [tokens]")
            right.set_title("decode: a step reads as much cache as weights", loc="left")
            ticks(right, "x", min(batches), max(batches), look)
            ticks(right, "y", min(row["context"] for row in reads), max(row["context"] for row in reads), look)
            right.grid(True, which="major")
        headed(figure, look, "From which length does attention cost more than the FFN?", result)
    return figure


def _engineering(axis: Any, x: list[float], look: Style) -> None:
    from matplotlib.ticker import EngFormatter, NullFormatter

    ticks(axis, "x", min(x), max(x), look)
    axis.yaxis.set_major_formatter(EngFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(True, which="major")
