"""One row more takes no less where a bucket of rows ends, and one sequence more neither meets nor leaves a measured layer at once."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration import store
from simcost.calibration.curves import sites as site_tables
from simcost.calibration.curves.curve import pack, unpack
from simcost.calibration.curves.edges import risen_over
from simcost.calibration.families.gemm import bucket
from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.hardware import load as hardware

GEMM = families()["gemm"]
LABELS = {"x": "bf16", "w": "bf16", "compute": "bf16"}
DEVICE = hardware.load("h200")


def _rows(m: np.ndarray) -> Rows:
    """Products of 4096 x 4096 and 8192 x 4096 whose time is that of the light, and 8 % less in tiles that are not full."""
    n = np.tile([4096.0, 8192.0], len(m))
    m = np.repeat(m, 2)
    full = np.where(m % 256.0 == 0.0, 1.0, 0.92)
    seconds = full * (5e-6 + 2.0 * m * n * 4096.0 / 600e12 + 2.0 * n * 4096.0 / 4e12)
    return Rows({"batch": np.ones(len(m)), "m": m, "n": n, "k": np.full(len(m), 4096.0)}, seconds)


@pytest.fixture(scope="module")
def curve():
    m = np.concatenate([2.0 ** np.arange(14), 256.0 * np.arange(1, 24), 128.0 + 256.0 * np.arange(24)])
    return store.fitted(GEMM, _rows(np.unique(m)), LABELS, DEVICE)


def _asked(curve, m: np.ndarray, n: float = 6144.0) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, of the surface as it is without its edges), of a layer that no row is of."""
    rows = Rows(
        {"batch": np.ones(len(m)), "m": m, "n": np.full(len(m), n), "k": np.full(len(m), 4096.0)}, np.ones(len(m))
    )
    terms, at = store.row_terms(GEMM, rows, LABELS, DEVICE)
    raw = np.asarray(curve.form.seconds(terms)) * np.exp(curve.residual.evaluate(at.features)[0])
    return curve.predict(terms, at).seconds, raw


def test_the_first_row_of_a_tile_is_no_faster_than_the_last_of_the_one_before(curve) -> None:
    ends = np.array([512.0, 768.0, 1024.0, 1280.0, 2048.0, 4096.0])
    last, raw_last = _asked(curve, ends)
    first, raw_first = _asked(curve, ends + 1.0)
    assert (raw_first < 0.98 * raw_last).any()  # without edges the surface does fall
    assert (first > 0.999 * last).all()
    assert last == pytest.approx(raw_last, rel=1e-12)  # and at the end of a tile nothing is added


@pytest.mark.parametrize("one", [0.7, 1.4])
def test_one_row_is_no_slower_than_two_and_may_be_faster(one: float) -> None:
    """The kernel of one row takes `one` times that of two; where it is slower, the surface falls."""
    numbers = _rows(np.concatenate([2.0 ** np.arange(14), 3.0 * 2.0 ** np.arange(8)])).numbers
    m, n = numbers["m"], numbers["n"]
    seconds = np.where(m == 1.0, one, 1.0) * (5e-6 + 2.0 * n * 4096.0 / 4e12 + 2.0 * m * n * 4096.0 / 600e12)
    found = store.fitted(GEMM, Rows(numbers, seconds), LABELS, DEVICE)
    (first, second, _), raw = _asked(found, np.array([1.0, 2.0, 3.0]))
    assert raw[0] < 0.8 * raw[1] if one < 1.0 else raw[0] > 1.02 * raw[1]  # the surface itself
    assert first == pytest.approx(min(raw[0], second), rel=5e-3)
    assert first <= second == pytest.approx(raw[1], rel=1e-12)


def test_a_fall_at_an_edge_is_gone_at_the_next_one_and_passes_bit_by_bit(curve) -> None:
    m = np.arange(769.0, 1025.0)
    found, raw = _asked(curve, m)
    added = np.log(found / raw)
    assert added[0] > 0.02
    assert np.diff(added) == pytest.approx(-added[0] / 255.0, rel=0.02)
    assert added[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("m", [1.0, 3.0, 300.0, 1025.0, 5000.0])
def test_one_point_and_many_have_the_same_bits(curve, m: float) -> None:
    many = np.concatenate([[m], np.arange(1.0, 700.0), [m]])
    found, _ = _asked(curve, many)
    alone, _ = _asked(curve, np.array([m]))
    assert found[0] == alone[0] == found[-1]


@pytest.mark.parametrize(
    ("rows", "last", "share"),
    [(1.0, 0.5, 0.0), (2.0, 1.0, 0.0), (3.0, 2.0, 0.5), (5.0, 4.0, 0.75), (8.0, 4.0, 0.0), (1.5, 1.0, 0.5)],
)
def test_where_the_bucket_of_rows_begins(rows: float, last: float, share: float) -> None:
    assert [values.tolist() for values in bucket(np.array([rows]))] == [[last], [share]]


@pytest.mark.parametrize(
    "name", ["gemm", "gemm_variant", "batched_gemm", "experts", "grouped_gemm", "grouped_weight_grad"]
)
def test_features_at_an_edge_are_those_of_a_kernel_there_and_just_above(name: str) -> None:
    """By the features of kernels themselves: with as many rows as the edge has, and with a billionth more."""
    family = families()[name]
    along = "m" if "m" in family.NUMBERS else ("copies" if name == "experts" else "rows")
    numbers = dict.fromkeys(family.NUMBERS, 4.0) | {"load": 1.5, "tokens": 3000.0}
    numbers = {column: numbers[column] for column in family.NUMBERS}
    labels = dict.fromkeys(family.LABELS, "bf16") | {"gated": "gated", "what": "weight", "out": "bf16"}
    labels = {word: labels[word] for word in family.LABELS}

    def of(rows: float) -> np.ndarray:
        op = family.op({**numbers, along: rows if along == "m" else 4.0 * rows}, labels)
        return np.array([float(value) for value in family.features(op)]), op

    if along == "m":  # one row, and two
        features, op = of(1.0)
        last, share = family.edge(np.array([float(family.padded(op))]))
        assert share == -1.0
        before, after = family.beside(features[None], last)
        assert before[0] == pytest.approx(features, abs=1e-12)
        assert after[0] == pytest.approx(of(2.0)[0], abs=1e-12)
    for rows, end in ((3000.0, 2816.0 if along == "m" else 2048.0), (70.0, 64.0)):
        features, op = of(rows)
        last, share = family.edge(np.array([float(family.padded(op))]))
        assert last == end
        assert 0.0 < share < 1.0
        before, after = family.beside(features[None], np.array([end]))
        assert before[0] == pytest.approx(of(end)[0], abs=1e-12)
        assert after[0] == pytest.approx(of(end * (1.0 + 1e-12))[0], abs=1e-4)
        changed = np.flatnonzero(np.abs(np.stack([before[0], after[0]]) - features).max(axis=0) > 1e-9)
        assert set(changed) <= set(np.arange(len(features))[list(family.BESIDE)])


def _sites() -> np.ndarray:
    """Layers of 8, 16 and 64 sequences at 1, 2, 4 and 8 thousand keys."""
    batch, keys = np.meshgrid([8.0, 16.0, 64.0], np.log([1e3, 2e3, 4e3, 8e3]), indexing="ij")
    return np.stack([batch.ravel(), np.full(batch.size, 32.0), keys.ravel()], axis=1)


def test_the_leftover_of_layers_is_interpolated_between_their_sequences() -> None:
    of = {8.0: 0.04, 16.0: 0.10, 64.0: -0.06}
    sites = _sites()
    left = np.array([of[batch] for batch in sites[:, 0]])
    found, _, _ = site_tables.fit(sites, left, left, 0)
    asked = np.array([[b, 32.0, np.log(3e3)] for b in (8.0, 16.0, 64.0, 8.0 * 2**0.5, 32.0, 128.0, 256.0, 1.0)])
    said, _, known, _, _ = found.evaluate(asked, 0)
    # Half-way in the log; at twice the last one half is left, at four times and at an eighth of the first nothing.
    assert said == pytest.approx([0.04, 0.10, -0.06, 0.07, 0.02, -0.03, 0.0, 0.0], abs=1e-12)
    assert known.tolist() == [True, True, True] + [False] * 5
    near, _, _, _, _ = found.evaluate(np.array([[15.0, 32.0, np.log(3e3)], [15.0, 33.0, np.log(3e3)]]), 0)
    assert near[0] == pytest.approx(0.04 + 0.06 * np.log(15.0 / 8.0) / np.log(2.0))
    assert near[1] == 0.0  # other heads are another layer


def test_sites_of_several_groups_are_kept_apart_and_read_back(curve) -> None:
    sites = np.concatenate([_sites(), _sites() + np.array([0.0, 1.0, 0.0])])
    left = np.repeat([0.05, -0.05], len(sites) // 2)
    found, _, _ = site_tables.fit(sites, left, left, 0)
    asked = np.array([[batch, heads, np.log(1e3)] for heads in (32.0, 33.0) for batch in (9.0, 16.0, 50.0)])
    assert found.evaluate(asked, 0)[0] == pytest.approx(np.repeat([0.05, -0.05], 3))
    assert pack(unpack(pack(curve))).tolist() == pack(curve).tolist()


def test_points_that_end_their_buckets_ask_for_no_edge(curve) -> None:
    rows = Rows(
        {"batch": np.ones(2), "m": np.array([64.0, 512.0]), "n": np.full(2, 4096.0), "k": np.full(2, 4096.0)},
        np.ones(2),
    )
    _, at = store.row_terms(GEMM, rows, LABELS, DEVICE)
    assert at.edges is None
    for one, other in zip(risen_over(curve.residual, at), curve.residual.evaluate(at.features), strict=True):
        assert one.tolist() == other.tolist()
