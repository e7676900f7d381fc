"""Questions of few points without measured curves, and workers that end early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simcost.api.arguments import step_query
from simcost.query import Query

ROOFLINE = {"hw.measurements": "none"}  # nothing is fitted
CASES: dict[str, dict[str, Any]] = {
    "runs first": {"vary": {"batch": [1, 8, 4000], "context": list(range(1000, 1060)), "plan.tp": [1, 2, 3, 8]}},
    "cannot first": {"vary": {"plan.tp": [3, 8], "batch": [1, 64, 90_000], "model.num_attention_heads": [64, 96, 100]}},
    "short first": {"model": "llama-3.1-405b", "vary": {"batch": [64, 1], "plan.tp": [1, 16], "context": [9000, 64]}},
    "structures": {
        "model": None,
        "hw": None,
        "vary": {"hw": ["h200", "b100"], "model": ["llama-3.1-8b", "mistral-7b-v0.3"], "plan.weight_dtype": ["bf16", "fp8"], "batch": [1, 2]},
    },
    "no answer": {"vary": {"model.attention": ["mla", "gqa:8", "nonsense:3"], "batch": [1, 8, 64, 5000]}},
    "device": {"vary": {"hw.memory.bandwidth": ["1 TB/s", "x2"], "batch": [1, 8, 4000], "engine": ["vllm", "sglang"]}},
    "none runs": {"vary": {"plan.tp": [3, 5], "batch": [1, 2, 5]}},
    "prefill": {"phase": "prefill", "vary": {"isl": [100, 1000, 10_000], "batch": [1, 2], "chunk": [512, 4096]}},
}  # fmt: skip


def query_of(case: dict[str, Any]) -> Query:
    """The question of a case."""
    asked = {"phase": "decode", "model": "llama-3.1-8b", "hw": "h200", **case}
    return step_query(
        asked["phase"], asked["model"], asked["hw"], None, None, None, None, ROOFLINE, None, None, None, asked["vary"]
    )  # fmt: skip


class EndsAfter:
    """This process, interrupted after some blocks."""

    count = 1

    def __init__(self, blocks: int, error: BaseException | None = None) -> None:
        self.left, self.error = blocks, error or KeyboardInterrupt()

    def run(self, act: Callable[[str], bytes], deal: Callable[[], str | None], done: Callable[[bytes], None]) -> None:
        while (task := deal()) is not None:
            if not self.left:
                raise self.error
            self.left -= 1
            done(act(task))
