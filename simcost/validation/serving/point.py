"""What a measured operating point of serving asks of a predictor, and what a predictor answers.

Most likely to be wrong: a load that a benchmark's file calls by another name than it ran. Source: definitions in
docs/glossary.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from simcost.frozen import frozen

OFFLINE = 3000.0  # requests of an offline load: what TensorRT-LLM's performance pages send of middle lengths


@frozen
class Pool:
    """Instances of one phase of disaggregated serving. instances: how many; sets: `plan.*` of one; batch:
    sequences that one runs at most, over its attention replicas, 0 where nobody states it."""

    instances: float
    sets: Mapping[str, Any]
    batch: float = 0.0


@frozen
class Launch:
    """What a server was started with, where its script is known; 0: not stated, the engine's default holds. tokens: of
    a step at most, of one attention replica; sequences: that run at most; share: of the device's memory that the
    engine takes, in the engine's own meaning; stream: tokens between two outputs of a request; receive: decode steps
    between two looks at new requests."""

    tokens: float = 0.0
    sequences: float = 0.0
    share: float = 0.0
    stream: float = 0.0
    receive: float = 0.0


@frozen
class ServingPoint:
    """One load on one instance, or on two pools: a closed loop, an open one, or an offline run.

    model: a name of the zoo or a config; hw: name of a profile; engine: vllm, sglang, trtllm or any; version: of
    the engine, "" where nobody states it; sets: what the question sets, by path (`plan.tp`,
    `model.quantization_config`); concurrency: requests in flight, over all attention replicas [1], inf: an offline
    load, whose requests are all sent at once; isl, osl: mean tokens of a prompt and of an answer; shortest: the
    least length over the longest, lengths between are uniform, 1: all alike; requests: that the benchmark sends in
    all, 0 where nobody states it; prefix_hit: share of prompts that is cached, 0 to 1; speculative: tokens drafted
    a step; prefill, decode: pools of disaggregated serving, whose plans stand in place of `sets`; launch: flags of
    the server, where they are known; rate: requests a second that come at random whatever the answers do [1/s], 0
    of other loads."""

    model: str | Mapping[str, Any]
    hw: str
    engine: str
    version: str
    sets: Mapping[str, Any]
    concurrency: float
    isl: float
    osl: float
    shortest: float = 1.0
    requests: float = 0.0
    prefix_hit: float = 0.0
    speculative: int = 0
    prefill: Pool | None = None
    decode: Pool | None = None
    launch: Launch = field(default=Launch())
    rate: float = 0.0

    @property
    def users(self) -> float:
        """Requests in flight: of an offline load all that it sends, `OFFLINE` where nobody states how many; of an
        open one as many as run."""
        if self.rate or math.isfinite(self.concurrency):
            return math.inf if self.rate else self.concurrency
        return self.requests or OFFLINE

    @property
    def gpus(self) -> float:
        """Devices of the point, over both pools."""
        if self.prefill is None or self.decode is None:
            return devices(self.sets)
        return sum(pool.instances * devices(pool.sets) for pool in (self.prefill, self.decode))


@frozen
class Prediction:
    """Mean time to the first token and per output token after it [s], ends of their 90 % intervals [s], and
    output tokens per second over all devices [1/s]; or the reason why there is none, with numbers that are nan."""

    ttft_s: float = field(default=float("nan"))
    tpot_s: float = field(default=float("nan"))
    tpot_low_s: float = field(default=float("nan"))
    tpot_high_s: float = field(default=float("nan"))
    output_tokens_per_s: float = field(default=float("nan"))
    ttft_low_s: float = field(default=float("nan"))
    ttft_high_s: float = field(default=float("nan"))
    reason: str = ""


Predict = Callable[[Sequence[ServingPoint]], list[Prediction]]


def devices(sets: Mapping[str, Any]) -> float:
    """GPUs of one instance: tp, attention replicas and pipeline stages of a plan."""
    return float(sets.get("plan.tp", 1) * sets.get("plan.dp_attention", 1) * sets.get("plan.pp", 1))
