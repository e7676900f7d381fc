"""crossover: where attention O(N²d) overtakes the MLP O(Nd²), and where KV reads overtake weight reads in decode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost import calibrated
from simcost.cost.memory import largest
from simcost.errors import SpecError
from simcost.hardware.profile import Device
from simcost.model import count
from simcost.num import Num, ceil
from simcost.plan import Phase
from simcost.program import Choice, Program, Serial
from simcost.program import price as fold
from simcost.result import Result, Row, number
from simcost.scenarios import phases
from simcost.scenarios import step as steps
from simcost.scenarios.query import Query, workload
from simcost.workload import Workload

BATCHES = (1, 4, 16, 64, 256, 1024)
LENGTHS = (1024, 4096, 16384, 65536, 262144, 1048576)


def result(query: Query) -> Result:
    """Lengths [tokens], table of FLOPs by length, table of contexts by batch."""
    if query.axes:
        raise SpecError("crossover takes one design: use --set instead of --vary")
    w = workload(query)
    model = w.model
    ffn = count.ffn_flops_per_token(model)

    def sequence(length: Num) -> Num:
        return 1.0 * (count.attention_core_flops(model, length, 0.0) / length <= ffn)

    def token(length: Num) -> Num:
        return 1.0 * (count.attention_core_flops(model, 1.0, length - 1.0) <= ffn)

    found: dict[str, Any] = {
        "prefill_crossover_tokens": number(largest(sequence, 0.0) + 1.0),
        "token_crossover_context": number(largest(token, 0.0) + 1.0),
        "ffn_flops_per_token": number(ffn),
    }
    absorbed = _absorbed(w, ffn)
    if absorbed is not None:
        found["token_crossover_context_absorbed"] = number(absorbed)
    lengths: list[Row] = []
    for length in LENGTHS:
        core = float(np.asarray(count.attention_core_flops(model, float(length), 0.0))) / length
        lengths.append(
            {
                "length": length, "attention_core_flops_per_token": number(core), "ffn_flops_per_token": number(ffn),
                "attention_share": number(core / (core + ffn)),
            }
        )  # fmt: skip
    tables = {"prefill FLOPs by length": lengths, "decode reads by batch": _reads(w)}
    forms = _forms(w)
    if forms:
        tables["MLA: queries a sequence from which expanded wins"] = forms
    said = phases.warnings(query, w)
    if absorbed is not None:
        said = (
            *said,
            f"{model.name}: attention FLOPs are those of plain (expanded) attention unless the name says absorbed",
        )
    if forms:
        said = (*said, _judged(w.device))
    if found["prefill_crossover_tokens"] is None:
        said = (*said, f"{model.name}: attention never overtakes the FFN: every growing layer is bounded by its window")
    return Result(
        "crossover", phases.inputs(query, w), found, tables, said, phases.references(w), _sentence(model.name, found)
    )


def _absorbed(w: Workload, ffn: Num) -> Num | None:
    """The context for a single new token when MLA runs absorbed, as decode does; None without MLA."""
    wide: Num = 0.0
    for n, block in w.model.blocks():
        wide = wide + n * getattr(block, "absorbed_core_width", 0.0)
    if not wide:
        return None
    return ceil(ffn / (2.0 * wide))


def _sentence(name: str, found: dict[str, Any]) -> str:
    length = found["prefill_crossover_tokens"]
    if length is None:
        return f"{name}: attention never overtakes the FFN"
    return (
        f"{name}: attention FLOPs overtake the FFN's from {length:,} tokens of prefill, "
        f"and from {found['token_crossover_context']:,} tokens of context for a single new token"
    )


def _reads(w: Workload) -> list[Row]:
    """Context at which one step reads as much cache as weights; MoE batches touch more experts as they grow."""
    rows: list[Row] = []
    for batch in BATCHES:
        at = replace(w, phase=Phase(float(batch), 1.0, 0.0), view=replace(w.view, phase=Phase(float(batch), 1.0, 0.0)))
        weights = _weight_reads(at)
        local = at.view.batch

        def below(context: Num, weights: float = weights, local: Num = local) -> Num:
            return 1.0 * (local * steps.sequence_bytes(w, context) <= weights)

        context = number(largest(below, 0.0) + 1.0)
        rows.append(
            {
                "batch": batch, "weight_bytes_read_per_gpu": number(weights), "context": context,
                "context_x_batch": None if context is None else context * batch,
            }
        )  # fmt: skip
    return rows


def _weight_reads(w: Workload) -> float:
    """Weight bytes that one decode step reads on one rank: only touched experts; the embedding only its rows. [B]"""
    from simcost.routing import distinct_experts

    total = 0.0
    for n, block in w.model.blocks():
        for weight in block.weights(w.plan):
            size = float(n * weight.stored_bytes(w.view.storage))
            if weight.role == "experts":
                held = block.n_routed_experts / w.plan.ep  # type: ignore[attr-defined]
                k = block.num_experts_per_tok  # type: ignore[attr-defined]
                size *= float(distinct_experts(block.n_routed_experts, k, w.phase.batch, held) / held)  # type: ignore[attr-defined]
            if weight.name in ("embed_tokens", "embed_positions"):
                size = (
                    float(w.view.storage["embedding"].tensor_bytes(w.view.batch * weight.inner))
                    if weight.inner
                    else 0.0
                )
            total += size
    if w.model.head.tied:
        head = w.model.head
        total += float(w.view.storage["head"].matrix_bytes(head.vocab_size / w.plan.tp, head.hidden_size))
    return total


def _forms(w: Workload) -> list[Row]:
    """New tokens a sequence from which expanded MLA beats absorbed, by cached context."""
    block = next(
        (b for _, b in w.model.blocks() if any(isinstance(p, Choice) for p in _parts(b.program(w.view)))), None
    )
    if block is None:
        return []
    queries = np.arange(1.0, 4097.0)
    rows: list[Row] = []
    for past in (0, 1024, 4096, 32768, 131072):
        phase = Phase(1.0, queries, float(past))
        program = block.program(replace(w.view, phase=phase))
        choice = next(part for part in _parts(program) if isinstance(part, Choice))
        priced = fold(choice, calibrated.model(w.device, w.engine))
        won = np.asarray(dict(priced.taken)["expanded"]) * np.ones_like(queries) > 0.0
        lost = np.flatnonzero(~won)  # curves may cross more than once: what counts is from where on it stays so
        first = int(lost[-1]) + 1 if len(lost) else 0
        rows.append({"past": past, "queries": int(queries[first]) if first < len(queries) else None})
    return rows


def _judged(device: Device) -> str:
    """By what the forms of MLA were timed."""
    if device.measurements or device.tables:
        return f"{device.name}: the forms of MLA are timed by its measured curves"
    if device.sibling is not None:
        return f"{device.name}: the forms of MLA are timed by the curves of {device.sibling.name}, which stand in"
    return f"{device.name}: the forms of MLA are timed by the roofline: there are no measured rows"


def _parts(program: Program) -> tuple[Program, ...]:
    return program.parts if isinstance(program, Serial) else ()
