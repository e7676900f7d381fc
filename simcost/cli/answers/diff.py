"""The diff command: what moved between two answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument
from simcost.cli.output import emit


def diff(
    before: Annotated[Path, Argument(help="A saved result: a file of --format json -o.")],
    after: Annotated[Path, Argument(help="A second result of the same command.")],
    format: o.Format = "", output: o.Out = None, details: o.Details = False,
) -> int:  # fmt: skip
    """What changed between two results: inputs, terms of the step, metrics."""
    from simcost import api

    return emit(api.diff(before, after), format, output, details=details)
