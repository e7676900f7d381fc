"""What runs more than once is priced once: how often a model is asked, and the same answers as when every question is its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toykit import device, workload

from simcost.cost.cost import Cost
from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.estimate import memo
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op
from simcost.program import leaves
from simcost.workload import Workload

BF16 = dtype("bf16")


@dataclass
class Counting:
    """A cost model that counts how often it is asked."""

    asked: int = 0
    multiprocessors: float = 132.0

    def __call__(self, op: Any) -> Cost:
        self.asked += 1
        return Cost(memory_s=op.m)


def gemm(m: Any, n: float = 8.0) -> Gemm:
    return Gemm(m, n, 8.0, BF16, BF16, BF16, BF16)


@pytest.mark.parametrize(("ops", "asked"), [
    ([gemm(4.0), gemm(4.0)], 1), ([gemm(4.0), gemm(5.0)], 2), ([gemm(4.0), gemm(4.0, 16.0)], 2), ([gemm(4.0), gemm(np.array([4.0]))], 2),
    ([gemm(np.array([1.0, 2.0])), gemm(np.array([1.0, 2.0]))], 1), ([gemm(np.array([1.0, 2.0])), gemm(np.array([2.0, 1.0]))], 2),
    ([gemm(np.array([1.0, 2.0])), gemm(np.array([[1.0, 2.0]]))], 2), ([gemm(np.array([1.0, 2.0])), gemm(np.array([1.0, 2.0]), 9.0)], 2),
])  # fmt: skip
def test_equal_kernels_are_asked_for_once_and_others_each(ops: list[Gemm], asked: int) -> None:
    model = Counting()
    once = memo.Once(model)
    found = [once(op) for op in (*ops, *ops)]
    assert model.asked == asked
    for op, cost in zip((*ops, *ops), found, strict=True):
        assert np.array_equal(cost.memory_s, op.m)


def test_points_of_a_kind_are_asked_once_whatever_stands_beside_them() -> None:
    """Of 1,000 points with 40 numbers of rows between them the model sees 40, and answers as it does for all; a device that varies is asked whole."""
    rows = np.random.default_rng(0).integers(1, 41, (20, 50)).astype(np.float64)
    op = Fused("linear", (gemm(rows, 16.0), gemm(4.0)))
    for hw, seen in ((device(), 40), (replace(device(), bandwidth=np.full((20, 50), 1e12)), 1000)):
        model, sizes = Roofline(hw), []

        def asked(op: Any, model: Roofline = model, sizes: list[int] = sizes) -> Cost:
            sizes.append(np.size(op.parts[0].m))
            return model(op)

        asked.device, asked.multiprocessors = hw, 132.0  # type: ignore[attr-defined]
        found, whole = memo.Once(asked)(op), model(op)
        assert sizes == [seen]
        for name in ("compute_s", "memory_s", "overhead_s", "light_s"):
            assert np.array_equal(
                np.broadcast_to(getattr(found, name), rows.shape), np.broadcast_to(getattr(whole, name), rows.shape)
            )


def test_kernels_of_arrays_inside_a_class_are_told_apart() -> None:
    once = memo.Once(Roofline(device()))
    wholes = [Fused("linear", (gemm(np.array([a, 2.0])), gemm(4.0))) for a in (1.0, 1.0, 3.0)]
    assert memo.key_of(wholes[0]) == memo.key_of(wholes[1]) != memo.key_of(wholes[2])
    assert memo.key_of(wholes[0]) != memo.key_of(Fused("experts", wholes[0].parts))
    assert once(wholes[0]) is once(wholes[1])


def test_what_a_model_knows_is_known_through_the_memory_too() -> None:
    class Knowing(Counting):
        """Knows one class."""

        def knows(self, op: Fused) -> bool:
            return op.kernel == "linear"

    once: Any = memo.Once(Knowing())
    assert once.knows(Fused("linear", ()))
    assert not once.knows(Fused("experts", ()))
    assert not hasattr(memo.Once(Counting()), "knows")
    assert once.multiprocessors == 132.0


SIZES = [
    (1, 1, 1),
    (2, 1, 1),
    (1, 2, 1),
    (1, 1, 2),
    (2, 1, 2),
    (2, 2, 1),
    (1, 4, 1),
    (1, 2, 2),
    (4, 1, 1),
]  # tp, pp, dp
BATCHES = [1.0, 8.0, 64.0]


def listed(w: Workload, sizes: Mapping[str, Any], batch: Any) -> Workload:
    plan = replace(w.plan, **sizes)
    phase = replace(w.phase, batch=batch, microbatches=plan.pp)
    return replace(w, plan=plan, phase=phase, view=replace(w.view, plan=plan, phase=phase))


@pytest.mark.parametrize("experts", [False, True])
def test_a_list_of_plans_is_what_each_of_them_is_alone(tmp_path: Path, experts: bool) -> None:
    config = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2} if experts else {}
    w = workload(tmp_path, config=config)
    model = Roofline(w.device)
    columns = {name: np.array([row[i] for row in SIZES], float)[:, None] for i, name in enumerate(("tp", "pp", "dp"))}
    many = memo.folded(listed(w, columns, np.array(BATCHES)[None, :]), model)
    shape = (len(SIZES), len(BATCHES))
    seconds = np.broadcast_to(many.priced.cost.seconds, shape)
    launches = np.broadcast_to(many.launches, shape)
    for i, row in enumerate(SIZES):
        for j, batch in enumerate(BATCHES):
            sizes = dict(zip(("tp", "pp", "dp"), map(float, row), strict=True))
            alone = memo.folded(listed(w, sizes, batch), model)
            assert seconds[i, j] == pytest.approx(float(alone.priced.cost.seconds), rel=1e-12)
            assert launches[i, j] == alone.launches
            for part, other in zip(many.priced.parts, alone.priced.parts, strict=True):
                assert np.broadcast_to(part.cost.seconds, shape)[i, j] == pytest.approx(
                    float(other.cost.seconds), rel=1e-12
                )


def test_plans_whose_ranks_run_the_same_are_priced_once(tmp_path: Path) -> None:
    """Four whole copies, or four stages with a micro-batch each: the same kernels on the same tokens."""
    w = workload(tmp_path)
    columns = {"tp": np.ones((3, 1)), "pp": np.array([[4.0], [1.0], [2.0]]), "dp": np.array([[1.0], [4.0], [2.0]])}
    which = memo._which(listed(w, columns, np.array(BATCHES)[None, :]))
    assert which is not None
    first, at = which
    assert (first.tolist(), at.tolist()) == ([0], [0, 0, 0])
    apart = {**columns, "tp": np.array([[1.0], [2.0], [4.0]])}
    assert memo._which(listed(w, apart, np.array(BATCHES)[None, :])) is None
    assert memo._which(w) is None


def test_batches_of_their_own_tell_plans_apart(tmp_path: Path) -> None:
    w = workload(tmp_path)
    columns = {"tp": np.ones((3, 1)), "pp": np.array([[4.0], [1.0], [2.0]]), "dp": np.array([[1.0], [4.0], [2.0]])}
    batch = np.array([[8.0, 64.0], [8.0, 64.0], [8.0, 32.0]])
    own = listed(w, columns, batch)
    which = memo._which(own)
    assert which is not None
    assert which[1].tolist() == [1, 1, 0]
    many = np.broadcast_to(memo.folded(own, Roofline(w.device)).priced.cost.seconds, batch.shape)
    for i, row in enumerate(batch.tolist()):
        for j, one in enumerate(row):
            sizes = {name: float(column[i, 0]) for name, column in columns.items()}
            alone = memo.folded(listed(w, sizes, one), Roofline(w.device))
            assert many[i, j] == pytest.approx(float(alone.priced.cost.seconds), rel=1e-12)


def test_a_step_without_its_kernels_is_the_same_step(tmp_path: Path) -> None:
    w = workload(tmp_path)
    many = listed(w, {}, np.array([1.0, 8.0, 64.0]))
    whole, bare = (memo.folded(many, Roofline(w.device), kernels) for kernels in (True, False))
    assert np.array_equal(whole.priced.cost.seconds, bare.priced.cost.seconds)
    assert np.array_equal(whole.launches, bare.launches)
    assert {key: cost.seconds.tolist() for key, cost in whole.each.items()} == {key: cost.seconds.tolist() for key, cost in bare.each.items()}  # fmt: skip
    assert len(list(leaves(whole.priced))) > len(whole.each)
    assert not any(part.parts for part in bare.priced.parts)


def test_what_is_equal_at_all_points_of_a_kernel_is_one_number() -> None:
    class Even:
        multiprocessors = 132.0

        def __call__(self, op: Op) -> Cost:
            seconds = op.work().bytes
            return Cost(
                seconds, 0.0 * seconds, 0.0, 1e-6 + 0.0 * seconds, spread={"its own": seconds, "none": 0.0 * seconds}
            )

    rows = np.tile([1.0, 2.0, 4.0], 400)
    cost = memo.Once(Even())(gemm(rows))
    assert (cost.memory_s, cost.overhead_s, cost.spread["none"]) == (0.0, 1e-6, 0.0)
    assert np.array_equal(cost.compute_s, cost.spread["its own"])
    same = memo.Once(Even())(gemm(np.full(1200, 2.0)))
    assert np.array_equal(same.compute_s, np.full(1200, same.compute_s[0])), "points that are all alike stay points"
