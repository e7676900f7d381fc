"""How one kernel is timed, on a CPU and on a GPU."""
