"""Each process of the suite computes on one thread, as the command line does, and collects garbage seldom."""

import gc
import os

# Before NumPy and torch start: several workers share the cores, and threads that wait for each other spin.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
gc.set_threshold(50_000, 20, 20)  # as `simcost.cli` does


def pytest_collection_finish() -> None:
    """Tens of thousands of tests stay to the end: the collector need not visit them."""
    gc.collect()
    gc.freeze()
