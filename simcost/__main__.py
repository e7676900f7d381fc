"""`python -m simcost`."""

from simcost.cli.app import main

main()
