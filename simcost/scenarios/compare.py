"""compare: designs side by side on one device, then the terms in which they differ, largest first."""

from __future__ import annotations

from dataclasses import replace

from simcost.cost.cost import BASES
from simcost.errors import SimcostError, SpecError
from simcost.model import count
from simcost.num import Num
from simcost.plan import Phase
from simcost.program import leaves
from simcost.result import Result, Row, number
from simcost.scenarios import moved, phases, rules
from simcost.scenarios import step as steps
from simcost.scenarios.query import Query, workload

CONTEXTS = (1024, 4096, 32768, 131072)


def result(models: list[str], decode: Query, prefill: Query) -> Result:
    """`decode` and `prefill` are the questions; each design answers both. A design that cannot be run is a row with its reason."""
    if decode.axes:
        raise SpecError("compare takes one operating point: use --set instead of --vary")
    if len(models) < 2:
        raise SpecError("compare needs at least two models")
    designs: list[Row] = []
    terms: dict[str, dict[str, float]] = {}
    shifts: list[Row] = []
    said: list[str] = []
    rests: list[str] = []
    for name in models:
        question, prompt = replace(decode, model=name), replace(prefill, model=name)
        w = workload(question)
        said += phases.warnings(question, w)
        rests += phases.references(w)
        designs.append(_design(question, prompt))
        if designs[-1]["feasible"]:
            for phase, step in (("decode", steps.run(w)), ("prefill", steps.run(workload(prompt)))):
                _terms(terms, name, phase, step)
                if moved.calibrated(step):
                    shifts += [_rounded(row) for row in moved.rows(name, phase, step)]
    runnable = [row["design"] for row in designs if row["feasible"]]
    if not runnable:
        raise SpecError(f"no design can be run: {designs[0]['reason']}")
    inputs = {k: v for k, v in phases.inputs(decode, None).items() if k != "model"}
    fits = all(row.get("fits", False) for row in designs)
    misfits = [row["design"] for row in designs if not row.get("fits", False)]
    return Result(
        "compare", {"models": models, **inputs, "isl": prefill.overrides.phase.get("isl")}, _winners(designs),
        _tables(designs, _differences(terms, runnable), shifts), tuple(dict.fromkeys(said)), tuple(dict.fromkeys(rests)),
        "all designs fit" if fits else f"DOES NOT FIT or cannot be run: {', '.join(misfits)}; times are as if memory allowed", fits,
    )  # fmt: skip


def _tables(designs: list[Row], terms: list[Row], shifts: list[Row]) -> dict[str, list[Row]]:
    found = {"designs": designs, "terms": terms}
    return found | {"what measurements moved": shifts} if shifts else found


def _rounded(row: Row) -> Row:
    return {key: number(value) if isinstance(value, float) else value for key, value in row.items()}


def _design(question: Query, prompt: Query) -> Row:
    w = workload(question)
    counts, kv = count.parameters(w.model), count.kv_elements(w.model)
    row: Row = {"design": w.model.name, "feasible": True}
    found: dict[str, Num] = {
        "params_total": counts["params_total"],
        "params_active_no_embedding": counts["params_active_no_embedding"],
        "weight_bytes": count.weight_bytes(w.model, storage=w.view.storage),
        "kv_bytes_per_token": w.view.kv.tensor_bytes(kv["kv_elements_per_token"]),
    }
    for context in CONTEXTS:
        at = replace(w, phase=Phase(1.0, 1.0, context - 1.0))
        found[f"flops_per_token_at_{context}"] = steps.flops_per_token(at)
    try:
        step = rules.run(w)
        first = rules.run(workload(prompt))
    except SimcostError as error:
        return {
            **row,
            "feasible": False,
            "reason": str(error).removeprefix("plan: "),
            **{k: number(v) for k, v in found.items()},
        }
    output = steps.metrics(step, True, question.price(w.device))
    entry = steps.metrics(first, False, prompt.price(w.device))
    for name in ("ttft_s", "ttft_low_s", "ttft_high_s", "input_tokens_per_s_per_gpu", "usd_per_million_input_tokens"):
        if name in entry:
            found[name] = entry[name]
    found["prefill_speed_of_light_s"] = entry["speed_of_light_s"]
    for name in (
        "tpot_s",
        "tpot_low_s",
        "tpot_high_s",
        "output_tokens_per_s_per_gpu",
        "usd_per_million_output_tokens",
        "max_batch",
        "max_context",
    ):
        if name in output:
            found[name] = output[name]
    found["decode_speed_of_light_s"] = output["speed_of_light_s"]
    for name in ("memory_used_bytes_per_gpu", "memory_short_bytes_per_gpu", *(f"share_{b}" for b in BASES)):
        found[name] = output[name]
    row["fits"] = phases.verdict(step)[1]
    return {**row, **{key: number(value) for key, value in found.items()}}


def _terms(terms: dict[str, dict[str, float]], name: str, phase: str, step: steps.Step) -> None:
    for path, _, cost, weight in leaves(step.priced):
        block = path[-2] if len(path) > 2 else ""
        block = {"expanded": "attention", "absorbed": "attention"}.get(block, block)
        block = "" if " x" in block else block
        label = f"{phase}: {block + ' / ' if block else ''}{path[-1]}"
        found = terms.setdefault(label, {})
        found[name] = found.get(name, 0.0) + float(cost.seconds) * float(weight)


def _differences(terms: dict[str, dict[str, float]], designs: list[str]) -> list[Row]:
    rows: list[Row] = []
    for label, times in terms.items():
        every = [times.get(name, 0.0) for name in designs]
        if max(every) > 0:
            rows.append(
                {
                    "term": label,
                    **{f"{n}_s": times.get(n) for n in designs},
                    "spread_s": max(every) - min(every),
                }
            )
    return sorted(rows, key=lambda row: -float(row["spread_s"]))


def _winners(designs: list[Row]) -> dict[str, object]:
    """The best design of each headline number."""
    found: dict[str, object] = {"designs": len(designs)}
    for name, pick in (
        ("tpot_s", min),
        ("ttft_s", min),
        ("usd_per_million_output_tokens", min),
        ("kv_bytes_per_token", min),
    ):
        rows = [row for row in designs if row.get(name) is not None]
        if rows:
            found[f"best_{name}"] = pick(rows, key=lambda row, key=name: row[key])["design"]  # type: ignore[misc]
    return found
