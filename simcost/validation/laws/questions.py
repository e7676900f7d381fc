"""Laws of whole questions: prefill and decode of models that ship, over splits, batches, contexts and prompts.

Most likely to be wrong: what an engine does beside kernels; it is assumed, and the same on every side of a law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from simcost import query
from simcost.calibration.tables import LARGE
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.estimate import step
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.num import Z90, Array, Bools
from simcost.ops.fused import Fused
from simcost.program import leaves
from simcost.validation.laws.devices import bandwidth, before, link_bandwidth, peak_rate
from simcost.validation.laws.kernels import NARROWER, grown
from simcost.validation.laws.times import Asked, Broken, Times, broken, times

MODELS = (
    "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen3-32b", "opt-30b", "gemma-3-27b", "falcon-40b", "mixtral-8x7b",
    "qwen3-235b-a22b", "deepseek-v3", "llama-4-scout", "mimo-v2-flash", "gpt-oss-120b",
)  # fmt: skip
FORMATS = ("bf16", "fp8", "fp8_block", "nvfp4")
TP = (1, 2, 4, 8)
DECODE = {"plan.tp": TP, "batch": (1, 2, 4, 8, 16, 32, 64, 128, 256), "context": (512, 2048, 8192, 32768)}
PREFILL = {"plan.tp": TP, "batch": (1, 2, 4, 8), "isl": (128, 512, 1024, 2048, 4096, 8192, 16384)}


@frozen
class Question:
    """A phase of a model in one format."""

    model: str
    decode: bool
    weights: str

    @property
    def name(self) -> str:
        """In words: "decode llama-3.1-8b fp8"."""
        return f"{'decode' if self.decode else 'prefill'} {self.model} {self.weights}"


@frozen
class Answer:
    """Times of a question [tp, batch, context or isl]; `large`: share of the time of its products that calls above 20 us take;
    `kept`: the weights that one rank must read in decode, without the embedding, in seconds at the bandwidth; 0 for other than
    dense models without windows."""

    question: Question
    times: Times
    large: Array
    at: Mapping[str, Array]
    kept: Array


def questions(models: Sequence[str] = MODELS, formats: Sequence[str] = FORMATS) -> list[Question]:
    """Decode and prefill of every model in every format."""
    return [Question(model, decode, weights) for model in models for decode in (True, False) for weights in formats]


def ask(who: Asked, one: Question, axes: Mapping[str, Sequence[int]] | None = None) -> Answer | None:
    """The answer on the whole grid of `axes` (default: DECODE or PREFILL); None where the question cannot be answered."""
    chosen = axes or (DECODE if one.decode else PREFILL)
    sets: dict[str, Any] = {
        "plan.weight_dtype": one.weights, "plan.mla_form": "absorbed" if one.decode else "expanded", "engine": who.engine,
    }  # fmt: skip
    try:
        made = query.make(
            one.model, who.device, one.decode, {}, sets, {key: list(v) for key, v in chosen.items()}, None
        )
        _, (point,) = query.sweep(made)
        if point.workload is None:
            return None
        found = step.run(point.workload)
    except SimcostError:
        return None
    shape = tuple(len(values) for values in chosen.values())
    at = {key.rpartition(".")[2]: np.reshape(np.asarray(v, np.float64), [-1 if i == j else 1 for j in range(len(shape))])
          for i, (key, v) in enumerate(chosen.items())}  # fmt: skip
    return Answer(one, times(found.cost, shape), _large(found, shape), at, _kept(found, shape))


def _large(found: step.Step, shape: tuple[int, ...]) -> Array:
    """Of the products' time, the share that calls above 20 us take."""
    total, large = np.zeros(shape), np.zeros(shape)
    for _, call, cost, weight in leaves(found.priced):
        if call.op.family in ("gemm", "grouped_gemm") or (
            isinstance(call.op, Fused) and call.op.kernel in ("linear", "experts")
        ):
            seconds = np.asarray(cost.seconds)
            total = total + weight * seconds
            large = large + weight * seconds * (seconds / np.maximum(call.repeat, 1.0) >= LARGE)
    return np.asarray(large / np.maximum(total, 1e-30))


def _kept(found: step.Step, shape: tuple[int, ...]) -> Array:
    """Weights of a decode step of a dense model, without the embedding, at the bandwidth: no L2 keeps them from step to step. [s]"""
    w = found.workload
    every = [block for _, layer in w.model.stacks for block in layer]
    if not w.phase.decode or any(
        block.router is not None or (block.mask is not None and block.mask.bounded) for block in every
    ):
        return np.zeros(shape)
    embedding = w.model.vocab_size * w.model.hidden_size * 2.0
    bytes_ = np.maximum(np.asarray(found.kept.held.loaded.checkpoint) - embedding, 0.0)
    return np.broadcast_to(np.asarray(bytes_ / w.device.bandwidth), shape)


def judged(who: Asked, every: Mapping[Question, Answer], old: Mapping[Question, Answer]) -> Iterator[Broken]:
    """What a device's answers (`every`) break of the laws of whole steps. `old`: answers of the part before it."""
    for one, answer in every.items():
        where = np.ones(answer.times.seconds.shape, bool)
        for position, axis in enumerate(answer.at):
            if axis != "tp":
                yield from grown(who, one.name, axis, position, answer.times, where, answer.at)
        yield from _light(who, answer, where)
        for thin, wide in NARROWER:
            other = every.get(replace(one, weights=wide)) if one.weights == thin else None
            if other is not None:
                yield from _narrower(who, answer, other)
        theirs = old.get(one)
        if theirs is not None and not _lower(who.device, dtype(one.weights).peak):
            yield from broken(
                "newer",
                who,
                f"{one.name} after {before(who.device)}",
                answer.at,
                answer.times,
                theirs.times,
                where,
                ("*",),
            )


def _narrower(who: Asked, thin: Answer, wide: Answer) -> Iterator[Broken]:
    """Where calls above 20 us make most of the products' time; the attention and the links are the same."""
    where = np.asarray(wide.large >= 0.5)
    own = ("gemm", "experts", "grouped_gemm")
    yield from broken(
        "narrower",
        who,
        f"{thin.question.name} over {wide.question.weights}",
        wide.at,
        thin.times,
        wide.times,
        where,
        own,
    )


def _light(who: Asked, answer: Answer, where: Bools) -> Iterator[Broken]:
    """Neither the estimate nor the low end of its interval."""
    floor = np.maximum(answer.times.light, answer.kept)
    seconds = answer.times.seconds
    low = np.maximum(seconds / np.exp(Z90 * answer.times.sigma), np.minimum(answer.times.light, seconds))
    bare = [Times(np.maximum(value, 1e-12), answer.times.light, {}) for value in (floor, low)]
    yield from broken("speed of light", who, answer.question.name, answer.at, bare[0], bare[1], where)


def _lower(hw: str, peak: str) -> bool:
    """Whether a device has a lower rate, bandwidth or link than the one before it."""
    old = before(hw)
    if old is None:
        return True
    mine, theirs = hardware.load(hw), hardware.load(old)
    if peak not in mine.peaks or peak not in theirs.peaks:
        return True
    return any(rate(mine) < rate(theirs) for rate in (partial(peak_rate, peak=peak), bandwidth, link_bandwidth))
