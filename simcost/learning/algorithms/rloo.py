"""RLOO: each sample's baseline is the mean reward of the others; one REINFORCE update, which needs no old log-probs.

Most likely to be wrong: implementations that clip it like PPO (`minibatches` above 1). Source: arXiv 2402.14740 §3.3.
"""

from __future__ import annotations

NAME, SOURCE = "rloo", "arXiv 2402.14740 §3.3"
GENERATES, CRITIC, REFERENCE, FILTERS, CLIPS = True, False, True, False, False
SAMPLES: int | None = None
