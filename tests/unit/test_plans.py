"""plans: the batches that are tried, what ranks, what a limit means, and what is said where none is met."""

from __future__ import annotations

import re

import pytest

import simcost
from simcost import metrics
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.search import objective


def test_the_tried_batches_grow_with_the_devices_and_end_where_memory_does() -> None:
    found = simcost.plans("deepseek-v3", "h800", gpus=512, price=2.0)
    small = simcost.plans("deepseek-v3", "h800", gpus=512, price=2.0, batch=[2**n for n in range(15)])
    best, before = (f.rows[0]["usd_per_million_output_tokens"] for f in (found, small))
    assert best < 0.7 * before
    tried = found.inputs["batches"]
    assert tried == [2**n for n in range(len(tried))]
    assert len(tried) <= 15 + 9
    assert max(tried) * 2 > max(row.get("max_batch", 0) for row in found.rows)
    assert not any("largest that was tried" in note for note in found.warnings)
    assert any("largest that was tried, 16,384: memory allows" in note for note in small.warnings)


@pytest.mark.parametrize(
    ("metric", "sign"), [("share_overhead", 1), ("mfu", -1), ("tpot_s", 1), ("share_measured", -1)]
)
def test_the_best_plan_comes_first_whatever_ranks(metric: str, sign: int) -> None:
    rows = [
        row for row in simcost.plans("llama-3.1-70b", "h200", gpus=8, batch=[64], metric=metric).rows if metric in row
    ]
    values = [sign * row[metric] for row in rows]
    assert len(values) > 2
    assert values == sorted(values)


def test_every_metric_has_a_direction_or_is_refused() -> None:
    for ask in (simcost.decode, simcost.prefill):
        known = set(ask("deepseek-v3", "h200", set={"plan.tp": 8}).metrics)
        known = {name for name in known if not name.endswith(("_price_low", "_price_high"))}  # ends of what ranks
        neither = known - set(metrics.ranking())
        assert neither <= {
            "flops_per_token", "gpus", "reserve_bytes_per_gpu", "non_torch_bytes_per_gpu", "cuda_graph_bytes_per_gpu", "memory_capacity_bytes_per_gpu", "max_context", "fits",
            "mla_form", *(f"share_{n}" for n in ("compute", "memory", "fitted", "transferred", "datasheet")),
        }  # fmt: skip
    for metric in ("gpus", "share_memory"):
        with pytest.raises(SpecError, match="plans cannot be ranked"):
            simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[1], metric=metric)


@pytest.mark.parametrize(
    ("stated", "seconds"), [("50ms", 0.05), ("0.05s", 0.05), ("0.05", 0.05), (0.05, 0.05), ("2e-2", 0.02)]
)
def test_a_limit_is_seconds_or_has_a_unit(stated: str | float, seconds: float) -> None:
    assert objective.limit("--tpot", stated) == pytest.approx(seconds)


def test_a_limit_that_is_no_time_is_refused() -> None:
    for bad in ("fast", "50 apples", -1, 0, "inf", "nan", 50):
        with pytest.raises(SpecError, match="--tpot"):
            objective.limit("--tpot", bad)
    with pytest.raises(SpecError, match="--tpot 50 has no unit"):
        simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[1], tpot=50)
    assert "within TPOT 50 s" in simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[1], tpot="50s").verdict


def test_where_no_plan_fits_the_verdict_says_how_many_gpus_would() -> None:
    found = simcost.plans("deepseek-v3", "h100", gpus=8)
    count, sizes = re.search(r"; at batch 1 the smallest plan that fits has (\d+) GPUs: (.*)$", found.verdict).groups()
    sets = {f"plan.{name}": int(size) for name, size in (one.split("=") for one in sizes.split(", "))}
    answer = simcost.decode("deepseek-v3", "h100", set=sets)
    assert answer.fits
    assert answer.metrics["gpus"] == int(count) > 8


def test_a_batch_that_is_set_is_the_one_that_is_tried() -> None:
    ask = {"model": "llama-3.1-8b", "hw": "h200", "gpus": 2}
    assert simcost.plans(**ask, set={"batch": 64}).rows == simcost.plans(**ask, batch=[64]).rows
    with pytest.raises(SpecError, match="'batch' is given twice"):
        simcost.plans(**ask, batch=[1], set={"batch": 64})


def test_an_impossible_limit_says_what_the_fastest_fitting_plan_reaches() -> None:
    found = simcost.plans("deepseek-v3", "h200", gpus=8, tpot="1ms")
    assert not found.fits
    free = simcost.plans("deepseek-v3", "h200", gpus=8, metric="tpot_s").rows[0]
    said = re.search(r"within TPOT 1 ms: the fastest that fits reaches TPOT ([0-9.]+) ms \(.*batch 1\)", found.verdict)
    assert said is not None
    assert float(said[1]) == pytest.approx(1000 * free["tpot_s"], rel=1e-3)


def test_rows_hold_the_interval_and_no_sizes_of_experts_that_are_not_there() -> None:
    dense, sparse = (simcost.plans(m, "h200", gpus=8, batch=[8]).rows for m in ("llama-3.1-70b", "deepseek-v3"))
    assert not any("etp" in row for row in dense)
    assert all("etp" in row for row in sparse)
    for row in (dense[0], sparse[0]):
        assert row["tpot_low_s"] < row["tpot_s"] < row["tpot_high_s"]


def test_a_column_that_says_nothing_goes_with_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plans", "--model", "llama-3.1-70b", "--hw", "h200", "--gpus", "8", "--batch", "8"]) == 0
    assert "the same in every row: cp=1, dp_attention=1, ep=1" in capsys.readouterr().out
