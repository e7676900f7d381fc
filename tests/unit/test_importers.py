"""The importer reads foreign columns as the work they timed; tables are made here, in the package's own columns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simcost.calibration.candidate import Candidate
from simcost.calibration.family import families, kind
from simcost.calibration.importers import _comm, _recurrent, _routing, _sparse, _tables, aiconfigurator
from simcost.calibration.importers._tables import candidate
from simcost.errors import SpecError
from simcost.hardware.engines import version_order

GEMM = {
    "gemm_dtype": "bfloat16",
    "m": 64,
    "n": 4096,
    "k": 1024,
    "kernel_source": "torch.nn.functional.linear",
    "latency": 0.02,
}
ATTENTION = {"batch_size": 2, "isl": 512, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "step": 0,
             "kv_cache_dtype": "bfloat16", "attn_dtype": "bfloat16", "window_size": 0, "kernel_source": "fa3", "latency": 0.5}  # fmt: skip
EXPERTS = {"moe_dtype": "bfloat16", "num_tokens": 64, "hidden_size": 4096, "inter_size": 1024, "topk": 2, "num_experts": 8,
           "moe_tp_size": 2, "moe_ep_size": 1, "distribution": "balanced", "kernel_source": "vllm", "latency": 0.25}  # fmt: skip
DEEPSEEK = {
    **EXPERTS,
    "num_tokens": 4096,
    "hidden_size": 7168,
    "inter_size": 2048,
    "topk": 8,
    "num_experts": 256,
    "moe_tp_size": 1,
}


def tables(
    tmp_path: Path, monkeypatch: Any, frames: dict[str, list[dict[str, Any]]], system: str = "h200_sxm"
) -> list[Candidate]:
    """Candidates of a system that has these tables: path below the system -> rows."""
    for name in frames:
        path = tmp_path / system / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def read(path: Path, needed: tuple[str, ...]) -> Any:
        return pd.DataFrame(frames[str(path.relative_to(tmp_path / system))])

    for module in (aiconfigurator, _tables, _comm, _recurrent, _sparse):
        monkeypatch.setattr(module, "read_table", read)
    monkeypatch.setattr(_comm, "plain_table", read)
    return list(aiconfigurator.candidates(system, tmp_path))


def only(found: list[Candidate]) -> Candidate:
    assert len(found) == 1
    return found[0]


def test_every_version_of_every_engine_is_a_candidate_the_newest_first(tmp_path: Path, monkeypatch: Any) -> None:
    places = ("sglang/0.5.14", "trtllm/1.3.0rc20", "trtllm/1.3.0rc10", "vllm/0.24.0", "vllm/0.9.1")
    found = tables(tmp_path, monkeypatch, {f"gemm/{place}/gemm_perf.parquet": [GEMM] for place in places})
    assert [(one.engine, one.version) for one in found] == [
        ("vllm", "0.24.0"), ("vllm", "0.9.1"), ("sglang", "0.5.14"), ("trtllm", "1.3.0rc20"), ("trtllm", "1.3.0rc10"),
    ]  # fmt: skip
    assert found[0].table == "h200_sxm/gemm/vllm/0.24.0/gemm_perf.parquet"
    assert version_order("1.3.0rc20") > version_order("1.3.0rc9")


def test_seconds_are_the_median_of_rows_of_one_shape_and_of_two_kernels_the_faster(
    tmp_path: Path, monkeypatch: Any
) -> None:
    rows = [{**GEMM, "latency": ms} for ms in (1.0, 2.0, 9.0)]
    rows.append({**GEMM, "kernel_source": "another", "latency": 1.5})
    found = only(tables(tmp_path, monkeypatch, {"gemm/vllm/0.24.0/gemm_perf.parquet": rows}))
    assert found.seconds.tolist() == [1.5e-3]
    assert {k: float(v[0]) for k, v in found.numbers.items()} == {"batch": 1.0, "m": 64.0, "n": 4096.0, "k": 1024.0}
    assert found.kernels == ("another", "torch.nn.functional.linear")
    assert found.excluded is None


@pytest.mark.parametrize(("name", "labels"), [
    ("bfloat16", "bf16-bf16-bf16"), ("fp8", "bf16-fp8-fp8"), ("fp8_block", "bf16-fp8_block-fp8_block"), ("nvfp4", "bf16-nvfp4-nvfp4"),
    ("int4_wo", "bf16-int4-bf16"), ("int8_wo", "bf16-int8-bf16"), ("w4a16_mxfp4", "bf16-mxfp4-bf16"),
    ("w4a8_mxfp4_mxfp8", "bf16-mxfp4-mxfp8"),
])  # fmt: skip
def test_formats_are_what_weights_and_arithmetic_are_in(
    name: str, labels: str, tmp_path: Path, monkeypatch: Any
) -> None:
    rows = [{**GEMM, "gemm_dtype": name}, {**GEMM, "gemm_dtype": "a format of tomorrow"}]
    found = only(tables(tmp_path, monkeypatch, {"gemm/vllm/0.24.0/gemm_perf.parquet": rows}))
    assert kind(found.labels) == labels


def test_attention_rows_carry_the_write_of_the_cache_and_drop_the_decode_kernel(
    tmp_path: Path, monkeypatch: Any
) -> None:
    name = "attention/vllm/0.24.0/context_attention_perf.parquet"
    found = only(tables(tmp_path, monkeypatch, {name: [ATTENTION, {**ATTENTION, "isl": 1}]}))
    assert found.labels == {"x": "bf16", "kv": "bf16", "compute": "bf16", "layout": "gqa", "scope": "write"}
    assert list(found.dropped.values()) == [1]
    assert found.excluded is not None
    assert found.excluded.numbers["q_len"].tolist() == [1.0]
    family = families()["attention_prefill"]
    op = family.op(found.numbers, found.labels)
    core = family.op(found.numbers, {**found.labels, "scope": "core"})
    assert float((op.work().bytes - core.work().bytes)[0]) == 2 * 2 * 512 * 8 * 256 * 2  # read and written, bf16
    assert float((op.work().flops - core.work().flops)[0]) == 0.0


@pytest.mark.parametrize(("engine", "system", "queries", "compute"), [
    ("vllm", "h200_sxm", "bfloat16", "fp8"),  # whatever the table says of Q, vLLM's kernels quantise it
    ("trtllm", "h200_sxm", "fp8", "fp8"), ("sglang", "h200_sxm", "fp8", "fp8"), ("sglang", "l40s", "bfloat16", "bf16"),
])  # fmt: skip
def test_of_a_narrow_cache_the_queries_that_the_engine_runs_are_read(
    engine: str, system: str, queries: str, compute: str, tmp_path: Path, monkeypatch: Any
) -> None:
    name = f"attention/{engine}/1.0.0/context_attention_perf.parquet"
    rows = [
        {**ATTENTION, "kv_cache_dtype": "fp8", "attn_dtype": text, "batch_size": b}
        for text, b in (("fp8", 4), ("bfloat16", 2))
    ]
    found = only(tables(tmp_path, monkeypatch, {name: rows}, system))
    assert found.numbers["batch"].tolist() == [4.0 if queries == "fp8" else 2.0]
    assert (found.labels["kv"], found.labels["compute"]) == ("fp8", compute)


def test_a_window_is_a_kind_of_its_own_and_a_decode_has_one_query(tmp_path: Path, monkeypatch: Any) -> None:
    name = "attention/vllm/0.24.0/generation_attention_perf.parquet"
    row = {**ATTENTION, "kv_cache_dtype": "fp8", "step": 1000}
    plain, windowed = tables(tmp_path, monkeypatch, {name: [row, {**row, "window_size": 128}]})
    assert (plain.labels["layout"], windowed.labels["layout"]) == ("gqa", "window")
    assert windowed.numbers["window"].tolist() == [128.0]
    assert windowed.numbers["q_len"].tolist() == [1.0]


def test_latent_attention_is_expanded_in_prefill_and_absorbed_in_decode(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"batch_size": 1, "isl": 256, "num_heads": 16, "kv_cache_dtype": "bfloat16", "mla_dtype": "bfloat16", "step": 0,
           "latency": 1.0}  # fmt: skip
    found = tables(tmp_path, monkeypatch, {
        "mla/trtllm/1.3.0/context_mla_perf.parquet": [row], "mla/trtllm/1.3.0/generation_mla_perf.parquet": [row],
    })  # fmt: skip
    wide, latent = found
    assert [float(wide.numbers[n][0]) for n in ("kv_heads", "d_qk", "d_v")] == [16.0, 192.0, 128.0]
    assert [float(latent.numbers[n][0]) for n in ("kv_heads", "d_qk", "d_v")] == [1.0, 576.0, 512.0]
    assert latent.labels["layout"] == "latent"


def test_experts_know_their_routing_and_parallel_rows_leave_without_a_guess(tmp_path: Path, monkeypatch: Any) -> None:
    name = "moe/vllm/0.24.0/moe_perf.parquet"
    models = [{**EXPERTS, "num_experts": e} for e in (8, 16, 32, 64)]
    found = only(tables(tmp_path, monkeypatch, {name: [*models, {**EXPERTS, "moe_ep_size": 2}]}))
    assert found.labels["gated"] == "gated"
    at = found.numbers["experts"].tolist().index(8.0)
    assert {k: float(v[at]) for k, v in found.numbers.items()} == {
        "tokens": 64.0, "copies": 128.0, "touched": 8.0, "experts": 8.0, "hidden": 4096.0, "width": 512.0, "load": 1.0,
    }  # fmt: skip
    assert next(iter(found.dropped)).startswith("expert parallel")
    assert found.excluded is None  # their work is not known


def test_how_tokens_were_routed_is_told_apart(tmp_path: Path, monkeypatch: Any) -> None:
    rows = [
        {**EXPERTS, "distribution": text, "latency": ms} for text, ms in (("balanced", 0.2), ("power_law_1.2", 0.3))
    ]
    found = only(tables(tmp_path, monkeypatch, {"moe/vllm/0.24.0/moe_perf.parquet": rows}))
    assert found.variant is not None
    assert sorted(found.variant.tolist()) == [0.0, 1.2]
    assert sorted(found.seconds.tolist()) == [2e-4, 3e-4]


@pytest.mark.parametrize(("place", "grouped"), [
    ("vllm/0.24.0", True), ("vllm/0.22.0", False), ("sglang/0.5.14", True), ("sglang/0.5.10", False), ("trtllm/1.3.0rc20", False),
])  # fmt: skip
def test_only_the_newer_collectors_route_deepseek_by_groups(
    place: str, grouped: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    found = only(tables(tmp_path, monkeypatch, {f"moe/{place}/moe_perf.parquet": [DEEPSEEK]}))
    assert found.numbers["touched"].tolist() == [128.0 if grouped else 256.0]
    assert _routing.routing(256, 8, 4096, "balanced", grouped)[0] == found.numbers["touched"][0]


def test_experts_without_a_gate_are_a_kind_of_their_own(tmp_path: Path, monkeypatch: Any) -> None:
    rows = [
        EXPERTS,
        {**EXPERTS, "kernel_source": "vllm_nongated"},
        {**EXPERTS, "hidden_size": 1024, "inter_size": 2688},
    ]
    found = tables(tmp_path, monkeypatch, {"moe/vllm/0.24.0/moe_perf.parquet": rows})
    assert [(one.labels["gated"], len(one.seconds)) for one in found] == [("gated", 1), ("plain", 2)]


GDN = {"batch_size": 2, "seq_len": 4096, "d_conv": 4, "num_k_heads": 16, "head_k_dim": 128, "num_v_heads": 32, "head_v_dim": 128, "latency": 0.3}  # fmt: skip


def test_recurrent_cores_and_convolutions_are_rows_of_their_own(tmp_path: Path, monkeypatch: Any) -> None:
    step = {**GDN, "phase": "generation", "seq_len": 1}
    rows = [
        {**GDN, "phase": "context", "kernel_source": "chunk_gated_delta_rule"},
        {**GDN, "phase": "context", "kernel_source": "chunk_gated_delta_rule", "seq_len": 1},
        {**step, "kernel_source": "fused_sigmoid_gated_delta_rule_update"},
        {**GDN, "phase": "context", "kernel_source": "causal_conv1d_fn"},
        {**step, "kernel_source": "causal_conv1d_update"},
    ]
    found = tables(tmp_path, monkeypatch, {"linear_attention/vllm/0.24.0/gdn_perf.parquet": rows})
    named = {(one.family, tuple(one.labels.values())): one for one in found}
    prompt = named["recurrent_prefill", ("gated_delta", "bf16")]
    assert [float(prompt.numbers[name][0]) for name in ("q_len", "chunk", "heads", "key_heads")] == [4096, 64, 32, 16]
    assert sum(prompt.dropped.values()) == 1  # one token a sequence runs the kernel of a step
    assert ("recurrent_decode", ("gated_delta", "bf16", "fp32")) in named
    convolutions = named["causal_conv", ("bf16", "bf16")]
    assert sorted(convolutions.numbers["q_len"]) == [1, 4096]
    assert set(convolutions.numbers["channels"]) == {(2 * 16 + 32) * 128}


def test_parts_of_sparse_attention_are_read_and_whole_modules_are_not(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"batch_size": 4, "isl": 1024, "step": 8192, "kernel_source": "x", "latency": 0.2}
    found = tables(tmp_path, monkeypatch, {
        "sparse_attention/sglang/0.5.14/glm5_mqa_logits_module_perf.parquet": [row],
        "sparse_attention/sglang/0.5.14/dsv4_paged_mqa_logits_module_perf.parquet": [{**row, "isl": 1, "step": 8191}],
        "sparse_attention/sglang/0.5.14/glm5_topk_module_perf.parquet": [
            {**row, "score_mode": "flat"}, {**row, "score_mode": "sorted"}, {**row, "score_mode": "flat", "isl": 1, "step": 100},
        ],
        "sparse_attention/sglang/0.5.14/glm5_dsa_attn_module_perf.parquet": [row],
        "sparse_attention/sglang/0.5.14/glm5_dsa_module_perf.parquet": [row],
    })  # fmt: skip
    named = {(one.family, one.labels.get("keys", one.labels.get("layout", ""))): one for one in found}
    assert set(named) == {
        ("index_scores", "plain"),
        ("index_scores", "paged"),
        ("index_topk", ""),
        ("attention_prefill", "sparse"),
    }
    assert named["index_scores", "paged"].numbers["past"][0] == 8192 / 4 - 1  # a key for four tokens
    assert sum(named["index_topk", ""].dropped.values()) == 2
    assert named["attention_prefill", "sparse"].numbers["window"][0] == 2048


def test_what_stays_on_a_rank_does_not_travel_and_nccl_is_a_library(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"nccl_dtype": "half", "num_gpus": 4, "message_size": 1000, "latency": 0.1, "kernel_source": "NCCL"}
    found = tables(tmp_path, monkeypatch, {
        "comm/nccl/2.27/nccl_perf.parquet": [{**row, "op_name": op} for op in ("all_reduce", "alltoall")],
    })  # fmt: skip
    sizes = {one.labels["what"]: float(one.numbers["bytes"][0]) for one in found}
    assert sizes == {"all_reduce": 2000.0, "all_to_all": 1500.0}
    assert {(one.engine, one.version) for one in found} == {("nccl", "2.27")}


def test_an_engines_all_reduce_is_its_own_and_trtllms_under_another_name_is_not(
    tmp_path: Path, monkeypatch: Any
) -> None:
    row = {"num_gpus": 4, "message_size": 1000, "allreduce_dtype": "bfloat16", "latency": 0.1}
    mine = [{**row, "kernel_source": "vLLM_custom"}, {**row, "kernel_source": "vLLM_custom_eager", "latency": 0.5}]
    found = tables(tmp_path, monkeypatch, {
        "comm/vllm/0.24.0/custom_allreduce_perf.parquet": mine,
        "comm/sglang/0.5.14/custom_allreduce_perf.parquet": [{**row, "kernel_source": "TRTLLM"}],
        "comm/trtllm/1.3.0/custom_allreduce_perf.parquet": [{**row, "kernel_source": "TRTLLM"}],
    })  # fmt: skip
    assert [one.engine for one in found] == ["vllm", "trtllm"]
    assert found[0].seconds.tolist() == [1e-4]
    assert list(found[0].dropped) == ["eager rows copy their input first"]
    assert kind(found[0].labels) == "all_reduce-custom"


def test_deepep_is_read_by_direction_and_reach_where_ranks_are_known(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"hidden_size": 7168, "num_token": 64, "num_topk": 8, "num_experts": 256, "dispatch_transmit_us": 20.0, "combine_transmit_us": 30.0,
           "dispatch_sms": 24, "combine_sms": 24}  # fmt: skip
    frames = {"comm/sglang/0.5.12/wideep_deepep_normal_perf.parquet": [{**row, "node_num": n} for n in (1, 2)]}
    found = tables(tmp_path, monkeypatch, frames)
    assert {one.engine for one in found} == {"deepep"}
    assert [kind(one.labels) for one in found] == [
        "normal-dispatch-node", "normal-dispatch-nodes", "normal-combine-node", "normal-combine-nodes",
    ]  # fmt: skip
    assert found[0].seconds.tolist() == pytest.approx([2e-5])
    assert not [one for one in tables(tmp_path, monkeypatch, frames, "gb200") if one.engine == "deepep"]


def test_an_exchange_over_a_rack_is_one_sided(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"kernel_source": "NVLinkOneSided", "moe_dtype": "nvfp4", "num_tokens": 64, "hidden_size": 7168, "topk": 8, "num_experts": 256,
           "moe_ep_size": 16}  # fmt: skip
    rows = [{**row, "op_name": f"alltoall_{op}", "latency": ms} for op, ms in (("dispatch", 0.02), ("combine", 0.03))]
    rows.append({**row, "op_name": "alltoall_dispatch", "kernel_source": "NVLinkTwoSided", "latency": 0.001})
    found = {
        one.labels["direction"]: one
        for one in tables(tmp_path, monkeypatch, {"comm/trtllm/1.3.0/trtllm_alltoall_perf.parquet": rows})
    }
    assert {one.engine for one in found.values()} == {"nvlink"}
    assert found["dispatch"].seconds.tolist() == pytest.approx([2e-5])
    assert found["combine"].seconds.tolist() == pytest.approx([3e-5])
    assert found["dispatch"].numbers["width"].tolist() == [7168 * (0.5 + 1 / 16)]
    assert found["dispatch"].numbers["near"].tolist() == [7.5]  # 8 of 16 ranks, one in sixteen of them its own


def test_a_foreign_system_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown system 'h20_sxm'.*did you mean"):
        list(aiconfigurator.candidates("h20_sxm", tmp_path))
    with pytest.raises(SpecError, match="no such folder"):
        list(aiconfigurator.candidates("h200_sxm", tmp_path))


def test_a_candidate_travels_to_a_worker() -> None:
    """Kinds are judged in other processes."""
    frame = pd.DataFrame({"m": [1, 2, 3], "latency": [0.1, 0.2, 0.3]})
    one = candidate("gemm", {"x": "bf16"}, frame, lambda f: {"m": f["m"]}, Path("a/b/c/d/e.parquet"))
    again = pickle.loads(pickle.dumps(one))
    assert (again.table, again.engine, again.version) == (one.table, "c", "d")
    assert (again.seconds == one.seconds).all()
