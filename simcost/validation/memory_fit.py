"""Where the fitted memory terms of `workloads/engines/vllm.toml` come from: least squares over the start-up logs that print them.

The sampler's bytes of a vocabulary entry and of a sequence, before and since its Triton kernel, over logs whose peak it is; the estimate of CUDA
graphs. Each is fitted again without every family of models in turn, and judged on that family. Most likely to be wrong: few families in a
group. Source: `workloads/validation/memory.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcost import pipeline
from simcost.estimate import memory, stages
from simcost.frozen import frozen
from simcost.hardware.engine_file import numbers
from simcost.model import activations
from simcost.num import Array
from simcost.query import workload
from simcost.result import Row
from simcost.validation.memory import Judged, query_of

_NEAR = 0.01  # of a size: logs print two decimals
_REWEIGHT = 20
RUNNER_V2 = (0, 25)  # the release from which models without experts sample otherwise
TRITON = (0, 17)  # the release whose sampler is a Triton kernel


@frozen
class Fit:
    """term: what is fitted; names and values of its coefficients; rows; error: median relative error of the fit, unseen: of families that
    it has not seen."""

    term: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    rows: int
    families: int
    error: float
    unseen: float


@frozen
class _Row:
    family: str
    inputs: tuple[float, ...]
    known: float
    printed: float


def fits(judged: Sequence[Judged]) -> list[Fit]:
    """Fits of the sampler's and of the graphs' coefficients, over the vLLM logs among `judged`."""
    logs = [one for one in judged if one.log.engine == "vllm"]
    sampled = [row for one in logs if (row := _sampled(one))]
    graphs = [row for one in logs if (row := _captured(one))]
    return [
        _fit("sampler", ("logit_bytes before 0.17", "logit_bytes since 0.17", "sequence_bytes"), sampled),
        _fit("graphs", ("graph_bytes", "graph_layer_bytes", "graph_experts_bytes"), graphs),
    ]


def _old(one: Judged) -> bool:
    return numbers(str(one.log.sets.get("engine.version", "0.0"))) < TRITON


def _fit(term: str, names: tuple[str, ...], rows: Sequence[_Row]) -> Fit:
    values = _solved(rows)
    families = sorted({row.family for row in rows})
    unseen: list[float] = []
    for family in families:
        rest = [row for row in rows if row.family != family]
        unseen += _errors([row for row in rows if row.family == family], _solved(rest))
    return Fit(
        term,
        names,
        tuple(values),
        len(rows),
        len(families),
        float(np.median(_errors(rows, values))),
        float(np.median(unseen)),
    )


def _solved(rows: Sequence[_Row]) -> Array:
    """Least squares of the relative error, rows far off weighed down (Huber 1964): a log of a rank that samples nothing says so nowhere."""
    scale = np.asarray([row.printed for row in rows])
    inputs = np.asarray([row.inputs for row in rows]) / scale[:, None]
    rest = np.asarray([row.printed - row.known for row in rows]) / scale
    trust = np.ones(len(rows))
    for _ in range(_REWEIGHT):
        values = np.linalg.lstsq(inputs * trust[:, None], rest * trust, rcond=None)[0]
        trust = np.sqrt(_NEAR / np.maximum(np.abs(rest - inputs @ values), _NEAR))
    return np.asarray(values)


def _errors(rows: Sequence[_Row], values: Array) -> list[float]:
    return [abs((row.known + float(np.dot(row.inputs, values))) / row.printed - 1.0) for row in rows]


def _family(one: Judged) -> str:
    return one.log.model.split("-")[0].rstrip("0123456789.")


def _sampled(one: Judged) -> _Row | None:
    """A log whose peak is at the sampler, and whose rank samples."""
    if "activations" not in one.log.printed or numbers(str(one.log.sets.get("engine.version", "0"))) >= RUNNER_V2:
        return None
    kept = memory.kept(workload(query_of(one.log)))
    w, peak = kept.workload, kept.peak
    tokens, rows = _one(w.memory.tokens), min(_one(w.memory.sequences), _one(w.memory.tokens))
    hidden, width = _one(peak.hidden), w.view.activation.bits / 8.0
    layer = tokens * (_one(peak.inside) + activations.COPIES * hidden)
    printed, experts = one.log.printed["activations"], tokens * _one(peak.experts) * peak.stay
    known = tokens * hidden + experts + _one(peak.always) + rows * _one(w.model.vocab_size) * width
    if printed < 1.1 * (layer + experts) or "samples nothing" in one.log.story:
        return None
    entries, old = rows * _one(w.model.vocab_size), float(_old(one))
    return _Row(_family(one), (old * entries, (1.0 - old) * entries, rows), known, printed)


def _captured(one: Judged) -> _Row | None:
    """A log that prints the estimate of its CUDA graphs."""
    if "graph_estimate" not in one.log.printed:
        return None
    w = workload(query_of(one.log))
    share = _one(activations.captured(w.memory))
    layers = float(max(sum(stage.layers) for stage in pipeline.stages(w.model, stages.sizes(w)[0])))
    experts = (
        1.0
        if any(
            block.kind == "ffn" and _one(block.expert_elements(w.plan, w.view.routing, 1.0)[0])
            for _, block in w.model.blocks()
        )
        else 0.0
    )
    return _Row(_family(one), (share, share * layers, share * experts), 0.0, one.log.printed["graph_estimate"])


def _one(value: Any) -> float:
    return float(np.asarray(value))


def rows_of(found: Sequence[Fit]) -> list[Row]:
    """One row a coefficient; bytes as they are."""
    return [
        {
            "term": fit.term, "coefficient": name, "value": value, "n": fit.rows, "families": fit.families,
            "median_abs_error": fit.error, "unseen_families_median_abs_error": fit.unseen,
        }
        for fit in found
        for name, value in zip(fit.names, fit.values, strict=True)
    ]  # fmt: skip
