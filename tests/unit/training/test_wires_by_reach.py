"""Exchanges inside a node and between nodes: kinds, coefficients and what tables show."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.cost import calibrated
from simcost.hardware import load as hardware
from simcost.ops.collective import Collective
from simcost.training.split import BETWEEN, DATA, PIPELINE, TENSOR, Seconds, Split, Stacked, coefficient
from simcost.training.stack import COEFFICIENTS

H100 = hardware.load("h100")  # eight to a node
FACTORS = {"communication": 2.0, "network": 3.0}
NEAR, FAR = Collective("all_reduce", 1e8, 8.0), Collective("all_reduce", 1e8, 16.0)


def _model(factors: dict[str, float]) -> Stacked:
    return Stacked(H100, calibrated.model(H100), factors)


@pytest.mark.parametrize(
    ("op", "name", "factor"),
    [
        (NEAR, TENSOR, 2.0),
        (FAR, TENSOR + BETWEEN, 3.0),
        (Collective("p2p", 1e7, 2.0, 4.0), PIPELINE, 2.0),
        (Collective("p2p", 1e7, 2.0, 8.0), PIPELINE + BETWEEN, 3.0),
    ],
)
def test_a_coefficient_follows_the_reach_of_an_exchange(op: Collective, name: str, factor: float) -> None:
    found, cold = _model(FACTORS)(op), _model({})(op)
    assert list(found.kinds) == [name]
    assert float(found.seconds) == pytest.approx(factor * float(cold.seconds))
    assert coefficient(name) in COEFFICIENTS


def test_plans_of_a_grid_are_priced_as_each_alone() -> None:
    grid = Collective("all_reduce", np.array([1e8, 1e8]), np.array([8.0, 16.0]))
    alone = [float(_model(FACTORS)(op).seconds) for op in (NEAR, FAR)]
    found = _model(FACTORS)(grid)
    assert found.seconds == pytest.approx(alone)
    assert found.kinds[TENSOR] == pytest.approx([alone[0], 0.0])
    assert found.kinds[TENSOR + BETWEEN] == pytest.approx([0.0, alone[1]])
    assert Seconds(H100, calibrated.model(H100), FACTORS)(grid).seconds == pytest.approx(alone)


def test_tables_show_one_kind_wherever_its_ranks_stand() -> None:
    both = _model({})(NEAR) + _model({})(FAR)
    assert list(both.by_kind) == [TENSOR]
    assert float(both.by_kind[TENSOR]) == pytest.approx(float(both.seconds))
    renamed = both.named(DATA)
    assert set(renamed.kinds) == {DATA, DATA + BETWEEN}
    assert sum(map(float, renamed.kinds.values())) == pytest.approx(float(both.seconds))
    assert list(Split(both.cost).named(DATA).kinds) == [DATA]
