"""loss: what every published law says of a design and its training tokens, or of a training compute alone. Laws that do not reach so far say why.

No law is chosen over another: they contradict each other, and none knows a user's data. Most likely to be wrong: all of them, outside of their own
recipe. Derivation: docs/theory/scaling_laws.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.result import Result, Row, number
from simcost.scaling_laws import equal, evaluate, load, optimum, ranges
from simcost.scaling_laws.counts import Counts, flops_per_token, of, size
from simcost.scaling_laws.law import PUBLISHED, VERIFIED, Law
from simcost.scenarios.scaling_laws.show import counted
from simcost.units import show

_LOSS, _SIZES, _LEVERAGE = "loss", "compute-optimal", "against dense"
_ASKED = {_SIZES: "sizes"}  # as short as an 80-column table needs it


def of_model(model: str, tokens: float, sequence: float, extent: str, sets: Mapping[str, Any]) -> Result:
    """Loss, compute-optimal sizes, and compute against a dense model, of a model trained on `tokens`; FLOPs of attention count `sequence` tokens."""
    from simcost import grammar
    from simcost.model import load as models
    from simcost.query import Query, model_of
    from simcost.scenarios.inputs import dimensions

    evaluate.check_extent(extent)
    foreign = [path for path in sets if grammar.split(path)[0] != "model"]
    if foreign:
        raise SpecError(f"'{foreign[0]}' does not apply to loss (it takes model.<key>)")
    query = Query(models.spelled(model), "", True, grammar.Overrides(phase={"context": sequence}).merged(sets))
    spec = model_of(query)
    counts = of(spec, sequence)
    found = _Found(extent, moe=not np.all(np.asarray(counts.experts) == 1.0))
    for law in load.every():
        found.design(law, counts, tokens)
    asked = {
        "model": query.model,
        "tokens": number(tokens),
        "isl": number(sequence),
        "range": extent,
        "set": dict(sets),
    }
    said = found.result(asked, f"{spec.name} on {show(tokens, 'tokens')} tokens", (*spec.notes, *counts.notes))
    return replace(said, dimensions=dimensions(spec))


def of_compute(training_flops: float, extent: str) -> Result:
    """Compute-optimal sizes of dense models for a training compute. [FLOP]"""
    evaluate.check_extent(extent)
    found = _Found(extent)
    for law in load.every():
        found.sizes(law, None, training_flops, None)
    return found.result(
        {"training_flops": number(training_flops), "range": extent}, show(training_flops, "training_flops"), ()
    )


class _Found:
    """Rows of the laws that speak, and why the others do not."""

    def __init__(self, extent: str, moe: bool = False) -> None:
        self.extent, self.moe = extent, moe
        self.rows: dict[str, list[Row]] = {_LOSS: [], _SIZES: [], _LEVERAGE: []}
        self.silent: list[Row] = []
        self.spoke: list[Law] = []

    def design(self, law: Law, counts: Counts, tokens: float) -> None:
        """Everything that a law says of a design."""
        if law.form == "leverage":
            self._leverage(law, counts, tokens)
            return
        said = None
        if law.predicts_loss and not law.trains_once:
            self._refused(law, _LOSS, (f"its tokens are not training tokens: {law.definitions['tokens']}",))
        elif law.predicts_loss:
            found = evaluate.loss(law, counts, tokens, self.extent)
            said = number(found.nats)
            if said is None:
                self._refused(law, _LOSS, found.reasons)
            else:
                self._loss(law, counts, tokens, found)
        if law.compute is not None:
            self.sizes(law, counts, float(tokens * flops_per_token(law, counts)), tokens, said)

    def _loss(self, law: Law, counts: Counts, tokens: float, found: evaluate.Loss) -> None:
        self.spoke.append(law)
        row: Row = {
            "scaling_law": law.name, "loss": number(found.nats), "loss_low": number(found.low), "loss_high": number(found.high),
            "law_params": number(size(law.params, counts)),
        }  # fmt: skip
        if self.moe:
            params, reasons = equal.dense_params(law, counts, tokens, self.extent)
            row["dense_params"] = params
            if params is None:
                self._refused(law, "dense twin", reasons)
        self.rows[_LOSS].append({**row, "counted_as": counted(law)})

    def sizes(
        self, law: Law, counts: Counts | None, flops: float, tokens: float | None, said: float | None = None
    ) -> None:
        """Compute-optimal sizes by a law, for designs like `counts` (None: dense)."""
        why = _without_sizes(law)
        if why:
            if counts is None:
                self._refused(law, _SIZES, (why,))
            return
        best = optimum.optimum(law, flops, counts, self.extent)
        if number(best.params) is None:
            self._refused(law, _SIZES, best.reasons)
            return
        in_flops = law.params.count == "flops"
        row: Row = {
            "scaling_law": law.name, "training_flops": number(flops), "optimal_params": None if in_flops else number(best.params),
            "optimal_tokens": number(best.tokens), "optimal_loss": number(best.loss),
        }  # fmt: skip
        if tokens is not None:
            row["tokens_over_optimal"] = number(tokens / best.tokens)
            row["loss_over_optimal"] = (
                None if said is None or row["optimal_loss"] is None else said - row["optimal_loss"]
            )
        if in_flops:
            row["optimal_flops_per_token"] = number(best.params)
        self.rows[_SIZES].append({**row, "counted_as": counted(law)})

    def _leverage(self, law: Law, counts: Counts, tokens: float) -> None:
        if not self.moe:
            return
        flops = float(tokens * flops_per_token(law, counts))
        ratio, reasons = optimum.leverage(law, flops, counts, self.extent)
        if number(ratio) is None:
            self._refused(law, _LEVERAGE, reasons)
            return
        self.rows[_LEVERAGE].append(
            {
                "scaling_law": law.name, "training_flops": number(flops), "dense_over_moe_flops": number(ratio),
                "dense_training_flops": number(flops * ratio),
            }
        )  # fmt: skip

    def _refused(self, law: Law, asked: str, reasons: tuple[str, ...]) -> None:
        self.silent.append({"scaling_law": law.name, "asked_for": _ASKED.get(asked, asked), "why": "; ".join(reasons)})

    def result(self, asked: dict[str, Any], what: str, notes: tuple[str, ...]) -> Result:
        """The answer, with what a reader must know of it."""
        tables = {name: rows for name, rows in self.rows.items() if rows}
        if self.silent:
            tables["no number"] = self.silent
        losses, sizes = len(self.rows[_LOSS]), len(self.rows[_SIZES])
        metrics = {"laws": len(load.names()), "laws_of_sizes": sizes} | (
            {"laws_of_loss": losses} if "model" in asked else {}
        )
        said = [f"{_laws(losses)} its loss"] if "model" in asked and losses else []
        said += [f"{_laws(sizes)} compute-optimal sizes"] if sizes else []
        spoke = " and ".join(said) or "no published law covers it"
        names = dict.fromkeys(row["scaling_law"] for rows in self.rows.values() for row in rows)
        papers = tuple(
            f"{name}: {load.load(name).source['paper']}, {load.load(name).source['where']}" for name in names
        )
        verdict = f"{what}: {spoke} (range: {self.extent})"
        return Result("loss", asked, metrics, tables, (*notes, *self._warnings()), papers, verdict)

    def _warnings(self) -> list[str]:
        found = []
        if len(self.rows[_LOSS]) > 1:
            found.append(
                "losses of different laws do not compare: each has its own data, tokenizer and recipe; differences inside one law do"
            )
        guessed = [law.name for law in self.spoke if any(each.error for each in law.coefficients.values())]
        if guessed:
            found.append(
                f"{', '.join(guessed)}: the interval takes the coefficients' errors as independent, for no covariance is published: it is too wide"
            )
        bare = [law.name for law in self.spoke if law.residual is None and law.name not in guessed]
        if bare:
            found.append(f"no interval for {', '.join(bare)}: the source states no usable error")
        if self.extent == PUBLISHED:
            found.append(
                "--range published: as far as the sources themselves used their laws, which is beyond what they fitted"
            )
        elif self.silent:
            found.append("laws are not extrapolated; --range published goes as far as their sources did")
        return found


def _without_sizes(law: Law) -> str:
    """Why a law states no compute-optimal sizes, whatever the compute; "" for one that does."""
    if law.certainty != VERIFIED:
        return ranges.unverified(law)
    if law.compute is None:
        return law.no_compute
    return "compares only the compute of a dense model and a MoE" if law.form == "leverage" else ""


def _laws(number_of: int) -> str:
    return f"{number_of} published law{'s give' if number_of > 1 else ' gives'}"
