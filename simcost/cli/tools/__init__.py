"""Commands for where people already work, and completion at the shell."""

from simcost.cli.tools.completion import completing as completing
