"""Laws of groups: what pipelines, contexts and sequences share adds up to the whole; one device is the plain answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lawkit import SOME, model, run, view, work

from simcost import pipeline
from simcost.cost import nccl
from simcost.cost.collective import sent
from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.estimate import memory, stages
from simcost.estimate import step as steps
from simcost.hardware import load as hardware
from simcost.lower import step
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.stream import Stream
from simcost.plan import Plan, require, stage_layers
from simcost.program import Call, Overlap, calls, leaves, price
from simcost.query import make, workload
from simcost.scenarios import explain, explain_links, phases
from simcost.search import splits
from simcost.sharding.context import at

H200 = hardware.load("h200")
ONE = {f"plan.{name}": 1 for name in ("tp", "ep", "pp", "cp", "dp", "dp_attention", "etp", "gpus")}
NAMES = ["llama-3.1-8b", "deepseek-v2-lite", "mixtral-8x7b", "gpt-oss-120b"]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("decode", [True, False])
def test_groups_of_one_are_the_single_device_bit_for_bit(name: str, decode: bool) -> None:
    hw = "h200" if not name.startswith("gpt-oss") else "b200"
    phase = {"batch": 4, "context": 2048} if decode else {"batch": 4, "isl": 512}
    plain = steps.run(workload(make(name, hw, decode, phase, {}, {}, None)))
    stated = steps.run(workload(make(name, hw, decode, phase, dict(ONE), {}, None)))
    assert plain.cost == stated.cost
    assert plain.kept.memory == stated.kept.memory


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pp", [2, 3, 5])
def test_stages_hold_every_layer_once(name: str, pp: int) -> None:
    w = workload(make(name, "b200", True, {"batch": 8, "context": 512}, {"plan.pp": pp}, {}, None))
    held = pipeline.stages(w.model, pp)
    assert [sum(stage.layers[j] for stage in held) for j in range(len(w.model.stacks))] == [
        n for n, _ in w.model.stacks
    ]
    sizes = [sum(stage.layers) for stage in held]
    assert max(sizes) - min(sizes) <= 1
    assert [stage.first for stage in held] == [True, *[False] * (pp - 1)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("decode", [True, False])
def test_a_pipeline_is_never_faster_than_its_busiest_stage_and_a_prefill_pays_every_hop(
    name: str, decode: bool
) -> None:
    phase = {"batch": 16, "context": 2048} if decode else {"batch": 16, "isl": 512}
    alone, split = (run(name, "b200", decode, phase, {"plan.pp": pp}) for pp in (1, 4))
    if decode:
        assert split.cost.seconds >= 4 * (
            split.slowest.seconds - float(split.workload.device.assumption("step_overhead"))
        )
    else:
        assert split.cost.seconds > alone.cost.seconds
        assert split.slowest.seconds < 0.5 * alone.cost.seconds
    assert split.kept.memory.weights < 0.5 * alone.kept.memory.weights


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
@pytest.mark.parametrize("decode", [True, False])
def test_contexts_share_attention_exactly(name: str, method: str, decode: bool) -> None:
    """FLOPs of all cp ranks together are the whole's: exactly in prefill, by share of the cache in decode."""
    batch, q, past = (8.0, 1.0, 4095.0) if decode else (2.0, 4096.0, 0.0)
    cp = 4.0
    plan = Plan(cp=cp, cp_method=method, mla_form="absorbed", ep=1.0, dp_attention=1.0)

    def cores(plan: Plan) -> float:
        found = (call.op for call in calls(step(model(name), view(batch, q, past, plan))))
        return sum(float(op.work().flops) for op in found if isinstance(op, AttentionCore) and not op.mask.bounded)

    assert cp * cores(plan) == pytest.approx(cores(Plan(mla_form="absorbed")), rel=1e-12)


WINDOWS = ["gpt-oss-120b", "llama-4-scout", "gemma-3-27b"]


@pytest.mark.parametrize("name", [*NAMES, "deepseek-v3", "falcon-40b", *WINDOWS[1:]])
@pytest.mark.parametrize("past", [255.0, 24575.0, 131071.0])  # within a window or chunk; at the end of a chunk
@pytest.mark.parametrize("method", ["ring", "all_gather", "ulysses"])
@pytest.mark.parametrize("tp", [1.0, 2.0, 8.0])
def test_a_rank_holds_what_its_core_reads(name: str, method: str, tp: float, past: float) -> None:
    """In decode a rank's cores read the cache that the rank holds: whole, once, no more and no less (but for the rounding of
    shares, and sinks); of a chunk that is not full they read less."""
    plan = Plan(tp=tp, cp=4.0, cp_method=method, mla_form="absorbed", ep=1.0, dp_attention=1.0)
    batch = 3.0
    seen = view(batch, 1.0, past, plan)
    read = kept = 0.0
    for repeat, layer in model(name).stacks:
        for block in layer:
            if block.kind != "attention":
                continue
            kept += repeat * batch * float(seen.kv.tensor_bytes(block.state_elements(past + 1.0, plan)))
            for call in calls(block.program(seen)):
                if isinstance(call.op, AttentionCore):
                    work = call.op.work()
                    read += repeat * float(
                        work.bytes_read - call.op.x.tensor_bytes(batch * call.op.heads * call.op.d_qk)
                    )
    assert read == pytest.approx(kept, rel=1e-3)


@pytest.mark.parametrize("mask", [Mask(window=128.0), Mask(window=8192.0), Mask(chunk=8192.0)])
@pytest.mark.parametrize("cp", [2.0, 4.0, 8.0])
def test_ranks_share_windows_and_chunks(mask: Mask, cp: float) -> None:
    """Decode: every key is read on one rank, also of a chunk that has just begun. Prefill: the busiest rank's pairs, by each
    rank's two pieces, one from each end."""
    plan = Plan(cp=cp)
    for context in (100.0, 8192.0, 8192.0 + 2 * cp, 20000.0, 131072.0):
        mine = at(view(1.0, 1.0, context - 1.0, plan), mask)
        assert cp * mine.mask.keys(mine.q_len, mine.past) == pytest.approx(mask.keys(1.0, context - 1.0), rel=1e-9)
    begun = at(view(1.0, 1.0, 16384.0, plan), mask)
    assert begun.mask.keys(begun.q_len, begun.past) <= max(1.0, 8192.0 / cp * (mask.window is not None))
    for q in (16384.0, 131072.0):
        mine, piece = at(view(1.0, q, 0.0, plan), mask), q / cp / 2.0
        each = [mask.pairs(piece, i * piece) + mask.pairs(piece, (2.0 * cp - 1.0 - i) * piece) for i in range(int(cp))]
        assert sum(each) == pytest.approx(mask.pairs(q, 0.0), rel=1e-12)
        pairs = mine.mask.pairs(mine.q_len, mine.past)
        if mask.window is not None:
            assert pairs == pytest.approx(max(each), rel=1e-12)
        elif piece % mask.chunk == 0.0:
            assert each == pytest.approx([pairs] * len(each), rel=1e-12)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v2-lite"])
def test_sequence_parallelism_moves_what_the_all_reduce_moved(name: str) -> None:
    def bytes_sent(sequence_parallel: str) -> float:
        plan = Plan(tp=4.0, ep=4.0, mla_form="absorbed", sequence_parallel=sequence_parallel)
        ops = [
            call.op for call in calls(step(model(name), view(4.0, 512.0, 0.0, plan))) if isinstance(call.op, Collective)
        ]
        return sum(float(sent(op, H200).near) for op in ops if op.kind != "all_to_all")

    plain, shared = bytes_sent("off"), bytes_sent("on")
    if (
        name == "llama-3.1-8b"
    ):  # half of an all-reduce before and half after; the embedding's second half is the first layer's
        tensor = 4.0 * 512.0 * 4096.0 * 2.0
        assert shared == pytest.approx(plain - 3.0 / 4.0 * tensor, rel=1e-9)
    else:
        assert shared < plain  # experts take tokens where they stand


def test_work_of_all_ranks_is_the_whole_when_experts_are_spread_and_sliced() -> None:
    whole = work(step(model("mixtral-8x7b"), view(8.0, 64.0, 0.0))).flops
    plan = Plan(tp=2.0, dp_attention=4.0, ep=4.0, etp=2.0)
    part = work(step(model("mixtral-8x7b"), view(8.0, 64.0, 0.0, plan))).flops
    assert 8.0 * part == pytest.approx(whole, rel=0.02)  # routers, norms and top-k are replicated


@pytest.mark.parametrize(("plan", "word"), [
    (Plan(tp=3.0, ep=2.0), "must divide the other"), (Plan(tp=2.0, dp_attention=4.0, ep=16.0), "must divide the"),
    (Plan(tp=2.0, etp=3.0, ep=2.0, dp_attention=2.0), "must be the same number"), (Plan(tp=8.0, gpus=4.0), "cluster has 4"),
    (Plan(pp=0.5), "pp must be a whole number"), (Plan(vpp=2.0), "it needs pp of at least 2"),
])  # fmt: skip
def test_a_plan_that_contradicts_itself_says_where(plan: Plan, word: str) -> None:
    from simcost.plan import own_checks

    with pytest.raises(SpecError, match=word):
        require(own_checks(plan))


@pytest.mark.parametrize(
    ("gpus", "experts", "cp"), [(1, True, True), (8, True, False), (12, False, True), (16, True, True)]
)
def test_every_split_uses_all_devices_once(gpus: int, experts: bool, cp: bool) -> None:
    found = list(splits.splits(gpus, experts, cp))
    assert len(found) == len(set(found))
    for tp, c, replicas, pp, dp, ep, etp in found:
        assert tp * c * replicas * pp * dp == gpus
        assert ep * etp == tp * c * replicas


@pytest.mark.parametrize("name", ["llama-3.1-70b", "deepseek-v3"])
def test_a_stream_of_prompts_keeps_the_caches_of_all_batches_behind_a_stage(name: str) -> None:
    """Throughput of a prefill counts a batch in every stage: the first stage keeps pp caches until the last is done."""
    w = workload(make(name, "b200", False, {"batch": 16, "isl": 4096}, {"plan.pp": 4}, {}, None))
    one = workload(make(name, "b200", True, {"batch": 16, "context": 4096}, {"plan.pp": 4}, {}, None))
    for with_prompts, alone in zip(stages.ranks(w), stages.ranks(one), strict=True):
        stage, prompts, tokens = with_prompts.stage, with_prompts.held, alone.held
        assert prompts.sequence(w, 4096.0) == pytest.approx((4.0 - prompts.stage) * tokens.sequence(one, 4096.0)), stage
    kept = memory.kept(w)
    assert kept.memory.cache == pytest.approx(16.0 * kept.held.sequence(w, 4096.0))


@pytest.mark.parametrize(("name", "hw", "decode"), [
    ("mixtral-8x7b", "h200", True), ("mixtral-8x7b", "h200", False), ("deepseek-v2-lite", "b200", True),
    ("llama-3.1-8b", "mi300x", True),
])  # fmt: skip
def test_plans_are_the_single_queries_and_their_misfits_have_a_reason(name: str, hw: str, decode: bool) -> None:
    from simcost import api

    phase = {"phase": "decode", "context": 2048} if decode else {"phase": "prefill", "isl": 2048}
    found: Any = api.plans(name, hw, gpus=8, batch=[8, 64], **phase)
    rows = found.tables["plans"]
    metric = "output_tokens_per_s_per_gpu" if decode else "input_tokens_per_s_per_gpu"
    rates = [row[metric] for row in rows if row["feasible"]]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) > 3
    assert all(row["reason"] for row in rows if not row["feasible"])
    ask = api.decode if decode else api.prefill
    time = "tpot_s" if decode else "ttft_s"
    length = {"context": 2048} if decode else {"isl": 2048}
    for row in rows[: len(rates)]:
        sets = {f"plan.{size}": row[size] for size in (*splits.SIZES, "overlap", "sequence_parallel") if size in row}
        one: Any = ask(name, hw, batch=row["batch"], set=sets, **length)
        assert one.metrics[time] == pytest.approx(row[time], rel=1e-9)
        assert one.metrics["memory_used_bytes_per_gpu"] == pytest.approx(row["memory_used_bytes_per_gpu"], rel=1e-9)


@pytest.mark.parametrize("stride", [1.0, 2.0, 8.0, 16.0])
def test_members_far_apart_meet_over_the_network(stride: float) -> None:
    op = Collective("all_reduce", 1e6, 4.0, stride)
    inside = H200.node(4.0, stride)
    assert inside == min(max(8 // stride, 1), 4)
    assert (float(sent(op, H200).far) > 0) == (inside < 4)
    assert float(sent(op, H200).near) == pytest.approx(2 * (inside - 1) / inside * 1e6)


def test_arrays_of_plans_answer_as_single_plans_do() -> None:
    sets: dict[str, Any] = {"plan.mla_form": "absorbed"}
    axes = {"plan.pp": [1, 2, 4], "plan.dp_attention": [1, 2]}
    from simcost.query import sweep

    _, (point,) = sweep(make("deepseek-v2-lite", "b200", True, {"batch": 64, "context": 1024}, sets, axes, None))
    assert point.workload is not None
    many = steps.run(point.workload)
    for i, pp in enumerate((1, 2, 4)):
        for j, replicas in enumerate((1, 2)):
            one = run_calibrated("deepseek-v2-lite", {**sets, "plan.pp": pp, "plan.dp_attention": replicas})
            assert np.broadcast_to(many.cost.seconds, (3, 2))[i, j] == pytest.approx(float(one.cost.seconds), rel=1e-12)
            assert np.broadcast_to(many.kept.memory.weights, (3, 2))[i, j] == one.kept.memory.weights


def run_calibrated(name: str, sets: dict[str, Any]) -> steps.Step:
    return steps.run(workload(make(name, "b200", True, {"batch": 64, "context": 1024}, sets, {}, None)))


@pytest.mark.parametrize("decode", [True, False])
def test_two_batches_do_the_same_work_and_hide_the_shorter_part(decode: bool) -> None:
    phase = {"batch": 2048, "context": 4096} if decode else {"batch": 256, "isl": 4096}
    sets = {"plan.ep": 64, "routing": "balanced"}
    plain, halved = (
        run("deepseek-v3", "h800", decode, phase, {**sets, "plan.overlap": o}) for o in ("none", "two_batch")
    )
    shared = run("deepseek-v3", "h800", decode, phase, {**sets, "plan.overlap": "shared_experts"})
    assert shared.cost.seconds <= plain.cost.seconds
    assert halved.cost.seconds >= max(plain.cost.wire_s, plain.cost.seconds - plain.cost.wire_s) * 0.99
    if not decode:  # a half of a prefill is as efficient as the whole by the roofline, and most of the wire hides
        assert halved.cost.seconds < plain.cost.seconds

    def matrices(step_: steps.Step) -> float:
        found = leaves(step_.priced)
        return sum(
            float(call.op.work().flops) * weight for _, call, _, weight in found if call.op.family == "grouped_gemm"
        )

    assert matrices(halved) == pytest.approx(matrices(plain), rel=1e-9)


def test_a_choice_and_a_layer_without_experts_survive_two_batches() -> None:
    dense, halved = (
        run("llama-3.1-8b", "h200", False, {"batch": 8, "isl": 512}, {"plan.overlap": o}) for o in ("none", "two_batch")
    )
    assert halved.cost.seconds >= dense.cost.seconds
    eager = {"plan.ep": 32, "plan.cuda_graph": "off", "plan.overlap": "two_batch"}
    assert run("deepseek-v3", "h800", True, {"batch": 512, "context": 1024}, eager).cost.seconds > 0


@pytest.mark.parametrize("eager", ["on", "off"])  # eager decode chooses the mode by its time
def test_contention_lasts_as_long_as_both_run(eager: str) -> None:
    sets = {"plan.ep": 64, "routing": "balanced", "plan.cuda_graph": eager, "plan.all_to_all": "auto"}
    if eager == "on":
        sets["plan.all_to_all"] = "normal"
    plain, beside = (
        run("deepseek-v3", "h800", True, {"batch": 8192, "context": 4096}, {**sets, "plan.overlap": o})
        for o in ("none", "shared_experts")
    )

    def times(found: steps.Step, part: str) -> list[float]:
        return [
            float(cost.seconds) * weight / 58.0 for path, call, cost, weight in leaves(found.priced)
            if part in "/".join(path) and (not isinstance(call.op, Exchange) or call.op.mode == "normal")
        ]  # fmt: skip

    shared = [sum(times(found, "/shared")) for found in (plain, beside)]
    assert shared[1] > 0
    dispatch = [max(times(found, "dispatch") or [0.0]) for found in (plain, beside)]
    if eager == "on":
        assert shared[1] == pytest.approx(132.0 / 112.0 * shared[0], rel=1e-9)
        assert dispatch[0] < dispatch[1] < 2.0 * dispatch[0]  # shared experts are done long before the tokens are there
    assert beside.cost.seconds < plain.cost.seconds


def test_what_outlasts_the_others_runs_on_alone() -> None:
    op = Stream("copy", 1e9, 1.0, 1.0, 0.0, dtype("bf16"), dtype("bf16"))
    small = replace(op, elements=1e8)
    cost_of = Roofline(H200)
    a, b = (float(cost_of(one).seconds) for one in (op, small))
    both = price(Overlap((Call(op, slow=2.0), Call(small)), "", (132.0 / 5.0, 0.0)), cost_of)
    # a fifth of the multiprocessors is held: while the small one runs, 1.25 b, the large one does half of that
    assert float(both.cost.seconds) == pytest.approx(a + 1.25 * b * 0.5, rel=1e-12)
    even = price(Overlap((Call(op, slow=2.0), Call(op)), "", (0.0, 0.0)), cost_of)
    assert float(even.cost.seconds) == pytest.approx(a + a * 0.5, rel=1e-12)


def test_the_ring_exchange_does_the_same_work_and_hides_the_shorter_part() -> None:
    sets = {"plan.tp": 8, "plan.sequence_parallel": "on"}
    phase = {"batch": 1, "isl": 8192}
    for name in ("llama-3.1-70b", "deepseek-v3"):
        plain, cut = (run(name, "h200", False, phase, {**sets, "plan.overlap": o}) for o in ("none", "tensor_parallel"))
        flops, wire = (
            [
                sum(value(call, cost) * weight for _, call, cost, weight in leaves(found.priced))
                for found in (plain, cut)
            ]
            for value in (
                # A chunk's floor, a product of one row, is no work of the step; the head has one row in either.
                lambda call, cost: float(call.op.work().flops) * (float(getattr(call.op, "m", 0.0)) != 1.0),
                lambda call, cost: float(cost.seconds) * isinstance(call.op, Collective),
            )
        )
        assert flops[1] == pytest.approx(flops[0], rel=1e-6)  # casts of that row
        assert wire[0] == pytest.approx(wire[1], rel=1e-9)
        assert cut.cost.seconds < plain.cost.seconds


@pytest.mark.parametrize("name", ["llama-3.1-405b", "llama-3.1-70b", "qwen3-235b-a22b"])
@pytest.mark.parametrize(("decode", "size"), [(True, 8), (True, 256), (False, 512), (False, 4096), (False, 32768)])
def test_chunks_beside_a_transfer_save_no_more_than_the_transfer(name: str, decode: bool, size: int) -> None:
    """With calibrated curves: parts take as long as the whole, or a curve's noise would pay for the overlap."""
    sets = {"plan.tp": 4 if name.startswith("qwen") else 8, "plan.sequence_parallel": "on"}
    phase = {"batch": size, "context": 4096} if decode else {"batch": 1, "isl": size}
    plain, cut = (
        steps.run(workload(make(name, "h200", decode, phase, {**sets, "plan.overlap": o}, {}, None)))
        for o in ("none", "tensor_parallel")
    )
    hidden = 0.0
    for _, call, cost, weight in leaves(plain.priced):
        if isinstance(call.op, Collective) and call.op.kind in ("all_gather", "reduce_scatter"):
            hidden += float(cost.seconds) * weight
    assert -1e-12 * plain.cost.seconds <= plain.cost.seconds - cut.cost.seconds <= hidden * (1 + 1e-9)
    if decode and size == 256:  # every chunk reads all weights: nobody cuts
        assert cut.cost.seconds > 0.97 * plain.cost.seconds


def test_on_one_rank_the_ring_exchange_changes_no_bit() -> None:
    one, cut = (
        run(
            "llama-3.1-8b", "h200", False, {"batch": 2, "isl": 512}, {"plan.sequence_parallel": "on", "plan.overlap": o}
        )
        for o in ("none", "tensor_parallel")
    )
    assert cut.cost.seconds == one.cost.seconds
    with pytest.raises(SpecError, match="needs sequence_parallel=on"):
        run("llama-3.1-8b", "h200", False, {"batch": 2, "isl": 512}, {"plan.overlap": "tensor_parallel"})


def test_hops_hide_behind_the_next_prompt_of_a_stream_and_nowhere_else() -> None:
    def staged(sets: dict[str, Any], decode: bool = False) -> steps.Step:
        phase = {"batch": 8, "context": 4096} if decode else {"batch": 8, "isl": 4096}
        return run("deepseek-v3", "h800", decode, phase, {"plan.tp": 8, "plan.ep": 8, "plan.pp": 4, **sets})

    waits, hidden = staged({}), staged({"plan.overlap_p2p_comm": "on"})
    assert hidden.cost.seconds == waits.cost.seconds  # one prompt waits for every hop
    hop = (waits.cost.seconds - waits.priced.cost.seconds - 300e-6) / 3.0
    assert waits.slowest.seconds - hidden.slowest.seconds == pytest.approx(hop, rel=0.01)
    single = [staged({"plan.pp": 1, "plan.overlap_p2p_comm": o}).cost.seconds for o in ("off", "on")]
    assert single[0] == single[1]
    with pytest.raises(SpecError, match="hides nothing in decode"):
        staged({"plan.overlap_p2p_comm": "on"}, True)


@pytest.mark.parametrize(
    ("tp", "pp", "leaves_node"), [(1, 4, False), (4, 2, False), (1, 16, True), (4, 4, True), (8, 2, True)]
)
@pytest.mark.parametrize("decode", [True, False])
def test_a_pipeline_pays_for_the_network_where_it_leaves_the_node(
    tp: int, pp: int, leaves_node: bool, decode: bool
) -> None:
    phase = {"batch": 64, "context": 4096} if decode else {"batch": 4, "isl": 4096}
    sets = {"plan.tp": tp, "plan.pp": pp}
    fast, slow = (
        run("llama-3.1-70b", "h200", decode, phase, {**sets, "hw.links.scaleout.bandwidth": f"x{x}"}) for x in (1, 0.01)
    )
    assert (slow.cost.seconds > fast.cost.seconds) == leaves_node
    crossing = [row for row in explain_links.rows(fast) if row["part"] == "pipeline" and row["tier"] == "network"]
    assert sum(row["times"] for row in crossing) == (tp * pp // 8 - 1 if leaves_node else 0)
    hops = sum(row["times"] for row in explain_links.rows(fast) if row["transfer"].startswith("send"))
    assert hops == pp - 1


@pytest.mark.parametrize("sets", [{"plan.pp": 8, "plan.tp": 8}, {"plan.pp": 3, "plan.tp": 8, "plan.cuda_graph": "off"}])
def test_the_rows_of_explain_add_up_to_the_step(sets: dict[str, Any]) -> None:
    for decode in (True, False):
        phase = {"batch": 16, "context": 4096} if decode else {"batch": 2, "isl": 1024}
        found = explain.result(make("llama-3.1-70b", "h200", decode, phase, sets, {}, None))
        assert sum(row["share"] for row in found.tables["ops"]) == pytest.approx(1.0, rel=1e-9)


def test_explain_says_what_every_stage_holds_and_which_is_fullest() -> None:
    query = make("llama-3.1-405b", "h100", True, {"batch": 32, "context": 4096}, {"plan.tp": 8, "plan.pp": 4}, {}, None)
    found = explain.result(query)
    table = found.tables["memory"]
    assert [row["stage"] for row in table] == ["1 of 4", "2 of 4", "4 of 4"]
    full = max(table, key=lambda row: row["used_bytes_per_gpu"])
    assert [row for row in table if row["fullest"]] == [full]
    assert full["used_bytes_per_gpu"] == found.metrics["memory_used_bytes_per_gpu"]


def test_the_link_table_counts_no_second_twice() -> None:
    found = run("deepseek-v3", "h800", True, {"batch": 8192, "context": 4096}, {"plan.ep": 64})
    table = explain_links.rows(found)
    each, sums = [r for r in table if r["part"] != "all"], [r for r in table if r["part"] == "all"]
    assert {r["tier"] for r in sums} == set(explain_links.TIERS)
    for total in sums:
        mine = [r for r in each if r["tier"] == total["tier"]]
        assert total["sent_step_bytes"] == pytest.approx(sum(r["sent_bytes"] * r["times"] for r in mine))
    wire = sum(float(c.seconds) * n for _, call, c, n in leaves(found.priced) if call.op.peak == "wire")
    assert sum(r["step_share"] for r in sums) == pytest.approx(wire / float(found.cost.seconds), rel=1e-9)


def test_a_row_of_a_sweep_says_its_own_numbers() -> None:
    def said(axes: dict[str, list[Any]], sets: dict[str, Any]) -> list[str]:
        phase = {"batch": 64, "context": 4096}
        return [
            row.get("reason", "")
            for row in phases.result(make("deepseek-v3", "h800", True, phase, sets, axes, None)).rows
        ]

    way_out = " (nearest valid: plan.ep = 32)"
    assert said({"plan.ep": [32, 64]}, {"plan.gpus": 60}) == [
        "",
        "the plan takes 64 GPUs, the cluster has 60" + way_out,
    ]
    assert "128 cannot be cut into 3 equal parts (nearest valid: plan.tp = 2 or 4)" in said({"plan.tp": [3, 8]}, {})[0]


def test_a_tree_goes_up_and_down_once_and_only_all_reduce_takes_it() -> None:
    def hops(kind: Any, nodes: float) -> list[float]:
        op = Collective(kind, 1e6, 8.0 * nodes)
        shape = nccl.Shape(op, 8.0, nodes, 1e-9, 1e-8, 0.0)
        return sorted({float(between) for _, (_, between), _ in nccl.ways(shape, False)})

    assert [hops("all_reduce", n) for n in (2.0, 8.0, 64.0)] == [[2.0], [6.0, 14.0], [12.0, 126.0]]
    assert [hops("all_gather", n) for n in (2.0, 8.0, 64.0)] == [[1.0], [7.0], [63.0]]


def test_one_sequence_a_rank_is_not_cut_in_two_batches() -> None:
    one, two = (
        run("deepseek-v3", "h800", True, {"batch": 64, "context": 4096}, {"plan.ep": 64, "plan.overlap": o})
        for o in ("none", "two_batch")
    )
    assert two.cost.seconds == one.cost.seconds


def test_a_capacity_factor_sets_what_travels() -> None:
    def sent(factor: float) -> float:
        sets = {"plan.ep": 64, "plan.capacity_factor": factor}
        found = run("deepseek-v3", "h800", True, {"batch": 8192, "context": 4096}, sets)
        return sum(row["sent_bytes"] for row in explain_links.rows(found) if row["transfer"] == "moe / dispatch")

    assert sent(2.0) == pytest.approx(2.0 * sent(1.0), rel=1e-9)


def test_stages_before_the_last_take_what_is_left_over() -> None:
    assert [stage_layers(61, 4, i) for i in range(4)] == [15, 15, 16, 15]
    assert [stage_layers(7, 4, i) for i in range(4)] == [2, 2, 2, 1]
    assert [stage_layers(60, 4, i) for i in range(4)] == [15, 15, 15, 15]


def prompt(sets: dict[str, Any]) -> steps.Step:
    return run("llama-3.1-8b", "h200", False, {"batch": 2, "isl": 4096}, sets)


def test_a_prefill_in_chunks_is_the_sum_of_its_chunks_and_needs_less_room() -> None:
    whole, one = prompt({}), prompt({"chunk": 4096})
    assert one.cost.seconds == whole.cost.seconds
    parts = [
        run("llama-3.1-8b", "h200", False, {"batch": 2, "isl": n, "past": p})
        for n, p in ((1500, 0), (1500, 1500), (1096, 3000))
    ]
    cut = prompt({"chunk": 1500})
    assert cut.cost.seconds == pytest.approx(sum(part.cost.seconds for part in parts), rel=1e-12)
    assert cut.cost.seconds > whole.cost.seconds
    assert cut.kept.memory.activations <= whole.kept.memory.activations
    assert cut.kept.memory.cache == whole.kept.memory.cache
    piped = prompt({"chunk": 1024, "plan.pp": 4})
    assert piped.cost.seconds < 4 * prompt({"plan.pp": 4}).slowest.seconds + prompt({"chunk": 1024}).cost.seconds


def test_what_serving_has_not_is_refused() -> None:
    with pytest.raises(SpecError, match="vpp"):
        run("llama-3.1-8b", "h200", True, {"batch": 2, "context": 64}, {"plan.vpp": 2})
    with pytest.raises(SpecError, match="does not apply to decode"):
        run("llama-3.1-8b", "h200", True, {"batch": 2, "context": 64}, {"chunk": 16})


@pytest.mark.parametrize("batch", [16, 64, 256, 8192])
@pytest.mark.parametrize("ep", [32, 64])
def test_chance_is_no_faster_than_exact_shares_where_ranks_hold_few_experts(batch: int, ep: int) -> None:
    """By the roofline: all wait for the rank that runs most experts. (Few ranks of many experts leave some untouched.)"""
    even, chance = (
        run("deepseek-v3", "h800", True, {"batch": batch, "context": 4096}, {"plan.ep": ep, "routing": text})
        for text in ("balanced", "random")
    )
    assert float(even.cost.seconds) <= float(chance.cost.seconds) * (1 + 1e-9)
