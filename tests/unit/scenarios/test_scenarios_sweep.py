"""Sweeps: every point once and in order, in blocks of any size, with its reason; changes that make a design fit, by search."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simcost
from simcost import query
from simcost.errors import SpecError
from simcost.estimate import memory
from simcost.result import Result
from simcost.scenarios import fitting, sweep

EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)
NONE = {"hw.measurements": "none"}


def asked(axes: dict[str, list[Any]], model: str = "llama-3.1-8b", **sets: Any) -> Result:
    phase = {"batch": 4, "context": 2048}
    return sweep.result(query.make(model, "h200", True, phase, {**NONE, **sets}, axes, None))


# ---- order -----------------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
def test_labels_of_axes_are_those_of_their_product(sizes: list[int], times: int) -> None:
    axes = [[f"{name}{i}" for i in range(n)] for name, n in zip("abcd", sizes, strict=False)]
    points = list(itertools.product(*axes)) * times
    for i, axis in enumerate(axes):
        label = sweep._Label(axis, math.prod(sizes[i + 1 :]), len(points) // times * times)
        assert list(label) == [point[i] for point in points]
        assert label[-1] == points[-1][i]
        assert label[1:5] == [point[i] for point in points[1:5]]
        with pytest.raises(IndexError):
            label[len(points)]


@EXAMPLES
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 20))
def test_blocks_are_all_points_in_order_and_none_is_too_large(sizes: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_BLOCK", block)
        grid = np.arange(math.prod(sizes)).reshape(sizes)
        cuts = [grid[cut] for cut in sweep._blocks(tuple(sizes))]
    assert [int(i) for cut in cuts for i in cut.ravel()] == list(range(grid.size))
    assert all(cut.size <= max(block, 1) for cut in cuts)
    assert all(cut.ndim == len(sizes) for cut in cuts)


@EXAMPLES
@given(st.lists(st.lists(st.sampled_from([1.0, 2.0]), min_size=1, max_size=4), min_size=1, max_size=5), st.booleans())
def test_a_column_is_filled_block_by_block(blocks: list[list[float]], single: bool) -> None:
    """A value that is the same all over a block comes as one number."""
    size, found, start = sum(map(len, blocks)), {}, 0
    for values in blocks:
        alike = single and len(set(values)) == 1
        sweep._fill(
            found,
            "x",
            values[0] if alike else np.array(values),
            (len(values),),
            slice(start, start + len(values)),
            size,
        )
        start += len(values)
    wanted = [value for values in blocks for value in values]
    assert np.broadcast_to(found["x"], (size,)).tolist() == wanted


AXES = {"plan.tp": [1, 2, 3, 8], "batch": [1, 16], "plan.weight_dtype": ["bf16", "fp8"]}


def test_rows_stand_for_every_point_once() -> None:
    rows = asked(AXES).rows
    got = [tuple(row[name] for name in AXES) for row in rows]
    assert sorted(map(str, got)) == sorted(map(str, itertools.product(*AXES.values())))
    assert [row["feasible"] for row in rows] == [point[0] != 3 for point in got]
    reasons = {row["reason"] for row in rows if not row["feasible"]}
    wanted = "num_attention_heads = 32 cannot be cut into 3 equal parts (nearest valid: plan.tp = 2 or 4)"
    assert reasons == {wanted}


@pytest.mark.parametrize("block", [1, 3, 4, 7])
def test_blocks_change_no_number(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = asked(AXES).rows
    monkeypatch.setattr(sweep, "_BLOCK", block)
    assert asked(AXES).rows == whole


def test_a_row_is_the_answer_to_its_own_question() -> None:
    axes: dict[str, list[Any]] = {"plan.tp": [1, 8], "context": [1024, 8192], "plan.kv_dtype": ["bf16", "fp8"]}
    for row in asked(axes).rows:
        (alone,) = asked({name: [row[name]] for name in axes}).rows
        assert alone == row


def test_a_sweep_counts_what_can_be_run() -> None:
    found = asked({"plan.tp": [1, 3, 5, 8]})
    assert found.metrics == {"points": 4, "points_feasible": 2}
    assert found.fits
    assert found.verdict == "2 of 4 points fit in memory, 2 cannot be run"
    assert asked({"plan.tp": [1, 8]}).verdict == "every point of the sweep fits in memory"


def test_a_row_that_does_not_fit_says_by_how_much() -> None:
    """70B parameters in bf16 on one H200 (141 GB): the reason of a row is what one question says of the same point."""
    found = asked({"plan.tp": [1, 3, 8], "phase.batch": [1, 64]}, "llama-3.1-70b")
    rows = found.rows
    assert [(row["feasible"], row.get("fits")) for row in rows] == 2 * [(True, False)] + 2 * [(False, None)] + 2 * [
        (True, True)
    ]
    for row in rows[:2]:
        gib = row["memory_short_bytes_per_gpu"] / 2**30
        assert row["reason"] == f"short by {gib:.4g} GiB per GPU"
        alone = simcost.decode("llama-3.1-70b", "h200", batch=row["batch"], context=2048, set=NONE)
        assert f"DOES NOT FIT: short by {gib:.4g} GiB per GPU" in alone.verdict
    assert not any("reason" in row for row in rows[4:])
    assert found.verdict == "2 of 6 points fit in memory, 2 do not, 2 cannot be run"


def test_a_sweep_of_which_nothing_can_be_run_is_an_error_or_says_so() -> None:
    with pytest.raises(SpecError, match=r"no point of the sweep can be run: .*not-a-format"):
        asked({"plan.weight_dtype": ["not-a-format", "nor-this"]})
    found = asked({"plan.tp": [3, 5]})
    assert not found.fits
    assert "no point of the sweep can be run" in found.verdict


def test_a_sweep_of_which_nothing_fits_says_so() -> None:
    found = asked({"phase.batch": [1, 2]}, "llama-3.1-405b")
    assert found.metrics["points_feasible"] == 2
    assert not found.fits
    assert found.verdict == "no point of the sweep fits in memory"


def test_reasons_name_the_numbers_of_their_point() -> None:
    rows = asked({"plan.tp": [3, 5, 6], "phase.batch": [1, 2]}).rows
    assert all(f"into {row['plan.tp']} equal parts" in row["reason"] for row in rows)


# ---- what makes it fit -----------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.floats(0.6, 5000.0), st.floats(0.5, 10_000.0))
def test_sizes_that_are_tried_are_powers_of_two_in_between(least: float, most: float) -> None:
    assert list(fitting._powers(least, most)) == [2.0**i for i in range(20) if least <= 2.0**i <= most]


@pytest.mark.parametrize(("value", "text"), [(53, "53"), (0.95, "0.95"), ("fp8", "fp8"), (6816, "6816"), (2.0, "2")])
def test_a_change_is_written_as_it_is_set(value: Any, text: str) -> None:
    assert fitting._shown(value) == text


def kept(share: float) -> Any:
    terms = SimpleNamespace(names={"share": "gpu_memory_utilization"}, share=share)
    return SimpleNamespace(workload=SimpleNamespace(memory=terms))


@EXAMPLES
@given(st.integers(10, 97), st.integers(1, 110), st.booleans())
def test_the_smallest_share_that_fits_is_found(share: int, enough: int, tight: bool) -> None:
    """Hundredths from the present share on, up to 0.98, which no engine exceeds."""
    asked_for = []

    def fake(question: Any, sets: dict[str, float]) -> Any:
        ((path, value),) = sets.items()
        assert path == "engine.gpu_memory_utilization"
        asked_for.append(value)
        return object() if value >= enough / 100 else None

    enough = max(enough, share + 1)  # the present one does not fit, or nobody would ask
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_asked", fake)
        patch.setattr(fitting.memory_notes, "tight", lambda changed: tight)
        found = list(fitting._share(None, kept(share / 100 + 1e-9)))  # type: ignore[arg-type]
    wanted = [] if enough > 98 or tight else [("engine.gpu_memory_utilization", enough / 100)]
    assert found == wanted
    assert len(asked_for) <= 9  # halving, not a walk


def test_the_first_change_that_fits_is_named_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_asked", lambda question, sets: object() if sets.get("a", 0) >= 4 else None)
    changes = [("a", value) for value in (1, 2, 4, 8)]
    assert list(fitting._first(None, changes)) == [("a", 4)]  # type: ignore[arg-type]
    assert list(fitting._first(None, changes[:2])) == []  # type: ignore[arg-type]


def memory_of(**sets: Any) -> Any:
    phase = {"batch": 1, "context": 4096}
    return memory.kept(query.workload(query.make("llama-3.1-70b", "h200", True, phase, {**NONE, **sets}, {}, None)))


@pytest.mark.parametrize(("sets", "fits", "stage"), [
    ({"plan.tp": 8}, True, ""), ({}, False, ""), ({"plan.pp": 2}, True, "on stage 2 of 2 (40 layers, head)"),
])  # fmt: skip
def test_a_verdict_says_whether_it_fits_and_which_stage_is_fullest(
    sets: dict[str, Any], fits: bool, stage: str
) -> None:
    """70B parameters in bf16 are 141 GB: one H200 holds no cache beside them, two stages do; equal halves, and the head is
    larger by the final norm than the table of tokens."""
    said, found = fitting.verdict(memory_of(**sets))
    assert found is fits
    assert said.startswith("fits:" if fits else "DOES NOT FIT: short by")
    assert stage in said
    assert ("times are printed as if the memory sufficed" in said) is not fits
    assert "times" not in fitting.verdict(memory_of(**sets), timed=False)[0]


def test_a_solved_width_is_that_of_each_points_own_plan_and_a_design_is_told_once() -> None:
    swap = {"model.ffn": "moe:64/6/2"}
    found = simcost.decode(
        "deepseek-v3", "h200", set=swap, vary={"plan.tp": [4, 8], "batch": [1, 64], "engine": ["any", "vllm"]}
    )
    assert found.metrics["points_feasible"] == 8
    for row in found.rows:
        alone = simcost.decode(
            "deepseek-v3", "h200", row["batch"], set={**swap, "plan.tp": row["plan.tp"]}, engine=row["engine"]
        )
        assert row["tpot_s"] == pytest.approx(alone.metrics["tpot_s"], rel=1e-12)
    widths = [(row["design"], row["after"]) for row in found.dimensions if row["key"] == "moe_intermediate_size"]
    assert widths == [("plan.tp=4", 2304), ("plan.tp=8", 2560)]  # two shared experts are one layer of twice the width
    same = simcost.decode(
        "deepseek-v3", set={"model.attention": "mha"}, vary={"plan.tp": [8, 16], "hw": ["h200", "h20"]}
    )
    assert [row["key"] for row in same.dimensions if row["after"] is not None] == ["num_key_value_heads", "head_dim"]
    assert not any("design" in row for row in same.dimensions)
