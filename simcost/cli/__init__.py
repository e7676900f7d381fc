"""The command line: few verbs, one override grammar."""

import gc
import os

# Before numpy starts: its products are small here, and threads that spin while others work make a curve's fit ten times longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
gc.set_threshold(50_000, 20, 20)  # start-up makes many objects and few cycles: a twentieth of a query's time
