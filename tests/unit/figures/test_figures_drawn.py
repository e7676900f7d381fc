"""What stands in a figure is what the answer says: numbers are read back from what was drawn."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from figurekit import axes

import simcost
from simcost.report.figures import designs, style
from simcost.result import Result

pytest.importorskip("matplotlib")
MILLISECOND, GIB = 1e-3, 2.0**30
LLAMA = ("llama-3.1-8b", "h200")


@cache
def explained() -> Result:
    return simcost.explain("deepseek-v3", "h200", batch=64, context=4096, set={"plan.tp": 8})


@cache
def swept() -> Result:
    return simcost.decode(*LLAMA, vary={"batch": [1, 16, 256], "context": [4096, 32768]})


def widths(axis: Any) -> list[float]:
    return [patch.get_width() for patch in axis.patches]


@pytest.mark.parametrize("width", style.STYLES)
def test_bars_of_a_step_add_up_to_it_three_ways(width: str) -> None:
    result = explained()
    total = result.metrics["tpot_s"] / MILLISECOND
    by_op, by_bound, by_basis = axes(result, "breakdown", width)
    for axis in (by_op, by_bound, by_basis):
        assert sum(widths(axis)) == pytest.approx(total, rel=1e-3)  # less what no line could show
    ops: dict[str, float] = {}
    for row in result.tables["ops"]:
        ops[row["op"]] = ops.get(row["op"], 0.0) + row["share"] * total
    assert widths(by_op)[:7] == pytest.approx(sorted(ops.values(), reverse=True)[:7])
    assert widths(by_bound) == pytest.approx(
        [result.metrics[f"share_{one}"] * total for one in ("memory", "wire", "overhead")]
    )
    assert widths(by_basis)[1] == pytest.approx(result.metrics["share_fitted"] * total)
    (whisker,) = by_op.containers[-1].lines[2]
    low, high = whisker.get_segments()[0][:, 0]
    assert (low, high) == pytest.approx(
        (result.metrics["tpot_low_s"] / MILLISECOND, result.metrics["tpot_high_s"] / MILLISECOND)
    )


def test_designs_have_a_bar_of_terms_each() -> None:
    result = simcost.compare(["llama-3.1-8b", "qwen3-8b"], "h200", batch=64, context=4096)
    prefill, decode = axes(result, "breakdown")
    for axis, phase in ((prefill, "prefill"), (decode, "decode")):
        for at, name in enumerate(("llama-3.1-8b", "qwen3-8b")):
            said = sum(row[f"{name}_s"] or 0.0 for row in result.tables["terms"] if row["term"].startswith(phase))
            drawn = sum(
                patch.get_width() for patch in axis.patches if round(patch.get_y() + patch.get_height() / 2.0) == at
            )
            assert drawn == pytest.approx(said / MILLISECOND, rel=1e-3)


def test_a_sweep_is_its_rows_with_their_bands() -> None:
    result = swept()
    time, rate = axes(result, "sweep")
    for axis, name, unit in ((time, "tpot_s", MILLISECOND), (rate, "output_tokens_per_s_per_gpu", 1.0)):
        lines = [line for line in axis.lines if len(line.get_xdata()) > 1]
        for line, context in zip(lines, (4096, 32768), strict=True):
            rows = [row for row in result.tables["sweep"] if row["context"] == context]
            assert list(line.get_xdata()) == [1, 16, 256]
            assert line.get_ydata() == pytest.approx([row[name] / unit for row in rows])
    rows = [row for row in result.tables["sweep"] if row["context"] == 4096]
    corners = time.collections[0].get_paths()[0].vertices[:, 1]
    for end in ("tpot_low_s", "tpot_high_s"):
        assert all(any(abs(corner - row[end] / MILLISECOND) < 1e-9 for corner in corners) for row in rows)
    hollow = [line for line in time.lines if line.get_markerfacecolor() == style.PAPER]
    assert len(hollow) == sum(not row["fits"] for row in result.tables["sweep"]) > 0


def test_parts_of_memory_add_up_to_what_is_used() -> None:
    result = simcost.show_memory(*LLAMA, batch=64, context=4096)
    (axis,) = axes(result, "memory")
    assert sum(widths(axis)) == pytest.approx(result.metrics["memory_used_bytes_per_gpu"] / GIB)
    assert widths(axis)[0] == pytest.approx(result.metrics["weight_bytes_per_gpu"] / GIB)
    assert axis.lines[0].get_xdata()[0] == pytest.approx(result.metrics["memory_capacity_bytes_per_gpu"] / GIB)


def test_designs_are_points_with_their_intervals_best_first() -> None:
    result = simcost.compare(["llama-3.1-8b", "qwen3-8b"], "h200", batch=64, context=4096)
    ttft, tpot, usd = axes(result, "designs")
    rows = {row["design"]: row for row in result.tables["designs"]}
    for axis, name in ((ttft, "ttft_s"), (tpot, "tpot_s")):
        shown = [label.get_text() for label in axis.get_yticklabels()]
        assert shown == sorted(rows, key=lambda design: rows[design][name])
        points = [line for line in axis.lines if line.get_label() == "estimate"]
        spans = [line for line in axis.lines if line.get_label() == "interval"]
        assert [point.get_xdata()[0] for point in points] == pytest.approx(
            [rows[one][name] / MILLISECOND for one in shown]
        )
        stem = name.removesuffix("_s")
        for one, span in zip(shown, spans, strict=True):
            assert span.get_xdata() == pytest.approx(
                [rows[one][f"{stem}_low_s"] / MILLISECOND, rows[one][f"{stem}_high_s"] / MILLISECOND]
            )
        assert [point.get_markerfacecolor() == style.PAPER for point in points] == [
            not rows[one][f"{stem}_best_or_tied"] for one in shown
        ]
    cheapest = sorted(rows.values(), key=lambda row: row["usd_per_million_output_tokens"])
    drawn = {
        of: [list(line.get_xdata()) for line in usd.lines if line.get_label() == of]
        for of in ("estimate", "interval", "price")
    }
    for at, row in enumerate(cheapest):
        money, time = row["usd_per_million_output_tokens"], row["tpot_s"]
        assert drawn["estimate"][at] == pytest.approx([money])
        assert drawn["interval"][at] == pytest.approx(
            [money * row["tpot_low_s"] / time, money * row["tpot_high_s"] / time]
        )
        assert drawn["price"][at] == pytest.approx(
            [row[f"usd_per_million_output_tokens_price_{end}"] for end in ("low", "high")]
        )


@pytest.mark.parametrize("more", [{}, {"phase": "train", "gpus": 64, "global_batch": 256}])
def test_designs_are_filled_where_the_answer_says_tied(more: dict[str, Any]) -> None:
    result = simcost.compare(["llama-3.1-8b"], "h200", variants=["attention=gqa:2", "attention=mha", "hw=b200"], **more)
    names = [row["design"] for row in result.tables["designs"]]
    for metric, judged in designs.panels(result).items():
        stem = {"step_s": "tokens_per_s_per_gpu"}.get(metric, metric)
        said = {result.metrics[f"best_{stem}"], *str(result.metrics.get(f"tied_{stem}", "")).split(", ")}
        assert {one.name for one in judged if one.filled} == said & set(names), metric


def test_what_a_figure_is_of_holds_what_was_changed_and_no_point_that_it_does_not_hold() -> None:
    found = style.about(simcost.crossover("llama-3.1-8b", set={"model.attention": "swa:4096"}))
    assert found == "simcost crossover: model llama-3.1-8b, hw h200, model.attention=swa:4096"


def test_fronts_are_the_rows_of_fleets() -> None:
    result = simcost.plans("llama-3.1-8b", ["h200"], gpus=2, phase="serve", isl=1024, osl=256, slo="ttft=2s,tpot=50ms")
    (axis,) = axes(result, "pareto")
    rows = result.tables["pareto"]
    for line in axis.lines[:-1]:
        hw, mode = line.get_label().split(", ")
        mine = [row for row in rows if (row["hw"], row["mode"]) == (hw, mode)]
        assert list(line.get_xdata()) == [row["output_tokens_per_s_per_user"] for row in mine]
        assert list(line.get_ydata()) == [row["output_tokens_per_s_per_gpu"] for row in mine]
    assert axis.lines[-1].get_xdata()[0] == pytest.approx(1.0 / 0.05)  # the limit on TPOT


def test_a_map_has_its_front_and_what_does_not_fit() -> None:
    result = simcost.sweep(
        *LLAMA,
        vary={"batch": [16, 64, 256], "context": [4096, 65536]},
        pareto=["tpot", "output_tokens_per_s_per_gpu:more"],
    )
    (axis,) = axes(result, "pareto")
    drawn = {line.get_label(): sorted(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in axis.lines}
    rows = result.tables["sweep"]

    def points(kept: Any) -> list[Any]:
        return [
            pytest.approx(one)
            for one in sorted(
                (row["tpot_s"] / MILLISECOND, row["output_tokens_per_s_per_gpu"]) for row in rows if kept(row)
            )
        ]

    assert drawn["does not fit in memory"] == points(lambda row: not row["fits"])
    assert drawn["front of all designs"] == points(lambda row: row["pareto"])
    assert drawn["batch 64"] == points(lambda row: row["fits"] and row["batch"] == 64)


def test_ops_stand_under_the_roofs_of_the_device_they_run_on() -> None:
    result = explained()
    (axis,) = axes(result, "roofline")
    ops = [row for row in result.tables["ops"] if row["intensity"] and row["share"] >= 0.002]
    drawn = sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in axis.lines if line.get_label() == "op")
    assert drawn == [
        pytest.approx(one) for one in sorted((row["intensity"], row["flops"] / row["time_s"]) for row in ops)
    ]
    spans = sorted(tuple(line.get_ydata()) for line in axis.lines if line.get_label() == "interval")
    assert spans == [
        pytest.approx(one) for one in sorted((row["flops"] / row["high_s"], row["flops"] / row["low_s"]) for row in ops)
    ]
    roofs = {line.get_label(): max(line.get_ydata()) for line in axis.lines if line.get_label().startswith("roof")}
    assert roofs == {"roof bf16": 989e12, "roof fp8": 1979e12, "roof fp32": 67e12}  # the datasheet of H200 SXM
    beneath = next(line for line in axis.lines if "measured" in line.get_label())
    assert 1000 < len(beneath.get_xdata()) <= 2500
    slower = simcost.explain("llama-3.1-8b", "h200", set={"hw.memory.bandwidth": "x0.5"})
    (axis,) = axes(slower, "roofline")
    roof = next(line for line in axis.lines if line.get_label() == "roof bf16")
    x, y = roof.get_xdata(), roof.get_ydata()
    assert y[0] / x[0] == pytest.approx(2.4e12)


def test_predictions_stand_against_measurements() -> None:
    from simcost.validation.kernels import reference

    result = reference("h200")
    (axis,) = axes(result, "against")
    both = sorted(
        (x, y)
        for line in axis.lines
        if line.get_label() == "pairs"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )
    rows = result.tables["rows"]
    assert both == [
        pytest.approx(one)
        for one in sorted((row["measured_s"] / MILLISECOND, row["predicted_s"] / MILLISECOND) for row in rows)
    ]
    spans = sorted(tuple(line.get_ydata()) for line in axis.lines if line.get_label() == "interval")
    assert spans == [
        pytest.approx(one) for one in sorted((row["low_s"] / MILLISECOND, row["high_s"] / MILLISECOND) for row in rows)
    ]
    hollow = sum(
        len(line.get_xdata())
        for line in axis.lines
        if line.get_label() == "pairs" and line.get_markerfacecolor() == style.PAPER
    )
    assert hollow == sum(bool(row["looked_at"]) for row in rows)


def test_curves_have_a_facet_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from simcost.scenarios.calibrate import report

    rows = [
        {"curve": f"gemm k{which} (r)", "measured_s": 1e-3 * (at + 1), "predicted_s": 1e-3 * (at + 1) * (1.0 + 0.1 * which), "low_s": 1e-3 * (at + 1) * (0.9 + 0.2 * (which % 2)), "high_s": 1e-3 * (at + 1) * 1.25, "light_s": 1e-4, "intensity": 1.0, "flops_per_s": 1.0}
        for which in range(14) for at in range(5)
    ]  # fmt: skip
    monkeypatch.setattr(report, "points", lambda hw, family: rows)
    table = [{"curve": f"gemm k{which}", "run": "r", "p90_error": 0.1 * which} for which in range(14)]
    result = Result("calibrate report", {"hw": "h200"}, {}, {"curves": table})
    for width, most in (("slide", 12), ("column", 8)):
        drawn = axes(result, "calibration", width)
        assert len(drawn) == most  # those with the largest errors first, never all on one axis
        for axis, which in zip(drawn, range(13, 13 - most, -1), strict=True):
            points = [
                (x, y)
                for line in axis.lines
                for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
                if line.get_linestyle() == "None"
            ]
            ratio = min(1.0 + 0.1 * which, 2.0)
            assert sorted(points) == [pytest.approx((at + 1.0, ratio)) for at in range(5)]
            marks = {line.get_marker() for line in axis.lines if line.get_linestyle() == "None"}
            assert marks == {
                "^" if which > 10 else "x" if which % 2 else "."
            }  # beyond the axis, outside and inside the interval
            assert axis.get_title(loc="left").startswith(f"P90 {which * 10.0:.1f}%")


def test_lengths_of_a_crossover() -> None:
    result = simcost.crossover("llama-3.1-8b")
    work, reads = axes(result, "crossover")
    rows = result.tables["prefill FLOPs by length"]
    attention, ffn, meet = work.lines
    assert list(attention.get_ydata()) == [row["attention_core_flops_per_token"] for row in rows]
    assert list(ffn.get_ydata()) == [row["ffn_flops_per_token"] for row in rows]
    assert list(attention.get_xdata()) == [row["length"] for row in rows]
    assert meet.get_xdata()[0] == result.metrics["prefill_crossover_tokens"]
    assert list(reads.lines[0].get_ydata()) == [row["context"] for row in result.tables["decode reads by batch"]]


def test_sides_of_a_number_and_the_interval_of_its_elasticity() -> None:
    result = simcost.sensitivity(*LLAMA, only="hw")
    (axis,) = axes(result, "sensitivity")
    rows = result.tables["sensitivity"][:16]
    less, more = (container for container in axis.containers[:2])
    assert [patch.get_width() for patch in more] == pytest.approx([row["elasticity_above"] for row in rows])
    assert [patch.get_width() for patch in less] == pytest.approx([-row["elasticity_below"] for row in rows])
    (whiskers,) = axis.containers[2].lines[2]
    ends = [tuple(segment[:, 0]) for segment in whiskers.get_segments()]
    assert ends == [pytest.approx((row["elasticity_low"], row["elasticity_high"])) for row in rows]


def test_passes_of_a_schedule_fill_what_its_ranks_are_busy() -> None:
    result = simcost.schedule("1f1b", 4, 8, forward=1.0, backward=1.2, weight=0.8)
    (axis,) = axes(result, "timeline")
    areas = [path.get_path().vertices.reshape(-1, 5, 2) for path in axis.patches if path.get_label() != "tip"]
    seconds = [float((each[:, 1, 0] - each[:, 0, 0]).sum()) for each in areas]
    idle, forward, backward = seconds
    assert idle == pytest.approx(4 * result.metrics["makespan_s"])  # the ground under the passes
    assert forward == pytest.approx(4 * 8 * 1.0)
    assert backward == pytest.approx(4 * 8 * 2.0)
    assert sum(row["busy_s"] for row in result.tables["ranks"]) == pytest.approx(forward + backward)


def test_phases_of_a_step_of_reinforcement_learning_stand_where_they_run() -> None:
    result = simcost.rl(*LLAMA, gpus=8, prompts=8, samples=4, isl=128, osl=256, levers=False)
    (axis,) = axes(result, "timeline")
    spans = {
        (round(float(box[0, 0]), 9), round(float(box[1, 0]), 9))
        for path in axis.patches
        if path.get_label() != "tip"
        for box in path.get_path().vertices.reshape(-1, 5, 2)
    }
    assert {
        (round(row["start_s"], 9), round(row["end_s"], 9))
        for row in result.tables["phases"]
        if row["end_s"] > row["start_s"]
    } <= spans


def test_a_large_map_is_drawn_whole_and_in_time() -> None:
    result = simcost.sweep(*LLAMA, vary={"batch": list(range(1, 61)), "context": list(range(1024, 1024 * 51, 1024))})
    (axis,) = axes(result, "pareto")
    rows = result.tables["sweep"]
    points = sum(len(line.get_xdata()) for line in axis.lines if not line.get_label().startswith("front"))
    assert points == len(rows) == 3000
    assert all(line.get_rasterized() for line in axis.lines if not line.get_label().startswith("front"))
    time, _ = axes(result, "sweep")
    lines = [line for line in time.lines if len(line.get_xdata()) == 60]
    assert len(lines) == 6  # from the first to the last context; the note says how many are not drawn
    wanted = [row["tpot_s"] / MILLISECOND for row in rows if row["context"] == 1024 * 50]
    assert lines[-1].get_ydata() == pytest.approx(wanted)
    assert "44 more series are not drawn" in " ".join(str(time.figure.get_supxlabel()).split())
