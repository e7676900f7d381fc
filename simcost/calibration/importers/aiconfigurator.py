"""The measured tables of the package `aiconfigurator-core` (ai-dynamo/aiconfigurator, Apache-2.0), read once to make rows.

Every table says which engine timed which kernel; the importer says what work that was. Most likely to be wrong: a
collector that changed under the same column names; every reading below was checked against FLOP/s and B/s of the rows.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.importers._comm import custom, deepep, nccl, nvlink
from simcost.calibration.importers._routing import table_routing
from simcost.calibration.importers._tables import BAD, PACKAGE, Candidate, candidate, kept, newest, read_table
from simcost.errors import SpecError, nearest

SYSTEMS = {
    "a100_sxm": "a100", "h100_sxm": "h100", "h200_sxm": "h200", "l40s": "l40s", "b200_sxm": "b200", "gb200": "gb200",
    "b300_sxm": "b300", "gb300": "gb300",
}  # fmt: skip
_DTYPE = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
    "w4a16_mxfp4": "mxfp4",
    "int4_wo": "int4",
}


def version() -> str:
    """The installed package's version. Raises SpecError when it is missing."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise SpecError(f"the package {PACKAGE} is not installed: pip install 'simcost[import]'") from None


def home() -> Path:
    """The package's data folder, found without importing it."""
    version()
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"{PACKAGE} is installed but has no data folder")
    return Path(next(iter(spec.submodule_search_locations))) / "systems" / "data"


def candidates(system: str, data: Path | None = None) -> Iterator[Candidate]:
    """Every kind that the tables of a system hold. Raises SpecError for unknown systems and foreign tables."""
    if system not in SYSTEMS:
        raise SpecError(f"unknown system '{system}' (one of {', '.join(SYSTEMS)}){nearest(system, SYSTEMS)}")
    root = (home() if data is None else data) / system
    if not root.is_dir():
        raise SpecError(f"{root}: no such folder")
    for read in (_gemm, _batched, _attention, _latent, _experts, nccl, custom, deepep, nvlink):
        yield from read(root)


def _gemm(root: Path) -> Iterator[Candidate]:
    """vLLM's linear layers: `F.linear` in bf16; fp8 and nvfp4 with the quantisation of their input. fp8 blocks from
    TensorRT-LLM, because vLLM's table of them is bad (BAD)."""
    for dtype, engine in (("bfloat16", "vllm"), ("fp8", "vllm"), ("fp8_block", "trtllm"), ("nvfp4", "vllm")):
        path = newest(root, "gemm", engine, "gemm")
        if path is None:
            continue
        frame = read_table(path, ("gemm_dtype", "m", "n", "k"))
        mine = frame[frame["gemm_dtype"] == dtype]
        if len(mine):
            name = _DTYPE[dtype]
            bad, why = _bad_gemm(root, dtype)
            yield candidate("gemm", {"x": "bf16", "w": name, "compute": name}, mine, _product, path, why, bad)


def _product(f: Any) -> Mapping[str, Any]:
    return {"batch": 1.0, "m": f["m"], "n": f["n"], "k": f["k"]}


def _bad_gemm(root: Path, dtype: str) -> tuple[Any, dict[str, int]]:
    """Rows of the table that BAD names, for the report only."""
    path = root / "gemm" / "vllm" / "0.24.0" / "gemm_perf.parquet"
    if dtype != "fp8_block" or not path.is_file():
        return None, {}
    frame = read_table(path, ("gemm_dtype", "m", "n", "k"))
    mine = frame[frame["gemm_dtype"] == dtype]
    return mine, {f"vLLM's table, {BAD['vllm 0.24.0 gemm fp8_block']}": len(mine)} if len(mine) else {}


def _batched(root: Path) -> Iterator[Candidate]:
    """MLA's per-head absorption: [T, 128] x [128, 512] and back, one product a head. Stands beside the plain GEMMs of
    its format as a kind of its own: the input is strided."""
    path = newest(root, "mla_bmm", "vllm", "mla_bmm")
    if path is None:
        return
    frame = read_table(path, ("bmm_dtype", "num_tokens", "num_heads", "op_name"))
    mine = frame[frame["bmm_dtype"] == "bfloat16"]

    def columns(f: Any) -> Mapping[str, Any]:
        before = f["op_name"] == "mla_gen_pre"
        n, k = np.where(before, 512.0, 128.0), np.where(before, 128.0, 512.0)
        return {"batch": f["num_heads"], "m": f["num_tokens"], "n": n, "k": k}

    yield candidate("batched_gemm", {"x": "bf16", "w": "bf16", "compute": "bf16"}, mine, columns, path)


def _attention(root: Path) -> Iterator[Candidate]:
    """vLLM's attention kernels over a paged cache; heads are those of one GPU, the mask is causal, windows slide and
    count the token itself, the write of the new K and V is inside. With an fp8 cache Q is fp8 too and the kernel computes
    in fp8 (FlashAttention 3, TensorRT-LLM's kernels), whatever `attn_dtype` says; FlashInfer on the L40S keeps bf16."""
    for phase, table in (("prefill", "context_attention"), ("decode", "generation_attention")):
        path = newest(root, "attention", "vllm", table)
        if path is None:
            continue
        frame = read_table(
            path, ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "kv_cache_dtype", "step")
        )
        frame = frame.assign(window_size=frame.get("window_size", 0))
        drops = _DECODE_DROPS | (_PREFILL_DROPS if phase == "prefill" else {})
        columns = _per_gpu_heads(phase == "prefill")
        for cache in ("bfloat16", "fp8"):
            for windowed in (False, True):
                mine = frame[(frame["kv_cache_dtype"] == cache) & ((frame["window_size"] > 0) == windowed)]
                mine, dropped, bad = kept(mine, drops)
                if len(mine):
                    narrow = cache == "fp8" and root.name not in _WIDE_CORE
                    labels = {
                        "x": "bf16", "kv": _DTYPE[cache], "compute": "fp8" if narrow else "bf16",
                        "layout": "window" if windowed else "gqa", "scope": "write",
                    }  # fmt: skip
                    yield candidate(f"attention_{phase}", labels, mine, columns, path, dropped, bad)


def _per_gpu_heads(prefill: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        return {
            "batch": f["batch_size"], "q_len": f["isl"] if prefill else 1.0, "past": f["step"], "heads": f["num_heads"],
            "kv_heads": f["num_key_value_heads"], "d_qk": f["head_dim"], "d_v": f["head_dim"], "window": f["window_size"],
        }  # fmt: skip

    return columns


_WIDE_CORE = ("l40s", "a100_sxm")
_DECODE_DROPS: dict[str, Callable[[Any], Any]] = {
    "a fallback kernel (Triton) ran for this head width": lambda f: f["kernel_source"].str.contains(
        "triton", case=False
    ),
    "FlashAttention 4 ran for heads of 512": lambda f: f["head_dim"] > 256,
}
_PREFILL_DROPS: dict[str, Callable[[Any], Any]] = {
    "one query a sequence: the decode kernel ran": lambda f: f["isl"] == 1,
}


def _latent(root: Path) -> Iterator[Candidate]:
    """TensorRT-LLM's MLA: expanded 192/128 a head in prefill, absorbed 576/512 over the shared latent in decode; heads
    are those of one GPU (`tp_size` only says how they came about); rope and the write of the latent are inside, and with
    an fp8 cache the quantisation and fp8 arithmetic."""
    for phase, table in (("prefill", "context_mla"), ("decode", "generation_mla")):
        path = newest(root, "mla", "trtllm", table)
        if path is None:
            continue
        frame = read_table(path, ("batch_size", "isl", "num_heads", "kv_cache_dtype", "step", "mla_dtype"))
        expanded = phase == "prefill"
        columns = _latent_heads(expanded)
        for cache in ("bfloat16", "fp8"):
            mine = frame[(frame["kv_cache_dtype"] == cache) & (frame["mla_dtype"] == "bfloat16")]
            if not len(mine):
                continue
            labels = {
                "x": "bf16", "kv": _DTYPE[cache], "compute": "bf16" if root.name in _WIDE_CORE else _DTYPE[cache],
                "layout": "mla" if expanded else "latent", "scope": "write",
            }  # fmt: skip
            yield candidate(f"attention_{phase}", labels, mine, columns, path)


def _latent_heads(expanded: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        return {
            "batch": f["batch_size"], "q_len": f["isl"] if expanded else 1.0, "past": f["step"], "heads": f["num_heads"],
            "kv_heads": f["num_heads"] if expanded else 1.0, "d_qk": 192.0 if expanded else 576.0,
            "d_v": 128.0 if expanded else 512.0, "window": 0.0,
        }  # fmt: skip

    return columns


def _experts(root: Path) -> Iterator[Candidate]:
    """The fused experts on one rank that holds all of them (moe_ep_size 1), top-k and quantisation inside; balanced and
    two power-law routings. vLLM's kernels; on Blackwell TensorRT-LLM's in bf16, fp8 and fp8_block, where vLLM's stood on
    an untuned default (half the rate at large batches)."""
    blackwell = root.name in _BLACKWELL
    for dtype in ("bfloat16", "fp8", "fp8_block", "nvfp4", "w4a16_mxfp4", "int4_wo"):
        engine = "trtllm" if blackwell and dtype in ("bfloat16", "fp8", "fp8_block") else "vllm"
        path = newest(root, "moe", engine, "moe", dtype)
        if path is None:
            continue
        frame = read_table(path, _EXPERT_COLUMNS)
        mine, dropped, bad = kept(frame[frame["moe_dtype"] == dtype], _EXPERT_DROPS, (_PARALLEL,))
        every = root.name == "a100_sxm"  # the old collector gave every model a gate
        columns = _expert_columns(engine == "vllm" and not every)
        for gated in (True, False):
            part, out = (f[(every | ~_plain(f)) == gated] for f in (mine, bad))
            if len(part):
                yield candidate("experts", _expert_labels(dtype, gated), part, columns, path, dropped, out)


def _expert_labels(dtype: str, gated: bool) -> dict[str, str]:
    name = _DTYPE[dtype]
    compute = name if name in ("bf16", "fp8", "fp8_block", "nvfp4") else "bf16"
    return {"x": "bf16", "w": name, "compute": compute, "gated": "gated" if gated else "plain"}


def _expert_columns(by_groups: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        touched, load = table_routing(f, by_groups)
        return {
            "tokens": f["num_tokens"], "copies": f["num_tokens"] * f["topk"], "touched": touched,
            "experts": f["num_experts"], "hidden": f["hidden_size"], "width": f["inter_size"] / f["moe_tp_size"],
            "load": load,
        }  # fmt: skip

    return columns


def _plain(frame: Any) -> Any:
    """Nemotron's experts have no gate: two matrices. (hidden, width) of its models."""
    pairs = ((1024, 2688), (2688, 1856), (2048, 5120), (8192, 5120))
    found = frame["hidden_size"] < 0
    for hidden, width in pairs:
        found = found | ((frame["hidden_size"] == hidden) & (frame["inter_size"] == width))
    return found


_BLACKWELL = ("b200_sxm", "gb200", "b300_sxm", "gb300")
_EXPERT_COLUMNS = (
    "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
    "distribution", "kernel_source",
)  # fmt: skip
_PARALLEL = "expert parallel: which copies a rank computes is not in the table"
_EXPERT_DROPS: dict[str, Callable[[Any], Any]] = {
    _PARALLEL: lambda f: f["moe_ep_size"] != 1,
    "'balanced' ids above 256 were rounded in bf16: the touched experts are not known": lambda f: (
        (f["distribution"] == "balanced") & (f["num_experts"] > 256)
        & (f["num_tokens"] < np.ceil(f["num_experts"] / f["topk"]))
    ),
    "another activation stood in for SiLU": lambda f: (
        f["kernel_source"].astype(str).str.contains("situ") | ((f["hidden_size"] == 3584) & (f["num_experts"] == 896))
    ),
    "a kernel without its last step": lambda f: f["kernel_source"].astype(str).str.contains("min_latency"),
}  # fmt: skip
