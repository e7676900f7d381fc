"""A Parquet table that is broken, foreign or hostile is one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simcost.calibration.importers import aiconfigurator
from simcost.errors import SpecError

pytest.importorskip("pyarrow")

GEMM = {"gemm_dtype": "bfloat16", "m": 64, "n": 4096, "k": 1024, "kernel_source": "torch", "latency": 0.02}
CORE = {"batch_size": 2, "isl": 512, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "step": 0, "kv_cache_dtype": "bfloat16",
        "attn_dtype": "bfloat16", "window_size": 0, "kernel_source": "fa3", "latency": 0.5}  # fmt: skip
BUFFERS = {"node_num": 1, "hidden_size": 7168, "num_token": 64, "num_topk": 8, "num_experts": 256, "dispatch_transmit_us": 30.0, "dispatch_sms": 20,
           "combine_transmit_us": 50.0, "combine_sms": 20}  # fmt: skip
TABLES = {
    "gemm/vllm/0.24.0/gemm_perf": GEMM,
    "attention/vllm/0.24.0/context_attention_perf": CORE,
    "comm/sglang/0.5.12/wideep_deepep_normal_perf": BUFFERS,
}
NOT_NUMBERS = ["x", b"\xff", [1, 2], {"a": 1}, pd.Timestamp("2020-01-01"), None, True, float("nan"), float("inf"), -3]


def _read(home: Path, name: str, content: pd.DataFrame | bytes) -> list[Any]:
    path = home / "h200_sxm" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.to_parquet(path)
    return list(aiconfigurator.candidates("h200_sxm", home))


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_file_is_a_line_with_its_name(name: str, tmp_path: Path) -> None:
    assert _read(tmp_path, name, pd.DataFrame([TABLES[name]] * 2))  # as it should be
    whole = (tmp_path / "h200_sxm" / f"{name}.parquet").read_bytes()
    for broken in (b"", b"PAR1", b"PAR1PAR1", whole[: len(whole) // 2], whole[4:], b"\0" * 900, b"m,n\n1,2\n"):
        with pytest.raises(SpecError, match=f"{name.rpartition('/')[2]}.parquet: cannot be read") as said:
            _read(tmp_path, name, broken)
        assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", TABLES)
def test_a_column_of_anything_else_is_refused_by_name(name: str, tmp_path: Path) -> None:
    row = TABLES[name]
    for column in row:
        words = isinstance(row[column], str)
        for value in [3, None, b"\xff", [1]] if words else NOT_NUMBERS:
            with pytest.raises(SpecError, match=f"'{column}'"):
                _read(tmp_path, name, pd.DataFrame([{**row, column: value}] * 2))
        if column not in ("window_size", "kernel_source"):
            with pytest.raises(SpecError, match=f"no column '{column}'"):
                _read(tmp_path, name, pd.DataFrame([row]).drop(columns=column))


def test_a_time_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gemm_perf\.parquet: a row that stays has a time of 0"):
        _read(tmp_path, "gemm/vllm/0.24.0/gemm_perf", pd.DataFrame([GEMM, {**GEMM, "m": 128, "latency": 0.0}]))
