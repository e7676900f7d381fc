"""GRPO: rewards of a prompt's samples are compared with each other, so that no critic is needed.

Most likely to be wrong: recipes without a KL term, which ask no reference (`kl=False`). Source: arXiv 2402.03300 §4.1.
"""

from __future__ import annotations

NAME, SOURCE = "grpo", "DeepSeekMath, arXiv 2402.03300 §4.1"
GENERATES, CRITIC, REFERENCE, FILTERS, CLIPS = True, False, True, False, True
SAMPLES: int | None = None
