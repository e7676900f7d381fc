"""Several seeds of a run request by request: a run each, and their means as the figures."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError


def asked(seed: Any, load: Any = 4) -> Any:
    return simcost.serve(
        "llama-3.1-8b", "h200", "lognormal:300:0.5", 12, load, events=True, requests=30, seed=seed, engine="vllm", set={"hw.measurements": "none"}
    )  # fmt: skip


def test_figures_are_means_of_the_runs_and_each_run_stands_in_a_table() -> None:
    alone = [asked(seed) for seed in (1, 2, 5)]
    found = asked("1,2,5")
    name = "ttft_p99_s"
    assert len({one.metrics[name] for one in alone}) == 3
    assert found.metrics[name] == pytest.approx(fmean(one.metrics[name] for one in alone), rel=1e-12)
    assert [(row["concurrency"], row["seed"], row[name]) for row in found.tables["runs"]] == [
        (4, seed, one.metrics[name]) for seed, one in zip((1, 2, 5), alone, strict=True)
    ]
    means = {row["figure"]: row["mean_s"] for row in found.tables["request by request"]}
    each = [{row["figure"]: row["mean_s"] for row in one.tables["request by request"]} for one in alone]
    assert means["e2e"] == pytest.approx(fmean(one["e2e"] for one in each), rel=1e-12)
    assert simcost.api.ask("serve", found.inputs).metrics == found.metrics


def test_one_seed_answers_as_it_did() -> None:
    assert asked([3]).to_dict() == asked(3).to_dict()
    assert "runs" not in asked(3).tables


def test_every_load_has_every_run() -> None:
    found = asked("2..3", [2, 4])
    assert [(row["concurrency"], row["seed"]) for row in found.tables["runs"]] == [(2, 2), (2, 3), (4, 2), (4, 3)]
    for row, load in zip(found.tables["loads"], (2, 4), strict=True):
        runs = [one["tpot_p50_s"] for one in found.tables["runs"] if one["concurrency"] == load]
        assert row["tpot_p50_s"] == pytest.approx(fmean(runs), rel=1e-12)


@pytest.mark.parametrize(
    ("seed", "why"),
    [("1,1", "names a seed twice"), ("1..20000", "at most 10,000"), ("x", "--seed = 'x' must be a whole number"), (-1, "--seed = -1 must be a whole number"), ([], "--seed is empty"), ("1,,2", "must be a whole number")],
)  # fmt: skip
def test_what_is_no_seed_is_refused(seed: Any, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        asked(seed)


def test_more_runs_than_one_process_does_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simcost.scenarios.serve.simulated.MOST", 100)
    assert len(asked("1..3").tables["runs"]) == 3  # 90 requests
    with pytest.raises(
        SpecError, match=r"4 seeds make 120 requests of one replica, at most 100 in one process: .* or --scheduler"
    ):
        asked("1..4")
