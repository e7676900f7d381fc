"""Decoding sequences and chunks of prompts share a step under one token budget; decode comes first.

Most likely to be wrong: prompts are taken in order of arrival, with no limit on how many are in part done. Sources:
vLLM `v1/core/sched/scheduler.py` (running requests, then waiting ones, while the budget lasts), `config/scheduler.py`;
TensorRT-LLM, chunked context.
"""

from __future__ import annotations

from simcost.errors import SpecError
from simcost.num import Num
from simcost.serving.policy import Policy

NAME, SOURCE = "mixed", "vLLM v1/core/sched/scheduler.py; TensorRT-LLM chunked context"
shares_step = True


def prompt_tokens(budget: Num, decoding: Num) -> Num:
    """Most prompt tokens of a step: what decoding sequences, one token each, leave of the budget."""
    return budget - decoding


def check(policy: Policy) -> None:
    """Raises SpecError where a step could not hold one token of every sequence, which vLLM's SchedulerConfig refuses
    too."""
    if policy.sequences > policy.tokens:
        raise SpecError(
            f"policy mixed: sequences = {policy.sequences:,.0f} with tokens = {policy.tokens:,.0f}: "
            "a step must have at least one token per sequence"
        )
