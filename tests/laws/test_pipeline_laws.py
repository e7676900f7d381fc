"""Laws of pipelines in serving, of what runs side by side, and of what `explain` and `compare` say of both: rows add up."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from lawkit import metrics, run

from simcost import api
from simcost.cost.cost import Cost, interval
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.estimate import feasible, memory, stages
from simcost.estimate import step as steps
from simcost.hardware import load as hardware
from simcost.ops.stream import Stream
from simcost.program import Call, Choice, Overlap, Serial, competing, exposed, leading, most_held
from simcost.query import make, sweep, workload
from simcost.scenarios import calibration_effect, explain

DEEP = {"plan.tp": 8, "plan.pp": 8}


def makespan(times: list[list[float]]) -> float:
    """Of a flow shop: [job][stage], every stage one job at a time, in order."""
    free = [0.0] * len(times[0])
    for job in times:
        done = 0.0
        for i, seconds in enumerate(job):
            free[i] = done = max(done, free[i]) + seconds
    return free[-1]


@pytest.mark.parametrize("sizes", [[4.0], [4.0, 1.0], [1.0, 4.0], [2.0, 2.0, 2.0], [3.0, 1.0, 5.0, 2.0]])
@pytest.mark.parametrize("stage", [[1.0], [1.0, 1.0, 1.0], [1.0, 3.0, 2.0], [0.5, 0.25]])
def test_chunks_pass_the_stages_like_the_jobs_of_a_flow_shop(sizes: list[float], stage: list[float]) -> None:
    jobs = [[size * each for each in stage] for size in sizes]
    found = [(Cost(compute_s=sum(job)), Cost(compute_s=max(job))) for job in jobs]
    whole, slowest = found[0]
    for each in found[1:]:
        whole, slowest = stages.after((whole, slowest), each)
    equal = len(set(stage)) == 1 or len(sizes) == 1
    assert whole.seconds >= makespan(jobs) * (1.0 - 1e-12)
    assert whole.seconds <= makespan(jobs) * (1.0 + 1e-12 if equal else 1.1)
    assert slowest.seconds == pytest.approx(sum(max(job) for job in jobs), rel=1e-12)


def prompt(name: str, isl: int, sets: dict[str, Any], batch: int = 1) -> steps.Step:
    return run(name, "h200", False, {"batch": batch, "isl": isl}, sets)


@pytest.mark.parametrize("plan", [DEEP, {"plan.tp": 8}, {"plan.tp": 4, "plan.pp": 4, "plan.overlap_p2p_comm": "on"}])
def test_a_longer_prompt_in_chunks_is_never_sooner_done(plan: dict[str, Any]) -> None:
    lengths = [1, 1024, 2048, 2049, 3000, 4096, 4097, 6145, 8192, 8193]
    sets = {**plan, "chunk": 2048}
    alone = [prompt("llama-3.1-405b", isl, sets) for isl in lengths]
    assert all(a.cost.seconds < b.cost.seconds for a, b in itertools.pairwise(alone))
    assert all(a.slowest.seconds < b.slowest.seconds for a, b in itertools.pairwise(alone))
    for isl in (1, 1024, 2048):
        whole, one = prompt("llama-3.1-405b", isl, plan), prompt("llama-3.1-405b", isl, sets)
        assert (one.cost, one.slowest, one.kept.memory) == (whole.cost, whole.slowest, whole.kept.memory)
    made = make(
        "llama-3.1-405b", "h200", False, {"batch": 1}, {**sets, "hw.measurements": "none"}, {"isl": lengths}, None
    )
    (point,) = sweep(made)[1]
    assert point.workload is not None
    many = steps.run(point.workload)
    for got, want in (
        (many.cost.seconds, [s.cost.seconds for s in alone]), (many.kept.memory.used, [s.kept.memory.used for s in alone]),
        (many.slowest.seconds, [s.slowest.seconds for s in alone]),
    ):  # fmt: skip
        assert np.asarray(got) == pytest.approx(np.asarray(want, float), rel=1e-12)


PIPED = [
    ("llama-3.1-405b", "h200", DEEP), ("llama-3.1-405b", "h200", {"plan.tp": 8, "plan.pp": 3}),
    ("llama-3.1-405b", "h200", {"plan.tp": 8, "plan.pp": 5, "plan.dp": 2}), ("gemma-3-27b", "h200", {"plan.pp": 4}),
    ("deepseek-v3", "h800", {"plan.tp": 4, "plan.ep": 16, "plan.pp": 4}), ("mixtral-8x7b", "h200", {"plan.ep": 2, "plan.pp": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "hw", "plan"), PIPED)
@pytest.mark.parametrize("batch", [1, 64, 67])
def test_the_largest_batch_of_a_pipeline_fits_and_one_more_does_not(
    name: str, hw: str, plan: dict[str, Any], batch: int
) -> None:
    def at(batch: int) -> dict[str, Any]:
        return metrics(name, hw, True, {"batch": batch, "context": 4096}, plan)

    most = int(at(batch)["max_batch"])
    assert most >= 1
    assert at(most)["memory_short_bytes_per_gpu"] == 0
    assert at(most)["max_batch"] == most
    assert at(most + 1)["memory_short_bytes_per_gpu"] > 0


@pytest.mark.parametrize(("name", "hw", "plan"), PIPED)
@pytest.mark.parametrize("batch", [1, 64, 67])
def test_the_longest_context_of_a_pipeline_fits_and_one_more_does_not(
    name: str, hw: str, plan: dict[str, Any], batch: int
) -> None:
    def at(context: int) -> dict[str, Any]:
        return metrics(name, hw, True, {"batch": batch, "context": context}, plan)

    most = int(at(4096)["max_context"])
    assert most >= 1
    assert at(most)["memory_short_bytes_per_gpu"] == 0
    assert at(most + 1)["memory_short_bytes_per_gpu"] > 0


def test_a_pipeline_keeps_the_caches_of_its_sequences_and_of_no_others() -> None:
    one, eight = (
        memory.kept(workload(make("llama-3.1-405b", "h200", True, {"batch": batch, "context": 131072}, DEEP, {}, None)))
        for batch in (1, 8)
    )
    for mine, theirs in zip(one.ranks, eight.ranks, strict=True):  # which stage is fullest may change
        sizes = [
            memory.shared_out(kept.workload, rank.held, kept.peak).cache
            for kept, rank in ((one, mine), (eight, theirs))
        ]
        assert sizes[1] == 8 * sizes[0]


@pytest.mark.parametrize(("count", "decode"), [(1, True), (20, True), (21, True), (20, False), (21, False)])
def test_an_overlap_leaves_multiprocessors_to_compute_with(count: int, decode: bool) -> None:
    phase = {"batch": 4096, "context": 4096} if decode else {"batch": 64, "isl": 1024}
    sets = {"plan.ep": 64, "plan.cuda_graph": "off", "plan.all_to_all": "normal", "hw.compute.sm_count": count}
    alone = run("deepseek-v3", "h800", decode, phase, sets)
    for overlap in ("two_batch", "shared_experts"):
        beside = {**sets, "plan.overlap": overlap}
        if count > 20:
            assert run("deepseek-v3", "h800", decode, phase, beside).cost.seconds > 0.5 * alone.cost.seconds
            continue
        with pytest.raises(SpecError, match=r"leaves none to compute with: set plan.overlap=none") as refused:
            run("deepseek-v3", "h800", decode, phase, beside)
        assert "\n" not in str(refused.value)
        rows = api.decode(
            "deepseek-v3", "h800", 4096, set={"plan.overlap": overlap, "hw.compute.sm_count": count, "plan.cuda_graph": "off"},
            vary={"plan.ep": [1, 64]},
        ).rows  # fmt: skip
        assert [row["feasible"] for row in rows] == [True, False]


def test_what_competes_for_one_machine_hides_only_in_its_starts() -> None:
    one = Cost(compute_s=3.0, overhead_s=1.0, light_s=2.0, fitted_s=4.0, spread={"a": 0.4})
    two = Cost(memory_s=0.5, overhead_s=0.7, light_s=0.4, measured_s=1.2, spread={"b": 0.6})
    both = one.among(two)
    assert (both.compute_s, both.memory_s, both.light_s) == (3.0, 0.5, 2.4)
    assert both.overhead_s == pytest.approx(0.5)  # four seconds of the longer one, in which the other's work has room
    assert both.fitted_s + both.measured_s == pytest.approx(both.seconds)
    assert max(one.seconds, two.seconds) <= both.seconds <= (one + two).seconds
    assert both.seconds == two.among(one).seconds
    assert both.deviation <= (one + two).deviation
    assert competing([4.0, 1.2], 4.5) == pytest.approx([1.0, 0.5 / 1.2])
    # Starts that all hide leave no less than the speed of light.
    assert Cost(overhead_s=1.0, light_s=0.9).among(Cost(overhead_s=1.0, light_s=0.8)).seconds == pytest.approx(1.7)


@pytest.mark.parametrize(("name", "hw"), [
    ("deepseek-v3", "h200"), ("deepseek-v2-lite", "h100"), ("glm-4.5-air", "mi300x"), ("llama-4-scout", "l40s"),
])  # fmt: skip
@pytest.mark.parametrize("decode", [True, False])
def test_shared_experts_beside_routed_ones_pay_where_starts_count(name: str, hw: str, decode: bool) -> None:
    saved = []
    for batch in (1, 16, 256):
        phase: dict[str, Any] = {"batch": batch, "context": 1024} if decode else {"batch": batch, "isl": 512}
        sets = {"plan.tp": 1 if name == "deepseek-v2-lite" else 8}
        turns, beside = (run(name, hw, decode, phase, {**sets, "plan.overlap": o}) for o in ("none", "shared_experts"))
        work = [s.cost.compute_s + s.cost.memory_s + s.cost.wire_s for s in (turns, beside)]
        assert work[1] == pytest.approx(work[0], rel=1e-9)
        assert beside.cost.light_s == pytest.approx(turns.cost.light_s, rel=1e-9)
        if batch * (1 if decode else 512) > 256:
            assert beside.cost == turns.cost
            continue
        assert beside.cost.seconds < turns.cost.seconds
        saved.append(1.0 - float(beside.cost.seconds / turns.cost.seconds))
        rows = explain.result(
            make(name, hw, decode, phase, {**sets, "plan.overlap": "shared_experts"}, {}, None)
        ).tables["ops"]
        assert sum(row["share"] for row in rows) == pytest.approx(1.0, rel=1e-9)
    assert saved == sorted(saved, reverse=True)
    assert len(saved) == (3 if decode else 0)


def test_vllm_gained_as_much_by_a_stream_for_the_shared_experts() -> None:
    sets: dict[str, Any] = {"plan.tp": 8}
    turns, beside = (
        api.decode("deepseek-v3", "b200", 32, 1024, set={**sets, "plan.overlap": o}).metrics["tpot_s"]
        for o in ("none", "shared_experts")
    )
    assert turns - beside == pytest.approx(23.35e-3 - 22.09e-3, rel=0.3)  # vLLM PR 26440, DeepSeek-R1 on 8 B200


def test_points_of_a_sweep_run_the_shared_experts_once_wherever_tokens_travel() -> None:
    sets: dict[str, Any] = {"plan.overlap": "shared_experts", "plan.tp": 2}
    axes = {"plan.ep": [1, 2, 4, 8]}
    rows = api.decode("deepseek-v2-lite", "h200", 64, set=sets, vary=axes).rows
    for ep, row in zip(axes["plan.ep"], rows, strict=True):
        one = api.decode("deepseek-v2-lite", "h200", 64, set={**sets, "plan.ep": ep}).metrics
        assert row["tpot_s"] == pytest.approx(one["tpot_s"], rel=1e-12), ep


def test_what_an_overlap_holds_is_found_wherever_it_stands() -> None:
    bf16 = dtype("bf16")
    call = Call(Stream("copy", 1.0, 1.0, 1.0, 0.0, bf16, bf16))
    pair = Overlap((call, call, call), "", (0.0, 3.0, 4.0))
    assert most_held(call) == most_held(Overlap((call, call))) == 0.0
    assert most_held(Serial((call, Choice((("a", call), ("b", Serial((pair,)))))))) == 7.0


def test_copies_of_a_model_need_no_network_and_its_parts_do() -> None:
    found = api.decode("llama-3.1-8b", "l40s", batch=16, nodes=2)
    assert found.metrics["gpus"] == 16
    rows = api.plans("llama-3.1-8b", "l40s", gpus=16, batch=[16]).tables["plans"]
    runs = {tuple(row[k] for k in ("tp", "pp", "dp")): row["feasible"] for row in rows}  # type: ignore[union-attr]
    assert runs[8, 1, 2]
    assert runs[1, 1, 16]
    assert not runs[8, 2, 1]
    with pytest.raises(SpecError, match=r"no 'links\.scaleout\.bandwidth'"):
        api.decode("llama-3.1-8b", "l40s", batch=16, set={"plan.tp": 8, "plan.pp": 2})


# Those without a network between scale-up domains: a hop that no stage takes has no time there.
ALONE = [name for name in hardware.names() if hardware.load(name).scaleout is None]


@pytest.mark.parametrize("hw", hardware.names())
@pytest.mark.parametrize("decode", [True, False])
def test_two_stages_have_a_time_on_every_device_or_a_refusal_that_names_the_key(hw: str, decode: bool) -> None:
    phase: dict[str, Any] = {"batch": 1, "context": 4096} if decode else {"batch": 1, "isl": 4096}
    half = {} if "bf16" in hardware.load(hw).peaks else {"plan.activation_dtype": "fp16"}
    for split in ({"plan.pp": 2}, {"plan.tp": 2, "plan.pp": 2}, {"plan.cp": 2, "plan.pp": 2}, {"plan.pp": 16}):
        plan: dict[str, Any] = {**split, **half}
        made = make("llama-3.1-8b", hw, decode, phase, plan, {}, None)
        if not all(np.all(check.ok) for check in feasible.of(workload(made))):
            assert hw in ALONE, (hw, plan)
            with pytest.raises(SpecError, match=r"'links\.scaleout\.bandwidth'.*--set hw\.links\.scaleout\.bandwidth="):
                steps.checked(workload(made))
            continue
        found = metrics("llama-3.1-8b", hw, decode, phase, plan)
        unknown = {name for name, value in found.items() if not np.isfinite(np.asarray(value, float))}
        assert unknown <= {"max_context"}, (hw, plan)
        if split == {"plan.pp": 2} and not decode:
            # A hop of 2 x 34 MB takes some milliseconds over PCIe, 86 over a twelfth of Inferentia2's network; the prompt passes the same kernels as on one stage.
            one = metrics("llama-3.1-8b", hw, decode, phase, half)["ttft_s"]
            assert one < found["ttft_s"] < one + 0.1


def test_plans_blame_the_missing_link_and_no_limit() -> None:
    rows = {
        (row["tp"], row["pp"]): row
        for row in api.plans("llama-3.1-8b", "l40s", gpus=16, phase="prefill").tables["plans"]
    }
    assert rows[1, 8]["feasible"]
    assert rows[1, 8]["ttft_s"] > 0.0
    assert "links.scaleout.bandwidth" in rows[1, 16]["reason"]


# Of twenty designs ten, in which each value of one setting stands beside each of another.
TEN = [(pp, graph, 1 + (i + (graph == "off")) % 2) for i, pp in enumerate((1, 2, 3, 5, 8)) for graph in ("on", "off")]


@pytest.mark.parametrize("name", ["llama-3.1-8b", "deepseek-v3", "gpt-oss-20b", "gemma-2-9b", "mixtral-8x7b"])
@pytest.mark.parametrize("hw", ["h200", "l40s", "mi300x"])
@pytest.mark.parametrize("decode", [True, False])
def test_rows_of_explain_add_up_to_the_step_whatever_the_stages(name: str, hw: str, decode: bool) -> None:
    phase: dict[str, Any] = {"batch": 7, "context": 2048} if decode else {"batch": 3, "isl": 1024}
    for pp, graph, tp in TEN:
        plan = {"plan.pp": pp, "plan.cuda_graph": graph, "plan.tp": tp}
        if hw == "l40s" and pp * tp > 8:
            continue
        found = explain.result(make(name, hw, decode, phase, plan, {}, None))
        whole, rows = found.metrics["tpot_s" if decode else "ttft_s"], found.tables["ops"]
        assert sum(row["times"] * row["time_s"] for row in rows) == pytest.approx(whole, rel=1e-6), plan
        assert sum(row["share"] for row in rows) == pytest.approx(1.0, rel=1e-6), plan
        waits = [row for row in rows if row["op"] == "waiting for the slowest stage"]
        assert bool(waits) == (decode and pp > 1), plan


def test_nodes_are_as_large_as_they_are_set_to_be() -> None:
    sets = {"hw.links.scaleup.domain": 4}
    assert api.decode("llama-3.1-8b", "h200", batch=64, nodes=8, set=sets).metrics["gpus"] == 32
    assert (
        api.decode("llama-3.1-8b", "h200", batch=64, nodes=8, set={"hw.links.scaleup.domain": "x2"}).metrics["gpus"]
        == 128
    )
    with pytest.raises(SpecError, match="is varied: use --gpus"):
        api.decode("llama-3.1-8b", "h200", nodes=8, vary={"hw.links.scaleup.domain": [4, 8]})


def test_the_speed_of_light_of_two_things_at_once_is_that_of_both() -> None:
    slow, fast = Cost(compute_s=3.0, light_s=1.0), Cost(wire_s=2.5, light_s=2.0)
    assert (slow.beside(fast).seconds, slow.beside(fast).light_s) == (3.0, 2.0)
    assert slow.beside(fast) == fast.beside(slow)
    assert (slow.slowed(2.0).seconds, slow.slowed(2.0).light_s) == (6.0, 1.0)
    best, won = slow.cheapest(fast)
    assert (best.seconds, best.light_s, won) == (2.5, 1.0, 1.0)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("overlap", ["two_batch", "shared_experts"])
@pytest.mark.parametrize("batch", [1024, 4096, 16384])
def test_the_speed_of_light_of_an_overlap_never_falls_with_a_faster_network(
    measured: bool, overlap: str, batch: int
) -> None:
    lights = []
    for factor in ("x1", "x1.1", "x1.25", "x2", "x8"):
        sets = {"plan.ep": 64, "plan.overlap": overlap, "hw.links.scaleout.bandwidth": factor}
        sets |= {} if measured else {"hw.measurements": "none"}
        found = api.decode("deepseek-v3", "h800", batch, set=sets).metrics
        lights.append(found["speed_of_light_s"])
        assert found["speed_of_light_s"] <= found["tpot_s"]
    assert lights == sorted(lights, reverse=True)


OVERLAPS: list[tuple[str, str, dict[str, Any]]] = [
    ("deepseek-v3", "h800", {"plan.ep": 64, "plan.overlap": "two_batch"}),
    ("deepseek-v3", "h800", {"plan.ep": 64, "plan.overlap": "shared_experts", "plan.cuda_graph": "off"}),
    ("deepseek-v3", "h800", {"plan.ep": 16, "plan.pp": 4, "plan.overlap": "two_batch"}),
    ("llama-3.1-70b", "h200", {"plan.tp": 8, "plan.sequence_parallel": "on", "plan.overlap": "tensor_parallel"}),
    ("llama-3.1-70b", "h200", {"plan.tp": 2, "plan.cp": 4}),
    ("llama-3.1-405b", "h200", {**DEEP, "plan.cuda_graph": "off"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "hw", "sets"), OVERLAPS)
@pytest.mark.parametrize("decode", [True, False])
def test_shares_of_explain_are_of_wall_time(name: str, hw: str, sets: dict[str, Any], decode: bool) -> None:
    phase = {"batch": 8192, "context": 4096} if decode else {"batch": 64, "isl": 1024}
    table = explain.result(make(name, hw, decode, phase, sets, {}, None)).tables["ops"]
    assert sum(row["share"] for row in table) == pytest.approx(1.0, rel=1e-9)
    assert all(row["share"] >= 0.0 for row in table)


@pytest.mark.parametrize(("name", "hw", "sets"), OVERLAPS)
@pytest.mark.parametrize("decode", [True, False])
def test_what_measurements_moved_adds_up_side_by_side_and_stage_by_stage(
    name: str, hw: str, sets: dict[str, Any], decode: bool
) -> None:
    phase = {"batch": 8192, "context": 4096} if decode else {"batch": 64, "isl": 1024}
    found = steps.run(workload(make(name, hw, decode, phase, sets, {}, None)))
    whole, *rows = calibration_effect.rows(name, "either", found)
    assert whole["calibrated_s"] == pytest.approx(found.cost.seconds, rel=1e-12)
    for which in ("calibrated_s", "uncalibrated_s", "moved_s"):
        assert sum(row[which] for row in rows) == pytest.approx(whole[which], rel=1e-9)  # type: ignore[misc]


def test_the_wait_for_the_slowest_stage_is_as_uncertain_as_its_kernels() -> None:
    made = make("llama-3.1-405b", "h200", True, {"batch": 64, "context": 4096}, DEEP, {}, None)
    rows = {row["op"]: row for row in explain.result(made).tables["ops"]}
    found = steps.run(workload(made))
    high = interval(found.cost)[1]
    assert rows["waiting for the slowest stage"]["half_width"] < 0.3
    assert rows["waiting for the slowest stage"]["half_width"] > 0.5 * (high / found.cost.seconds - 1.0)
    assert rows["step overhead"]["half_width"] > 0.9
    assert rows["waiting for the slowest stage"]["time_s"] == pytest.approx(found.idle.seconds)


def test_shares_side_by_side() -> None:
    assert leading([3.0, 1.0, 3.0]) == [1.0, 0.0, 0.0]
    assert exposed([3.0, 1.0, 2.0]) == pytest.approx([1.0 / 3.0, 0.0, 0.0])
    ours, theirs = (rule([np.asarray([1.0, 4.0]), np.asarray([2.0, 3.0])]) for rule in (leading, exposed))
    assert np.asarray(ours).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert np.asarray(theirs).tolist() == [[0.0, 0.25], [0.5, 0.0]]


def test_a_sweep_whose_points_break_a_rule_says_so_point_by_point() -> None:
    sets = {"plan.ep": 64, "plan.overlap": "two_batch", "plan.cuda_graph": "off", "plan.all_to_all": "normal"}
    rows = api.decode("deepseek-v3", "h800", 64, set=sets, vary={"hw.compute.sm_count": [10, 132]}).rows
    assert [row["feasible"] for row in rows] == [False, True]
    assert "of 10 multiprocessors" in rows[0]["reason"]
    for counts, runs in (([200], [False]), ([200, 300], [False, False]), ([4, 200], [True, False])):
        rows = api.decode("deepseek-v3", "h800", 64, vary={"plan.pp": counts}).rows
        assert [row["feasible"] for row in rows] == runs
        assert "pp must not exceed the 61 layers" in rows[-1]["reason"]
