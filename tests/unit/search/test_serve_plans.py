"""plans --phase serve: laws of fleets that keep limits, the same numbers as `serve`, and what is said where none
serves."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import simcost
from simcost import metrics
from simcost.api.serving import serve
from simcost.errors import Infeasible, SpecError
from simcost.hardware import load as hardware
from simcost.result import Result, Row
from simcost.search import serve_pareto, serve_space
from simcost.search.serve_load import Limits, largest
from simcost.serving.point import OperatingPoint

MODEL, ISL, OSL = "llama-3.1-8b", 2048, 512


@cache
def asked(rate: Any = 30, slo: str = "ttft=1s,tpot=30ms", pp: int = 1, **more: Any) -> Result:
    return simcost.plans(
        MODEL, "h100", phase="serve", isl=ISL, osl=OSL, rate=rate, slo=slo, set={"plan.pp": pp}, **more
    )


def able(found: Result) -> list[Row]:
    return [row for row in found.tables["plans"] if row["feasible"]]


def served(row: Row, rate: float, instances: int | None = None, **more: Any) -> dict[str, Any]:
    """What `serve` says of a fleet."""
    if row["mode"] == "disaggregated":
        return serve(
            MODEL, "h100", ISL, OSL, rate=rate, prefill_pool=row["prefill_pool"], decode_pool=row["decode_pool"], **more
        ).metrics
    sets = {"plan.tp": row["tp"], "plan.pp": row["pp"], "plan.dp": instances or row["instances"]}
    return serve(MODEL, "h100", ISL, OSL, rate=rate, set=sets, **more).metrics


def test_a_fleet_is_answered_as_serve_answers_it() -> None:
    rows = able(asked())
    assert {row["mode"] for row in rows} == {"aggregated", "disaggregated"}
    some = {row["mode"]: row for row in [*rows, *able(asked(pp=2))[:2]]}
    for row in some.values():
        alone = served(row, 30)
        for name in (
            "ttft_s",
            "ttft_high_s",
            "tpot_s",
            "tpot_low_s",
            "gpus",
            "utilisation",
            "usd_per_million_output_tokens",
            "running",
        ):
            assert alone[name] == pytest.approx(row[name], rel=1e-6), (row["plan"], name)


def test_every_fleet_keeps_the_limits_and_one_instance_less_does_not() -> None:
    rows = able(asked())
    assert all(row["ttft_s"] <= 1.0 and row["tpot_s"] <= 0.030 for row in rows)
    several = [row for row in rows if row.get("instances", 1) > 1]
    assert several
    for row in several[:2]:
        fewer = served(row, 30, row["instances"] - 1)
        late = fewer["ttft_s"] is None or fewer["ttft_s"] > 1.0 or fewer["tpot_s"] > 0.030
        assert late, row["plan"]


def test_a_fleet_takes_the_largest_rate_that_it_names_and_no_more() -> None:
    for row in able(asked(rate=None, slo="ttft=500ms,tpot=20ms"))[:2]:
        most = row["within_limits_requests_per_s"]
        assert row["requests_per_s"] == pytest.approx(most)
        inside, beyond = served(row, most * 0.999), served(row, most * 1.01)
        assert inside["ttft_s"] <= 0.5
        assert inside["tpot_s"] <= 0.020
        assert beyond["ttft_s"] is None or beyond["ttft_s"] > 0.5 or beyond["tpot_s"] > 0.020


def test_more_load_never_needs_fewer_gpus_and_tighter_limits_never_cost_less() -> None:
    best = [asked(rate=rate, metric="gpus").metrics["gpus"] for rate in (3, 300)]
    assert best == sorted(best)
    assert best[-1] > best[0]
    tight, loose = asked(slo="ttft=200ms,tpot=12ms"), asked()
    assert tight.metrics["fleet_usd_per_hour"] > loose.metrics["fleet_usd_per_hour"]
    by_plan = {row["plan"].partition(" x ")[2]: row["gpus"] for row in able(loose)}
    for row in able(tight):
        if row["mode"] == "aggregated":
            assert row["gpus"] >= by_plan[row["plan"].partition(" x ")[2]]


def test_hits_may_come_from_the_host_or_be_computed_again() -> None:
    hit: dict[str, Any] = {"prefix_hit": 0.9, "prefix_from": "host"}
    found = asked(**hit)
    rows = {row["mode"]: row for row in able(found)}
    assert {*rows} == {"aggregated", "disaggregated"}
    for row in rows.values():
        alone = served(row, 30, **hit)
        for name in ("ttft_s", "tpot_s", "gpus", "utilisation", "running"):
            assert alone[name] == pytest.approx(row[name], rel=1e-6), (row["plan"], name)
    pool = asked(prefix_hit=0.9)
    assert able(found)[0]["ttft_s"] > able(pool)[0]["ttft_s"]  # the link takes its time
    assert found.inputs["prefix_from"] == "host"
    assert "prefix_from" not in pool.inputs
    assert asked(prefix_hit=0.9, prefix_from="recompute").metrics == asked().metrics


def test_a_cached_prefix_saves_gpus() -> None:
    assert (
        asked(rate=300, prefix_hit=0.9, metric="gpus").metrics["gpus"] < asked(rate=300, metric="gpus").metrics["gpus"]
    )


def test_ranks_and_ties() -> None:
    rows = able(asked())
    usd = [row["fleet_usd_per_hour"] for row in rows]
    assert usd == sorted(usd)
    assert usd == pytest.approx([row["gpus"] * float(hardware.load("h100").usd_per_hour or 0.0) for row in rows])
    assert rows[0]["best_or_tied"]
    assert rows[0]["probability_behind"] is None
    assert all(0.5 <= row["probability_behind"] <= 1.0 for row in rows[1:])
    equal = [row for row in rows if row["fleet_usd_per_hour"] == usd[0]]
    assert all(row["best_or_tied"] for row in equal)
    by_gpu = able(asked(rate=None))
    values = [row["output_tokens_per_s_per_gpu"] for row in by_gpu]
    assert values == sorted(values, reverse=True)


def test_without_a_price_gpus_rank_and_money_is_refused() -> None:
    device = next(name for name in ("b100", "gaudi2", "ascend-910b") if hardware.load(name).usd_per_hour is None)
    words: dict[str, Any] = {"phase": "serve", "isl": ISL, "osl": OSL, "rate": 1, "tpot": "100ms", "gpus": 1}
    assert simcost.plans(MODEL, device, **words).inputs["metric"] == "gpus"
    with pytest.raises(SpecError, match="has no price with a source: state one with --price"):
        simcost.plans(MODEL, device, metric="usd", **words)
    assert simcost.plans(MODEL, device, price=2, **words).metrics["fleet_usd_per_hour"] > 0


def test_gpus_that_are_too_few_say_what_they_take_and_what_waits() -> None:
    found = asked(rate=300, gpus=4)
    assert not found.fits
    most = max(
        row["within_limits_requests_per_s"] for row in able(asked(rate=None, gpus=4)) if row["mode"] == "aggregated"
    )
    assert f"300 requests/s arrive, 4 x h100 take at most {most:,.4g}" in found.verdict
    assert f"{300 - most:,.4g} requests/s would wait" in found.verdict
    assert all(row["reason"] for row in found.tables["plans"])
    assert any("4 GPUs take" in row["reason"] for row in found.tables["plans"])
    whole = able(asked(rate=None, gpus=4))
    assert all(row["gpus"] <= 4 for row in whole)
    assert {row["instances"] for row in whole if row["mode"] == "aggregated" and row["tp"] == row["pp"] == 1} == {4}


def test_a_device_that_cannot_be_asked_is_a_row_with_its_reason() -> None:
    sets = {"plan.weight_dtype": "fp8", "plan.compute_dtype": "fp8"}
    found = simcost.plans(
        MODEL, ["h100", "a100"], phase="serve", isl=ISL, osl=OSL, rate=5, tpot="50ms", gpus=2, set=sets
    )
    (refused,) = [row for row in found.tables["plans"] if row["hw"] == "a100"]
    assert "fp8" in refused["reason"]
    assert found.tables["plans"][0]["hw"] == "h100"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ttft": "1ms"}, "--ttft 1 ms: no plan on h100 meets this limit on TTFT even without load; the nearest is"),
        (
            {"tpot": "100us"},
            "--tpot 100 us: no plan on h100 meets this limit on TPOT even without load; the nearest is",
        ),
        ({"gpus": 1, "ttft": "1s", "set": {"plan.tp": 2}}, "no instance has the sizes set with --set"),
        ({"slo": "tpot50ms"}, "--slo tpot50ms: write ttft=2s,tpot=50ms"),
        ({"slo": "tpot=50ms", "tpot": "40ms"}, "the limit on tpot is given twice"),
        ({"slo": "itl=50ms"}, "--slo itl=50ms"),
        ({"rate": "-3/s"}, "--rate"),
        ({"rate": "many"}, "--rate = 'many' must be requests per second"),
        ({"batch": [8]}, "--batch does not apply to --phase serve"),
        ({"osl": None}, "--phase serve needs --osl"),
        ({"metric": "mfu"}, "plans of serving can be ranked by usd, gpus, throughput"),
        ({"rate": None, "metric": "gpus"}, "--metric gpus counts the GPUs of a load: add --rate"),
        ({"set": {"plan.dp": 2}}, "plan.dp is the number of instances"),
        ({"prefix_hit": 1.5}, "--prefix-hit"),
        ({"prefix_from": "host"}, "--prefix-from host needs --prefix-hit"),
        ({"prefix_hit": 0.5, "prefix_from": "disk"}, "'disk' is not one of pool, host"),
        (
            {"prefix_hit": 0.5, "prefix_from": "host:1TB"},
            "no plan depends on the size of the host's memory: write host",
        ),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    words = {"phase": "serve", "isl": ISL, "osl": OSL, "rate": 5, "gpus": 1, **given}
    with pytest.raises(SpecError) as error:
        simcost.plans(MODEL, "h100", **words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_nearest_limit_that_is_named_holds() -> None:
    with pytest.raises(Infeasible) as error:
        simcost.plans(MODEL, "h100", phase="serve", isl=ISL, osl=OSL, tpot="1ms", gpus=2)
    near = str(error.value).rpartition("--tpot ")[2].split()[0]
    assert able(simcost.plans(MODEL, "h100", phase="serve", isl=ISL, osl=OSL, tpot=near, gpus=2))


def test_a_model_that_no_instance_holds() -> None:
    with pytest.raises(Infeasible, match=r"no plan of an instance on h100 can serve: .*short by .* per GPU"):
        simcost.plans("llama-3.1-70b", "h100", phase="serve", isl=ISL, osl=OSL, gpus=1)


def test_every_printed_name_is_known() -> None:
    found = asked()
    names = {*found.metrics, *(name for rows in found.tables.values() for row in rows for name in row)}
    assert [name for name in names if metrics.find(name) is None] == []


def test_the_front_falls_and_holds_what_no_point_beats() -> None:
    rows = asked().tables["pareto"]
    for mode in ("aggregated", "disaggregated"):
        mine = [row for row in rows if row["mode"] == mode]
        speed = [row["output_tokens_per_s_per_user"] for row in mine]
        done = [row["output_tokens_per_s_per_gpu"] for row in mine]
        assert len(mine) > 5
        assert speed == sorted(speed, reverse=True)
        assert done == sorted(done)
        assert all(row["ttft_s"] <= 1.0 for row in mine)
    # Under a limit no plan does more for a GPU than the front at that speed.
    best = max(row["output_tokens_per_s_per_gpu"] for row in able(asked(rate=None)) if row["mode"] == "aggregated")
    within = [
        row["output_tokens_per_s_per_gpu"] for row in rows if row["mode"] == "aggregated" and row["tpot_s"] <= 0.030
    ]
    assert max(within) == pytest.approx(best, rel=0.05)


def test_points_of_a_front() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 4.0, 2.0]), np.array([9.0, 5.0, 6.0, 0.0, 5.5])
    assert serve_pareto.front(x, y).tolist() == [2, 0]  # (2, 5) and (2, 5.5) are beaten by (3, 6); 0 is none
    assert serve_pareto.front(np.array([1.0, 1.01]), np.array([2.0, 1.0])).tolist() == [
        0
    ]  # nearly as fast, twice as much


def point(ttft: Any, tpot: Any) -> OperatingPoint:
    zero = 0.0 * ttft
    code = np.zeros(np.shape(ttft), np.int64)
    return OperatingPoint(ttft, zero, tpot, zero, zero, zero, zero, zero, zero, code, zero, zero, zero, zero, zero)


def test_the_largest_load_of_a_queue_is_the_one_of_its_formula() -> None:
    """M/M/1: 1 / (rate of service - rate of arrivals) in the system."""
    served_ = np.array([10.0, 100.0, 1.0])

    def at(rate: Any) -> OperatingPoint:
        with np.errstate(divide="ignore"):
            wait = np.where(rate < served_[:, None], 1.0 / np.maximum(served_[:, None] - rate, 1e-12), np.inf)
        return point(wait, 0.01 + 0.0 * wait)

    found = largest(at, served_, Limits(0.5, 0.05))
    assert found.most == pytest.approx([8.0, 98.0, 0.0], rel=5e-3)
    assert np.all(found.most <= [8.0, 98.0, 0.0])
    assert largest(at, served_, Limits(0.5, 0.005)).most.tolist() == [0.0, 0.0, 0.0]
    assert largest(at, served_, Limits()).most == pytest.approx(0.995 * served_)


def test_sizes_of_an_instance() -> None:
    assert serve_space.sizes(hardware.load("h100"), None) == [1, 2, 4, 8, 16]
    assert serve_space.sizes(hardware.load("gb200"), None) == [1, 2, 4, 8, 16, 32, 64, 72]
    assert serve_space.sizes(hardware.load("h100"), (12, 8)) == [1, 2, 3, 4, 6, 8, 12]
    assert serve_space.sizes(hardware.load("h100"), None, pinned=6) == [1, 2, 4, 6, 8, 12, 16]
