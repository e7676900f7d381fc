"""Thinking against a larger model, and against training longer.

A model trained longer is taken to solve at each budget what the larger one solves, once a scaling law expects the loss
of the larger one of it: equal loss, equal accuracy. It serves as cheaply as before. Most likely to be wrong: just that;
laws are of pre-training loss, and reasoning is trained afterwards. Source: docs/theory/thinking.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.query import Query, model_of
from simcost.result import Row, number
from simcost.scaling_laws import counts, evaluate, load
from simcost.scaling_laws.law import Law
from simcost.scenarios.think.question import Asked, Pretrain
from simcost.scenarios.think.side import Side
from simcost.scenarios.train import result as training
from simcost.scenarios.train.question import asked as training_asked
from simcost.scenarios.train.run import RunAsked
from simcost.thinking import worth
from simcost.thinking.worth import Steps

_SEQUENCE = 4096.0  # tokens at which laws of FLOPs count attention
_LONGER = np.geomspace(1.0, 1e4, 4001)  # multiples of the training tokens that are tried
_PHASE = ("micro_batch", "global_batch", "seq")


def steps(own: Side, larger: Side) -> Steps | None:
    """What thinking and the larger model buy; None where USD or accuracy of either is unknown, or a single row stands."""
    if own.usd is None or own.accuracy is None or larger.usd is None or larger.accuracy is None or len(own.labels) < 2:
        return None
    order = np.argsort(own.tokens.mean, kind="stable")
    mine = (own.tokens.mean[order], own.usd.mean[order], own.accuracy[order])
    return worth.steps(*mine, larger.usd.mean, larger.accuracy)


def step_rows(own: Side, larger: Side, s: Steps) -> list[Row]:
    """A row for each step from one budget to the next."""
    order = np.argsort(own.tokens.mean, kind="stable").tolist()
    key, labels = own.question.answers.key, [own.labels[i] for i in order]
    return [
        {
            key: labels[i], "next_row": str(labels[i + 1]), "accuracy_per_thousand_tokens": number(s.gain[i]), "usd_per_thousand_tokens": number(s.usd[i]),
            "accuracy_per_usd": number(s.per_usd[i]), "larger_accuracy_per_usd": number(s.larger_per_usd[i]),
            "larger_at": "" if s.larger[i] < 0 else str(larger.labels[int(s.larger[i])]),
            "buys_more": _buys(s, i),
        }
        for i in range(len(s.gain))
    ]  # fmt: skip


def _buys(s: Steps, i: int) -> str:
    if np.isnan(s.per_usd[i]):
        return "no accuracy"
    if np.isnan(s.larger_per_usd[i]):
        return "thinking" if s.per_usd[i] > 0.0 else "neither"
    return "larger model" if s.larger_per_usd[i] >= s.per_usd[i] else "thinking"


def trained(q: Asked, p: Pretrain, own: Side, larger: Side) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """(a row a law, at the budget where training pays first; laws without a number, and why; USD and GPU-hours of a training token). Raises SpecError and
    Infeasible for a plan that cannot train."""
    model, other = (model_of(Query(each, "", True)) for each in (q.model, q.larger_model))
    small, big = counts.of(model, _SEQUENCE), counts.of(other, _SEQUENCE)
    rate = _rate(q, p)
    found: list[Row] = []
    silent: list[Row] = []
    for law in load.every() if not p.law else [load.load(p.law)]:
        more, why = longer(law, (small, p.tokens), (big, p.larger_tokens), p.extent)
        if more is None:
            silent.append({"scaling_law": law.name, "why": why})
        else:
            found.append(_row(law, more, p, rate, own, larger))
    return found, silent, rate


def longer(
    law: Law, small: tuple[counts.Counts, float], big: tuple[counts.Counts, float], extent: str
) -> tuple[float | None, str]:
    """(training tokens at which a law expects of the smaller model the loss of the larger, None where there are none; why)."""
    if not law.predicts_loss:
        return None, "gives no loss"
    if not law.trains_once:
        return None, f"its tokens are not training tokens: {law.definitions['tokens']}"
    wanted = evaluate.loss(law, big[0], big[1], extent)
    if np.isnan(wanted.nats):
        return None, f"the larger model: {'; '.join(wanted.reasons)}"
    tokens = small[1] * _LONGER
    losses = evaluate.loss(law, small[0], tokens, extent)
    nats = np.asarray(losses.nats)
    if np.isnan(nats[0]):
        return None, f"the model: {'; '.join(evaluate.loss(law, small[0], small[1], extent).reasons)}"
    enough = np.flatnonzero(nats <= wanted.nats)
    if not len(enough):
        end = tokens[~np.isnan(nats)][-1]
        return (
            None,
            f"the model does not come to {float(wanted.nats):.4g} nats by {end:,.3g} tokens (there {float(np.nanmin(nats)):.4g})",
        )
    at = int(enough[0])
    if at == 0:
        return None, "by this law the model is already as good as the larger one"
    part = (nats[at - 1] - wanted.nats) / (nats[at - 1] - nats[at])
    return float(tokens[at - 1] * (tokens[at] / tokens[at - 1]) ** part), ""


def _row(law: Law, more: float, p: Pretrain, rate: dict[str, Any], own: Side, larger: Side) -> Row:
    assert own.usd is not None
    extra = more - p.tokens
    usd = extra * rate["usd"]
    even = worth.break_even(usd, own.usd.mean, np.asarray(own.accuracy), own.usd.mean, np.asarray(larger.accuracy))
    row: Row = {
        "scaling_law": law.name, "tokens_to_equal_loss": number(more), "extra_training_tokens": number(extra), "extra_gpu_hours": number(extra * rate["gpu_hours"]),
        "extra_training_usd": number(usd),
    }  # fmt: skip
    if np.all(np.isnan(even.queries)):
        return {**row, "break_even_queries": None}
    best = int(np.nanargmin(even.queries))
    return {
        **row, own.question.answers.key: own.labels[best], "accuracy": number(np.asarray(own.accuracy)[best]), "usd_per_query": number(own.usd.mean[best]),
        "usd_per_query_trained": number(even.usd[best]), "break_even_queries": number(even.queries[best]),
    }  # fmt: skip


def _rate(q: Asked, p: Pretrain) -> dict[str, Any]:
    """USD and GPU-hours of a training token, with the goodput of a run as long as the first one."""
    phase = {key: p.train[key] for key in _PHASE if key in p.train}
    sets = {path: value for path, value in p.train.items() if path not in _PHASE}
    assert q.where.hw is not None
    found, _ = training.result(
        training_asked(q.model, q.where.hw, phase, sets, None, q.where.price),
        "reference",
        RunAsked({"tokens": p.tokens}),
        False,
    )
    if not found.fits:
        raise SpecError(f"--train: {found.verdict}")
    if "run_usd" not in found.metrics:
        raise SpecError(f"--pretrain-tokens needs a price of {q.where.hw}: --price")
    tokens = float(found.metrics["run_tokens"])
    return {
        "usd": found.metrics["run_usd"] / tokens,
        "gpu_hours": found.metrics["run_gpu_hours"] / tokens,
        "verdict": found.verdict,
    }
