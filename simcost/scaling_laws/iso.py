"""`iso=loss:1T`: the width at which a changed design has the loss of the first one, trained on as many tokens; `iso=optimal:1e21`: the width of least loss for a
training compute. Both by published scaling laws.

Every law that speaks of the designs is solved; the one of the newest paper gives the width, unless a law is named, and the others are said beside it. Outside of the
fitted ranges there is no number. Most likely to be wrong: that only sizes matter; no law knows depth, attention or cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simcost import units
from simcost.errors import SpecError
from simcost.model.spec import ModelSpec
from simcost.scaling_laws import evaluate, load
from simcost.scaling_laws.counts import Counts, of
from simcost.scaling_laws.equal import equal_loss
from simcost.scaling_laws.law import VERIFIED, Law
from simcost.scaling_laws.optimum import optimal_width

_WIDEST = 262_144  # of an FFN or an expert that is tried
_SEQUENCE = 4096.0  # tokens of a training sequence, where a law counts FLOPs of attention
_NAMED = 3  # laws that a refusal names


class Wish(NamedTuple):
    """Equal loss on so many `tokens`, or the least loss for so many `flops`; by a law, "" for any."""

    tokens: float | None
    flops: float | None
    law: str


Told = tuple[int, str]  # a width, and what its law says of it


def parsed(text: str) -> Wish:
    """What "loss:1T", "loss:300B:besiroglu-2024" and "optimal:1e21" ask for. Raises SpecError for what is neither."""
    word, _, rest = text.partition(":")
    amount, _, law = (part.strip() for part in rest.partition(":"))
    if not amount:
        raise SpecError(
            f"iso={text}: state the training tokens, as in loss:1T, or the training FLOPs, as in optimal:1e21; a law may follow, as in loss:300B:besiroglu-2024"
        )
    if law:
        load.load(law)
    if word == "loss":
        return Wish(units.parse(amount, "tokens", f"iso={text}"), None, law.lower())
    return Wish(None, units.parse(amount, "training_flops", f"iso={text}"), law.lower())


def solved(text: str, before: ModelSpec, build: Callable[[int], ModelSpec], step: int) -> Told:
    """(width, a multiple of `step`; why, with the loss and its interval) that `iso` asks for. Raises SpecError where no law speaks of the designs."""
    wish = parsed(text)
    given = of(before, _SEQUENCE)
    known: dict[int, Counts] = {}

    def to(width: float) -> Counts:
        if int(width) not in known:
            known[int(width)] = of(build(int(width)), _SEQUENCE)
        return known[int(width)]

    found: list[tuple[Law, Told]] = []
    silent: list[str] = []
    for law in _laws(wish.law):
        try:
            answer = (
                _equal(law, given, to, wish.tokens, step)
                if wish.tokens is not None
                else _optimal(law, to, wish.flops or 0.0, step)
            )
        except SpecError as error:
            answer = str(error)
        if isinstance(answer, str):
            silent.append(f"{law.name}: {answer}")
        else:
            found.append((law, answer))
    if not found:
        more = f"; and {len(silent) - _NAMED} more (simcost loss)" if len(silent) > _NAMED else ""
        raise SpecError(
            f"iso={text}: no published scaling law covers these designs: {' | '.join(silent[:_NAMED])}{more}"
        )
    (_, (width, why)), others = found[0], found[1:]
    said = ", ".join(f"{other:,} by {law.name}" for law, (other, _) in others)
    return width, f"{why}{'; ' + said if said else ''}"


def _laws(named: str) -> list[Law]:
    """The named law, or all that give a loss by training tokens, newest paper first."""
    if named:
        return [load.load(named)]
    able = [law for law in load.every() if law.certainty == VERIFIED and law.predicts_loss and law.trains_once]
    return sorted(able, key=lambda law: law.source["paper"], reverse=True)


def _widths(step: int) -> tuple[float, float]:
    return float(step), float(_WIDEST // step * step)


def _equal(law: Law, given: Counts, to: Callable[[float], Counts], tokens: float, step: int) -> Told | str:
    """The width of equal loss, or why there is none."""
    target = evaluate.loss(law, given, tokens)
    if np.isnan(target.nats):  # most laws end here, before any width is tried
        return "; ".join(target.reasons)
    answer = equal_loss(law, given, to, tokens, _widths(step), float(step))
    if answer.width is None:
        return "; ".join(answer.reasons)
    span = "" if answer.low is None or answer.high is None else f" ({answer.low:.3f}–{answer.high:.3f})"
    text = f"equal loss by {law.name} on {units.show(tokens, 'tokens')} tokens: {answer.loss:.4f} nats{span}, to {answer.residual:+.5f}"
    if answer.narrowest is not None and answer.widest is not None:
        text += f"; the law cannot tell {answer.narrowest:,.0f} to {answer.widest:,.0f} apart"
    return int(answer.width), text


def _optimal(law: Law, to: Callable[[float], Counts], flops: float, step: int) -> Told | str:
    """The width of least loss for a training compute, or why there is none."""
    answer = optimal_width(law, to, flops, _widths(step), float(step))
    if answer.width is None or answer.loss is None or answer.tokens is None:
        return "; ".join(answer.reasons)
    ends = [end for end in (answer.low, answer.high) if end is not None and not np.isnan(end)]
    span = f" ({ends[0]:.3f}–{ends[1]:.3f})" if len(ends) == 2 else ""
    cost, tokens = units.show(flops, "training_flops"), units.show(answer.tokens, "tokens")
    return int(answer.width), f"least loss by {law.name} for {cost}: {answer.loss:.4f} nats{span} on {tokens} tokens"
