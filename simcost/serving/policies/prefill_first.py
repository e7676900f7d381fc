"""Prompts run in steps of their own before decode goes on, several packed in one step up to a token budget.

Most likely to be wrong: the admission of SGLang, which reserves a share of each answer that changes as it runs.
Sources: SGLang `managers/scheduler.py` (get_next_batch_to_run: a prefill batch where there is one, else decode),
`managers/schedule_policy.py` (PrefillAdder).
"""

from __future__ import annotations

from simcost.num import Num
from simcost.serving.policy import Policy

NAME, SOURCE = "prefill_first", "SGLang managers/scheduler.py, managers/schedule_policy.py"
shares_step = False


def prompt_tokens(budget: Num, decoding: Num) -> Num:
    """Most prompt tokens of a step: the whole budget (`chunked_prefill_size`), however many sequences wait to
    decode."""
    return budget


def check(policy: Policy) -> None:
    """Nothing to refuse: the budget is of prompts alone."""
