"""Each process of the suite computes on one thread, as the command line does, and collects garbage seldom. No property fails because others use
the machine: neither for an example that takes long nor for one that is slow to draw."""

import gc
import os
from contextlib import suppress

# Before NumPy and torch start: several workers share the cores, and threads that wait for each other spin.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
with suppress(ImportError):  # the environment of Triton has no hypothesis
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
gc.set_threshold(50_000, 20, 20)  # as `simcost.cli` does


def pytest_collection_finish() -> None:
    """Tens of thousands of tests stay to the end: the collector need not visit them."""
    gc.collect()
    gc.freeze()
