"""A profiler's trace beside a prediction: kernels go to the work that their names say and to the op whose they are, nothing is dropped, and gaps and overlap are those of the intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from profilekit import HEAD, KERNELS, LAYER, Recorder, llama, written

import simcost
from simcost.api.schemas import schema
from simcost.errors import SpecError
from simcost.result import Result
from simcost.scenarios.profiled import names, spans
from simcost.scenarios.profiled.events import read

QUESTION: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h200", "batch": 64, "context": 4096, "set": {"plan.tp": 2}}
US = 1e-6


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Result:
    made = llama()
    next(event for event in made.events if event["name"] == KERNELS["act"])["name"] = "my_own_kernel"
    return simcost.trace(written(tmp_path_factory.mktemp("trace") / "step.json", made.events), **QUESTION)


def table(result: Result, name: str, key: str) -> dict[str, Any]:
    return {row[key]: row for row in result.tables[name]}


def test_kinds_of_work_hold_all_kernels_and_all_predictions(compared: Result) -> None:
    rows = table(compared, "kinds of work", "work")
    per_layer = {name: sum(time for each, time in LAYER if each == name) for name, _ in LAYER}
    assert rows["attention"]["measured_s"] == pytest.approx(32 * (per_layer["core"] + per_layer["combine"]) * US)
    assert rows["matrix products"]["measured_s"] == pytest.approx(
        (32 * (per_layer["gemm"] + per_layer["reduce"]) + 140.0) * US
    )
    assert rows["collectives"]["measured_s"] == pytest.approx((32 * 12.0 + 6.0 + 30.0) * US)
    assert rows["copies"]["measured_s"] == pytest.approx(1.5 * US)
    assert sum(row["measured_s"] for work, row in rows.items() if work != "gaps") == pytest.approx(
        compared.metrics["kernel_s"]
    )
    explained = simcost.explain(**QUESTION)
    assert sum(row["predicted_s"] for row in rows.values()) == pytest.approx(
        sum(row["step_s"] for row in explained.tables["ops"])
    )
    assert rows["attention"]["predicted_s"] == pytest.approx(
        next(row["step_s"] for row in explained.tables["ops"] if row["op"] == "attention / core")
    )
    offs = [abs(row["off_s"]) for row in compared.tables["kinds of work"]]
    assert offs == sorted(offs, reverse=True)
    assert sum(row["off_share"] for row in rows.values()) == pytest.approx(1.0)
    assert "the largest difference is of" in compared.verdict


def test_the_answer_is_valid_and_shows_itself_in_a_notebook(compared: Result) -> None:
    Draft202012Validator(schema("result")).validate(json.loads(json.dumps(compared.to_dict())))
    assert ("off_s", "s") in compared.frame("kinds of work").columns
    assert "my_own_kernel" in compared._repr_html_()


def test_totals_are_those_of_the_intervals(compared: Result) -> None:
    kernels = [1.5, 3.0, 6.0, *(time for _, time in LAYER * 32), *(time for _, time in HEAD)]
    m = compared.metrics
    assert m["traced_steps"] == 2
    assert m["kernel_s"] == pytest.approx(sum(kernels) * US)
    span = (2 * (sum(kernels) + len(kernels)) + 300.0 - 1.0) * US / 2  # a gap of 1 us behind each, but the last
    assert m["measured_step_s"] == pytest.approx(span, rel=1e-6)
    assert m["gap_s"] == pytest.approx(span - sum(kernels) * US, rel=1e-3)  # 1 ns is what a file holds
    assert m["exposed_communication_s"] == pytest.approx(m["communication_s"])
    assert m["hidden_communication_share"] == pytest.approx(0.0, abs=1e-9)
    assert m["predicted_step_s"] == simcost.decode(**QUESTION).metrics["tpot_s"]
    assert m["error"] == pytest.approx(m["predicted_step_s"] / m["measured_step_s"] - 1.0)


def test_products_are_put_to_ops_by_the_order_of_a_layer(compared: Result) -> None:
    """No file of CUDA graphs says the sizes of a product; as many kernels as ops, in the order in which a layer runs them, do. What sums a product's parts is of the product."""
    rows = table(compared, "ops and kernels", "op")
    want = {
        "attention / qkv_proj": 12.0,
        "attention / o_proj": 9.0,
        "ffn / gate_up_proj": 34.0,
        "ffn / down_proj": 21.0,
    }
    for op, time in want.items():
        assert rows[op]["measured_s"] == pytest.approx(32 * time * US), op
        assert rows[op]["found_by"] == "order"
        assert (rows[op]["kernels_per_step"], rows[op]["predicted_times"]) == (32, 32)
    assert rows["lm_head"]["measured_s"] == pytest.approx(140.0 * US)
    assert rows["attention / core"]["measured_s"] == pytest.approx(32 * 154.0 * US)
    assert rows["attention / core"]["found_by"] == "one op of its class"
    assert rows["gather logits"]["measured_s"] == pytest.approx(30.0 * US)


def test_what_no_rule_knows_is_listed(compared: Result) -> None:
    (row,) = compared.tables["without a rule"]
    assert row["kernel_name"] == "my_own_kernel"
    assert compared.metrics["unmatched_s"] == pytest.approx(row["measured_s"])
    assert table(compared, "kinds of work", "work")["no rule"]["measured_s"] == pytest.approx(row["measured_s"])
    assert any("--rules" in note for note in compared.warnings)
    shown = table(compared, "kernels", "kernel_name")
    assert len(shown) == compared.metrics["kernel_names"]
    assert sum(one["measured_s"] for one in shown.values()) == pytest.approx(compared.metrics["kernel_s"])
    assert shown[KERNELS["core"]]["kernel"] == "FlashAttnFwdSm90<CollectiveMainloopFwdS..."


def test_own_rules_come_first(tmp_path: Path) -> None:
    made = llama(layers=1)
    made.kernel("my_own_norm", 5.0)
    path = written(tmp_path / "step.json", made.events)
    own = tmp_path / "rules.toml"
    own.write_text('schema = 1\n[[kernel]]\nclass = "experts"\nany = ["my_own"]\nwhy = "ours"\n', encoding="utf-8")
    rows = table(simcost.trace(path, rules=own, **QUESTION), "kinds of work", "work")
    assert rows["experts"]["measured_s"] == pytest.approx(2.5 * US)
    for text, said in (
        (
            'schema = 1\n[[kernel]]\nclass = "expert"\nany = ["x"]\nwhy = "y"\n',
            "kernel 1: class = 'expert' is not known .*; did you mean 'experts'",
        ),
        ('schema = 1\n[[kernel]]\nclass = "experts"\nany = [""]\nwhy = "y"\n', "'any' must be a list of texts"),
        ('schema = 1\n[[kernel]]\nclass = "experts"\nany = ["x"]\n', "'why' is missing"),
        ('schema = 1\n[[kernel]]\nclass = "experts"\nany = ["x"]\nwhy = "y"\npart = true\n', "'part' must be"),
        ("schema = 2\nkernel = []\n", "this version reads 1"),
    ):
        own.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match=said):
            simcost.trace(path, rules=own, **QUESTION)


def test_every_shipped_rule_says_why_and_takes_a_name() -> None:
    known = names.rules()
    for rule in known.kernels:
        assert rule.why
        assert any(known.rule(part) is rule for part in rule.any), rule.any
    for model in ("llama-3.1-8b", "deepseek-v3.2-exp", "qwen3-next-80b-a3b", "gpt-oss-120b", "deepseek-v4-flash"):
        for row in simcost.explain(model, "h200", set={"plan.tp": 8}).tables["ops"]:
            assert known.of_op(row["kernel"], row["op"]), (model, row["kernel"], row["op"])
    parts = ("matrix products", "attention cores", "experts", "other mixers", "elementwise", "cross entropy", "launches", "tensor parallel", "expert parallel", "context parallel", "pipeline hops", "data parallel", "optimizer", "bubble")  # fmt: skip
    assert all(known.of_training(part) for part in parts)


@pytest.mark.parametrize(("name", "work", "part"), [
    ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT", "matrix products", ""), ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_cublas", "matrix products", ""),
    ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_64x64_32x6_tn_align8>", "matrix products", ""), ("void marlin::Marlin<__nv_bfloat16>", "matrix products", ""),
    ("void per_token_group_quant_8bit_kernel<__nv_bfloat16>", "matrix products", "of the one after"), ("void flash_fwd_splitkv_kernel<Flash_fwd_kernel_traits<128, 64, 128, 4>>", "attention", ""),
    ("void flash::flash_fwd_splitkv_combine_kernel<Flash_fwd_kernel_traits<128>>", "attention", "of the one before"), ("fmhaSm100aKernel_QE4m3KvE2m1OE4m3H128PagedKvDense", "attention", ""),
    ("void flashinfer::BatchDecodeWithPagedKVCacheKernel<>", "attention", ""), ("_ZN7cutlass13device_kernelIN5flash11FlashAttnFwdSm90", "attention", ""), ("fused_moe_kernel", "experts", ""),
    ("void moe::dev::routing::routingCustom::routingIndicesClusterKernel", "experts", ""), ("bmm_E4m3_E4m3E4m3_Fp32_t128x16x128", "experts", ""),
    ("void deep_gemm::sm90_fp8_gemm_1d2d_impl<4096u, 7168u, (deep_gemm::GemmType)1>", "experts", ""), ("void deep_gemm::sm90_fp8_gemm_1d2d_impl<4096u, 7168u, (deep_gemm::GemmType)0>", "matrix products", ""),
    ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "collectives", ""), ("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", "sends", ""),
    ("void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport", "collectives", ""), ("void deep_ep::internode::dispatch<false, 8>", "sends", ""),
    ("chunk_gated_delta_rule_fwd_kernel_h_blockdim64", "mixers", ""), ("void causal_conv1d_fwd_kernel<Causal_conv1d_fwd_kernel_traits<128>>", "mixers", ""),
    ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<int>>", "elementwise", ""), ("triton_poi_fused_add_mul_silu_1", "elementwise", ""),
    ("void multi_tensor_apply_kernel<TensorListMetadata<4>, adam_capturable>", "optimizer", ""), ("Memset (Device)", "copies", ""), ("Memcpy DtoD (Device -> Device)", "elementwise", ""),
    ("Cijk_Alik_Bljk_BBS_BH_MT256x256x64", "matrix products", ""), ("some_new_thing", None, ""),
])  # fmt: skip
def test_names_of_real_kernels(name: str, work: str | None, part: str) -> None:
    """From public profiles of vLLM, SGLang, TensorRT-LLM, DeepSeek and PyTorch."""
    rule = names.rules().rule(name)
    assert (None if rule is None else rule.of) == work
    assert rule is None or rule.part == part


def test_communication_beside_other_kernels_is_hidden(tmp_path: Path) -> None:
    made = Recorder()
    start = made.now
    made.kernel("gemm", 100.0, gap=20.0)
    made.kernel(
        "gather_ranks", 60.0, start=start + 70.0, stream=9
    )  # 30 beside the first, 20 alone, 10 beside the second
    made.kernel("gemm", 50.0)
    m = simcost.trace(written(tmp_path / "step.json", made.events), steps=1, **QUESTION).metrics
    assert m["communication_s"] == pytest.approx(60.0 * US, rel=1e-4)
    assert m["exposed_communication_s"] == pytest.approx(20.0 * US, rel=1e-3)
    assert m["hidden_communication_share"] == pytest.approx(2 / 3, rel=1e-3)
    assert m["measured_step_s"] == pytest.approx(170.0 * US, rel=1e-4)
    assert m["gap_s"] == pytest.approx(0.0, abs=1e-8)
    assert m["kernel_s"] == pytest.approx(210.0 * US, rel=1e-4)


def test_training_is_beside_what_nothing_hides(tmp_path: Path) -> None:
    made = Recorder()
    start = made.now
    made.kernel("gemm", 100.0, gap=20.0)
    made.kernel("gather_ranks", 60.0, start=start + 70.0, stream=9)
    made.kernel("gemm", 50.0)
    found = simcost.trace(
        written(tmp_path / "step.json", made.events), "llama-3-8b", "h200", "train", gpus=8, set={"plan.tp": 2}, steps=1
    )
    rows = table(found, "kinds of work", "work")
    assert rows["collectives"]["measured_s"] == pytest.approx(20.0 * US, rel=1e-3)
    assert sum(row["measured_s"] for row in rows.values()) == pytest.approx(170.0 * US, rel=1e-4)
    assert sum(row["predicted_s"] for row in rows.values()) == pytest.approx(found.metrics["predicted_step_s"])


def test_steps_are_counted_and_never_guessed(tmp_path: Path) -> None:
    made = llama(steps=3, layers=1)
    bare = [event for event in made.events if event["cat"] != "gpu_user_annotation"]
    path = written(tmp_path / "bare.json", bare)
    with pytest.raises(SpecError, match=r"marks no step of torch.profiler .*--steps N, or --within"):
        simcost.trace(path, **QUESTION)
    assert simcost.trace(path, steps=3, **QUESTION).metrics["kernels_per_step"] == 4 + 14 + 3
    with pytest.raises(SpecError, match="--steps must be a whole number from 1"):
        simcost.trace(path, steps=0, **QUESTION)
    path = written(tmp_path / "marked.json", made.events)
    assert simcost.trace(path, **QUESTION).metrics["traced_steps"] == 3
    one = simcost.trace(path, within="ProfilerStep#4", **QUESTION).metrics
    assert (one["traced_steps"], one["kernels_per_step"]) == (1, 21)
    with pytest.raises(SpecError, match=r"no annotation 'ProfilerStep#9'.*did you mean"):
        simcost.trace(path, within="ProfilerStep#9", **QUESTION)


def test_steps_of_the_cpu_are_those_that_launch(tmp_path: Path) -> None:
    """A trace without annotations of the GPU's timeline: the last mark, in which nothing is launched, is no step, and no kernel is sought beside a mark of the CPU."""
    made = Recorder()
    for step in range(3):
        start = made.now
        made.kernel("gemm", 10.0, start=made.now + 500.0)
        if step < 2:
            made.events.append(
                {
                    "ph": "X",
                    "cat": "cuda_runtime",
                    "name": "cudaLaunchKernel",
                    "pid": 1,
                    "tid": 1,
                    "ts": start + 1.0,
                    "dur": 3.0,
                    "args": {},
                }
            )
        made.now += 100.0
        made.mark(f"ProfilerStep#{step}", start, cat="user_annotation")
    path = written(tmp_path / "step.json", made.events)
    assert simcost.trace(path, **QUESTION).metrics["traced_steps"] == 2
    with pytest.raises(SpecError, match="'ProfilerStep#1' is on the timeline of the CPU only"):
        simcost.trace(path, within="ProfilerStep#1", **QUESTION)


def test_one_device_at_a_time(tmp_path: Path) -> None:
    made = Recorder()
    made.kernel("gemm", 10.0)
    made.kernel("gemm", 30.0, device=1)
    path = written(tmp_path / "two.json", made.events)
    with pytest.raises(SpecError, match="devices 0, 1: choose one with --device"):
        simcost.trace(path, steps=1, **QUESTION)
    assert simcost.trace(path, steps=1, device=1, **QUESTION).metrics["kernel_s"] == pytest.approx(30.0 * US)
    with pytest.raises(SpecError, match="no kernel of device 2"):
        simcost.trace(path, steps=1, device=2, **QUESTION)


def test_a_pipeline_has_a_stage_a_rank(tmp_path: Path) -> None:
    path = written(tmp_path / "step.json", llama(layers=1).events)
    with pytest.raises(SpecError, match=r"plan.pp = 2: a trace is of one stage"):
        simcost.trace(path, **{**QUESTION, "set": {"plan.pp": 2}})
    with pytest.raises(SpecError, match="--seq does not apply to decode"):
        simcost.trace(path, seq=4096, **QUESTION)
    with pytest.raises(SpecError, match="--phase must be one of decode, prefill, train"):
        simcost.trace(path, phase="training", **QUESTION)


def test_another_device_than_asked_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "step.json", llama(layers=1).events)
    notes = simcost.trace(path, **{**QUESTION, "hw": "h100"}).warnings
    assert "the trace is of NVIDIA H200, and --hw is h100" in notes
    assert not any("--hw is" in note for note in simcost.trace(path, **QUESTION).warnings)


def test_sizes_of_products_decide_where_the_file_has_them(tmp_path: Path) -> None:
    """Kernels of two products in turn, in an order that is not the layer's, with the sizes of the operators that launched them."""
    made = Recorder()
    sizes = {"attention / qkv_proj": (3072, 5.0), "attention / o_proj": (4096, 7.0)}
    shapes = {row["op"]: row["shape"] for row in simcost.explain(**QUESTION).tables["ops"]}
    for op in ("attention / o_proj", "attention / qkv_proj") * 2:
        n, time = sizes[op]
        found = dict(word.split("=") for word in shapes[op].split() if "=" in word)
        m, k = int(found["m"]), int(found["k"])
        assert int(found["n"]) == n
        place = len(made.events)
        made.kernel("gemm", time)
        made.events[place]["args"]["External id"] = 1000 + place
        made.events.append({"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": made.now, "dur": 1.0, "args": {"External id": 1000 + place, "Input Dims": [[m, k], [k, n]]}})  # fmt: skip
    rows = table(
        simcost.trace(written(tmp_path / "step.json", made.events), steps=1, **QUESTION), "ops and kernels", "op"
    )
    assert rows["attention / qkv_proj"]["measured_s"] == pytest.approx(2 * 5.0 * US)
    assert rows["attention / o_proj"]["measured_s"] == pytest.approx(2 * 7.0 * US)
    assert rows["attention / o_proj"]["found_by"] == "sizes"
    assert rows["lm_head"]["measured_s"] == 0  # predicted, and not in the trace


def test_own_time_of_an_operator_is_without_those_that_it_calls(tmp_path: Path) -> None:
    def op(name: str, start: float, time: float, thread: int = 1) -> dict[str, Any]:
        return {"ph": "X", "cat": "cpu_op", "name": name, "pid": 1, "tid": thread, "ts": start, "dur": time, "args": {}}

    events = [
        op("aten::linear", 0, 100),
        op("aten::t", 5, 10),
        op("aten::mm", 20, 70),
        op("aten::add", 100, 30),
        op("aten::mul", 10, 50, thread=2),
    ]
    trace = read(written(tmp_path / "cpu.json", events))
    assert not trace.on_gpu
    own = {trace.names[name]: time for name, time in zip(trace.name.tolist(), trace.own.tolist(), strict=True)}
    assert own == pytest.approx(
        {"aten::linear": 20 * US, "aten::t": 10 * US, "aten::mm": 70 * US, "aten::add": 30 * US, "aten::mul": 50 * US}
    )


def test_unions_by_counting() -> None:
    """Against a count of every unit of time."""
    random = np.random.default_rng(5)
    for _ in range(50):
        starts = np.sort(random.integers(0, 60, 12)).astype(float)
        ends = starts + random.integers(1, 9, 12)
        covered = {unit for start, end in zip(starts, ends, strict=True) for unit in range(int(start), int(end))}
        some = spans.union(starts, ends)
        assert spans.length(some) == len(covered)
        other_starts = np.sort(random.integers(0, 60, 5)).astype(float)
        other_ends = other_starts + random.integers(1, 9, 5)
        hidden = {
            unit for start, end in zip(other_starts, other_ends, strict=True) for unit in range(int(start), int(end))
        }
        assert spans.alone(some, spans.union(other_starts, other_ends)) == len(covered - hidden)
    assert spans.length(spans.union(np.zeros(0), np.zeros(0))) == 0.0
