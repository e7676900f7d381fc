"""The terminal: what a person sees of a hand-made Result, in which order, and what gives way on a narrow screen."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.provenance import Kind, Note
from simcost.report.cells import cell
from simcost.report.text import as_console, as_markdown
from simcost.result import Result

ASKED = {"model": "toy", "hw": "h200"}


def page(command: str = "sweeping", width: int = 120, **more: Any) -> list[str]:
    facts: dict[str, Any] = {"inputs": {}, "metrics": {}, "tables": {}}
    return as_console(Result(command, **{**facts, **more}), width).splitlines()


def cells(lines: list[str], first: str) -> list[str]:
    """The line of a table that begins with a word, cell by cell."""
    line = next(line for line in lines if line.split()[:1] == [first])
    return [part.strip() for part in line.split("  ") if part.strip()]


def test_a_page_is_verdict_metrics_tables_notes_in_this_order() -> None:
    lines = page(
        "decode", inputs={"model": "toy", "hw": "h200"}, verdict="fine", metrics={"tpot_s": 0.5, "gpus": 8},
        tables={"table": [{"op": "gemm", "time_s": 1e-3}]}, warnings=("first", "second"), references=("a", "b"),
    )  # fmt: skip
    where = [lines.index(next(line for line in lines if line.strip().startswith(word))) for word in (
        "simcost decode: fine", "toy on 8 x h200", "TPOT", "table", "gemm", "note: first", "note: second", "--details shows more: sources",
    )]  # fmt: skip
    assert where == sorted(where)
    assert cells(lines, "TPOT") == ["TPOT", "500 ms"]


@pytest.mark.parametrize(("command", "metrics"), [
    ("decode", True), ("explain", False), ("compare", False), ("list models", False), ("crossing", True),
])  # fmt: skip
def test_some_commands_say_their_metrics_in_tables_and_sources_stand_in_details(command: str, metrics: bool) -> None:
    given = {"model": "toy", "models": ["toy"], "hw": "h200"}
    result = Result(command, given, {"mfu": 0.5}, references=("a paper",))
    short, whole = (as_console(result, 120, details) for details in (False, True))
    assert ("50.0 %" in short) is metrics
    assert "a paper" not in short
    assert "--details shows more: sources" in short
    assert "sources: a paper" in whole


def test_columns_that_do_not_fit_go_from_the_end_with_a_word() -> None:
    row = {"op": "gemm", **{f"column_{i}": "x" * 18 for i in range(9)}}
    lines = page(width=80, tables={"table": [row] * 6})
    said = next(line for line in lines if line.startswith("not shown at this width"))
    shown = [i for i in range(9) if not any(f"column {i}" in line for line in lines[lines.index(said) :])]
    assert shown == list(range(len(shown)))
    assert 0 < len(shown) < 9
    assert not any("not shown" in line for line in page(width=300, tables={"table": [row] * 6}))


def test_a_wide_table_of_few_rows_is_turned_on_its_side() -> None:
    rows = [{"op": name, **{f"column_{i}": i for i in range(9)}, "gone": None} for name in ("left", "right")]
    lines = page(tables={"table": rows})
    assert cells(lines, "left") == ["left", "right"]
    assert cells(lines, "column")[0] == "column 0"
    assert "column 8" in "\n".join(lines)
    assert "gone" not in "\n".join(lines)  # no row has a value
    many = page(tables={"table": rows * 3})
    assert cells(many, "left")[:2] == ["left", "0"]


def test_turned_rows_that_do_not_fit_side_by_side_go_on_below() -> None:
    rows = [{"op": f"op-{i}" + "x" * 20, **{f"c{j}": j for j in range(9)}} for i in range(5)]
    lines = page(width=80, tables={"table": rows})
    assert sum("table (continued)" in line for line in lines) >= 1
    assert all(any(f"op-{i}" in line for line in lines) for i in range(5))


@pytest.mark.parametrize(("name", "most"), [("table", 60), ("plans", 20), ("terms", 10), ("rows", 8)])
def test_a_long_table_ends_with_how_many_more_rows_there_are(name: str, most: int) -> None:
    rows = [{"op": f"row-{i}", "tp": i + 2} for i in range(most + 7)]
    text = "\n".join(page(tables={name: rows}))
    assert "... 7 more rows: --format csv shows them all" in text
    assert f"row-{most - 1}" in text
    assert f"row-{most} " not in text
    assert "more rows" not in "\n".join(page(tables={name: rows[:most]}))


def test_designs_whose_names_are_long_stand_beside_each_other_under_names_in_several_lines() -> None:
    rows = [{"design": name, "tpot_s": 0.5} for name in ("base", "attention=gqa:8,ffn=dense", "attention=mfa,hw=h20")]
    lines = page("compare", width=60, inputs=ASKED, tables={"designs": rows})
    assert not any("(continued)" in line for line in lines)
    heads = lines[lines.index("designs") + 2 :][:3]
    assert [line.split() for line in heads] == [
        ["attention=", "attention="],
        ["gqa:8,", "mfa,"],
        ["base", "ffn=dense", "hw=h20"],
    ]
    assert any(
        "attention=gqa:8,ffn=dense" in line
        for line in page("compare", width=120, inputs=ASKED, tables={"designs": rows})
    )


def test_designs_without_details_leave_out_what_seldom_decides_and_say_how_many_numbers() -> None:
    rows = [{"design": name, "tpot_s": 0.5, "share_fitted": 0.5, "memory_short_bytes_per_gpu": 0} for name in "ab"]
    asked: dict[str, Any] = {
        "inputs": ASKED,
        "metrics": {},
        "tables": {"designs": rows, "what measurements moved": rows},
    }
    text = as_console(Result("compare", **asked), 100)
    assert "2 more numbers of each: --details" in text
    assert "table 'what measurements moved'" in text
    assert "rests on fitted curves" not in text
    whole = as_console(Result("compare", **asked), 100, True)
    assert "rests on fitted curves" in whole
    assert "--details" not in whole
    rows[0]["memory_short_bytes_per_gpu"] = 2**30
    assert "memory short per GPU" in as_console(Result("compare", **asked), 100)


def test_terms_keep_what_they_are_sorted_by_on_a_narrow_screen() -> None:
    rows = [{"term": "decode: moe / experts", **{f"design {i}_s": 1e-3 for i in range(9)}, "spread_s": 5e-3}] * 6
    lines = page(width=80, tables={"terms": rows})
    assert cells(lines, "decode:")[:2] == ["decode: moe / experts", "5 ms"]
    said = next(line for line in lines if line.startswith("not shown"))
    assert "spread" not in said


def test_swaps_keep_their_reasons_and_several_designs_their_undo_for_details() -> None:
    reason = "equal active parameters to -0.87%, a multiple of 1,024"
    row = {
        "key": "moe_intermediate_size",
        "before": 18432,
        "after": 15360,
        "why": reason,
        "undo": "model.moe_intermediate_size=18432",
    }
    gone = {
        "key": "kv_lora_rank",
        "before": 512,
        "after": None,
        "why": "no block of the new design reads it",
        "undo": "model.kv_lora_rank=512",
    }
    one = "\n".join(page("decode", width=80, inputs=ASKED, dimensions=(row, gone)))
    assert "equal active" in one
    assert "to undo leave out iso and add --set model.moe_intermediate_size=18432" in one
    several = tuple({"design": name, **each} for name in ("attention=mha", "attention=mfa") for each in (row, gone))
    asked: dict[str, Any] = {"inputs": ASKED, "metrics": {}, "tables": {}, "dimensions": several}
    short, long = (as_console(Result("compare", **asked), 80, details) for details in (False, True))
    assert short.count("equal active") == short.count("kv_lora_rank=512") == 2
    assert "attention=mfa: dimensions that swaps chose" in short
    assert "--details shows more: how to undo each swap" in short
    assert "to undo" not in short.replace("how to undo", "")
    assert long.count("to undo leave out iso and add to the variant") == 2


def test_sizes_that_are_one_in_every_plan_are_a_line_and_no_columns() -> None:
    rows = [{"tp": tp, "cp": 1, "pp": 1, "dp": 8 // tp, "feasible": True, "batch": 8} for tp in (1, 2, 4, 8, 4, 2)]
    lines = page(tables={"plans": rows})
    assert "the same in every row: cp=1, pp=1" in lines
    head = next(line for line in lines if "tp" in line.split())
    assert head.split() == ["tp", "dp", "batch"]  # nor one that says that all can run


def test_where_some_cannot_run_the_table_says_which_and_below_it_why() -> None:
    rows = [
        {"plan.tp": 1, "feasible": False, "reason": "short by 3 GiB"},
        {"plan.tp": 2, "feasible": True, "tpot_s": 0.5},
    ]
    lines = page(tables={"sweep": rows})
    assert cells(lines, "1") == ["1", "cannot run", "-"]
    assert cells(lines, "2") == ["2", "-", "500 ms"]
    assert lines.index("cannot run:") + 1 == lines.index("  plan.tp=1: short by 3 GiB")


def test_a_row_of_a_sweep_that_does_not_fit_says_by_how_much_and_is_not_among_those_that_cannot_run() -> None:
    rows = [
        {"tp": 1, "feasible": True, "fits": False, "reason": "short by 12.3 GiB per GPU", "memory_short_bytes_per_gpu": 12.3 * 2**30},
        {"tp": 2, "feasible": True, "fits": True, "memory_short_bytes_per_gpu": 0},
        {"tp": 3, "feasible": False, "reason": "odd"},
    ]  # fmt: skip
    lines = page(tables={"sweep": rows * 3})
    assert [cells(lines, plan)[1] for plan in "123"] == ["no, 12.3 GiB short", "yes", "cannot run"]
    assert [line for line in lines[lines.index("cannot run:") + 1 :] if line.startswith("  ")] == ["  tp=3: odd"]


def test_a_sweep_shows_its_axes_then_the_headlines() -> None:
    row = {"batch": 8, "feasible": True, "gpus": 4, "share_memory": 0.5, "tpot_s": 0.5, "fits": True}
    head = next(line for line in page(width=200, tables={"sweep": [row] * 6}) if "batch" in line).split()
    assert head[0] == "batch"
    assert head.index("TPOT") < head.index("GPUs")
    assert head.index("fits") < head.index("GPUs")


def test_a_sweep_of_few_points_shows_headlines_and_intervals_and_the_rest_with_details() -> None:
    more = {f"share_{i}": 0.1 for i in range(9)}
    rows = [
        {"batch": n, "feasible": True, "fits": True, "tpot_s": 0.5, "tpot_low_s": 0.4, "tpot_high_s": 0.6, **more}
        for n in (1, 2)
    ]
    asked: dict[str, Any] = {"inputs": {}, "metrics": {}, "tables": {"sweep": rows}}
    short, long = (as_console(Result("sweeping", **asked), 100, details) for details in (False, True))
    assert "400–600 ms" in short
    assert "9 more numbers of each: --details" in short
    assert "share 8" in long
    assert "share 8" not in short


STEP = {
    "tpot_s": 8e-3, "tpot_low_s": 4e-3, "tpot_high_s": 16e-3, "speed_of_light_s": 1e-3, "share_memory": 0.75, "share_overhead": 0.2496,
    "share_compute": 0.0, "share_wire": 0.0004, "share_fitted": 0.25, "share_measured": 0.75,
}  # fmt: skip


def op(part: str, name: str, seconds: float, times: int = 1) -> dict[str, Any]:
    """A row of explain whose interval is a factor of two either way; the step takes 8 ms."""
    return {
        "order": 1, "part": part, "op": name, "bound": "memory", "basis": "60% datasheet, 40% assumed", "times": times, "step_s": times * seconds,
        "step_low_s": times * seconds / 2, "step_high_s": times * seconds * 2, "time_s": seconds, "half_width": 1.0,
        "share": times * seconds / 8e-3, "low_s": seconds / 2, "high_s": seconds * 2, "formula": "2mnk",
    }  # fmt: skip


def explained(width: int = 80, order: str = "time", details: bool = False) -> list[str]:
    ops = [op("ffn x4", "ffn / up", 1e-3, 4), op("attention x2", "attention / core", 1e-3, 2), op("attention x2", "attention / qkv", 9e-4, 2),
           op("head", "norm", 1e-6), op("head", "sample", 2e-6)]  # fmt: skip
    result = Result(
        "explain", {"model": "toy", "hw": "h200", "order": order}, STEP, {"ops": ops, "tables": [{"kernel": "gemm"}]}, ("plain", Note("x", Kind.SCOPE))
    )  # fmt: skip
    return as_console(result, width, details).splitlines()


def test_explain_says_the_total_before_the_rows() -> None:
    lines = explained()
    said = [" ".join(line.split()) for line in lines]
    where = [said.index(line) for line in (
        "TPOT 8 ms (90 %: 4–16 ms), speed of light 1 ms", "rests on measured shapes 75.0 %, fitted curves 25.0 %", "bound by memory 75.0 %, overhead 25.0 %",
        "ops, the longest first",
    )]  # fmt: skip
    assert where == sorted(where)


def test_explain_shows_name_time_interval_share_and_bound_at_80_columns() -> None:
    lines = explained()
    assert max(map(len, lines)) <= 80
    assert "ffn / up 4 ms 2–8 ms 50.0 % memory 4" in [" ".join(line.split()) for line in lines]
    assert not any("±" in line or "2mnk" in line or "half width" in line for line in lines)


def test_explain_leaves_out_rows_that_print_as_nothing_and_says_how_many() -> None:
    lines = explained()
    assert "2 more rows, 0.0% of the step together: --details" in lines
    assert not any(line.strip().startswith(("norm", "sample")) for line in lines)
    assert "--details shows more: 1 note that changes no number, table 'tables'" in lines
    whole = explained(details=True)
    assert all(any(line.strip().startswith(word) for line in whole) for word in ("norm", "sample", "gemm", "note: x"))
    assert not any("--details" in line for line in whole)


def test_explain_says_why_a_long_row_has_no_share() -> None:
    hidden = {**op("moe x2", "dispatch", 3e-3, 2), "share": 0.0}
    result = Result(
        "explain", {"model": "toy", "hw": "h200"}, STEP, {"ops": [hidden, op("ffn x4", "ffn / up", 1e-3, 4)]}
    )
    said = "a row with a time but no share runs in parallel with longer work, which hides it"
    assert said in as_console(result, 80).splitlines()
    assert said not in explained(details=True)
    assert said not in explained()


def test_explain_in_running_order_has_a_table_a_kind_of_layer_with_its_share() -> None:
    lines = explained(order="execution")
    found = [line.strip() for line in lines if "of the step" in line]
    assert found == ["ffn x4: 50.0% of the step", "attention x2: 47.5% of the step", "head: 0.0% of the step"]
    assert any(line.strip().startswith("sample") for line in lines)


def test_a_crossover_draws_shares_as_bars() -> None:
    rows = [{"length": 1024, "attention_share": 0.25}, {"length": 65536, "attention_share": 1.0}]
    lines = page("crossover", tables={"prefill FLOPs by length": rows})
    assert "    1,024 " + "█" * 10 + "░" * 30 + " 25%" in lines
    assert "   65,536 " + "█" * 40 + " 100%" in lines


def test_a_cell_that_is_longer_than_the_page_stands_on_several_lines() -> None:
    found = simcost.explain("llama-3.1-8b", "h100", phase="prefill", isl=32768, op="core")
    lines = as_console(found, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.endswith(" h_kv=8 d_qk=128 d_v=128") for line in lines)
    assert any(line.strip() == "causal bf16" for line in lines)


def test_the_metric_that_ranks_training_plans_stays_on_a_narrow_page() -> None:
    found = simcost.plans("llama-3.1-8b", ["h100"], gpus=8, phase="train", global_batch=32)
    head = next(line for line in as_console(found, 80).splitlines() if line.split()[:2] == ["training", "plan"])
    assert head.split()[2:4] == ["GPU", "behind"]  # of tokens/s per GPU and the probability behind


def test_designs_stand_beside_each_other_in_files_and_notebooks() -> None:
    found = simcost.compare(["llama-3.1-8b", "qwen3-8b"], "h200")
    assert "| | llama-3.1-8b | qwen3-8b |" in as_markdown(found)
    shown = found._repr_html_()
    assert "TPOT low–high (90 %)" in shown
    assert shown.index(">TPOT<") < shown.index("memory used per GPU")


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-next-80b-a3b"])
def test_what_a_sequence_keeps_stays_at_80_columns(model: str) -> None:
    text = as_console(simcost.show_model(model), 80)
    cache = text[text.index("cache of a sequence") : text.index("training FLOPs")]
    for row in simcost.show_model(model).tables["cache of a sequence"]:
        assert cell("kept_bytes", row["kept_bytes"]) in cache
