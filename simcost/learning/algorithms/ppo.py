"""PPO: a critic of the policy's size values every token, and is trained beside it.

Most likely to be wrong: critics that are smaller than the policy, or share its trunk. Source: arXiv 1707.06347;
arXiv 2203.02155 §3.5 (language models).
"""

from __future__ import annotations

NAME, SOURCE = "ppo", "arXiv 1707.06347; InstructGPT, arXiv 2203.02155 §3.5"
GENERATES, CRITIC, REFERENCE, FILTERS, CLIPS = True, True, True, False, True
SAMPLES: int | None = None
