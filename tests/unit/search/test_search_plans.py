"""Every way to use a cluster: all splits and no other, each at its best batch, ranked as single questions would rank them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toykit import model, profile

import simcost
from simcost.errors import SpecError
from simcost.result import Result
from simcost.search import plans
from simcost.search.plans import SIZES, splits

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
        sets = {f"plan.{n}": row[n] for n in SIZES if n in row}
        alone = {b: simcost.decode(*names, batch=b, context=1024, set=sets).metrics for b in BATCHES}
        metric = {b: one["output_tokens_per_s_per_gpu"] for b, one in alone.items()}
        assert metric[row["batch"]] == max(metric.values())
        assert row["tpot_s"] == pytest.approx(alone[row["batch"]]["tpot_s"], rel=1e-9)
        best[tuple(sets.values())] = max(metric.values())
    ranked = [row["output_tokens_per_s_per_gpu"] for row in rows]
    assert ranked == pytest.approx(sorted(best.values(), reverse=True))


def test_a_limit_takes_the_best_batch_below_it(ask: Ask) -> None:
    free = {(r["tp"], r["pp"]): r for r in ask(metric="tpot_s").rows}
    most = sorted(row["tpot_s"] for row in free.values())[len(free) // 2]
    found = ask(tpot=most)
    assert found.metrics["plans_feasible"] == sum(row["tpot_s"] <= most for row in free.values())
    for row in found.rows:
        within = free[row["tp"], row["pp"]]["tpot_s"] <= most
        assert row["feasible"] is within
        assert row["tpot_s"] <= most if within else row["reason"].startswith("tpot_s above")


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
    with pytest.raises(SpecError, match="--gpus 4: no plan with what --set asks for uses all of them"):
        ask(set={"plan.tp": 8})


def test_a_cluster_of_too_many_ways_is_refused_with_the_way_out(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST", 5)
    with pytest.raises(SpecError, match=r"--gpus 4: 6 ways to split them; at most 5 \(leave out --cp"):
        ask()


def test_parts_of_a_long_list_give_what_the_whole_gives(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ask(gpus=16).rows
    monkeypatch.setattr(plans, "_PART", 7)
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
        row["reason"].startswith("short by ") and row["reason"].endswith(" a GPU at every batch") for row in found.rows
    )
    assert found.verdict.startswith(f"0 of {len(found.rows)} plans can run; at batch 1 no plan of up to 1,024 GPUs")


def test_what_does_not_rank_is_refused_and_what_has_no_price_ranks_nothing(ask: Ask, names: tuple[str, str]) -> None:
    with pytest.raises(SpecError, match="--metric gpus: neither more nor less"):
        ask(metric="gpus")
    with pytest.raises(SpecError, match="not a metric of decode"):
        ask(metric="ttft_s")
    home = Path(names[1]).parent.parent / "free"
    free = str(profile(home, without=("price.usd_per_hour",)))
    with pytest.raises(SpecError, match="--metric usd_per_million_output_tokens: not a metric of decode"):
        simcost.plans(names[0], free, gpus=2, batch=[1], context=64, metric="usd_per_million_output_tokens")


def test_the_inputs_repeat_what_was_asked_and_the_counts_what_was_tried(ask: Ask) -> None:
    found = ask(tpot="50ms")
    assert found.inputs["batches"] == BATCHES
    assert found.inputs["limits"] == {"tpot_s": 0.05}
    assert (found.inputs["gpus"], found.inputs["metric"]) == (4, "output_tokens_per_s_per_gpu")
    assert "batch" not in found.inputs
    assert found.metrics["plans"] == len(found.rows) == 6
    assert found.metrics["points"] == 6 * len(BATCHES)


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
    said = f": the fastest that fits reaches tpot {1e6 * best['tpot_s']:.4g} us ({sizes}, batch {best['batch']})"
    assert found.verdict.endswith(said)
