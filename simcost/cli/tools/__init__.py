"""Commands for where people already work, and completion at the shell."""

from __future__ import annotations

import typer

from simcost.cli.tools.completion import completing as completing
from simcost.cli.tools.schema import schema


def add(app: typer.Typer) -> None:
    """Puts the commands of this room into the command line."""
    app.command("schema", short_help="JSON Schema of results and of plan files.")(schema)
