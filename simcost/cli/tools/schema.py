"""`simcost schema`: JSON Schemas for who reads answers by a program, and for editors of plan files."""

from __future__ import annotations

import json
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument
from simcost.cli.output import write


def schema(
    name: Annotated[
        str,
        Argument(
            help="result: what --format json prints; plan: what --plan reads.",
            autocompletion=o.starting(("result", "plan")),
        ),
    ] = "result",
    output: o.Out = None,
) -> int:
    """The JSON Schema (draft 2020-12) of a result as JSON, or of a plan file."""
    from simcost.api.schemas import schema as of

    write(output, json.dumps(of(name), indent=2, ensure_ascii=False) + "\n")
    return 0
