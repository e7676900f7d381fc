"""DAPO: GRPO without a reference, whose dynamic sampling throws away prompts that are all solved or all missed.

Most likely to be wrong: the share of prompts that are kept, which falls as training goes on. Source: arXiv 2503.14476
§3.2 (dynamic sampling), §2.3 (no KL term).
"""

from __future__ import annotations

NAME, SOURCE = "dapo", "arXiv 2503.14476 §2.3, §3.2"
GENERATES, CRITIC, REFERENCE, FILTERS, CLIPS = True, False, False, True, True
SAMPLES: int | None = None
