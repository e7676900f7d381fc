"""The Result of thinking budgets: a row a budget or level; beside it the larger model, what a thousand tokens buy, and training longer."""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.provenance import Kind, Note
from simcost.result import Result, Row, number
from simcost.scenarios import notes
from simcost.scenarios.inputs import inputs
from simcost.scenarios.serve.result import draft_note, step_of, warnings
from simcost.scenarios.think import tradeoff
from simcost.scenarios.think.question import Asked
from simcost.scenarios.think.side import Side, rows, side
from simcost.thinking.parallel import ONE
from simcost.units import show

OWN, LARGER, STEPS, TRAINED, SILENT = "answers", "larger model", "a thousand tokens more", "train or think", "no number"


def result(q: Asked) -> Result:
    """The answer. Raises SpecError and Infeasible."""
    own = side(q.own, q.events)
    larger = None if q.larger is None else side(q.larger, q.events)
    mine = rows(own)
    tables: dict[str, list[Row]] = {OWN: mine}
    head: dict[str, Any] = dict(mine[0]) if len(mine) == 1 else {"points": len(mine)}
    said: list[Note] = []
    best = _cheapest(mine)
    if best is not None and len(mine) > 1:
        head["cheapest_solved_at"] = str(best[own.question.answers.key])
    if larger is not None:
        tables[LARGER] = rows(larger)
        steps = tradeoff.steps(own, larger)
        if steps is None:
            said.append(
                Note(
                    "comparing a thousand more tokens with the larger model needs --accuracy, --versus-accuracy, prices and two rows",
                    Kind.MISSING,
                )
            )
        else:
            tables[STEPS] = tradeoff.step_rows(own, larger, steps)
            if steps.beyond is not None:
                head["larger_buys_more_beyond"] = str(tables[STEPS][steps.beyond][own.question.answers.key])
    if q.pretrain is not None and larger is not None:
        tables |= _trained(q, own, larger, head, said)
    if len(tables) == 1 and len(mine) == 1:
        tables = {}
    more, references = _about(own)
    fits = all(row.get("latency_s", 0.0) is not None for row in mine)
    return Result(
        "think",
        _inputs(q, own),
        head,
        tables,
        (*_notes(q, own, larger), *said, *more),
        references,
        _verdict(own, mine, head, larger),
        fits,
    )


def _trained(q: Asked, own: Side, larger: Side, head: dict[str, Any], said: list[Note]) -> dict[str, list[Row]]:
    assert q.pretrain is not None
    found, silent, rate = tradeoff.trained(q, q.pretrain, own, larger)
    text = "equal pre-training loss is taken as equal accuracy at every budget: the model trained longer solves what the larger one solves"
    said += [Note(text, Kind.ASSUMED), Note(f"training: {rate['verdict']}", Kind.ORIGIN)]
    pays = [row["break_even_queries"] for row in found if row["break_even_queries"] is not None]
    if pays:
        head |= {"break_even_queries_least": number(min(pays)), "break_even_queries_most": number(max(pays))}
    return {**({TRAINED: found} if found else {}), **({SILENT: silent} if silent else {})}


def _cheapest(found: list[Row]) -> Row | None:
    """The row of the least USD a solved query."""
    priced = [row for row in found if row.get("usd_per_solved_query") is not None]
    return min(priced, key=lambda row: float(row["usd_per_solved_query"])) if priced else None


def _about(own: Side) -> tuple[tuple[Note, ...], tuple[str, ...]]:
    """(notes of the fleet's kernels, what they rest on)."""
    if own.served is None:
        return (), ()
    s = own.served
    step = step_of(s.asked, s.replica, s.answer)
    policy, terms = s.replica.policy, s.terms
    origin = (
        f"{terms.engine} {terms.version}: {policy.name.replace('_', ' ')} policy, {policy.tokens:,.0f} tokens per step, at most {policy.sequences:,.0f} sequences per "
        "replica; steady state of a mean field"
    )
    drafts = (draft_note(s.replica),) if s.asked.drafts else ()
    return (Note(origin, Kind.ORIGIN), *drafts, *warnings(s.asked, step)), notes.references(step.workload, step)


def _notes(q: Asked, own: Side, larger: Side | None) -> list[Note]:
    found = list(own.question.answers.notes)
    if larger is not None:
        found += [note for note in larger.question.answers.notes if note not in found]
    if own.served is not None and q.events is None:
        found.append(
            Note(
                "P50 and P95 of latency use the spread of lengths with the mean TTFT and TPOT; --events also simulates the queues",
                Kind.SCOPE,
            )
        )
    fleets = [each.served.asked for each in (own, larger) if each is not None and each.served is not None]
    if any(each.drafts for each in fleets):
        found.append(
            Note("a draft is accepted with one probability, in thoughts and answers of any length", Kind.ASSUMED)
        )
    if larger is not None and len(fleets) == 2 and q.where.serving and not (fleets[1].drafts or fleets[1].pools):
        text = f"{larger.question.name} is served without drafts and pools (--versus-drafts, --versus-prefill-pool and --versus-decode-pool add them)"
        found.append(Note(text, Kind.SCOPE))
    if q.own.how != ONE:
        found += [
            Note(
                "lengths of parallel answers are drawn independently; real answers to one prompt are alike, so that the longest is shorter than printed",
                Kind.ASSUMED,
            ),
            Note("the price does not include choosing among the answers (a reward model, a vote, tests)", Kind.SCOPE),
        ]
    if q.own.prices is not None:
        what = "" if own.served is None else ", the fleet's for latency alone"
        found.append(Note(f"prices are those of the price list{what}: prompts once a query, {q.own.how.width - 1} more from the cache" if q.own.how != ONE else f"prices are those of the price list{what}", Kind.ORIGIN))  # fmt: skip
    if own.question.accuracy is None and own.accuracy is not None:
        found.append(Note("accuracy is that of the published rows", Kind.ORIGIN))
    if own.accuracy is not None and np.any(np.isnan(own.accuracy)):
        found.append(
            Note(
                "rows without a budget or level in the accuracy file have no accuracy",
                Kind.MISSING,
            )
        )
    return found


def _inputs(q: Asked, own: Side) -> dict[str, Any]:
    stated = {name: value for name, value in q.stated.items() if value is not None}
    if own.served is None:
        return stated
    base = inputs(own.served.asked.query, own.served.replica.workload)
    pooled = ("plan",) if own.served.pools is not None else ()  # pools say their plans
    for name in ("context", "batch", "model", "hw", *pooled):
        base.pop(name, None)
    return {**stated, **base}


def _verdict(own: Side, mine: list[Row], head: dict[str, Any], larger: Side | None) -> str:
    key = own.question.answers.key
    first, last = mine[0], mine[-1]
    over = [row for row in mine if row.get("latency_s", 0.0) is None]
    many = len(mine) > 1
    said = []
    for name, unit, words in (
        ("tokens_per_query", "tokens", ""),
        ("latency_s", "duration", ""),
        ("usd_per_query", "usd", "a query"),
    ):
        ends = [row[name] for row in (first, last) if row.get(name) is not None]
        if ends and not (over and name == "latency_s"):
            shown = [f"{each:,.0f} tokens" if unit == "tokens" else _shown(each, unit) for each in ends]
            said.append(f"{' to '.join(dict.fromkeys(shown))}{' ' + words if words else ''}")
    what = f"{len(mine)} {key}s: " if many and key != "osl" else ""
    text = what + ", ".join(said)
    if over:
        text += f"; beyond capacity from {over[0][key]}" if many else "; beyond capacity: queries pile up"
    if "cheapest_solved_at" in head:
        best = _cheapest(mine)
        assert best is not None
        text += f"; a solved query is cheapest at {best[key]} ({_shown(best['usd_per_solved_query'], 'usd')})"
    elif first.get("usd_per_solved_query") is not None:
        text += f"; {_shown(first['usd_per_solved_query'], 'usd')} a solved query"
    if larger is not None and "larger_buys_more_beyond" in head:
        text += f"; beyond {head['larger_buys_more_beyond']} {larger.question.name} brings more per dollar than a thousand tokens"
    if "break_even_queries_least" in head:
        text += f"; longer training pays off from {show(float(head['break_even_queries_least']), 'tokens')} queries"
    return text


def _shown(value: float, unit: str) -> str:
    return show(float(value), unit)
