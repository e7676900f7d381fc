"""Serving for people: which columns come first, what a GPU does at a user's speed, groups of numbers."""

from __future__ import annotations

from simcost.report import fleets
from simcost.result import Row

X, Y = "output_tokens_per_s_per_user", "output_tokens_per_s_per_gpu"


def test_a_front_is_read_at_round_speeds() -> None:
    """h100 does 900 at 25 tokens a second, 400 at 60; pools of it 700 at 45; b200 1,500 at 12."""
    rows: list[Row] = [
        {"hw": "h100", "mode": "aggregated", X: 25.0, Y: 900.0},
        {"hw": "h100", "mode": "aggregated", X: 60.0, Y: 400.0},
        {"hw": "h100", "mode": "disaggregated", X: 45.0, Y: 700.0},
        {"hw": "b200", "mode": "aggregated", X: 12.0, Y: 1500.0},
    ]
    found = {row["tokens_per_s_per_user"]: row for row in fleets.front(rows)}
    assert list(found) == ["5", "10", "15", "20", "30", "40", "50"]  # none is as fast as 75
    assert all(list(row) == ["tokens_per_s_per_user", "h100", "h100 pools", "b200"] for row in found.values())
    assert [found[speed]["h100"] for speed in ("5", "20", "30", "50")] == ["900", "900", "400", "400"]
    assert [found[speed]["h100 pools"] for speed in ("40", "50")] == ["700", "-"]
    assert [found[speed]["b200"] for speed in ("10", "15")] == ["1,500", "-"]
    assert fleets.front([]) == []


def test_a_speed_that_is_reached_exactly_counts() -> None:
    (*_, last) = fleets.front([{"hw": "h100", "mode": "aggregated", X: 30.0, Y: 10.0}])
    assert last["tokens_per_s_per_user"] == "30"


def test_columns_of_a_fleet_begin_with_what_it_is_ranked_by() -> None:
    """What stands behind `feasible` is the metric that was asked for; a column is shown once."""
    row: Row = {
        "hw": "h100",
        "mode": "aggregated",
        "gpus": 4,
        "plan": "tp=4",
        "feasible": True,
        "fleet_usd_per_hour": 9.0,
        "ttft_s": 0.1,
        "tpot_s": 0.02,
        "odd": 1,
    }
    assert fleets.ordered(row) == ["hw", "gpus", "plan", "fleet_usd_per_hour", "ttft_s", "tpot_s"]
    cannot: Row = {
        "hw": "h100",
        "mode": "aggregated",
        "gpus": 4,
        "plan": "tp=4",
        "feasible": False,
        "reason": "no memory",
    }
    assert fleets.ordered(cannot) == ["hw", "gpus", "plan"]
    assert fleets.named(cannot) == {"hw": "h100", "plan": "tp=4"}


def test_fleets_that_cannot_run_are_left_out_where_any_can() -> None:
    can: Row = {"mode": "aggregated", "feasible": True}
    cannot: Row = {"mode": "aggregated", "feasible": False}
    assert fleets.running([can, cannot]) == [can]
    assert fleets.running([cannot, cannot]) == [cannot, cannot]
    assert fleets.running([{"feasible": True}, {"feasible": False}]) == [
        {"feasible": True},
        {"feasible": False},
    ]  # no fleets
    assert [fleets.are(rows) for rows in ([can], [{"tpot_s": 1.0}], [])] == [True, False, False]


METRICS: Row = {
    "concurrency": 64, "gpus": 8, "ttft_s": 0.2, "ttft_p90_s": 0.4, "queueing_s": 0.05, "tpot_s": 0.02, "itl_s": 0.02, "e2e_s": 5.0,
    "output_tokens_per_s_per_user": 50.0, "output_tokens_per_s": 3000.0, "output_tokens_per_s_low": 3000.0, "output_tokens_per_s_high": 3000.0,
    "utilisation": 0.7, "usd_per_million_output_tokens": 0.9,
}  # fmt: skip


def test_numbers_stand_in_groups_each_once() -> None:
    found = dict(fleets.groups(METRICS, details=True))
    assert list(found) == ["a request", "the fleet", "price at this load"]
    assert sum(len(rows) for rows in found.values()) == len(METRICS)
    assert {"ttft_s", "ttft_p90_s", "queueing_s", "tpot_s", "itl_s", "e2e_s", "output_tokens_per_s_per_user"} == set(
        found["a request"]
    )
    assert set(found["price at this load"]) == {"usd_per_million_output_tokens"}


def test_without_details_what_the_page_says_elsewhere_is_left_out() -> None:
    found = dict(fleets.groups(METRICS, details=False))
    assert set(found["a request"]) == {"ttft_s", "queueing_s", "tpot_s", "e2e_s", "output_tokens_per_s_per_user"}
    assert set(found["the fleet"]) == {"output_tokens_per_s", "utilisation"}  # an interval of no width says nothing
    other = {**METRICS, "itl_s": 0.03, "output_tokens_per_s_low": 2500.0}
    wider = dict(fleets.groups(other, details=False))
    assert "itl_s" in wider["a request"]  # another one than the TPOT
    assert {"output_tokens_per_s_low", "output_tokens_per_s_high"} <= set(wider["the fleet"])
    assert fleets.groups({"concurrency": 1}, details=False) == []


def test_loads_have_percentiles_last_and_the_name_of_their_limit_alone() -> None:
    (row,) = fleets.loads(
        [{"rate_per_s": 3.0, "ttft_p90_s": 0.4, "ttft_s": 0.2, "limit": "KV cache (no room for more sequences)"}]
    )
    assert list(row) == ["rate_per_s", "ttft_s", "limit", "ttft_p90_s"]
    assert row["limit"] == "KV cache"
    assert fleets.of_loads([row]) == fleets.OF_EVENTS
    assert fleets.of_loads([{"ttft_s": 0.2}]) == fleets.OF_LOADS
