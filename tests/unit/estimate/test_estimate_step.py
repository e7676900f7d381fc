"""One step of a small design by hand: its kernels, chunks of a prompt, the host's work and launches."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from toykit import H, workload

from simcost.errors import Infeasible
from simcost.estimate import step
from simcost.program import leaves

HOST = 300e-6


def by_hand(batch: int, context: int) -> float:
    """A decode step on one device: every kernel is bound by memory; two microseconds each, and 0.8 of 1 TB/s."""
    rows = batch
    x = 2 * rows * H  # bytes of the hidden states
    qkv, inner = 1536, 4096

    def gemm(out: int, width: int) -> int:
        return 2 * (out * width + rows * width + rows * out)

    layer = [
        4 * x, gemm(qkv, H), 2 * 2 * rows * (8 + 2) * 128,  # norm with the residual, q k v, rope
        2 * 2 * rows * 2 * 2 * 128,  # cache write
        2 * batch * (8 * 128 * 2) + 2 * batch * context * 2 * 2 * 128,  # core: queries and outputs, keys and values
        gemm(H, H), 4 * x, gemm(2 * inner, H), 3 * 2 * rows * inner, gemm(H, inner),
    ]  # fmt: skip
    return 4 * sum(size / 0.8e12 + 2e-6 for size in layer)


@pytest.mark.parametrize(("batch", "context"), [(1, 1024), (8, 1024), (16, 4096)])
def test_the_layers_of_a_decode_step_are_their_bytes_over_the_bandwidth(
    tmp_path: Path, batch: int, context: int
) -> None:
    one = step.run(workload(tmp_path, batch=batch, context=context))
    assert one.priced.parts[1].cost.seconds == pytest.approx(by_hand(batch, context), rel=1e-9)
    assert one.host.seconds == pytest.approx(HOST)
    assert one.cost.seconds == pytest.approx(one.priced.cost.seconds + HOST)
    assert (one.launches.seconds, one.idle.seconds) == (0.0, 0.0)


def test_without_a_graph_the_host_launches_kernel_by_kernel(tmp_path: Path) -> None:
    graph, eager = (step.run(workload(tmp_path, sets={"plan.cuda_graph": v})) for v in ("on", "off"))
    ran = [(call.op.family, weight) for _, call, cost, weight in leaves(eager.priced) if cost.seconds > 0]
    # A decode core merges its parts in a kernel of its own.
    kernels = sum(weight * (2 if family == "attention" else 1) for family, weight in ran)
    assert sum(weight for family, weight in ran if family == "attention") == 4
    assert sum(weight for _, weight in ran) == 4 * 10 + len([weight for _, weight in ran if weight == 1])
    waits = kernels * 40e-6 - graph.priced.cost.seconds
    assert eager.launches.seconds == pytest.approx(waits)
    assert eager.cost.seconds - graph.cost.seconds == pytest.approx(waits)


def test_a_long_step_hides_its_launches(tmp_path: Path) -> None:
    long = step.run(workload(tmp_path, False, {"plan.cuda_graph": "off"}, batch=64, isl=8192))
    assert long.launches.seconds == 0.0


@pytest.mark.parametrize(("isl", "chunk", "sizes"), [
    (1000, 256, [256, 256, 256, 232]), (512, 256, [256, 256]), (100, 256, [100]), (257, 256, [256, 1]),
])  # fmt: skip
def test_a_prompt_in_chunks_is_its_chunks_one_after_the_other(
    tmp_path: Path, isl: int, chunk: int, sizes: list[int]
) -> None:
    whole = step.run(workload(tmp_path, False, isl=isl, chunk=chunk))
    parts = [step.run(workload(tmp_path, False, isl=n, past=sum(sizes[:i]))).cost.seconds for i, n in enumerate(sizes)]
    assert whole.cost.seconds == pytest.approx(sum(parts))
    assert whole.kept.memory.cache == step.run(workload(tmp_path, False, isl=isl)).kept.memory.cache


def test_a_plan_that_breaks_a_rule_is_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        Infeasible, match=r"^plan: num_attention_heads = 8 cannot be cut into 3 .*nearest valid: plan.tp = 2 or 4"
    ):
        step.checked(workload(tmp_path, sets={"plan.tp": 3}))
    with pytest.raises(Infeasible, match=r"^plan: num_attention_heads = 8 cannot be cut into 3"):
        step.run(workload(tmp_path, sets={"plan.tp": 3}))


def test_the_error_of_a_step_joins_that_of_its_kernels_and_of_the_host(tmp_path: Path) -> None:
    cost = step.run(workload(tmp_path)).cost
    kernels = cost.seconds - HOST
    assert cost.spread["step overhead assumed"] == pytest.approx(0.42 * HOST)
    assert cost.spread["kernels in a step"] == pytest.approx(0.08 * kernels)
    assert cost.deviation == pytest.approx(math.sqrt(sum(float(np.asarray(v)) ** 2 for v in cost.spread.values())))
