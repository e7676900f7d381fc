"""Offline, open and closed loads request by request, alike whether configurations share their step times or not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simcost.validation.serving import predict as mean_field
from simcost.validation.serving.point import OFFLINE, ServingPoint
from simcost.validation.serving.predict import NO_SERVER, grouped, predict
from simcost.validation.serving.predict_events import predict_events

# A device without tables, whose answers no curve has to be fitted for.
POINT = ServingPoint(
    "llama-2-7b", "a40", "trtllm", "", {"plan.weight_dtype": "fp16"}, math.inf, 256.0, 64.0, requests=300.0
)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mean_field, "_known", {})
    monkeypatch.setattr(mean_field, "_tables", {})
    monkeypatch.setattr(mean_field, "_widest", {})


def test_an_offline_run_is_a_closed_loop_of_all_its_requests_without_a_server() -> None:
    (offline,) = predict_events([POINT])
    bare, served = (predict_events([replace(POINT, concurrency=300.0)], front)[0] for front in (NO_SERVER, None))
    assert offline == bare
    assert served.output_tokens_per_s < offline.output_tokens_per_s
    # Everybody waits but those that run: no batch of eight is as fast, and no fewer requests wait as long.
    eight = predict_events([replace(POINT, concurrency=8.0)])[0]
    assert offline.output_tokens_per_s > 2.0 * eight.output_tokens_per_s
    assert offline.ttft_s > 5.0 * eight.ttft_s
    assert offline.tpot_low_s < offline.tpot_s < offline.tpot_high_s
    assert offline.ttft_low_s < offline.ttft_s < offline.ttft_high_s


def test_an_offline_run_without_a_number_of_requests_has_the_default() -> None:
    assert replace(POINT, requests=0.0).users == OFFLINE
    assert POINT.users == 300.0
    assert replace(POINT, rate=2.0).users == math.inf


def test_replicas_share_the_requests_of_an_offline_run() -> None:
    alone = predict_events([replace(POINT, requests=150.0)])[0]
    both = predict_events([replace(POINT, sets={**POINT.sets, "plan.dp": 2})])[0]
    assert both.output_tokens_per_s == pytest.approx(2.0 * alone.output_tokens_per_s)
    assert both.ttft_s == pytest.approx(alone.ttft_s)


def test_an_open_load_far_below_its_capacity_makes_what_is_asked() -> None:
    slow, fast = (replace(POINT, rate=rate, requests=400.0) for rate in (0.5, 2.0))
    events, field = predict_events([slow, fast]), predict([slow, fast])
    for found in (events, field):
        assert found[0].output_tokens_per_s == pytest.approx(0.5 * 64, rel=0.1)
        assert found[0].tpot_s < found[1].tpot_s
    assert events[0].tpot_s == pytest.approx(field[0].tpot_s, rel=0.1)


def test_settings_of_the_engine_part_configurations_that_share_step_times() -> None:
    few = replace(POINT, sets={**POINT.sets, "engine.max_batch_size": 16})
    other = replace(POINT, sets={**POINT.sets, "plan.cuda_graph": "off"})
    assert sorted(grouped([POINT, few, other, POINT])) == [[0, 3], [1], [2]]
    together = predict_events([POINT, few])
    assert len(mean_field._tables) == 1
    predict_events([other])
    assert len(mean_field._tables) == 2
    alone = []
    for one in (POINT, few):
        for known in (mean_field._known, mean_field._tables, mean_field._widest):
            known.clear()
        alone += predict_events([one])
    assert [one.output_tokens_per_s for one in together] == pytest.approx([one.output_tokens_per_s for one in alone])
    assert together[1].output_tokens_per_s < together[0].output_tokens_per_s


def test_a_table_grows_with_what_is_asked_later() -> None:
    first = predict([replace(POINT, concurrency=4.0)])[0]
    longer = replace(POINT, isl=1024.0, concurrency=64.0)
    after, again = predict([longer])[0], predict([replace(POINT, concurrency=4.0)])[0]
    assert again == first
    for known in (mean_field._known, mean_field._tables, mean_field._widest):
        known.clear()
    assert predict([longer])[0] == after


def test_what_cannot_be_asked_leaves_its_family_alone() -> None:
    wrong = replace(POINT, sets={**POINT.sets, "engine.max_batch_sizes": 16})
    good, bad = predict_events([POINT, wrong])
    assert not good.reason
    assert "max_batch_sizes" in bad.reason
