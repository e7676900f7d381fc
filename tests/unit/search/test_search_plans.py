"""Every way to use a cluster: all splits and no other, each at its best batch, ranked as single questions would rank them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toykit import model, profile

import simcost
from simcost import settings
from simcost.errors import SpecError
from simcost.result import Result
from simcost.scenarios.goals import aim
from simcost.search import best as best_of
from simcost.search import objective, points
from simcost.search import splits as all_splits
from simcost.search.rows import CHOSEN
from simcost.search.splits import SIZES, splits

BATCHES = [1, 8, 64]
Ask = Callable[..., Result]


@pytest.fixture
def names(tmp_path: Path) -> tuple[str, str]:
    """The toy model and the toy device."""
    return str(model(tmp_path / "m")), str(profile(tmp_path / "toy"))


@pytest.fixture
def ask(names: tuple[str, str]) -> Ask:
    """plans of the toy on four devices."""

    def asked(**more: Any) -> Result:
        return simcost.plans(*names, **{"gpus": 4, "batch": BATCHES, "context": 1024, **more})

    return asked


@pytest.mark.parametrize("devices", [1, 6, 8])
@pytest.mark.parametrize("experts", [True, False])
@pytest.mark.parametrize("cp", [True, False])
def test_splits_are_all_products_of_groups_and_each_once(devices: int, experts: bool, cp: bool) -> None:
    sizes = range(1, devices + 1)
    want = set()
    for tp, c, replicas, pp, dp in itertools.product(
        sizes, sizes if cp else [1], sizes if experts else [1], sizes, sizes
    ):
        if tp * c * replicas * pp * dp == devices:
            stage = tp * c * replicas
            want |= {
                (tp, c, replicas, pp, dp, ep, stage // ep) for ep in sizes if stage % ep == 0 and (experts or ep == 1)
            }
    found = list(splits(devices, experts, cp))
    assert len(found) == len(set(found))
    assert set(found) == want


def test_every_split_is_a_row_and_the_best_batch_of_each_is_that_of_single_questions(
    ask: Ask, names: tuple[str, str]
) -> None:
    rows = ask().rows
    assert {tuple(row[n] for n in SIZES if n in row) for row in rows} == {s[:-1] for s in splits(4, False, False)}
    best = {}
    for row in rows:
        sets = {f"plan.{n}": row[n] for n in (*SIZES, *CHOSEN) if n in row}
        alone = {b: simcost.decode(*names, batch=b, context=1024, set=sets).metrics for b in BATCHES}
        metric = {b: one["output_tokens_per_s_per_gpu"] for b, one in alone.items()}
        assert metric[row["batch"]] == max(metric.values())
        assert row["tpot_s"] == pytest.approx(alone[row["batch"]]["tpot_s"], rel=1e-9)
        assert row["max_batch"] == alone[row["batch"]]["max_batch"]
        best[tuple(sets.values())] = max(metric.values())
    ranked = [row["output_tokens_per_s_per_gpu"] for row in rows]
    assert ranked == pytest.approx(sorted(best.values(), reverse=True))


def test_plans_of_several_numbers_of_stages_hold_what_each_alone_does() -> None:
    """Windows keep room for the steps in flight, which stages set: of each plan its own."""
    rows = [
        row for row in simcost.plans("gemma-3-27b", "h100", gpus=4, context=16_384).tables["plans"] if row["feasible"]
    ]
    assert {row["pp"] for row in rows} >= {1, 2}
    for row in rows:
        sets = {f"plan.{name}": row[name] for name in (*SIZES, *CHOSEN) if name in row}
        alone = simcost.decode("gemma-3-27b", "h100", batch=row["batch"], context=16_384, set=sets)
        assert alone.fits
        assert row["memory_used_bytes_per_gpu"] == pytest.approx(alone.metrics["memory_used_bytes_per_gpu"], rel=1e-12)
        assert row["max_batch"] == alone.metrics["max_batch"]


def test_a_limit_takes_the_best_batch_below_it(ask: Ask) -> None:
    free = {(r["tp"], r["pp"]): r for r in ask(metric="tpot_s").rows}
    most = sorted(row["tpot_s"] for row in free.values())[len(free) // 2]
    found = ask(tpot=most)
    assert found.metrics["plans_feasible"] == sum(row["tpot_s"] <= most for row in free.values())
    for row in found.rows:
        within = free[row["tp"], row["pp"]]["tpot_s"] <= most
        assert row["feasible"] is within
        assert row["tpot_s"] <= most if within else row["reason"].startswith("tpot above")


def test_rows_that_cannot_run_come_last_with_their_reason(names: tuple[str, str]) -> None:
    found = simcost.plans(*names, gpus=6, batch=[8], context=1024)
    runs = [row["feasible"] for row in found.rows]
    assert runs == sorted(runs, reverse=True)
    assert not all(runs)
    for row in found.rows:
        assert row["feasible"] is (8 % row["tp"] == 0 and row["pp"] <= 4)  # 8 heads, 4 layers
        assert row["feasible"] or "reason" in row
    assert found.metrics["plans_feasible"] == sum(runs)
    assert found.verdict.startswith(f"{sum(runs)} of {len(runs)} plans can run")


def test_a_size_that_is_set_leaves_only_the_splits_that_have_it(ask: Ask) -> None:
    assert {(row["tp"], row["pp"], row["dp"]) for row in ask(set={"plan.tp": 2}).rows} == {(2, 1, 2), (2, 2, 1)}
    with pytest.raises(SpecError, match="--gpus 4: no plan with the values of --set uses all of them"):
        ask(set={"plan.tp": 8})


def test_a_cluster_of_too_many_ways_is_refused_with_the_way_out(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_splits, "MOST", 5)
    with pytest.raises(SpecError, match=r"--gpus 4: more than 5 ways to split them \(leave out --cp"):
        ask()


def test_parts_of_a_long_list_give_what_the_whole_gives(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask(gpus=16).rows
    monkeypatch.setattr(points, "_PART", 7)
    parts = ask(gpus=16).rows
    assert [{k: v for k, v in row.items() if k != "reason"} for row in parts] == [
        {k: pytest.approx(v) if isinstance(v, float) else v for k, v in row.items() if k != "reason"} for row in whole
    ]


def test_a_model_that_no_plan_can_hold_says_by_how_much(tmp_path: Path) -> None:
    small = profile(tmp_path / "small", {"memory.capacity": '{ value = "0.2 GB", source = "book" }'})
    found = simcost.plans(str(model(tmp_path / "m")), str(small), gpus=2, batch=[1], context=1024)
    assert not found.fits
    assert found.metrics["plans_feasible"] == 0
    assert all(
        row["reason"].startswith("short by ") and row["reason"].endswith(" per GPU at every batch")
        for row in found.rows
    )
    assert found.verdict.startswith(
        f"0 of {len(found.rows)} plans can run; at batch 1 none of the plans tried, up to 1,024 GPUs"
    )


def test_what_does_not_rank_is_refused_and_what_has_no_price_ranks_nothing(ask: Ask, names: tuple[str, str]) -> None:
    with pytest.raises(SpecError, match="--metric gpus: plans cannot be ranked"):
        ask(metric="gpus")
    with pytest.raises(SpecError, match="not a metric of decode"):
        ask(metric="ttft_s")
    home = Path(names[1]).parent.parent / "free"
    free = str(profile(home, without=("price.usd_per_hour",)))
    with pytest.raises(
        SpecError,
        match="--metric usd_per_million_output_tokens: toy has no price with a source: state one with --price",
    ):
        simcost.plans(names[0], free, gpus=2, batch=[1], context=64, metric="usd_per_million_output_tokens")


def test_the_inputs_repeat_what_was_asked_and_the_counts_what_was_tried(ask: Ask) -> None:
    found = ask(tpot="50ms")
    assert found.inputs["batches"] == BATCHES
    assert found.inputs["limits"] == {"tpot_s": 0.05}
    assert (found.inputs["gpus"], found.inputs["metric"]) == (4, "output_tokens_per_s_per_gpu")
    assert "batch" not in found.inputs
    assert found.metrics["plans"] == len(found.rows) == 6
    assert found.metrics["points"] >= 6 * len(BATCHES)
    plain = ask(tpot="50ms", set={"plan.overlap": "none", "plan.sequence_parallel": "off"})
    assert plain.metrics["points"] == 6 * len(BATCHES)


def test_plans_that_are_tied_with_the_best_are_counted_without_it(ask: Ask) -> None:
    found = ask(batch=[8])
    marked = [row["best_or_tied"] for row in found.rows]
    assert marked[0]
    assert found.metrics["plans_tied"] == sum(marked) - 1 > 0
    one = ask(batch=[8], set={"plan.tp": 4})
    assert (len(one.rows), one.metrics["plans_tied"]) == (1, 0)
    assert "tied" not in one.verdict


def test_where_no_plan_meets_a_limit_the_fastest_says_how_far_off_it_is(ask: Ask) -> None:
    best = ask(metric="tpot_s").rows[0]
    found = ask(tpot=best["tpot_s"] / 2)
    assert (found.fits, found.metrics["plans_feasible"], found.metrics["plans_tied"]) == (False, 0, 0)
    sizes = ", ".join(f"{name}={best[name]}" for name in SIZES if best.get(name, 1) != 1)
    said = f": the fastest that fits reaches TPOT {1e6 * best['tpot_s']:.4g} us ({sizes}, batch {best['batch']})"
    assert found.verdict.endswith(said)


# The best batch


@pytest.mark.parametrize("more", [
    {}, {"metric": "tpot_s"}, {"metric": "mfu"}, {"metric": "usd_per_million_output_tokens", "tpot": "1.5ms"}, {"tpot": "900us"},
    {"gpus": 3}, {"gpus": 6, "tpot": "2ms"}, {"phase": "prefill", "context": None, "isl": 512, "ttft": "40ms"},
])  # fmt: skip
def test_no_batch_of_a_plan_beats_the_one_that_is_found(names: tuple[str, str], more: dict[str, Any]) -> None:
    """Brute force: every whole number of sequences a replica, priced one by one."""
    asked = {"gpus": 4, "context": 8192, **more}
    prefill = asked.get("phase") == "prefill"
    found = simcost.plans(*names, **asked)
    metric = found.inputs["metric"]
    less = metric.endswith("_s") or metric.startswith("usd")
    limit = next(iter(found.inputs["limits"].items()), None)
    runs = [row for row in found.rows if row["feasible"]]
    assert runs
    for row in runs[:4]:
        sets = {f"plan.{n}": row[n] for n in (*SIZES, *CHOSEN) if n in row}
        replicas = row["dp"] * row["dp_attention"]
        assert row["batch"] % replicas == 0 or row["batch"] < replicas
        most = min(row["max_batch"], 64 * replicas)
        batches = sorted({*range(replicas, most + 1, replicas), row["batch"]})
        ask = simcost.prefill if prefill else simcost.decode
        length = {"isl": asked["isl"]} if prefill else {"context": 8192}
        alone = ask(*names, set=sets, vary={"batch": batches}, **length).tables["sweep"]
        allowed = {r["batch"]: r[metric] for r in alone if r["fits"] and (limit is None or r[limit[0]] <= limit[1])}
        assert allowed[row["batch"]] == pytest.approx(row[metric], rel=1e-9)
        best = (min if less else max)(allowed.values())
        assert row[metric] == pytest.approx(best, rel=objective.STEP) or (row[metric] < best) is less


def test_the_largest_batch_within_memory_is_taken_and_not_a_power_of_two(names: tuple[str, str]) -> None:
    found = simcost.plans(*names, gpus=4, context=8192)
    for row in found.rows:
        assert row["batch"] == row["max_batch"]
    assert any(row["batch"] & (row["batch"] - 1) for row in found.rows)


def test_splits_behind_the_best_ones_are_priced_less_finely_and_never_better(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"batch": None, "context": 8192, "gpus": 8, "tpot": "2ms"}
    full = ask(**asked)
    monkeypatch.setattr(best_of, "FINEST", 1)
    few = ask(**asked)
    assert few.metrics["points"] < full.metrics["points"]
    assert few.metrics["plans_feasible"] == full.metrics["plans_feasible"]
    rates = [
        {
            tuple(row[n] for n in SIZES if n in row): row["output_tokens_per_s_per_gpu"]
            for row in found.rows
            if row["feasible"]
        }
        for found in (few, full)
    ]
    assert all(rate <= rates[1][split] * (1 + 1e-9) for split, rate in rates[0].items())
    assert few.rows[0]["output_tokens_per_s_per_gpu"] == pytest.approx(
        full.rows[0]["output_tokens_per_s_per_gpu"], rel=0.02
    )


def test_stated_batches_are_the_only_ones(ask: Ask) -> None:
    assert {row["batch"] for row in ask(batch=[24, 5, 7]).rows} <= {5, 7, 24}


# Overlaps


@pytest.mark.parametrize(
    ("model_name", "hw", "phase"), [("deepseek-v3", "h200", "decode"), ("mixtral-8x7b", "h200", "prefill")]
)
def test_each_split_has_its_best_overlap(model_name: str, hw: str, phase: str) -> None:
    asked = {"gpus": 8, "batch": [64], "phase": phase}
    rows = {tuple(r[n] for n in SIZES): r for r in simcost.plans(model_name, hw, **asked).rows if r["feasible"]}
    metric = "output_tokens_per_s_per_gpu" if phase == "decode" else "input_tokens_per_s_per_gpu"
    best: dict[tuple[int, ...], float] = {}
    for overlap, sequence in itertools.product(settings.CHOICES["overlap"], ("off", "on")):
        sets = {"plan.overlap": overlap, "plan.sequence_parallel": sequence}
        for row in simcost.plans(model_name, hw, set=sets, **asked).rows:
            if row["feasible"]:
                assert (row["overlap"], row["sequence_parallel"]) == (overlap, sequence)
                split = tuple(row[n] for n in SIZES)
                best[split] = max(best.get(split, 0.0), row[metric])
    assert {split: row[metric] for split, row in rows.items()} == pytest.approx(best)
    assert any(row["overlap"] != "none" for row in rows.values())


def test_an_overlap_that_changes_nothing_is_not_named() -> None:
    rows = simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[8]).rows
    assert {row["overlap"] for row in rows if row["tp"] == 1} == {"none"}
    assert not any(row["overlap"] in ("two_batch", "shared_experts") for row in rows)


def test_an_overlap_that_is_set_is_kept_and_gets_what_it_needs(ask: Ask) -> None:
    rows = ask(set={"plan.overlap": "tensor_parallel"}).rows
    assert all(
        row["overlap"] == "tensor_parallel" and row["sequence_parallel"] == "on" for row in rows if row["feasible"]
    )
    off = ask(set={"plan.overlap": "tensor_parallel", "plan.sequence_parallel": "off"}).rows
    assert not any(row["feasible"] for row in off)
    assert all("needs sequence_parallel=on" in row["reason"] for row in off)


# Several devices, several numbers of them


def test_devices_and_numbers_are_ranked_together_as_each_alone(names: tuple[str, str], tmp_path: Path) -> None:
    fast = profile(tmp_path / "fast", {"memory.bandwidth": '{ value = "8 TB/s", source = "book" }'})
    both = simcost.plans(names[0], [names[1], str(fast)], gpus=[1, 2, 4], context=1024)
    rows = both.tables["plans"]
    assert {(row["hw"], row["gpus"]) for row in rows} == set(itertools.product((names[1], str(fast)), (1, 2, 4)))
    values = [row["output_tokens_per_s_per_gpu"] for row in rows if row["feasible"]]
    assert values == sorted(values, reverse=True)
    for hw, gpus in itertools.product((names[1], str(fast)), (1, 2, 4)):
        alone = simcost.plans(names[0], hw, gpus=gpus, context=1024).rows
        mine = [row for row in rows if (row["hw"], row["gpus"]) == (hw, gpus)]  # both profiles are called toy
        assert {row["hw"] for row in alone} == {"toy"}
        assert [(r["tp"], r["pp"], r["batch"]) for r in mine] == [(r["tp"], r["pp"], r["batch"]) for r in alone]
        assert [r["tpot_s"] for r in mine] == pytest.approx([r["tpot_s"] for r in alone])


def test_the_best_of_each_device_comes_first_in_a_table_of_its_own(names: tuple[str, str], tmp_path: Path) -> None:
    slow = profile(tmp_path / "slow", {"memory.bandwidth": '{ value = "0.1 TB/s", source = "book" }'})
    found = simcost.plans(names[0], [str(slow), names[1]], gpus=4, context=1024)
    best = found.tables["best per device"]
    assert f"best: 4 x {names[1]}, {best[0]['plan']}, batch {best[0]['batch']:,}" in found.verdict
    assert [row["hw"] for row in best] == [names[1], str(slow)]
    for row in best:
        first = next(r for r in found.tables["plans"] if r["hw"] == row["hw"])
        assert row["batch"] == first["batch"]
        assert row["versus_best"] == first["versus_best"]
        assert all(f"{n}={first[n]}" in row["plan"] for n in SIZES if first.get(n, 1) > 1)
    counts = simcost.plans(*names, gpus=[1, 2], context=1024)
    order = list(dict.fromkeys(row["gpus"] for row in counts.tables["plans"]))
    assert [row["gpus"] for row in counts.tables["best per number of GPUs"]] == order
    assert sorted(order) == [1, 2]
    assert list(simcost.plans(*names, gpus=2, context=1024).tables) == ["plans"]


def test_a_device_that_cannot_be_asked_is_a_row_with_its_reason(names: tuple[str, str], tmp_path: Path) -> None:
    free = str(profile(tmp_path / "free", without=("price.usd_per_hour",)))
    found = simcost.plans(
        names[0], [free, names[1]], gpus=2, batch=[8], context=64, metric="usd_per_million_output_tokens"
    )
    row = found.tables["plans"][-1]
    assert (row["hw"], row["feasible"]) == (free, False)
    assert "has no price with a source" in row["reason"]
    assert [row["feasible"] for row in found.tables["best per device"]] == [True, False]
    with pytest.raises(SpecError, match="--metric ttft: not a metric of decode"):
        simcost.plans(names[0], [free, names[1]], gpus=2, batch=[8], context=64, metric="ttft")


@pytest.mark.parametrize(
    ("short", "whole"), [("usd", "usd_per_million_output_tokens"), ("tpot", "tpot_s"), ("mfu", "mfu")]
)
def test_a_metric_goes_by_its_short_name_and_the_verdict_says_what_the_best_plan_reaches(
    ask: Ask, short: str, whole: str
) -> None:
    found = ask(metric=short)
    assert found.inputs["metric"] == whole
    best = found.rows[0]
    stem, unit = whole.removesuffix("_s"), "_s" * whole.endswith("_s")
    ends = [aim.shown(whole, best[f"{stem}_{end}{unit}"]) for end in ("low", "high")]
    words = {"usd": "USD per million output tokens", "tpot": "TPOT", "mfu": "MFU"}[short]
    said = f"batch {best['batch']}: {words} {aim.shown(whole, best[whole])} (90 %: {ends[0]} to {ends[1]})"
    assert said in found.verdict


@pytest.mark.parametrize(("hw", "gpus", "said"), [
    (["h200", "h200"], 2, "--hw names h200 twice"), ([], 2, "--hw is empty"), ("h200", [2, 2], "--gpus names 2 twice"),
    ("h200", [], "--gpus is empty"), ("h200", [2, 0], "--gpus = 0"), ("h200", None, "state how many devices there are"),
    (["h200", "h2000"], 2, "h2000"),
])  # fmt: skip
def test_a_slip_in_devices_or_numbers_is_one_line(hw: Any, gpus: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        simcost.plans("llama-3.1-8b", hw, gpus=gpus)


# How sure the order is, and whose answer a row is


def test_every_row_says_how_far_it_is_behind_and_how_surely(ask: Ask) -> None:
    rows = ask(batch=[8]).rows
    first = rows[0]
    assert (first["versus_best"], first["probability_behind"]) == (0, None)
    for row in rows[1:]:
        ratio = row["output_tokens_per_s_per_gpu"] / first["output_tokens_per_s_per_gpu"]
        assert row["versus_best"] == pytest.approx(ratio - 1.0)
        assert 0.5 <= row["probability_behind"] <= 1.0
        assert row["best_or_tied"] is (row["probability_behind"] <= 0.95)


def test_the_interval_of_what_ranks_is_that_of_the_time(ask: Ask) -> None:
    for metric, falls in (("usd_per_million_output_tokens", False), ("output_tokens_per_s_per_gpu", True)):
        for row in ask(batch=[8], metric=metric).rows:
            low, high = row[f"{metric}_low"] / row[metric], row[f"{metric}_high"] / row[metric]
            ends = row["tpot_low_s"] / row["tpot_s"], row["tpot_high_s"] / row["tpot_s"]
            assert (low, high) == pytest.approx((1 / ends[1], 1 / ends[0]) if falls else ends)
    assert not any(name.startswith("tpot_s_") for name in ask(metric="tpot_s").rows[0])


def test_two_devices_share_fewer_errors_than_one() -> None:
    """The same numbers under another name: curves and clocks are each device's own."""
    one = simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[16])
    two = simcost.plans("llama-3.1-8b", ["h200", "h100"], gpus=2, batch=[16], metric="tpot_s")
    inside = next(row for row in one.rows if row["probability_behind"] is not None)
    across = next(row for row in two.tables["plans"] if row["hw"] == "h100")
    assert inside["probability_behind"] > 0.5
    assert 0.5 < across["probability_behind"] < 1.0


def test_rows_say_what_they_answer(ask: Ask) -> None:
    from simcost import __version__

    for row in ask(gpus=6).rows:
        assert row["hw"] == "toy"
        assert row["gpus"] == 6
        assert (row["engine"], row["phase"], row["context"], row["simcost"]) == ("any", "decode", 1024, __version__)
        assert row["model"]
