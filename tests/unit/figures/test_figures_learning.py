"""Figures of serving one load, of thinking, distilling, scaling laws, recipes and validations: numbers are read back from what was drawn."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from figurekit import axes, distilled, judged, staged

import simcost
from simcost.report.figures import errors, latency
from simcost.report.figures.learning import budget, laws, stages, variants
from simcost.result import Result

pytest.importorskip("matplotlib")


@cache
def served() -> Result:
    return simcost.serve("llama-3.1-8b", "h200", "1024", "256", concurrency=32)


@cache
def lost() -> Result:
    return simcost.loss("llama-3.2-1b", 1e11)


def test_a_request_is_its_parts_and_has_its_intervals() -> None:
    result = served()
    values = result.metrics
    assert {one.name: (one.y, one.low, one.high) for one in latency.marks(result)} == {
        name: (values[f"{name}_s"], values[f"{name}_low_s"], values[f"{name}_high_s"]) for name in ("ttft", "tpot", "e2e")
    }  # fmt: skip
    assert values["e2e_low_s"] < values["e2e_s"] < values["e2e_high_s"]
    assert values["e2e_low_s"] == pytest.approx(values["ttft_low_s"] + 255 * values["tpot_low_s"])
    first, whole = latency.parts(result)
    assert sum(size for _, size in first.parts) == pytest.approx(values["ttft_s"])
    assert sum(size for _, size in whole.parts) == pytest.approx(values["e2e_s"])
    assert dict(first.parts)["queueing"] == values["queueing_s"]
    times, shares = axes(result, "latency")
    assert [line.get_xdata()[0] for line in times.lines if line.get_label() == "estimate"] == pytest.approx([1e3 * values[f"{name}_s"] for name in ("ttft", "tpot", "e2e")])  # fmt: skip
    assert sum(patch.get_width() for patch in shares.patches) == pytest.approx(200.0)  # two bars of 100 %
    sweep = simcost.serve("llama-3.1-8b", "h200", "1024", "256", concurrency="16,32")
    assert "latency" not in simcost.figures.names(sweep)


def test_budgets_mark_the_cheapest_solved_query(tmp_path: Path) -> None:
    table = tmp_path / "accuracy.csv"
    table.write_text("budget,accuracy\n1k,0.2\n4k,0.6\n8k,0.65\n")
    result = simcost.think("qwen3-8b", isl=512, osl="lognormal:8000:0.6", budget="1k,4k,8k", usd_per_million="0.1:0.4", accuracy=str(table))  # fmt: skip
    solved, price = axes(result, "budget")
    rows = result.tables["answers"]
    line = next(one for one in solved.lines if one.get_label() == "qwen3-8b")
    assert list(line.get_xdata()) == [1024, 4096, 8192]
    assert list(line.get_ydata()) == pytest.approx([20.0, 60.0, 65.0])
    line = next(one for one in price.lines if one.get_label() == "qwen3-8b")
    assert list(line.get_ydata()) == pytest.approx([row["usd_per_solved_query"] for row in rows])
    best = next(one for one in price.lines if one.get_label() == "best")
    assert str(int(best.get_xdata()[0])) == str(result.metrics["cheapest_solved_at"])
    once = simcost.think("qwen3-8b", isl=512, osl="8k", usd_per_million="0.1:0.4")
    assert simcost.figures.names(once) == []


def test_a_band_of_a_budget_is_the_interval_of_its_time() -> None:
    rows = [{"budget": 1024 * at, "usd_per_query": at * 1e-3, "usd_per_query_price_low": at * 8e-4, "usd_per_query_price_high": at * 2e-3, "latency_s": 10.0 * at, "latency_low_s": 8.0 * at, "latency_high_s": 13.0 * at, "latency_p95_s": 20.0 * at} for at in (1, 2)]  # fmt: skip
    result = Result("think", {"model": "a", "budget": "1k,2k"}, {"points": 2}, {"answers": rows})
    found = budget.panels(result)
    assert [(point.low, point.high) for point in found["latency_s"][0].points] == [(8.0, 13.0), (16.0, 26.0)]
    assert [(point.low, point.high) for point in found["usd_per_query"][0].points] == [(8e-4, 2e-3), (1.6e-3, 4e-3)]
    assert list(found["latency_s"][0].late) == [20.0, 40.0]


def test_ways_to_distil_are_their_parts_and_break_even_with_reinforcement_learning() -> None:
    found = variants.ways(distilled())
    assert [way.name for way in found] == ["logits online", "data", "rl"]  # cheapest first; what cannot be is left out
    assert [sum(way.parts) for way in found] == [15.0, 30.0, 150.0]
    assert [way.breaks_even for way in found] == [1e10, 5e9, None]  # tokens for 300 USD, of 1e9 for 30 and for 60
    hours, usd = axes(distilled(), "variants")
    assert sum(patch.get_width() for patch in hours.patches) == pytest.approx(195.0)
    assert sorted(line.get_xdata()[0] for line in usd.lines if line.get_label() == "estimate") == [30.0, 60.0, 300.0]
    assert next(line for line in usd.lines if line.get_label() == "break-even").get_xdata()[0] == 300.0
    assert all(way.breaks_even is None for way in variants.ways(distilled(rl=False)))


def test_curves_of_laws_go_through_the_answer() -> None:
    result = lost()
    rows = {row["scaling_law"]: row for row in result.tables["loss"]}
    along = {curve.law: curve for curve in laws.along_tokens(result)}
    assert set(along) == set(rows)
    for name, curve in along.items():
        kept = ~np.isnan(curve.nats)
        assert np.interp(1e11, curve.x[kept], curve.nats[kept]) == pytest.approx(rows[name]["loss"], rel=1e-4)
    best = {row["scaling_law"]: row for row in result.tables["compute-optimal"]}
    for curve in laws.along_sizes(result):
        least = int(np.nanargmin(curve.nats))
        assert curve.nats[least] == pytest.approx(0.0, abs=2e-4)
        assert curve.x[least] == pytest.approx(best[curve.law]["optimal_params"], rel=0.06)  # a step of the curve
        over = best[curve.law]["loss_over_optimal"]
        assert np.interp(rows[curve.law]["law_params"], curve.x, np.nan_to_num(curve.nats)) == pytest.approx(over, abs=2e-3)  # fmt: skip
    assert len(axes(result, "laws")) == 2
    (sizes,) = axes(simcost.loss(training_flops=1e21), "laws")
    assert len([line for line in sizes.lines if line.get_label() == "optimum"]) >= 4
    assert simcost.figures.names(simcost.loss(training_flops=5.76e23)) == []  # no law reaches so far


def test_stages_have_their_hours_and_assumptions_what_they_are_worth() -> None:
    result = staged()
    assert [(one.hours.y, one.hours.low, one.hours.high) for one in stages.stages(result)] == [(1e6, 8e5, 1.3e6), (500.0, 200.0, 2000.0)]  # fmt: skip
    above, below = axes(result, "stages")
    assert [line.get_xdata()[0] for line in above.lines if line.get_label() == "estimate"] == [1e6, 500.0]
    assert sorted((patch.get_x(), patch.get_width()) for patch in below.patches) == [pytest.approx((1.0, -0.6)), pytest.approx((1.0, 3.0))]  # fmt: skip
    assert simcost.figures.names(result)[-1] == "stages"


def test_errors_stand_where_they_are_and_bars_say_what_they_allow() -> None:
    result = judged()
    (table,) = errors.slices(result).values()
    assert [(one.name, one.n, one.median, one.p90) for one in table] == [("vtrain", 76, 0.1, 0.25), ("bloom", 10, 0.2, 4.0)]  # fmt: skip
    limits = {one.name: one for one in errors.bars(result)}
    assert [round(one.used, 6) for one in limits.values()] == [2.5, 3.0, 0.4]  # missed first; 0.7 of at least 0.9
    families, covered, bars = axes(result, "errors")
    assert [line.get_xdata()[0] for line in families.lines if line.get_label() == "median"] == pytest.approx([10.0, 20.0])  # fmt: skip
    assert [line.get_xdata()[0] for line in families.lines if line.get_label() == "bias"] == pytest.approx([5.0, 20.0])
    assert [line.get_xdata()[0] for line in families.lines if line.get_label() == "end"] == pytest.approx([25.0, 150.0])  # fmt: skip
    assert [line.get_xdata()[0] for line in covered.lines] == pytest.approx([90.0, 50.0])
    assert [line.get_xdata()[0] for line in bars.lines] == pytest.approx([250.0, 300.0, 40.0])
    foot = " ".join(str(bars.figure.get_supxlabel()).split())
    assert "3 of 4 bars, 1 missed" in foot
