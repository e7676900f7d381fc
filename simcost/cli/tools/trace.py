"""`simcost trace`: a recorded step beside the predicted one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Option
from simcost.cli.output import check, emit
from simcost.errors import plain

_EVERY_S = 1.0  # between two words of how far reading is
_MILLION = 1_000_000


def trace(
    file: Annotated[Path, Argument(help="Trace of one rank, as torch.profiler's export_chrome_trace writes it: .json or .json.gz.")],
    model: o.Model, hw: o.Hw,
    phase: Annotated[str, Option("--phase", help="decode, prefill or train.", autocompletion=o.starting(("decode", "prefill", "train")))] = "decode",
    batch: o.Batch = None, context: o.OfDecode = None, isl: o.OfPrefill = None, past: o.PastOfPrefill = None,
    micro_batch: o.MicroBatch = None, global_batch: o.GlobalBatch = None, seq: o.Seq = None, stack: o.Stack = None,
    steps: Annotated[int | None, Option("--steps", help="Steps that the trace holds; default those that torch.profiler marked (ProfilerStep#).")] = None,
    within: Annotated[str, Option("--within", help="Only what runs within this annotation (record_function), each occurrence a step.")] = "",
    device: Annotated[int | None, Option("--device", help="Number of the GPU, where the trace has several.")] = None,
    rules: Annotated[Path | None, Option("--rules", help="Your own rules for names of kernels, before those of workloads/kernels/classes.toml.")] = None,
    engine: o.Engine = None, set: o.Set = None, gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A trace of torch.profiler beside the prediction, kernel by kernel: what differs most, gaps, and communication that is hidden."""
    from simcost import grammar
    from simcost.api import tracing

    check(format, output)
    result = tracing.trace(
        file, model, hw, phase, batch, context, isl, past, micro_batch, global_batch, seq, stack, grammar.assignments(set or []), gpus, nodes, engine, steps, within,
        device, rules, _told(file),
    )  # fmt: skip
    return emit(result, format, output, strict, details)


def _told(file: Path) -> Callable[[int], None]:
    """A word on stderr now and then where somebody watches: large files take tens of seconds."""
    last = time.monotonic()

    def heard(read: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and time.monotonic() - last > _EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"simcost: reading {plain(file.name)}: {read / _MILLION:,.0f} M characters\n")

    return heard
