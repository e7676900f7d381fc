"""Commands for where people already work, and completion at the shell."""

from __future__ import annotations

from simcost.cli import options as o
from simcost.cli.declared import Commands
from simcost.cli.tools.completion import completing as completing
from simcost.cli.tools.schema import schema
from simcost.cli.tools.trace import trace


def add(app: Commands) -> None:
    """Puts the commands of this room into the command line."""
    app.command("trace", epilog=o.KEYS, planned=True, short_help="A profiler's trace beside the prediction.")(trace)
    app.command("schema", short_help="JSON Schema of results and of plan files.")(schema)
