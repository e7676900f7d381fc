"""The Result of a distillation: a row a variant with GPU-hours, USD, bytes kept and sent; the rates behind them.

Most likely to be wrong: that all variants need as many tokens. They do not teach alike; the user compares them at the tokens that each needs. Source:
docs/theory/distillation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from simcost.cost.price import HIGH, LOW, with_range
from simcost.distillation import payload, variants
from simcost.distillation.variants import Cost, Payload, Rates
from simcost.hardware.prices import Price
from simcost.model.spec import ModelSpec
from simcost.provenance import Kind, Note
from simcost.query import Query, model_of
from simcost.result import Result, Row, number
from simcost.scenarios.distill import rates, ties
from simcost.scenarios.distill.question import STORAGE_USD, Asked
from simcost.scenarios.distill.rates import Rate
from simcost.scenarios.distill.ties import Part
from simcost.units import show

VARIANTS, PARTS = "variants", "rates"
_HOUR = 3600.0
_PADDED = 0.01  # vocabularies of one tokenizer differ by padding, by less than this part


class Parts(NamedTuple):
    """Rates of all parts, the training run behind the last, and what its plan was found to be."""

    writes: Rate
    rolls: Rate
    reads: Rate
    trains: Rate
    run: Result
    plan: str

    @property
    def gpus(self) -> float:
        """Of the training."""
        return float(self.run.metrics["gpus"])


def result(q: Asked) -> Result:
    """The answer. Raises SpecError and Infeasible."""
    teacher, student = (model_of(Query(each, "", True)) for each in (q.teacher, q.student))
    parts = _parts(q)
    sizes = Payload(
        payload.text_bytes(), payload.logits_bytes(float(np.asarray(teacher.vocab_size))), payload.top_k_bytes(q.top_k),
        payload.hidden_bytes(float(np.asarray(teacher.hidden_size)), q.layers),
    )  # fmt: skip
    middle, least, most = (
        variants.costs(q.amount, _rates(q, parts, teacher, student, end), sizes) for end in ("per_gpu", "high", "low")
    )
    why = _unlike(teacher, student, q.maps)
    table = [_row(q, parts, name, (cost, least[name], most[name]), why) for name, cost in middle.items()]
    if q.rl is not None:
        table.append(_of_rl(q.rl, parts))
    best = _ranked(table, parts, q.rl)
    head: dict[str, Any] = {
        "trained_tokens": number(q.amount.trained), "cheapest": best["variant"], "total_usd": best.get("total_usd"), "total_gpu_hours": best["total_gpu_hours"],
        "teacher_gpus_per_student_gpu": number(parts.trains.per_gpu / parts.reads.per_gpu), "gpus": number(parts.gpus),
    }  # fmt: skip
    head = {name: value for name, value in head.items() if value is not None}
    return Result("distill", dict(q.stated), head, {VARIANTS: table, PARTS: _part_rows(parts)}, _notes(q, parts, teacher, student, why), parts.run.references, _verdict(q, table, best))  # fmt: skip


def _parts(q: Asked) -> Parts:
    isl, osl = q.isl, q.osl
    whole = q.amount.prompt + q.amount.answer
    writes = rates.writing("teacher writes", q.teacher, q.teacher_hw, isl, osl, q.teacher_sets, q.teacher_price)
    rolls = rates.writing("student writes", q.student, q.hw, isl, q.student_osl, q.rollout_sets, q.price)
    reads = rates.reading("teacher reads", q.teacher, q.teacher_hw, whole, q.teacher_sets, q.teacher_price)
    run, plan = rates.trained(q.student, q.hw, q.phase, q.sets, q.stack, q.price, q.amount.trained)
    m = run.metrics
    step, low, high = (float(m[name]) for name in ("step_s", "step_low_s", "step_high_s"))
    hours = float(m["run_gpu_hours"])
    speed = float(m["run_tokens"]) / hours / _HOUR
    ends = (m.get(f"run_usd{end}") for end in ("", LOW, HIGH))
    usd, least, most = (None if end is None else float(end) / hours for end in ends)
    sizes = (
        ", ".join(
            f"{key}={run.inputs['plan'][key]}"
            for key in ("tp", "pp", "ep", "dp")
            if run.inputs["plan"].get(key) not in (None, 1)
        )
        or "tp=1"
    )
    trains = Rate(
        "student trains",
        stated_name(q.student),
        q.hw,
        sizes,
        float(m["gpus"]),
        speed,
        speed * step / high,
        speed * step / low,
        None if usd is None else Price(usd, least, most),
        bool(plan),
    )
    return Parts(writes, rolls, reads, trains, run, plan)


def stated_name(model: Any) -> str:
    """A model's name; of a config that was handed over, that it was."""
    return model.rpartition("/")[2] if isinstance(model, str) else "the config"


def _rates(q: Asked, parts: Parts, teacher: ModelSpec, student: ModelSpec, end: str) -> Rates:
    """Rates at the middle or an end of their intervals. Projections run at the speed of the rest of the step."""
    writes, rolls, reads, trains = (float(getattr(each, end)) for each in parts[:4])
    of_token = float(parts.run.metrics["training_flops_per_token"])
    more = float(
        payload.projection_flops(
            float(np.asarray(teacher.hidden_size)), float(np.asarray(student.hidden_size)), q.layers
        )
    )
    return Rates(writes, rolls, reads, trains, trains / (1.0 + more / of_token))


def _row(q: Asked, parts: Parts, name: str, costs: tuple[Cost, Cost, Cost], unlike: str) -> Row:
    """A variant; costs at the middle and both ends of the rates. A part without a price leaves the whole without one."""
    cost, least, most = costs
    hours = {
        part: float(getattr(cost, field)) / _HOUR
        for part, field in (
            ("writing", "writing"),
            ("rollout", "rolling"),
            ("teacher", "reading"),
            ("training", "training"),
        )
    }
    of_teacher, of_student = parts.writes.price, parts.trains.price
    kept = float(cost.kept_bytes) * q.storage.usd_per_byte
    sent = float(cost.sent_bytes) * q.storage.sent_usd_per_byte
    usd: Row = {}
    if of_teacher is not None and of_student is not None:
        taught, learnt = hours["writing"] + hours["teacher"], hours["rollout"] + hours["training"]
        both = [
            with_range({"usd": taught * of_teacher.usd}, of_teacher),
            with_range({"usd": learnt * of_student.usd}, of_student),
        ]
        ends = [end for end in ("", LOW, HIGH) if not end or any(f"usd{end}" in one for one in both)]
        for end in ends:
            usd[f"total_usd{end}"] = number(sum(one.get(f"usd{end}", one["usd"]) for one in both) + kept + sent)
    whole = float(cost.gpu_s) / _HOUR
    row: Row = {
        "variant": name, "feasible": not (unlike and name in variants.TOKEN_BY_TOKEN), **usd, "total_gpu_hours": number(whole), "total_gpu_hours_low": number(float(least.gpu_s) / _HOUR),
        "total_gpu_hours_high": number(float(most.gpu_s) / _HOUR), **{f"{part}_gpu_hours": number(each) for part, each in hours.items()},
        "handed_bytes_per_token": number(cost.token_bytes), "stored_bytes": number(cost.kept_bytes), "storage_usd": number(kept), "network_bytes": number(cost.sent_bytes),
        "network_usd": number(sent), "read_bytes_per_s_per_gpu": number(float(cost.token_bytes) * parts.trains.per_gpu), "duration_s": number(float(cost.gpu_s) / parts.gpus),
    }  # fmt: skip
    return row if row["feasible"] else {**row, "reason": unlike}


def _of_rl(rl: Mapping[str, Any], parts: Parts) -> Row:
    """Reinforcement learning of the student, as `rl` prices it."""
    hours = float(rl["gpu_hours"])
    spread = (float(rl[name]) / float(rl["step_s"]) for name in ("step_low_s", "step_high_s"))
    low, high = (hours * each for each in spread)
    row: Row = {"variant": variants.RL, "feasible": True, "total_gpu_hours": number(hours), "total_gpu_hours_low": number(low), "total_gpu_hours_high": number(high), "duration_s": number(hours * _HOUR / parts.gpus)}  # fmt: skip
    usd = {f"total_usd{end}": number(rl[f"usd{end}"]) for end in ("", LOW, HIGH) if rl.get(f"usd{end}") is not None}
    return {**row, **usd}


def _ranked(table: list[Row], parts: Parts, rl: Mapping[str, Any] | None) -> Row:
    """The cheapest variant that can be; by GPU-hours where a price is unknown. Every row says by how much it is dearer, and how surely."""
    able = [row for row in table if row["feasible"]]
    by = "total_usd" if all("total_usd" in row for row in able) else "total_gpu_hours"
    best = min(able, key=lambda row: float(row[by]))
    for row in able:
        row["times_cheapest"] = number(float(row[by]) / float(best[by]))
    costs = {
        row["variant"]: ties.cost(_unsure(row, parts, rl), float(row[by]) if by == "total_usd" else None)
        for row in able
    }
    ties.mark(able, costs, str(best["variant"]))
    return best


def _unsure(row: Row, parts: Parts, rl: Mapping[str, Any] | None) -> list[Part]:
    """What the GPU-hours of a variant are made of; the student's GPUs have the price that its roll-out has."""
    student = parts.rolls
    if row["variant"] == variants.RL and rl is not None:
        ends = float(rl["step_low_s"]), float(rl["step_high_s"])
        return [Part(variants.RL, float(row["total_gpu_hours"]), ends, student.hw, student.price)]
    rates = {"writing": parts.writes, "rollout": student, "teacher": parts.reads, "training": parts.trains}
    return [
        Part(name, float(row[f"{name}_gpu_hours"]), (rate.low, rate.high), rate.hw, student.price if name == "training" else rate.price)
        for name, rate in rates.items()
    ]  # fmt: skip


def _unlike(teacher: ModelSpec, student: ModelSpec, maps: bool) -> str:
    """Why a student cannot follow its teacher token by token; "" where it can."""
    large, small = (float(np.asarray(each.vocab_size)) for each in (teacher, student))
    if maps or abs(large - small) <= _PADDED * max(large, small):
        return ""
    return f"vocabularies differ ({large:,.0f} and {small:,.0f}): transfer token by token needs a map between the tokenizers (--cross-tokenizer)"


def _part_rows(parts: Parts) -> list[Row]:
    return [
        {
            "part_of_distillation": each.what, "model": each.model, "hw": each.hw, "gpus": number(each.gpus), "plan": each.plan, "tokens_per_s_per_gpu": number(each.per_gpu),
            "tokens_per_s_per_gpu_low": number(each.low), "tokens_per_s_per_gpu_high": number(each.high),
        }
        for each in parts[:4]
    ]  # fmt: skip


def _notes(q: Asked, parts: Parts, teacher: ModelSpec, student: ModelSpec, why: str) -> tuple[Note, ...]:
    found = [
        Note(
            "all variants train on the same number of tokens; how many each needs for equal quality differs and is not priced",
            Kind.ASSUMED,
        )
    ]
    if not q.amount.written:
        found.append(
            Note(
                "--texts given: logits and hidden states are computed on existing texts; with --texts teacher the teacher writes them first",
                Kind.ASSUMED,
            )
        )
    if not q.storage.stated:
        found.append(Note(f"storage ${STORAGE_USD} per GB and month, {q.storage.months:g} of them (--storage-price, --storage-months): list price of Amazon S3 Standard", Kind.ASSUMED))  # fmt: skip
    if q.storage.sent_usd_per_byte == 0.0:
        found.append(
            Note("sent bytes stay inside one site and cost nothing (--network-price sets a price)", Kind.ASSUMED)
        )
    guessed = [f"{each.what}: {each.gpus:g} x {each.hw}, {each.plan}" for each in parts[:3] if each.assumed]
    if guessed:
        found.append(
            Note(
                f"plans that were not stated: the smallest that hold 32 sequences are used: {'; '.join(guessed)}",
                Kind.ASSUMED,
            )
        )
    if parts.plan:
        found.append(
            Note(
                f"the training plan was not stated, so the first of those tried that fits is taken: {parts.plan}",
                Kind.ASSUMED,
            )
        )
    large, small = (float(np.asarray(each.vocab_size)) for each in (teacher, student))
    if not why and large != small:
        found.append(Note(f"vocabularies of {large:,.0f} and {small:,.0f} are taken as one tokenizer with different padding" if not q.maps else "the map between the tokenizers is yours and costs nothing here", Kind.ASSUMED))  # fmt: skip
    if q.rl is not None:
        trained = float(q.rl["tokens_per_step"]) * float(q.rl["steps"])
        found.append(Note(f"rl: {q.rl['steps']} steps of {q.rl['prompts']} x {q.rl['samples']} answers, {show(trained, 'tokens')} trained tokens where the other rows have {show(q.amount.trained, 'tokens')}", Kind.ASSUMED))  # fmt: skip
        found += q.rl["notes"]
    if not parts.run.fits:
        found.append(Note(f"training: {parts.run.verdict}", Kind.LIMIT))
    found.append(
        Note(
            "the last answers of a run leave GPUs idle; this is not counted, and is small for many samples", Kind.SCOPE
        )
    )
    found.append(
        Note("where teacher and student work at the same time, they share the GPUs so that neither waits", Kind.SCOPE)
    )
    return tuple(found)


def _verdict(q: Asked, table: list[Row], best: Row) -> str:
    price = f"{show(float(best['total_usd']), 'usd')}, " if "total_usd" in best else ""
    text = f"{show(float(q.amount.trained), 'tokens')} trained tokens: cheapest is {best['variant']}, {price}{_hours(float(best['total_gpu_hours']))} GPU-hours"
    others = sorted(
        (row for row in table if row is not best and row["feasible"]), key=lambda row: float(row["times_cheapest"])
    )
    if others:
        text += "; " + ", ".join(
            f"{row['variant']} {float(row['times_cheapest']):.3g} times{' (tied)' * row['best_or_tied']}"
            for row in others
        )
    refused = [row["variant"] for row in table if not row["feasible"]]
    return f"{text}; not possible without a map: {', '.join(refused)}" if refused else text


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"
