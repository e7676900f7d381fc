"""The command line: few verbs, one override grammar."""

import os

# Before numpy starts: its products are small here, and threads that spin while others work make a curve's fit ten times longer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
