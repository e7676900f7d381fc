"""Static batches are priced as a prefill and its decode steps, and each printed figure is scored once."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import simcost
from simcost import metrics
from simcost.validation.serving import figures, published, published_score, static
from simcost.validation.serving.figures import Figure
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.validation.serving.published import Row
from simcost.validation.serving.published_score import Scored

# A device without tables, whose answers no curve has to be fitted for.
POINT = ServingPoint("llama-2-7b", "a40", "any", "", {"plan.weight_dtype": "fp16"}, 8.0, 512.0, 128.0)
ROWS = {row.id: row for row in published.every()}


def _measured(row: str, **change: object) -> Row:
    return replace(ROWS[row], point=POINT, **change)  # type: ignore[arg-type]


def test_a_static_batch_is_one_prefill_and_a_decode_step_for_every_further_token() -> None:
    prompt = simcost.prefill("llama-2-7b", "a40", batch=8, isl=512, set=dict(POINT.sets)).metrics
    token = simcost.decode("llama-2-7b", "a40", batch=8, context=512 + 64, set=dict(POINT.sets)).metrics
    (found,) = static.answers([("batch", POINT)])
    assert found.ttft is not None
    assert found.tpot is not None
    assert found.output is not None
    assert found.ttft[0] == pytest.approx(prompt["ttft_s"])
    assert found.tpot == pytest.approx((token["tpot_s"], token["tpot_low_s"], token["tpot_high_s"]))
    assert found.output[0] == pytest.approx(8 * 128 / (prompt["ttft_s"] + 127 * token["tpot_s"]))
    assert found.output[1] < found.output[0] < found.output[2]


def test_a_pool_is_one_step() -> None:
    decode, prefill = static.answers([("decode", replace(POINT, osl=1.0)), ("prefill", POINT)])
    assert decode.tpot is not None
    assert decode.output is not None
    assert decode.ttft is None
    assert decode.output[0] == pytest.approx(8 / decode.tpot[0])
    step = simcost.decode("llama-2-7b", "a40", batch=8, context=512, set=dict(POINT.sets)).metrics
    assert decode.tpot[0] == pytest.approx(step["tpot_s"])
    assert prefill.input is not None
    assert prefill.ttft is not None
    assert prefill.output is None
    assert prefill.input[0] == pytest.approx(8 * 512 / prefill.ttft[0])


def test_answers_stand_in_the_order_of_the_questions() -> None:
    asked = [("batch", replace(POINT, concurrency=float(n))) for n in (4, 1, 2)]
    asked.insert(1, ("prefill", POINT))
    together = static.answers(asked)
    assert together == [static.answers([one])[0] for one in asked]


def test_what_cannot_be_priced_is_a_row_with_its_reason() -> None:
    wrong = replace(POINT, sets={"plan.tp": 3})
    drafts = replace(POINT, speculative=2)
    found = static.answers([("batch", wrong), ("batch", drafts), ("batch", POINT)])
    assert "tp" in found[0].reason
    assert found[0].output is None
    assert "drafts" in found[1].reason
    assert found[2].output is not None
    assert not found[2].reason


def test_one_user_is_a_batch_of_one_and_several_are_not() -> None:
    alone = replace(POINT, concurrency=1.0)
    first, second = static.one_user([alone, POINT])
    (batch,) = static.answers([("batch", alone)])
    assert batch.ttft is not None
    assert batch.output is not None
    assert batch.tpot is not None
    assert (first.ttft_s, first.tpot_s, first.output_tokens_per_s) == (batch.ttft[0], batch.tpot[0], batch.output[0])
    assert math.isnan(second.tpot_s)
    assert "one user" in second.reason


def test_a_predictor_is_asked_for_what_a_scheduler_shapes_alone() -> None:
    asked: list[ServingPoint] = []

    def predict(points: Sequence[ServingPoint]) -> list[Prediction]:
        asked.extend(points)
        return [Prediction(0.5, 0.02, 0.01, 0.04, 200.0)] * len(points)

    loop = _measured("infx-0161", measured={"ttft": 0.4, "tpot": 0.025, "output": 400.0})
    most = _measured("trt017-0001", measured={"output": 100.0})
    found = published_score.scored([loop, _measured("trt05-0001"), most, ROWS["dsprod-0001"]], predict)
    assert asked == [POINT, POINT]
    said = [one.figure for one in found]
    assert [(one.row, one.quantity) for one in said] == [
        ("infx-0161", "ttft"),
        ("infx-0161", "tpot"),
        ("trt05-0001", "output"),
        ("trt017-0001", "output"),
        ("dsprod-0001", "input"),
    ]
    assert [one.error for one in said[:2]] == pytest.approx([0.25, -0.2])
    assert math.isnan(said[0].low)  # no interval of TTFT is given
    assert (said[3].low, said[3].high) == (100.0, 400.0)  # of TPOT, turned
    assert not said[4].answered
    assert said[4].reason == ROWS["dsprod-0001"].why


def test_figures_are_those_of_the_errors() -> None:
    every = [
        Figure("a", "output", 100.0, 110.0, 90.0, 130.0),
        Figure("b", "output", 100.0, 70.0, 60.0, 80.0),
        Figure("c", "output", 100.0, 100.0, math.nan, math.nan),
        Figure("d", "output", 100.0, math.nan, math.nan, math.nan, "no"),
    ]
    found = figures.figures(every)
    assert (found["rows"], found["n"], found["answered"]) == (4, 4, 0.75)
    assert (found["median_abs_error"], found["bias"]) == pytest.approx((0.1, 0.0))
    assert (found["mean_abs_error"], found["within_fifth"]) == pytest.approx((0.4 / 3, 2 / 3))
    assert found["coverage"] == 0.5
    assert found["median_half_width"] == pytest.approx((20 / 110 + 10 / 70) / 2)
    assert figures.figures([])["median_abs_error"] is None
    scores = [Scored(ROWS["trt017-0001"], one) for one in every]
    (line,) = published_score.by_source(scores)
    assert (line["bar"], line["passes"]) == ("at most 15.0%", True)
    (bar,) = published_score.bars(scores)
    assert (bar["rows_of"], bar["value"], bar["passes"], bar["aim"]) == (
        "published trt017",
        pytest.approx(0.1),
        True,
        True,
    )
    assert published_score.unanswered(scores) == [{"source": "trt017", "n": 1, "why": "no"}]
    assert [one["error"] for one in published_score.worst(scores, 2)] == pytest.approx([-0.3, 0.1])


def test_figures_are_parted_by_whose_measurements_answer() -> None:
    asked = [("h100", "output"), ("gh200", "output"), ("mi300x", "tpot"), ("tpu-v6e", "tpot"), ("h200", "output")]
    rows = [replace(ROWS["trt017-0001"], point=replace(POINT, hw=hw)) for hw, _ in asked]
    every = [Figure("a", quantity, 100.0, 110.0, 90.0, 130.0) for _, quantity in asked]
    lines = published_score.by_rows([Scored(*both) for both in zip(rows, every, strict=True)])
    assert [(line["rows_from"], line["quantity"], line["n"]) for line in lines] == [
        ("its own", "output", 2),
        ("another device of its vendor", "output", 1),
        ("a device of another vendor", "tpot", 1),
        ("none", "tpot", 1),
    ]


def test_stories_are_of_rows_that_there_are() -> None:
    used = {published_score.story(row) for row in ROWS.values()}
    assert {one["why"] for one in published_score.stories()} <= used
    assert "XQA" in published_score.story(ROWS["trtblog-0005"])
    assert published_score.story(ROWS["trt017-0001"]) == ""


def test_every_column_of_the_report_is_known() -> None:
    scores = published_score.scored([replace(row, point=None) for row in ROWS.values()])
    scores += [Scored(one.row, replace(one.figure, predicted=1.0, low=0.5, high=2.0)) for one in scores]
    names = {name for lines in published_score.tables(scores).values() for line in lines for name in line}
    assert [name for name in sorted(names) if metrics.find(name) is None] == []


def test_cells_of_a_figure_are_plain_values_whatever_numbers_the_prediction_holds() -> None:
    one = figures.Figure("x", "tpot", 0.010, np.float64(0.011), np.float64(0.009), np.float64(0.012))
    assert json.loads(json.dumps(figures.cells(one)))["covered"] is True
