"""How an engine's scheduler batches: numbers that its launch options set. Loaded by the engine profiles; `policies/`
says what a step takes.

Most likely to be wrong: `admission` of engines that reserve a share of an answer that changes as they run (SGLang: 0.7
at the start, 0.1 after 600 steps without a preemption), which stand between the two words.
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Num


@frozen
class Policy:
    """A scheduler of one attention replica. `name`: a file of `policies/`. `tokens`: token budget of a step.
    `sequences`: most running sequences. `stream_interval`: tokens that are made before the first is sent, and between
    sends. [s] `host_step_s`: the engine's own time a step; `host_request_s` and `host_token_s`: what HTTP, the chat template and tokenising take
    of a request and of each of its prompt tokens, in one process that takes requests in turn; `host_delay_s`: what each request waits besides, while others pass. Numbers are of one
    plan, or [plans, 1] arrays.

    `receive_interval`: decode steps between two looks at new requests; after a step with prompts the scheduler looks at once.

    `overlap`: 1 where the host prepares a step while the one before it runs, which a new request cannot join: it waits a step more, else 0.

    `admission`: "prompt": a request is admitted when its prompt fits the pool, and the newest is preempted and computed
    anew when the pool runs out (vLLM; SGLang comes to it as its ratio decays); "whole": when its prompt and answer fit,
    so that nobody is preempted (TensorRT-LLM's GUARANTEED_NO_EVICT). The default is what two of three engines do."""

    name: str
    tokens: Num
    sequences: Num
    stream_interval: float
    host_step_s: Num
    host_request_s: float
    admission: str = "prompt"
    overlap: Num = 0.0
    host_token_s: float = 0.0
    host_delay_s: float = 0.0
    receive_interval: float = 1.0
