"""DPO: pairs of a chosen and a rejected answer are data; the reference values them, and nothing is generated.

Most likely to be wrong: log-probs of the reference that are computed once for the whole data set (`kl=False` leaves
them out). Source: arXiv 2305.18290 §4.
"""

from __future__ import annotations

NAME, SOURCE = "dpo", "arXiv 2305.18290 §4"
GENERATES, CRITIC, REFERENCE, FILTERS, CLIPS = False, False, True, False, False
SAMPLES: int | None = 2
