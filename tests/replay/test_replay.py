"""A recorded calibration of a processor, replayed: rows -> curves -> layers of unseen designs, against what they took."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from simcost import query
from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.calibration.held_out import judged
from simcost.estimate.layer import random_blocks
from simcost.hardware import load as hardware
from simcost.scenarios import phases
from simcost.validation.predict import predict

HOME = Path(__file__).parent / "cpu"


def test_unseen_layers_are_predicted_from_recorded_rows() -> None:
    device = hardware.load(str(HOME))
    designs = {spec.name: spec for spec in random_blocks(30, 1)}
    with (HOME / "held_out_blocks.csv").open(encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))
    assert len(recorded) >= 30
    errors, covered = [], []
    for row in recorded:
        found = predict(designs[row["block"]], device, row["direction"])
        low, high = found.interval
        measured = float(row["measured_s"])
        errors.append(abs(found.seconds / measured - 1.0))
        covered.append(low <= measured <= high)
    assert np.median(errors) <= 0.06
    assert np.quantile(errors, 0.9) <= 0.17
    assert np.mean(covered) >= 0.8


@pytest.mark.parametrize(("run", "median", "p90"), [("isolated", 0.06, 0.20), ("in-situ", 0.09, 0.25)])
def test_recorded_products_are_predicted_where_they_were_held_out(run: str, median: float, p90: float) -> None:
    device = hardware.load(str(HOME))
    gemm, labels = families()["gemm"], {"x": "bf16", "w": "bf16", "compute": "bf16"}
    rows = tables.read(HOME / "measurements" / run / "gemm" / "bf16-bf16-bf16.csv", gemm)
    score = judged(gemm, rows, labels, device).score
    assert score.median <= median
    assert score.p90 <= p90


def test_a_measured_processor_answers_queries() -> None:
    made = query.make("qwen3-8b", str(HOME), True, {"batch": 1, "context": 1024}, {}, {}, None)
    found = phases.result(made).metrics
    assert found["share_fitted"] + found["share_measured"] > 0.5
    assert found["tpot_low_s"] < found["tpot_s"] < found["tpot_high_s"]
