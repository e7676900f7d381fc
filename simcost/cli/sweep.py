"""The sweep command: a map of designs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from simcost import streams
from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import MOST_ROWS, chosen, emit, streamed
from simcost.cli.pictures.also import also, ready
from simcost.errors import SpecError
from simcost.files import is_regular

STREAMED = 20_000  # points from which the rows of a CSV file go there block by block: a second of work


def sweep(
    model: o.ModelOrAxis = None, hw: o.HwOrAxis = None, phase: o.Phase = "decode", vary: o.Vary = None,
    pareto: Annotated[str, Option("--pareto", help="Two metrics of the Pareto front: tpot,params_total:more (the default of decode).")] = "",
    plot: o.Plot = None,
    batch: o.Batch = None, context: o.OfDecode = None, isl: o.OfPrefill = None, past: o.PastOfPrefill = None,
    prefill_tokens: o.PrefillTokens = None, prefill_past: o.PrefillPast = None, engine: o.Engine = None, set: o.Set = None, price: o.Price = None,
    gpus: o.Gpus = None, nodes: o.Nodes = None, scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A map of designs: heads, ranks, experts, widths and any other axis; and the Pareto front of two metrics."""
    from simcost import api, grammar
    from simcost.cli.progress import scheduled

    axes = grammar.axes(vary or [])
    file = _file(output, format, scheduler, axes, plot)
    ready(plot)
    wanted = grammar.words("--pareto", pareto) if pareto else None
    with scheduled(scheduler, file is not None) as progress:
        result = api.sweep(
            model, hw, phase, axes, wanted, batch, context, isl, past, grammar.assignments(set or [], engine), price, gpus, nodes,
            prefill_tokens=prefill_tokens, prefill_past=prefill_past, out=file, progress=progress,
        )  # fmt: skip
    if file is not None:
        return streamed(result, strict)
    also(result, plot, "pareto")
    return emit(result, format, output, strict, details)


def _file(
    out: Path | None, style: str, scheduler: str | None, axes: Mapping[str, Sequence[Any]], plot: Path | None
) -> Path | None:
    """The file that a sweep's rows are streamed to; None where they go through memory. Raises SpecError for what cannot be streamed."""
    suffix = "" if out is None else out.suffix.lower()
    if suffix == ".parquet" and style:
        raise SpecError(f"--format {style} contradicts -o {out}, whose suffix means parquet")
    if scheduler is not None and (out is None or suffix not in (".csv", ".parquet")):
        raise SpecError("--scheduler of a sweep needs a file for its rows: -o FILE.csv or FILE.parquet")
    if suffix != ".parquet" and chosen(style, out) != "csv":
        return None
    points = math.prod(map(len, axes.values())) if axes else 0
    wanted = suffix == ".parquet" or scheduler is not None or points > STREAMED
    if not wanted or out is None or suffix not in (".csv", ".parquet") or out == streams.STDOUT:
        return None
    if plot:
        if suffix == ".csv" and scheduler is None and points <= MOST_ROWS:
            return None
        raise SpecError(
            f"--plot draws only rows that are in memory: leave it out, or ask for at most {MOST_ROWS:,} points without --scheduler to a .csv file"
        )
    if not is_regular(out):
        if suffix == ".parquet" or scheduler is not None:
            raise SpecError(f"-o {out}: rows can only be streamed to a regular file")
        return None
    return out
