"""By hand: speed on this machine, and the run on a GPU."""
