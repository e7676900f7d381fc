"""What holds for every family: rows become ops and come back, one family answers for an op, relatives are real kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from familykit import KINDS, Labels, every_kind, numbers
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.calibration.columns import label_fault
from simcost.calibration.family import at, families, kind, sizes
from simcost.hardware import load as hardware
from simcost.num import every
from simcost.ops.fused import Fused
from simcost.ops.work import INPUT, WEIGHT, Op

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)
EACH = pytest.mark.parametrize(
    ("name", "labels"), list(every_kind()), ids=lambda v: v if isinstance(v, str) else kind(v)
)
H200 = hardware.load("h200")
FORWARD = sorted(set(families()) - {"gemm_variant", "attention_backward", "grouped_weight_grad"})


def test_every_family_has_kinds_here() -> None:
    assert set(KINDS) | {"p2p"} == set(families())


@EACH
@EXAMPLES
@given(data=st.data())
def test_a_row_becomes_an_op_and_comes_back(name: str, labels: Labels, data: st.DataObject) -> None:
    family, row = families()[name], data.draw(numbers(name, labels))
    op = family.op(row, labels)
    assert {key: float(value) for key, value in family.numbers(op).items()} == row
    assert family.labels(op) == labels


@EACH
@EXAMPLES
@given(data=st.data())
def test_one_family_answers_for_an_op(name: str, labels: Labels, data: st.DataObject) -> None:
    drawn = data.draw(numbers(name, labels))
    op = families()[name].op(drawn, labels)
    claimed = [n for n, other in families().items() if other.labels(op) is not None and every(other.covers(op))]
    # One query without a cache is a step of decode and a prompt at once: the faster kernel answers (cost/calibrated.py).
    both = (
        {"attention_decode", "attention_prefill"} if drawn.get("q_len") == 1.0 and drawn.get("past") == 0.0 else set()
    )
    assert name in claimed
    assert set(claimed) <= {name, *(both if name in both else set())}


@EACH
@EXAMPLES
@given(data=st.data())
def test_points_and_terms_are_numbers(name: str, labels: Labels, data: st.DataObject) -> None:
    family = families()[name]
    op = family.op(data.draw(numbers(name, labels)), labels)
    device = replace(H200, peaks={**H200.peaks, "fp4": 1e15})
    terms = family.terms(op, device)
    points, shape = at(family, op, terms)
    assert shape == ()
    assert np.isfinite(points.features).all()
    assert np.isfinite(points.sites).all()
    assert len(terms.sizes) == len(sizes(family))
    assert all(np.isfinite(float(value)) and float(value) >= 0.0 for value in terms.numbers)
    if family.LENGTHS is not None:
        assert len(family.LENGTHS) == points.features.shape[-1]


@EACH
@EXAMPLES
@given(data=st.data())
def test_rows_are_points_of_one_array(name: str, labels: Labels, data: st.DataObject) -> None:
    """A file of rows is one op of columns: each row is the point that it would be alone."""
    family = families()[name]
    rows = data.draw(st.lists(numbers(name, labels), min_size=2, max_size=4))
    columns = {key: np.array([row[key] for row in rows]) for key in family.NUMBERS}
    found = np.broadcast_arrays(*family.features(family.op(columns, labels)))
    alone = [family.features(family.op(row, labels)) for row in rows]
    np.testing.assert_allclose(np.stack(found, axis=1), np.array(alone, float), rtol=1e-12, atol=1e-15)


def _along(family: Any, row: dict[str, float], labels: Labels, name: str) -> tuple[float, float]:
    """The running number of the site, before and after a step along it."""
    op, more = family.op(row, labels), family.op({**row, name: 2.0 * row[name]}, labels)
    return float(family.site(op)[-1]), float(family.site(more)[-1])


RUNS = {"gemm": "m", "batched_gemm": "m", "gemm_variant": "m", "grouped_gemm": "rows", "grouped_weight_grad": "rows",
        "attention_prefill": "q_len", "attention_backward": "q_len", "gather": "rows", "permute": "tokens",
        "router": "tokens", "stream": "elements", "exchange": "tokens", "collective": "bytes", "experts": "tokens",
        "recurrent_prefill": "q_len", "recurrent_decode": "batch", "causal_conv": "q_len"}  # fmt: skip


@pytest.mark.parametrize("name", sorted(RUNS))
@EXAMPLES
@given(data=st.data())
def test_what_runs_along_a_layer_is_its_logarithm(name: str, data: st.DataObject) -> None:
    labels = KINDS[name][0]
    before, after = _along(families()[name], data.draw(numbers(name, labels)), labels, RUNS[name])
    assert after - before == pytest.approx(np.log(2.0))


@EACH
def test_relatives_are_real_kinds_and_their_circle_closes(name: str, labels: Labels) -> None:
    """Every label that can stand in is one that a file may have, none is named twice, and stand-ins of stand-ins come to an
    end."""
    family = families()[name]
    met: set[str] = set()
    left: list[Any] = [labels]
    while left:
        one = left.pop()
        if kind(one) in met:
            continue
        met.add(kind(one))
        others = family.relatives(one)
        assert len({kind(other) for other in others}) == len(others)
        for other in others:
            assert tuple(other) == family.LABELS
            assert kind(other) != kind(one)  # none stands in for itself
            assert label_fault(family.WORDS, other) == ""
        left += others
    assert len(met) <= 64


def _gradient(op: Op, what: str) -> Op | None:
    """The op as the gradient of something; None for ops that are always, or never, one."""
    if isinstance(op, Fused):
        parts = tuple(_gradient(part, what) or part for part in op.parts)
        return replace(op, parts=parts)
    try:
        return replace(op, gradient=what)  # type: ignore[type-var]
    except TypeError:
        return None


@pytest.mark.parametrize("what", [INPUT, WEIGHT])
@pytest.mark.parametrize("name", FORWARD)
@EXAMPLES
@given(data=st.data())
def test_forward_rows_are_not_of_gradients(name: str, what: str, data: st.DataObject) -> None:
    if name in ("stream", "p2p"):
        return  # a stream's name says what it is the gradient of; no op of a step is p2p's
    for labels in KINDS[name]:
        op = families()[name].op(data.draw(numbers(name, labels)), labels)
        back = _gradient(op, what)
        if back is None or not back.gradient:
            continue
        for other in FORWARD:
            claims = families()[other].labels(back) is not None and every(families()[other].covers(back))
            assert not claims, (other, labels)


def test_a_transfer_is_asked_for_by_no_op() -> None:
    """p2p: what a rank sends to the other one of two."""
    family = families()["p2p"]
    op = family.op({"bytes": 1e6}, {"backend": "nccl"})
    assert family.numbers(op) == {"bytes": 1e6}
    assert family.labels(op) is None
    assert not family.covers(op)
    assert family.relatives({"backend": "nccl"}) == []
    assert float(op.coords()["group"]) == 2.0
