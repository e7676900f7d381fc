"""Tokens a second of a GPU of each part of a distillation, by the commands that price it: `serve` where a model writes or reads, `train` where it learns.

Writing runs at the load that brings most tokens: nobody waits for an answer. A teacher that scores reads whole texts and makes logits at every token, where a
prompt's last one suffices; its time grows by the FLOPs of the head. Most likely to be wrong: a plan that nobody states, the smallest that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from simcost import grammar
from simcost.errors import Infeasible, SimcostError
from simcost.hardware.prices import Price
from simcost.model import flops
from simcost.num import Z90
from simcost.query import make, workload
from simcost.query.question import Query
from simcost.result import Result
from simcost.scenarios import fitting
from simcost.scenarios.serve import question as serve
from simcost.scenarios.serve.answer import Answer, answer, metrics
from simcost.scenarios.serve.question import Asked
from simcost.scenarios.serve.replica import Replica
from simcost.scenarios.train import result as training
from simcost.scenarios.train.question import asked as training_asked
from simcost.scenarios.train.run import RunAsked
from simcost.serving.lengths import Lengths

_LOADS = tuple(2**power for power in range(13))  # requests at a time of a replica that are tried
_AT_A_TIME = 32  # sequences that the smallest plan must hold: with few a GPU reads its weights for nothing
# What a training plan that nobody states is tried with, in order; the first that fits is taken.
_TRAINING = tuple(
    {"plan.tp": tp, **more}
    for more in ({}, {"plan.recompute": "full"}, {"plan.recompute": "full", "plan.zero_stage": 3})
    for tp in (1, 2, 4, 8)
)


class Rate(NamedTuple):
    """Tokens a second of one GPU with both ends of the 90 % interval; plan in words, GPUs of it, USD an hour of one, None where unknown."""

    what: str
    model: str
    hw: str
    plan: str
    gpus: float
    per_gpu: float
    low: float
    high: float
    price: Price | None
    assumed: bool


def writing(
    what: str, model: Any, hw: str, isl: Any, osl: Lengths, sets: Mapping[str, Any], price: float | str | None
) -> Rate:
    """Tokens of answers. Raises SpecError and Infeasible."""
    q, assumed = _placed(model, hw, isl, osl, sets, price)
    found, best, values, _ = _best(q)
    end = {
        name: float(np.ravel(values[f"output_tokens_per_s{name}"])[best]) / float(values["gpus"])
        for name in ("", "_low", "_high")
    }
    return _rate(what, q, found, (end[""], end["_low"], end["_high"]), assumed)


def reading(what: str, model: Any, hw: str, tokens: float, sets: Mapping[str, Any], price: float | str | None) -> Rate:
    """Tokens of whole texts of so many, each with its logits. Raises SpecError and Infeasible."""
    whole = max(round(tokens), 2)
    q, assumed = _placed(model, hw, whole, serve.lengths_of("--osl", "1"), sets, price)
    found, best, values, point = _best(q)
    speed = float(np.ravel(values["input_tokens_per_s"])[best]) / float(values["gpus"])
    model_of = found.workload.model
    of_token = float(flops.flops_per_token(model_of, float(whole), mtp=False)) / 3.0
    head = 2.0 * float(np.asarray(model_of.hidden_size * model_of.vocab_size))
    speed *= max(of_token - head, 0.0) / of_token
    wide = float(np.exp(Z90 * np.broadcast_to(point.ttft_error, (len(q.loads),))[best]))
    return _rate(what, q, found, (speed, speed / wide, speed * wide), assumed)


def _best(q: Asked) -> tuple[Replica, int, dict[str, Any], Answer]:
    """(replica, the load of most tokens, metrics of all loads, their answer)."""
    r, _ = serve.replica(q)
    found = answer(r, q.traffic)
    values = metrics(found, None)
    if not np.any(found.fits):
        held = q.isl.mean + q.osl.mean
        raise Infeasible(
            f"{r.workload.model.name}: no memory for a request of {held:,.0f} tokens: {fitting.verdict(r.kept(held), timed=False)[0]}"
        )
    done = np.where(np.broadcast_to(found.fits, (len(q.loads),)), np.asarray(values["requests_per_s"]), 0.0)
    return r, int(np.argmax(done)), values, found


def _rate(what: str, q: Asked, r: Replica, speeds: tuple[float, float, float], assumed: bool) -> Rate:
    w = r.workload
    named = {key: getattr(w.plan, key) for key in ("tp", "pp", "ep", "dp", "dp_attention", "cp")}
    plan = (
        ", ".join(
            f"{key}={float(np.asarray(value)):g}"
            for key, value in named.items()
            if value is not None and float(np.asarray(value)) > 1.0
        )
        or "tp=1"
    )
    return Rate(
        what, w.model.name, q.query.hw, plan, float(np.asarray(w.plan.devices)), *speeds, q.query.paid(w.device), assumed
    )  # fmt: skip


def _placed(
    model: Any, hw: str, isl: Any, osl: Lengths, sets: Mapping[str, Any], price: float | str | None
) -> tuple[Asked, bool]:
    """(the question at loads that fill its plan, whether the plan is the smallest that fits)."""
    sets = dict(sets)
    stated = any(grammar.split(path)[0] == "plan" and grammar.split(path)[1] in _SIZES for path in sets)
    assumed = not stated
    if assumed:
        sets |= _smallest(model, hw, serve.lengths_of("--isl", str(isl)).mean + osl.mean, sets)
    first = serve.asked(model, hw, isl, 1, [1], None, sets, price=price)
    plan = workload(first.query).plan
    replicas = float(np.asarray(plan.replicas * plan.copies))
    return replace(first, osl=osl, loads=tuple(load * replicas for load in _LOADS)), assumed


_SIZES = ("tp", "pp", "ep", "dp", "dp_attention", "cp", "gpus")


def _smallest(model: Any, hw: str, tokens: float, sets: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the plan with the fewest GPUs that holds so many sequences. Raises Infeasible."""
    phase = {"batch": _AT_A_TIME, "context": int(np.ceil(tokens))}
    query: Query = make(model, hw, True, phase, sets, {}, None)
    found = fitting.smallest_sizes(query, workload(query))
    if found is None:
        raise Infeasible(
            f"{query.model}: none of the plans tried fits {_AT_A_TIME} sequences of {tokens:,.0f} tokens on {hw}"
        )
    return {f"plan.{name}": size for name, size in found.items()}


def trained(
    model: Any,
    hw: str,
    phase: Mapping[str, Any],
    sets: Mapping[str, Any],
    stack: str | None,
    price: float | str | None,
    tokens: float,
) -> tuple[Result, str]:
    """(the training run, what was set of the plan beside what is stated). Raises SpecError and Infeasible for a plan that cannot run, and where none
    that is tried fits."""
    stated = any(grammar.full(path).startswith("plan.") and grammar.full(path) != "plan.gpus" for path in sets)
    said = ""
    for more in ({},) if stated else _TRAINING:
        try:
            found, _ = training.result(
                training_asked(model, hw, phase, {**sets, **more}, stack, price),
                "reference",
                RunAsked({"tokens": tokens}),
                False,
            )
        except SimcostError as refused:
            if stated:
                raise
            said = said or str(refused)
            continue
        if found.fits:
            return found, "" if stated else ", ".join(f"{path}={value}" for path, value in more.items())
        said = found.verdict
    raise Infeasible(f"the student cannot train: {said}")
