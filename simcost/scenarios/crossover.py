"""crossover: where attention O(N²d) overtakes the MLP O(Nd²), and where KV reads overtake weight reads in decode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simcost.cost import calibrated
from simcost.cost.cost import Cost, ratio_deviation
from simcost.cost.memory import largest
from simcost.errors import SpecError
from simcost.estimate import answer
from simcost.hardware.profile import Device
from simcost.model import count
from simcost.model.spec import ModelSpec
from simcost.num import Z90, Array, Bools, Num, ceil
from simcost.plan import Phase
from simcost.program import Choice, Program, Serial
from simcost.program import price as fold
from simcost.provenance import Kind, Note
from simcost.query import Query, workload
from simcost.result import Result, Row, number
from simcost.scenarios import inputs, notes
from simcost.workload import Workload

BATCHES = (1, 4, 16, 64, 256, 1024)
LENGTHS = (1024, 4096, 16384, 65536, 262144, 1048576)
PASTS = (0, 1024, 4096, 32768, 131072)
MOST = 4096  # queries a sequence up to which the forms of MLA are compared


def result(query: Query) -> Result:
    """Lengths [tokens], table of FLOPs by length, table of contexts by batch."""
    if query.axes:
        raise SpecError("crossover takes one design: use --set instead of --vary")
    w = workload(query)
    ffn, forms = count.ffn_flops_per_token(w.model), _forms(w)
    found = _crossovers(w, ffn)
    tables = {"prefill FLOPs by length": _lengths(w.model, ffn), "decode reads by batch": _reads(w)}
    if forms:
        tables["MLA: queries a sequence from which expanded wins"] = forms
    asked = {name: value for name, value in inputs.inputs(query, w).items() if name not in ("batch", "context")}
    return Result(
        "crossover", asked, found, tables, (*notes.warnings(query, w), *_notes(w, found, forms)),
        notes.references(w), _sentence(w.model.name, found), dimensions=inputs.dimensions(w.model),
    )  # fmt: skip


def _crossovers(w: Workload, ffn: Num) -> dict[str, Any]:
    """From how many tokens on attention's FLOPs exceed the FFN's: of a whole prompt, and of one new token."""
    model = w.model

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
    return found if absorbed is None else {**found, "token_crossover_context_absorbed": number(absorbed)}


def _lengths(model: ModelSpec, ffn: Num) -> list[Row]:
    """FLOPs of a token in prefill, by the length of the prompt."""
    rows: list[Row] = []
    for length in LENGTHS:
        core = float(np.asarray(count.attention_core_flops(model, float(length), 0.0))) / length
        rows.append(
            {
                "length": length, "attention_core_flops_per_token": number(core), "ffn_flops_per_token": number(ffn),
                "attention_share": number(core / (core + ffn)),
            }
        )  # fmt: skip
    return rows


def _notes(w: Workload, found: dict[str, Any], forms: list[Row]) -> list[str]:
    """How to read the numbers of this model."""
    notes: list[str] = []
    if "token_crossover_context_absorbed" in found:
        notes.append(
            f"{w.model.name}: attention FLOPs are those of plain (expanded) attention unless the name says absorbed"
        )
    if forms:
        notes += [_judged(w.device), *_unknown(w.device, forms)]
    if found["prefill_crossover_tokens"] is None:
        notes.append(
            f"{w.model.name}: attention never overtakes the FFN: every attention layer is bounded by its window"
        )
    return notes


def _absorbed(w: Workload, ffn: Num) -> Num | None:
    """The context for a single new token when MLA runs absorbed, as decode does; None without MLA."""
    wide: Num = 0.0
    for n, block in w.model.blocks():
        wide = wide + n * block.absorbed_core_width
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
            return 1.0 * (local * answer.state_bytes(w, context) <= weights)

        context = number(largest(below, 0.0) + 1.0)
        rows.append(
            {
                "batch": batch, "weight_bytes_read_per_gpu": number(weights / w.plan.pp), "context": context,
                "context_x_batch": None if context is None else context * batch,
            }
        )  # fmt: skip
    return rows


def _weight_reads(w: Workload) -> float:
    """Weight bytes that one decode step reads on one rank of all stages together: only touched experts; the embedding only its rows. [B]"""
    from simcost.routing.load import distinct_experts

    total = 0.0
    for n, block in w.model.blocks():
        for weight in block.weights(w.plan):
            size = float(n * weight.stored_bytes(w.view.storage))
            if weight.role == "experts" and block.router is not None:
                held = block.router.experts / w.plan.ep
                tokens = w.view.all_tokens
                size *= float(distinct_experts(block.router.experts, block.router.top_k, tokens, held) / held)
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
    """New tokens a sequence from which expanded MLA beats absorbed, by cached context: up to where absorbed, and from where on
    expanded wins by more than their interval; no number between where either never does."""
    block = next((b for _, b in w.model.blocks() if _form_of(b.program(w.view))), None)
    if block is None:
        return []
    model, queries = calibrated.model(w.device, w.engine), np.arange(1.0, MOST + 1.0)
    rows: list[Row] = []
    for past in PASTS:
        program = block.program(replace(w.view, phase=Phase(1.0, queries, float(past))))
        choice = _form_of(program)
        assert choice is not None
        costs = {name: fold(option, model).cost for name, option in choice.options}
        rows.append({"past": past, **_turn(queries, costs["absorbed"], costs["expanded"])})
    return rows


def _turn(queries: Array, absorbed: Cost, expanded: Cost) -> Row:
    """Where expanded takes over for good (curves may cross more than once), and how far either is sure before and after. What both
    rest on is wrong for both alike, so it leaves their ratio as it is."""
    gain = np.log(absorbed.seconds / expanded.seconds) * np.ones_like(queries)
    unknown = Z90 * ratio_deviation(absorbed, expanded)
    first, sure = _from(gain > 0.0), _from(gain > unknown)
    before = np.flatnonzero(-gain > unknown)
    last = int(before[-1]) if len(before) else None
    always = sure == 0  # expanded wins from the first query on, and surely
    known = first is not None and sure is not None and (always or (last is not None and last < first))
    return {
        "queries": int(queries[first]) if known and first is not None else None,
        "absorbed_surely_to": None if last is None else int(queries[last]),
        "expanded_surely_from": None if sure is None else int(queries[sure]),
    }


def _from(holds: Bools) -> int | None:
    """The index from which on something holds to the end."""
    fails = np.flatnonzero(~holds)
    first = int(fails[-1]) + 1 if len(fails) else 0
    return first if first < len(holds) else None


def _unknown(device: Device, forms: list[Row]) -> list[str]:
    """Rows whose crossover is noise, in words."""
    lost = ", ".join(f"{row['past']:,}" for row in forms if row["queries"] is None)
    if not lost:
        return []
    return [
        f"{device.name}: after {lost} cached tokens the crossover of the two forms of MLA is within the uncertainty: for no number of "
        f"queries up to {MOST:,} is absorbed faster before it and expanded faster after it by more than the 90 % interval of their "
        "ratio"
    ]


def _judged(device: Device) -> Note:
    """By what the forms of MLA were timed."""
    if device.measurements or device.tables:
        return Note(f"{device.name}: the forms of MLA are timed by its measured curves", Kind.ORIGIN)
    if device.sibling is not None:
        text = f"{device.name}: the forms of MLA are timed by the curves of {device.sibling.name}, because this device was not measured"
        return Note(text, Kind.TRANSFERRED)
    return Note(f"{device.name}: the forms of MLA are timed by the roofline: there are no measured rows", Kind.ASSUMED)


def _form_of(program: Program) -> Choice | None:
    """The choice between the forms of MLA; other blocks choose between other things, such as modes of All2All."""
    parts = program.parts if isinstance(program, Serial) else ()
    return next(
        (p for p in parts if isinstance(p, Choice) and {"absorbed", "expanded"} <= {name for name, _ in p.options}),
        None,
    )
