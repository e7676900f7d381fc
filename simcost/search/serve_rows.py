"""Fleets as rows: what each is, how far it lies behind the best and how surely, and its numbers; and the best of them
in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simcost.cost.cost import joined, probability_less, tied
from simcost.cost.price import unsure, with_range
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.prices import Price
from simcost.num import Array, Num
from simcost.provenance import VERSION
from simcost.result import Row, number
from simcost.scenarios import price_notes
from simcost.search.serve_fleets import AGGREGATED, Fleets, words
from simcost.search.serve_load import Limits, per_second
from simcost.search.serve_pools import words_of
from simcost.search.serve_space import Space
from simcost.units import show

USD, GPUS, THROUGHPUT, EACH = "fleet_usd_per_hour", "gpus", "output_tokens_per_s_per_gpu", "usd_per_thousand_requests"
_RANKS = {"usd": USD, "gpus": GPUS, "throughput": THROUGHPUT}
# Beside what ranks: numbers of a row, in order.
_SHOWN = (
    USD,
    "ttft_s",
    "ttft_low_s",
    "ttft_high_s",
    "tpot_s",
    "tpot_low_s",
    "tpot_high_s",
    "batch_per_replica",
    "utilisation",
    THROUGHPUT,
    "usd_per_million_output_tokens",
    "usd_per_million_input_tokens",
    EACH,
    "running",
    "queued",
    "kv_used_fraction",
    "requests_per_s",
    "within_limits_requests_per_s",
    "output_tokens_per_s",
    "output_tokens_per_s_per_user",
)


@frozen
class Told:
    """What rows say: metric: the one that ranks; rate: that was asked for; end: whose answer a row is; prices: of each device by its label."""

    metric: str
    rate: float | None
    end: Row
    prices: Mapping[str, Price | None]


def metric(asked: str | None, rate: float | None, prices: Sequence[tuple[str, float | None]]) -> str:
    """The name of what ranks. Raises SpecError for what ranks no fleets, and for money where a device has no price."""
    lacking = [label for label, price in prices if price is None]
    if asked is None:
        return THROUGHPUT if rate is None else GPUS if lacking else USD
    known = {**_RANKS, **{name: name for name in (USD, GPUS, THROUGHPUT, EACH)}}
    if asked not in known:
        raise SpecError(
            f"--metric {asked}: plans of serving can be ranked by {', '.join(_RANKS)}{nearest(asked, known)}"
        )
    name = known[asked]
    if rate is None and name in (USD, GPUS):
        if name == GPUS:
            raise SpecError("--metric gpus counts the GPUs of a load: add --rate, as in --rate 20/s")
        name = EACH  # without a load what a request costs
    if name in (USD, EACH) and lacking:
        raise SpecError(f"--metric {asked}: {lacking[0]} has no price with a source: state one with --price")
    return name


def ranked(t: Told, found: Sequence[Fleets]) -> list[Row]:
    """Fleets as rows, best first, with how surely each lies behind the best."""
    some = [each for each in found if each.sizes]
    if not some:
        return []
    columns = {
        name: np.concatenate([_values(each).get(name, np.full(len(each.sizes), np.nan)) for each in some])
        for name in (*_SHOWN, GPUS)
    }
    value = columns[t.metric]
    less = t.metric != THROUGHPUT
    need = np.concatenate([each.devices / each.takes for each in some])  # of equal fleets the one with more room
    order = np.lexsort((need, value if less else -value))

    def whole(values: list[Num]) -> Num:
        return np.concatenate([np.broadcast_to(one, len(each.sizes)) for one, each in zip(values, some, strict=True)])

    money = t.metric in (USD, EACH)
    costs = [unsure(each.cost, each.label, t.prices[each.label]) if money else each.cost for each in some]
    cost = joined(costs, whole).each(lambda one: np.asarray(one)[order])
    first = cost.each(lambda one: np.asarray(one)[:1])
    ratio = value[order] / value[order[0]] if less else value[order[0]] / value[order]
    below = np.asarray(probability_less(first, cost, 1.0 / ratio), np.float64)
    same = np.asarray(tied(cost, first, ratio), bool)
    rows, owners = [], [(each, i) for each in some for i in range(len(each.sizes))]
    for place, at in enumerate(order):
        each, i = owners[int(at)]
        row: Row = {**_named(each, i, columns[GPUS][at]), "feasible": True, t.metric: number(value[at])}
        row |= {"versus_best": number(value[at] / value[order[0]] - 1.0)}
        row |= {"probability_behind": None if place == 0 else number(max(below[place], 1.0 - below[place]))}
        row |= {"best_or_tied": bool(same[place])}
        row |= {
            name: number(columns[name][at]) for name in _SHOWN if name != t.metric and np.isfinite(columns[name][at])
        }
        row = with_range(row, t.prices[each.label])
        rows.append({**row, "limit": each.binds[i], **t.end, "simcost": VERSION})
    return rows


def _values(each: Fleets) -> dict[str, Array]:
    return {**each.values, GPUS: each.devices, "within_limits_requests_per_s": each.takes}


def _named(each: Fleets, i: int, gpus: float) -> Row:
    """What a fleet is: device, GPUs, mode, its plan in words, and by numbers."""
    sizes = each.sizes[i]
    plan = words(sizes) if each.mode == AGGREGATED else words_of(sizes)
    return {"hw": each.label, "gpus": int(gpus), "mode": each.mode, "plan": plan, **sizes}


def unable(t: Told, found: Sequence[Fleets], spaces: Sequence[Space]) -> Iterator[Row]:
    """Plans without a fleet, with the reason. A plan is named once, however many numbers of GPUs are asked for."""
    with_fleets = {each.label for each in found}
    reasons = [(each.label, each.mode, sizes, why) for each in found for sizes, why in each.reasons]
    for each in spaces:
        if each.label not in with_fleets:  # none of its plans can serve
            reasons += [(each.label, AGGREGATED, sizes, why) for sizes, why in each.refused()]
    for label, mode, sizes, why in reasons:
        yield {
            "hw": label,
            "mode": mode,
            **({"plan": words(sizes)} if sizes else {}),
            **sizes,
            "feasible": False,
            "reason": why,
            **t.end,
            "simcost": VERSION,
        }


def best(table: Sequence[Row]) -> list[Row]:
    """The best fleet of every device and mode; where there is none, the first reason."""
    found: dict[tuple[Any, Any], Row] = {}
    for row in table:
        found.setdefault((row.get("hw"), row.get("mode")), row)
    return list(found.values())


def verdict(t: Told, rows: Sequence[Row], limits: Limits) -> str:
    """The best fleet in a sentence, and the best of the other mode."""
    top = rows[0]
    within = f" within {limits.words}" if limits.words else ""
    what = f"{per_second(t.rate)} requests/s{within} take" if t.rate is not None else f"most per GPU{within}:"
    said = [f"{what} {top['gpus']:,} x {top['hw']} as {top['plan']}"]
    said.append(f"{', '.join(_money(t, top))}")
    if t.metric in (USD, EACH):
        kind, at = price_notes.first_of_another_kind([row["hw"] for row in rows], t.prices)
        if kind and at is not None:
            named = f"{rows[at]['gpus']:,} x {rows[at]['hw']} as {rows[at]['plan']}, {', '.join(_money(t, rows[at]))}"
            said[-1] += f", by another kind of price ({kind}); best on demand: {named}"
    times = [f"{name.upper()} {show(float(top[f'{name}_s']), 'seconds', 3)}" for name in ("ttft", "tpot")]
    said.append(f"{' and '.join(times)} on average")
    many = sum(bool(row["best_or_tied"]) for row in rows) - 1
    if many:
        said.append(f"{many:,} {'is' if many == 1 else 'are'} tied with it")
    other = next((row for row in rows if row["mode"] != top["mode"]), None)
    if other is not None:
        said.append(
            f"best {other['mode']}: {other['gpus']:,} x {other['hw']} as {other['plan']}, {', '.join(_money(t, other))}"
        )
    return "; ".join(said)


def _money(t: Told, row: Row) -> list[str]:
    """What a fleet costs, or does."""
    found = [f"${row[USD]:,.2f}/h"] if row.get(USD) is not None else []
    if t.rate is None:
        found = [
            f"{per_second(row['requests_per_s'])} requests/s, {row[THROUGHPUT]:,.0f} output tokens/s per GPU",
            *found,
        ]
    return found or [f"{row[THROUGHPUT]:,.0f} output tokens/s per GPU"]
