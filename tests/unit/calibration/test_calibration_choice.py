"""Which rows a fit sees, along which ladders, which points are asked once, and how a curve is scored."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.calibration import ladders
from simcost.calibration.distinct import Distinct, distinct, hashed
from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.calibration.score import Score, joined, scored
from simcost.calibration.split import SHARE, folds
from simcost.calibration.thinning import thinned
from simcost.hardware import load as hardware
from simcost.num import Z90

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
GEMM = families()["gemm"]
VALUES = st.floats(-100.0, 100.0)


# ---- ladders ---------------------------------------------------------------------------------------------------------------


def pooled(values: list[float]) -> list[float]:
    """The nearest values that do not fall, by pooling neighbours that violate, one at a time."""
    blocks = [[value, 1] for value in values]
    while any(a[0] > b[0] for a, b in itertools.pairwise(blocks)):
        at = next(i for i, (a, b) in enumerate(itertools.pairwise(blocks)) if a[0] > b[0])
        (x, n), (y, m) = blocks[at : at + 2]
        blocks[at : at + 2] = [[(x * n + y * m) / (n + m), n + m]]
    return [value for value, count in blocks for _ in range(int(count))]


@EXAMPLES
@given(st.lists(st.lists(VALUES, min_size=5, max_size=5), min_size=1, max_size=4))
def test_what_does_not_fall_is_what_pooling_gives(times: list[list[float]]) -> None:
    np.testing.assert_allclose(ladders.risen(np.array(times)), [pooled(one) for one in times], atol=1e-9)


def gemm_rows(sides: list[tuple[int, int, int]]) -> Rows:
    m, n, k = (np.array(column, float) for column in zip(*sides, strict=True))
    return Rows({"batch": np.ones(len(m)), "m": m, "n": n, "k": k}, np.full(len(m), 3.0))


SIDES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=20)


@EXAMPLES
@given(SIDES)
def test_a_ladder_is_every_layer_at_every_row_count(sides: list[tuple[int, int, int]]) -> None:
    """Layers are pairs (n, k) that rows hold, rungs the row counts that any layer has."""
    along, layers = sorted({m for m, *_ in sides}), {(n, k) for _, n, k in sides}
    found = list(ladders.ladders(GEMM, gemm_rows(sides)))
    if len(along) == 1:
        assert found == []
        return
    ((kernels, count),) = found
    assert count == len(along)
    got = list(zip(*(kernels.numbers[name].tolist() for name in ("m", "n", "k")), strict=True))
    assert len(got) == len(layers) * count
    for start in range(0, len(got), count):
        ladder = got[start : start + count]
        assert [m for m, *_ in ladder] == along
        assert len({(n, k) for _, n, k in ladder}) == 1
    assert {(n, k) for _, n, k in got} == layers


def test_many_layers_and_rungs_are_thinned_and_the_ends_stay() -> None:
    sides = [(m, n, 8) for m, n in zip(range(1, 400), itertools.cycle(range(1, 101)), strict=False)]
    ((kernels, count),) = ladders.ladders(GEMM, gemm_rows(sides))
    assert count <= ladders.RUNGS
    along = kernels.numbers["m"][:count]
    assert (along[0], along[-1]) == (1, 399)
    assert len(set(kernels.numbers["n"].tolist())) == ladders.LAYERS
    assert 10 < np.median(along) < 40  # even in the logarithm: the middle is near the root of 399


def test_experts_whose_copies_are_drawn_have_no_ladders() -> None:
    one = np.array([1.0, 2.0])
    numbers = dict.fromkeys(families()["experts"].NUMBERS, one)
    assert list(ladders.ladders(families()["experts"], Rows(numbers, one))) == []
    assert list(ladders.ladders(families()["gather"], Rows({"rows": one, "width": one}, one))) == []


# ---- which rows ------------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=2, max_size=30), st.randoms())
def test_a_shape_s_fold_is_its_own(shapes: list[tuple[int, int]], random: Any) -> None:
    """Whatever other rows there are, in which order, and in which order its columns are named."""
    table = np.array(shapes, float)
    found = dict(zip(shapes, folds({"a": table[:, 0], "b": table[:, 1]}).tolist(), strict=True))
    mixed = random.sample(shapes, len(shapes))
    again = np.array(mixed, float)
    assert folds({"b": again[:, 1], "a": again[:, 0]}).tolist() == [found[shape] for shape in mixed]
    assert set(found.values()) <= set(range(SHARE))


def test_folds_are_even_and_last_digits_move_nothing() -> None:
    values = np.arange(1.0, 5001.0)
    found = folds({"m": values})
    shares = np.bincount(found, minlength=SHARE) / len(values)
    assert abs(shares - 1 / SHARE).max() < 0.02
    assert (folds({"m": values * (1 + 1e-12)}) == found).all()
    assert (folds({"m": values * 1.01}) != found).mean() > 0.5


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 5))
def test_thinning_takes_the_same_rows_in_any_order(rows: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 3))
    index = thinned(features, count)
    assert index.tolist() == sorted(set(index.tolist()))
    assert len(index) == min(rows, count)
    order = random.permutation(rows)
    again = order[thinned(features[order], count)]
    assert set(again.tolist()) == set(index.tolist())


def test_thinning_keeps_the_corners() -> None:
    """A cloud and four far points: they are among eight that stay, whatever their hash."""
    cloud = np.random.default_rng(0).normal(size=(400, 2))
    corners = np.array([[50.0, 50.0], [-50.0, 50.0], [50.0, -50.0], [-50.0, -50.0]])
    assert {400, 401, 402, 403} <= set(thinned(np.concatenate([cloud, corners]), 12).tolist())


def test_a_feature_that_never_varies_does_not_matter() -> None:
    features = np.random.default_rng(1).normal(size=(100, 2))
    constant = np.concatenate([features, np.full((100, 1), 7.0)], axis=1)
    assert len(thinned(constant, 10)) == 10
    assert np.isfinite(constant[thinned(constant, 10)]).all()


# ---- points asked once -----------------------------------------------------------------------------------------------------


@EXAMPLES
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.5, np.inf]), st.sampled_from([0.0, 1.0, 3.0])),
        min_size=1,
        max_size=40,
    )
)
def test_keys_are_equal_where_rows_are(rows: list[tuple[float, float]]) -> None:
    a, b = (np.array(column) for column in zip(*rows, strict=True))
    keys = hashed([a, b])
    for (i, one), (j, other) in itertools.combinations(enumerate(rows), 2):
        assert bool(keys[i] == keys[j]) is (one == other)


def test_keys_tell_columns_apart() -> None:
    assert hashed([np.array([1.0]), np.array([2.0])])[0] != hashed([np.array([2.0]), np.array([1.0])])[0]


@pytest.mark.parametrize("values", [1, 5, 40])
def test_each_kind_is_asked_once_and_told_to_all_its_points(values: int) -> None:
    random = np.random.default_rng(values)
    a, b = random.integers(0, values, (60, 1)).astype(float), random.integers(0, values, (1, 40)).astype(float)
    grid = distinct([a, b, 3.0])
    kinds = {(x, y) for x in a.ravel() for y in b.ravel()}
    if grid.one is not None:
        assert len(grid.each(a)) == len(kinds)
        assert set(zip(grid.each(a).tolist(), grid.each(b).tolist(), strict=True)) == kinds
    assert np.array_equal(grid.back(np.asarray(grid.each(a) - 2.0 * grid.each(b))), a - 2.0 * b)
    assert (grid.one is None) is (len(kinds) >= 1200)


def test_one_point_comes_back_as_a_number() -> None:
    grid = distinct([3.0, 4.0])
    assert grid == Distinct(())
    for found in (grid.each(np.float64(3.0)), grid.back(np.asarray(3.0))):
        assert found == 3.0
        assert type(found) is float


# ---- scores ----------------------------------------------------------------------------------------------------------------


def test_a_score_by_hand() -> None:
    """Errors of +10, -20, 0 and +100 %; the second and the fourth are outside their intervals."""
    predicted, measured = np.array([1.1, 0.8, 1.0, 2.0]), np.ones(4)
    score = Score(predicted, predicted / 1.15, predicted * 1.15, measured)
    np.testing.assert_allclose(score.errors, [0.1, -0.2, 0.0, 1.0])
    assert score.median == pytest.approx(0.15)
    assert score.p90 == pytest.approx(0.2 + 0.7 * 0.8)
    assert score.bias == pytest.approx(0.05)
    assert score.coverage == 0.5
    assert score.width == pytest.approx(np.log(1.15))


def test_an_interval_holds_its_ends() -> None:
    ones = np.ones(3)
    score = Score(ones, np.array([1.0, 0.5, 1.1]), np.array([2.0, 1.0, 2.0]), ones)
    assert score.coverage == pytest.approx(2 / 3)


def test_folds_are_scored_as_one() -> None:
    parts = [Score(np.array([p]), np.array([p / 2]), np.array([p * 2]), np.array([1.0])) for p in (1.0, 1.5, 4.0)]
    both = joined(parts)
    assert both.predicted.tolist() == [1.0, 1.5, 4.0]
    assert both.median == pytest.approx(0.5)
    assert both.coverage == pytest.approx(2 / 3)


@pytest.mark.parametrize("reached", [(1.0, 1.0), (0.5, 0.25)])
def test_a_curve_is_asked_for_every_row_at_the_rates_that_are_reached(reached: tuple[float, float]) -> None:
    """A curve that says compute + memory, twice as long as measured, with a sigma of 0.1."""
    rows, device = gemm_rows([(64, 128, 256), (128, 128, 256)]), hardware.load("h200")
    labels = {"x": "bf16", "w": "bf16", "compute": "bf16"}

    def predict(terms: Any, at: Any) -> Any:
        return SimpleNamespace(seconds=np.asarray(terms.compute_s + terms.memory_s), sigma=np.full(2, 0.1))

    score = scored(SimpleNamespace(predict=predict), GEMM, rows, labels, device, reached)  # type: ignore[arg-type]
    compute = 2.0 * rows.numbers["m"] * 128 * 256 / float(device.peaks["bf16"])
    memory = 2.0 * (rows.numbers["m"] * 256 + 128 * 256 + rows.numbers["m"] * 128) / float(device.bandwidth)
    np.testing.assert_allclose(score.predicted, reached[0] * compute + reached[1] * memory)
    np.testing.assert_allclose(score.high / score.predicted, np.exp(Z90 * 0.1))
    np.testing.assert_allclose(score.low * score.high, score.predicted**2)
    assert score.measured.tolist() == [3.0, 3.0]
