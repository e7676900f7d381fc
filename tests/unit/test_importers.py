"""The importer reads foreign columns as the work they timed; tables are made here, in the package's own columns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simcost.calibration.family import families
from simcost.calibration.importers import _comm, _tables, aiconfigurator
from simcost.calibration.importers._tables import Candidate, candidate
from simcost.errors import SpecError

ATTENTION = {"batch_size": 2, "isl": 512, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "step": 0,
             "kv_cache_dtype": "bfloat16", "window_size": 0, "kernel_source": "fa3", "latency": 0.5}  # fmt: skip
EXPERTS = {"moe_dtype": "bfloat16", "num_tokens": 64, "hidden_size": 4096, "inter_size": 1024, "topk": 2, "num_experts": 8,
           "moe_tp_size": 2, "moe_ep_size": 1, "distribution": "balanced", "kernel_source": "vllm", "latency": 0.25}  # fmt: skip


def tables(tmp_path: Path, monkeypatch: Any, frames: dict[str, list[dict[str, Any]]]) -> list[Candidate]:
    """Candidates of a system that has these tables: path below the system -> rows."""
    for name in frames:
        path = tmp_path / "h200_sxm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def read(path: Path, needed: tuple[str, ...]) -> Any:
        return pd.DataFrame(frames[str(path.relative_to(tmp_path / "h200_sxm"))])

    for module in (aiconfigurator, _tables, _comm):
        monkeypatch.setattr(module, "read_table", read)
    return list(aiconfigurator.candidates("h200_sxm", tmp_path))


def only(found: list[Candidate]) -> Candidate:
    assert len(found) == 1
    return found[0]


def test_seconds_are_the_median_of_rows_of_one_shape_and_the_newest_version_wins(
    tmp_path: Path, monkeypatch: Any
) -> None:
    row = {"gemm_dtype": "bfloat16", "m": 64, "n": 4096, "k": 1024, "kernel_source": "torch.nn.functional.linear"}
    new = [{**row, "latency": ms} for ms in (1.0, 2.0, 9.0)]
    found = only(
        tables(tmp_path, monkeypatch, {
            "gemm/vllm/0.24.0/gemm_perf.parquet": new,
            "gemm/vllm/0.9.1/gemm_perf.parquet": [{**row, "latency": 50.0}],
        })
    )  # fmt: skip
    assert found.seconds.tolist() == [2e-3]
    assert {k: float(v[0]) for k, v in found.numbers.items()} == {"batch": 1.0, "m": 64.0, "n": 4096.0, "k": 1024.0}
    assert found.kernels == ("torch.nn.functional.linear",)
    assert found.excluded is None


def test_the_bad_table_is_not_used_but_judged(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"gemm_dtype": "fp8_block", "m": 64, "n": 4096, "k": 1024, "kernel_source": "x"}
    found = only(
        tables(tmp_path, monkeypatch, {
            "gemm/vllm/0.24.0/gemm_perf.parquet": [{**row, "latency": 0.055}],
            "gemm/trtllm/1.0.0/gemm_perf.parquet": [{**row, "latency": 0.01}],
        })
    )  # fmt: skip
    assert found.seconds.tolist() == [1e-5]
    assert found.excluded is not None
    assert found.excluded.seconds.tolist() == pytest.approx([5.5e-5])
    assert "issue 1414" in next(iter(found.dropped))


def test_attention_rows_carry_the_write_of_the_cache_and_drop_the_decode_kernel(
    tmp_path: Path, monkeypatch: Any
) -> None:
    name = "attention/vllm/0.24.0/context_attention_perf.parquet"
    one = {**ATTENTION, "isl": 1}
    found = only(tables(tmp_path, monkeypatch, {name: [ATTENTION, one]}))
    assert found.labels == {"x": "bf16", "kv": "bf16", "compute": "bf16", "layout": "gqa", "scope": "write"}
    assert list(found.dropped.values()) == [1]
    assert found.excluded is not None
    assert found.excluded.numbers["q_len"].tolist() == [1.0]
    family = families()["attention_prefill"]
    op = family.op(found.numbers, found.labels)
    core = family.op(found.numbers, {**found.labels, "scope": "core"})
    assert float((op.work().bytes - core.work().bytes)[0]) == 2 * 2 * 512 * 8 * 256 * 2  # read and written, bf16
    assert float((op.work().flops - core.work().flops)[0]) == 0.0


def test_a_narrow_cache_means_narrow_arithmetic_on_hopper(tmp_path: Path, monkeypatch: Any) -> None:
    name = "attention/vllm/0.24.0/generation_attention_perf.parquet"
    row = {**ATTENTION, "kv_cache_dtype": "fp8", "step": 1000, "window_size": 128}
    found = only(tables(tmp_path, monkeypatch, {name: [row]}))
    assert (found.labels["kv"], found.labels["compute"], found.labels["layout"]) == ("fp8", "fp8", "window")
    assert found.numbers["q_len"].tolist() == [1.0]


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
    models = [{**EXPERTS, "num_experts": e} for e in (8, 16, 32, 64)]  # a table of more than a few models
    found = only(tables(tmp_path, monkeypatch, {name: [*models, {**EXPERTS, "moe_ep_size": 2}]}))
    assert found.labels["gated"] == "gated"
    at = found.numbers["experts"].tolist().index(8.0)
    assert {k: float(v[at]) for k, v in found.numbers.items()} == {
        "tokens": 64.0, "copies": 128.0, "touched": 8.0, "experts": 8.0, "hidden": 4096.0, "width": 512.0, "load": 1.0,
    }  # fmt: skip
    assert next(iter(found.dropped)).startswith("expert parallel")
    assert found.excluded is None  # their work is not known


def test_what_stays_on_a_rank_does_not_travel(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"nccl_dtype": "half", "num_gpus": 4, "message_size": 1000, "latency": 0.1, "kernel_source": "NCCL"}
    found = tables(tmp_path, monkeypatch, {
        "comm/nccl/2.27/nccl_perf.parquet": [{**row, "op_name": op} for op in ("all_reduce", "alltoall")],
    })  # fmt: skip
    sizes = {one.labels["what"]: float(one.numbers["bytes"][0]) for one in found}
    assert sizes == {"all_reduce": 2000.0, "all_to_all": 1500.0}


def test_a_foreign_system_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown system 'h20_sxm'.*did you mean"):
        list(aiconfigurator.candidates("h20_sxm", tmp_path))
    with pytest.raises(SpecError, match="no such folder"):
        list(aiconfigurator.candidates("h200_sxm", tmp_path))


def test_an_exchange_over_a_rack_carries_its_preparation(tmp_path: Path, monkeypatch: Any) -> None:
    row = {"kernel_source": "NVLinkTwoSided", "moe_dtype": "nvfp4", "num_tokens": 64, "hidden_size": 7168, "topk": 8, "num_experts": 256,
           "moe_ep_size": 16}  # fmt: skip
    rows = [
        {**row, "op_name": f"alltoall_{op}", "latency": ms}
        for op, ms in (("prepare", 0.01), ("dispatch", 0.02), ("combine", 0.03))
    ]
    rows.append({**row, "op_name": "alltoall_dispatch", "kernel_source": "NVLinkOneSided", "latency": 9.0})
    found = {
        one.labels["direction"]: one
        for one in tables(tmp_path, monkeypatch, {"comm/trtllm/1.3.0/trtllm_alltoall_perf.parquet": rows})
    }
    assert found["dispatch"].seconds.tolist() == pytest.approx([3e-5])
    assert found["combine"].seconds.tolist() == pytest.approx([3e-5])
    assert found["dispatch"].numbers["width"].tolist() == [7168 * (0.5 + 1 / 16)]
    assert found["dispatch"].numbers["near"].tolist() == [7.5]  # 8 of 16 ranks, one in sixteen of them its own


def test_a_candidate_travels_to_a_worker() -> None:
    """Kinds are judged in other processes."""
    frame = pd.DataFrame({"m": [1, 2, 3], "latency": [0.1, 0.2, 0.3]})
    one = candidate("gemm", {"x": "bf16"}, frame, lambda f: {"m": f["m"]}, Path("a/b/c/d/e.parquet"))
    again = pickle.loads(pickle.dumps(one))
    assert again.table == one.table
    assert (again.seconds == one.seconds).all()
