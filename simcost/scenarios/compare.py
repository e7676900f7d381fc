"""compare: designs side by side on one device, then the terms in which they differ, largest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from simcost import grammar, metrics
from simcost.cost.cost import BASES, Cost, probability_less, tied
from simcost.cost.price import HIGH, LOW, unsure, with_range
from simcost.errors import SimcostError, SpecError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.model import count, images
from simcost.model.given import Name
from simcost.num import Num
from simcost.plan import Phase
from simcost.pool import Piece, mapped
from simcost.program import leaves
from simcost.provenance import Note
from simcost.query import Query, with_arrays, workload
from simcost.result import Result, Row, number
from simcost.scenarios import calibration_effect, fitting, inputs, memory_notes, notes
from simcost.scenarios.variants import Design
from simcost.scenarios.variants import designs as designs_of
from simcost.units import show
from simcost.workload import Workload

_USD = "usd_per_million_output_tokens"
CONTEXTS = (1024, 4096, 32768, 131072)


def result(
    models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], decode: Query, prefill: Query
) -> Result:
    """`decode` and `prefill` are the questions; each design answers both: the models as they stand, then the variants. A design that cannot be run is a
    row with its reason."""
    if decode.axes:
        raise SpecError("compare takes one operating point: use --set instead of --vary")
    sides = designs_of(models, variants, decode, prefill)
    designs: list[Row] = []
    costs: dict[str, dict[str, Cost]] = {"tpot_s": {}, "ttft_s": {}}
    money: dict[str, Cost] = {}
    terms: dict[str, dict[str, float]] = {}
    shifts: list[Row] = []
    said: list[str] = []
    asked: list[Workload] = []
    priced: list[steps.Step] = []
    chosen: list[Row] = []
    answered = mapped(_answered, [Piece((side,), side.label, 1.0) for side in sides])
    for side, (w, found) in zip(sides, answered, strict=True):
        label, question = side.label, side.decode
        said += notes.warnings(question, w)
        designs.append(_design(w, question, found, side.identity()))
        if designs[-1].get("fits") is False:
            said.append(f"{label}: {fitting.smallest(question, w)}")
        chosen += inputs.dimensions(w.model, label)
        said += memory_notes.beyond(w.model, designs[-1].get("max_context"))
        asked.append(w)
        for phase, step in {} if isinstance(found, str) else found.items():
            priced.append(step)
            _terms(terms, label, phase, step)
            costs["tpot_s" if phase == "decode" else "ttft_s"][label] = step.cost.on(w.device.name)
            if phase == "decode":
                money[label] = unsure(step.cost.on(w.device.name), w.device.name, question.paid(w.device))
            if calibration_effect.calibrated(step):
                shifts += [_rounded(row) for row in calibration_effect.rows(label, phase, step)]
    runnable = [row["design"] for row in designs if row["feasible"]]
    if not runnable:
        raise SpecError(f"no design can be run: {designs[0]['reason']}")
    fits = all(row.get("fits", False) for row in designs)
    misfits = [row["design"] for row in designs if not row.get("fits", False)]
    winners = _winners(designs)
    tied = {name: _tied(str(winners[f"best_{name}"]), found) for name, found in costs.items()}
    alike = _alike(designs, winners, money)
    designs = [_placed(row, winners, tied, costs) for row in designs]
    verdict = (
        "all designs fit"
        if fits
        else f"DOES NOT FIT or cannot be run: {', '.join(misfits)}; times are printed as if the memory sufficed"
    )
    return Result(
        "compare", _inputs(models, variants, sides), {**winners, **{f"tied_{k}": ", ".join(v) for k, v in {**tied, _USD: alike}.items() if v}},
        _tables(designs, _differences(terms, runnable), shifts), notes.shared(said, [w.model.name for w in asked]), tuple(dict.fromkeys(line for w in asked for line in notes.references(w, *priced))),
        "; ".join([verdict, *_fastest(designs, winners, tied), *_cheapest(designs, winners, alike)]), fits, tuple(chosen),
    )  # fmt: skip


def _answered(side: Design) -> tuple[Workload, dict[str, steps.Step] | str]:
    """A design with both steps, or why it has none."""
    w = _labelled(workload(side.decode), side.label)
    return w, _answers(w, side.prefill)


def _labelled(w: Workload, label: str) -> Workload:
    return replace(
        w, model=replace(w.model, name=label), notes=tuple(_renamed(n, w.model.name, label) for n in w.notes)
    )


def _renamed(note: Note, name: str, label: str) -> Note:
    return note.worded(label + note.removeprefix(name)) if note.startswith(f"{name}:") else note


def _inputs(models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], sides: list[Design]) -> dict[str, Any]:
    """What was asked, of the first design where variants differ in it."""
    first = sides[0]
    asked = {k: v for k, v in inputs.inputs(first.decode, None).items() if k != "model"}
    prompt = first.prefill.overrides.phase
    plan = inputs.sizes(grammar.plan_of(first.decode.overrides.plan))
    named: dict[str, Any] = {"models": [inputs.stated(name) for name in models]}
    if variants:
        named["variants"] = [one if isinstance(one, str) else dict(one) for one in variants]
    seen = {key: prompt[key] for key in ("images", *images.SIDES) if prompt.get(key) is not None}
    return {**named, **asked, "plan": plan, "isl": prompt.get("isl"), "prefill_batch": prompt["batch"], **seen}


def _answers(w: Workload, prompt: Query) -> dict[str, steps.Step] | str:
    """Both steps of a design, or why it has none."""
    try:
        same = with_arrays(
            _without_sides(w, prompt), {}, w.model
        )  # `iso` holds at one length, and a column is one design
        return {"decode": steps.checked(w), "prefill": steps.checked(_labelled(same, w.model.name))}
    except SimcostError as error:
        return str(error).removeprefix("plan: ")


def _without_sides(w: Workload, prompt: Query) -> Query:
    """The prompt of a design whose tower makes every image one size: sides are stated for the other designs."""
    tower = images.seeing(w.model.towers)
    if tower is None or tower.side is None:
        return prompt
    phase = {key: value for key, value in prompt.overrides.phase.items() if key not in images.SIDES}
    return replace(prompt, overrides=replace(prompt.overrides, phase=phase))


def _tables(designs: list[Row], terms: list[Row], shifts: list[Row]) -> dict[str, list[Row]]:
    found = {"designs": designs, "terms": terms}
    return found | {"what measurements moved": shifts} if shifts else found


def _rounded(row: Row) -> Row:
    return {key: number(value) if isinstance(value, float) else value for key, value in row.items()}


def _design(w: Workload, question: Query, answers: dict[str, steps.Step] | str, identity: Row) -> Row:
    row: Row = {"design": w.model.name, **identity, "feasible": not isinstance(answers, str)}
    if isinstance(answers, str):
        return {**row, "reason": answers, **{k: number(v) for k, v in _counts(w).items()}}
    price, paid = question.price(w.device), question.paid(w.device)
    output = with_range(answer.metrics(answers["decode"], True, price), paid)
    entry = with_range(answer.metrics(answers["prefill"], False, price), paid)
    found = {"prefill_batch": answers["prefill"].workload.phase.batch}
    shown = [name for of in metrics.of_compare() for name in (of, of + LOW, of + HIGH)]
    found |= {name: entry[name] for name in shown if name in entry and name not in output}
    found["prefill_speed_of_light_s"] = entry["speed_of_light_s"]
    found |= {name: output[name] for name in shown if name in output}
    found["decode_speed_of_light_s"] = output["speed_of_light_s"]
    for name in ("memory_used_bytes_per_gpu", "memory_short_bytes_per_gpu", *(f"share_{b}" for b in BASES)):
        found[name] = output[name]
    row["fits"] = fitting.verdict(answers["decode"].kept)[1]
    return {**row, **{key: number(value) for key, value in {**_counts(w), **found}.items()}}


def _counts(w: Workload) -> dict[str, Num]:
    """What is known of a design before it runs."""
    counts, kv = count.parameters(w.model), count.kv_elements(w.model)
    found: dict[str, Num] = {
        "params_total": counts["params_total"],
        "params_language": counts["params_language"],
        "params_active_no_embedding": counts["params_active_no_embedding"],
        "weight_bytes": count.weight_bytes(w.model, storage=w.view.storage),
        "kv_bytes_per_token": w.view.kv.tensor_bytes(kv["kv_elements_per_token"]),
    }
    for context in CONTEXTS:
        at = replace(w, phase=Phase(1.0, 1.0, context - 1.0))
        found[f"flops_per_token_at_{context}"] = answer.flops_per_token(at)
    return found


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
    for name in metrics.least():
        rows = [row for row in designs if row.get(name) is not None]
        if rows:
            least = min(row[name] for row in rows)
            found[f"best_{name}"] = next(row["design"] for row in rows if row[name] == least)
    return found


def _tied(best: str, costs: dict[str, Cost]) -> list[str]:
    """Designs that cannot be told from the best one of a time."""
    return [name for name, cost in costs.items() if name != best and tied(cost, costs[best])]


def _alike(designs: list[Row], winners: dict[str, object], costs: dict[str, Cost]) -> list[str]:
    """Designs that cannot be told from the cheapest one, for the error of their times or the range of their prices."""
    best = winners.get(f"best_{_USD}")
    usd = {row["design"]: float(row[_USD]) for row in designs if row.get(_USD) is not None}
    return [
        name
        for name, value in usd.items()
        if name != best and tied(costs[name], costs[str(best)], value / usd[str(best)])
    ]


def _cheapest(designs: list[Row], winners: dict[str, object], alike: list[str]) -> list[str]:
    """The same in a sentence, where there is a choice."""
    usd = {row["design"]: float(row[_USD]) for row in designs if row.get(_USD) is not None}
    best = winners.get(f"best_{_USD}")
    if len(usd) < 2:
        return []
    tied_with = (
        f"{best} is tied with {', '.join(alike)}"
        if alike
        else f"{best} is the cheapest, {show(usd[str(best)], 'usd')} per million output tokens"
    )
    return [f"price: {tied_with}"]


def _placed(row: Row, winners: dict[str, object], tied: dict[str, list[str]], costs: dict[str, dict[str, Cost]]) -> Row:
    """The row with its place beside each time: how far it lies behind the least, how surely, and whether it is the least or tied with it."""
    found: Row = {}
    for key, value in row.items():
        found[key] = value
        name = key.replace("_high_s", "_s")
        if key.endswith("_high_s") and name in tied:
            best, time = str(winners[f"best_{name}"]), name.removesuffix("_s")
            found |= _behind(time, row["design"], best, costs[name])
            found[f"{time}_best_or_tied"] = row["design"] in (best, *tied[name])
    return found


def _behind(time: str, design: str, best: str, costs: dict[str, Cost]) -> Row:
    """How much longer a design's time is than the best one's, and the probability that it is longer; of the best itself none."""
    slower = None if design == best else number(probability_less(costs[best], costs[design]))
    ratio = costs[design].seconds / costs[best].seconds
    return {f"{time}_versus_best": number(ratio - 1.0), f"{time}_probability_slower": slower}


def _fastest(designs: list[Row], winners: dict[str, object], tied: dict[str, list[str]]) -> list[str]:
    """One sentence a time: the design with the least, and how long it is, or with which others it is tied."""
    found = []
    for name, others in tied.items():
        best = winners[f"best_{name}"]
        least = next(row[name] for row in designs if row["design"] == best)
        said = f"is tied with {', '.join(others)}" if others else f"is the fastest, {show(float(least), 'seconds')}"
        found.append(f"{name.removesuffix('_s').upper()}: {best} {said}")
    return found
