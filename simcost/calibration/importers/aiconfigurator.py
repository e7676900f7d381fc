"""The measured tables of the package `aiconfigurator-core` (ai-dynamo/aiconfigurator, Apache-2.0), read once to make rows.

Every table of every engine and version becomes a candidate; which of them may speak is not decided here but in
`simcost.calibration.soundness`, from the rows alone. Most likely to be wrong: a collector that changed under the same column
names; every reading below was checked against FLOP/s and B/s of the rows.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.candidate import Candidate
from simcost.calibration.importers._comm import custom, deepep, nccl, nvlink
from simcost.calibration.importers._recurrent import recurrent
from simcost.calibration.importers._routing import table_routing
from simcost.calibration.importers._sparse import hyper_connections, sparse
from simcost.calibration.importers._tables import ENGINES, candidate, kept, read_table, versions
from simcost.calibration.importers._tables import PACKAGE as PACKAGE
from simcost.errors import SpecError, nearest
from simcost.hardware.engines import version_order

SYSTEMS = {
    "a100_sxm": "a100", "h100_sxm": "h100", "h200_sxm": "h200", "l40s": "l40s", "b200_sxm": "b200", "gb200": "gb200",
    "b300_sxm": "b300", "gb300": "gb300",
}  # fmt: skip
# Weights and arithmetic of a table's format.
_FORMATS = {
    "bfloat16": ("bf16", "bf16"), "fp8": ("fp8", "fp8"), "fp8_block": ("fp8_block", "fp8_block"), "nvfp4": ("nvfp4", "nvfp4"),
    "w4a16_mxfp4": ("mxfp4", "bf16"), "w4a8_mxfp4_mxfp8": ("mxfp4", "mxfp8"), "int4_wo": ("int4", "bf16"),
    "int8_wo": ("int8", "bf16"),
}  # fmt: skip
_CACHES = {"bfloat16": "bf16", "fp8": "fp8"}


def version(extra: str = "import") -> str:
    """Version of the installed package. Raises SpecError when it is missing, naming the extra that has it."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise SpecError(f"the package {PACKAGE} is not installed: pip install 'simcost[{extra}]'") from None


def home(extra: str = "import") -> Path:
    """The data folder of the installed package, found without importing it. Raises SpecError when there is none, as `version`."""
    version(extra)
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        raise SpecError(f"{PACKAGE} is installed but has no data folder")
    return Path(next(iter(spec.submodule_search_locations))) / "systems" / "data"


def candidates(system: str, data: Path | None = None) -> Iterator[Candidate]:
    """Every kind of every table of a system. Raises SpecError for unknown systems and foreign tables."""
    if system not in SYSTEMS:
        raise SpecError(f"unknown system '{system}' (one of {', '.join(SYSTEMS)}){nearest(system, SYSTEMS)}")
    root = (home() if data is None else data) / system
    if not root.is_dir():
        raise SpecError(f"{root}: no such folder")
    for engine in ENGINES:
        for read in (_gemm, _batched, _attention, _latent, _experts, recurrent, sparse, hyper_connections):
            yield from read(root, engine)
        yield from custom(root, engine)
    for read_links in (nccl, deepep, nvlink):
        yield from read_links(root)


def _gemm(root: Path, engine: str) -> Iterator[Candidate]:
    """Linear layers: `F.linear` in bf16; fp8 and nvfp4 with the quantisation of their input."""
    for path in versions(root, "gemm", engine, "gemm"):
        frame = read_table(path, ("gemm_dtype", "m", "n", "k"))
        for name, mine in frame.groupby("gemm_dtype", sort=True):
            if name in _FORMATS:
                yield candidate("gemm", _product_labels(name), mine, _product, path)


def _product_labels(name: str) -> dict[str, str]:
    weights, compute = _FORMATS[name]
    return {"x": "bf16", "w": weights, "compute": compute}


def _product(f: Any) -> Mapping[str, Any]:
    return {"batch": 1.0, "m": f["m"], "n": f["n"], "k": f["k"]}


def _batched(root: Path, engine: str) -> Iterator[Candidate]:
    """MLA's per-head absorption: [T, 128] x [128, 512] and back, one product a head. Stands beside the plain GEMMs of
    its format as a kind of its own: the input is strided."""
    for path in versions(root, "mla_bmm", engine, "mla_bmm"):
        frame = read_table(path, ("bmm_dtype", "num_tokens", "num_heads", "op_name"))
        mine = frame[frame["bmm_dtype"] == "bfloat16"]
        if len(mine):
            yield candidate("batched_gemm", {"x": "bf16", "w": "bf16", "compute": "bf16"}, mine, _absorption, path)


def _absorption(f: Any) -> Mapping[str, Any]:
    before = f["op_name"] == "mla_gen_pre"
    n, k = np.where(before, 512.0, 128.0), np.where(before, 128.0, 512.0)
    return {"batch": f["num_heads"], "m": f["num_tokens"], "n": n, "k": k}


def _attention(root: Path, engine: str) -> Iterator[Candidate]:
    """Attention kernels over a paged cache; heads are those of one GPU, the mask is causal, windows slide and
    count the token itself, the write of the new K and V is inside. With an fp8 cache Q is fp8 too and the kernel computes
    in fp8 (FlashAttention 3, TensorRT-LLM's kernels), whatever `attn_dtype` says of vLLM; SGLang and TensorRT-LLM were timed with
    both, and their bf16 queries over an fp8 cache ran a fallback. FlashInfer on the L40S keeps bf16."""
    for phase, table in (("prefill", "context_attention"), ("decode", "generation_attention")):
        for path in versions(root, "attention", engine, table):
            frame = read_table(path, _ATTENTION_COLUMNS)
            frame = frame.assign(window_size=frame.get("window_size", 0))
            for cache in _CACHES:
                for windowed in (False, True):
                    mine = frame[(frame["kv_cache_dtype"] == cache) & ((frame["window_size"] > 0) == windowed)]
                    mine = mine[_queries(mine, root, engine, phase, cache)]
                    mine, dropped, bad = kept(mine, _ATTENTION_DROPS | (_PREFILL_DROPS if phase == "prefill" else {}))
                    if len(mine):
                        labels = _core_labels(root, cache, "window" if windowed else "gqa")
                        columns = _per_gpu_heads(phase == "prefill")
                        yield candidate(f"attention_{phase}", labels, mine, columns, path, dropped, bad)


def _queries(frame: Any, root: Path, engine: str, phase: str, cache: str) -> Any:
    """The rows whose queries are of the format that the engine gives this kernel."""
    narrow = cache == "fp8" and phase == "prefill" and engine != "vllm" and root.name not in _WIDE_CORE
    return frame["attn_dtype"] == ("fp8" if narrow else "bfloat16")


def _core_labels(root: Path, cache: str, layout: str) -> dict[str, str]:
    narrow = cache == "fp8" and root.name not in _WIDE_CORE
    return {
        "x": "bf16", "kv": _CACHES[cache], "compute": "fp8" if narrow else "bf16", "layout": layout, "scope": "write",
    }  # fmt: skip


def _per_gpu_heads(prefill: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        return {
            "batch": f["batch_size"], "q_len": f["isl"] if prefill else 1.0, "past": f["step"], "heads": f["num_heads"],
            "kv_heads": f["num_key_value_heads"], "d_qk": f["head_dim"], "d_v": f["head_dim"], "window": f["window_size"],
        }  # fmt: skip

    return columns


_WIDE_CORE = ("l40s", "a100_sxm")
_ATTENTION_COLUMNS = (
    "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "attn_dtype", "kv_cache_dtype", "step", "kernel_source",
)  # fmt: skip
_ATTENTION_DROPS: dict[str, Callable[[Any], Any]] = {
    "a fallback kernel (Triton) ran": lambda f: f["kernel_source"].str.contains("triton", case=False),
    "heads wider than 256 ran another kernel": lambda f: f["head_dim"] > 256,
}
_PREFILL_DROPS: dict[str, Callable[[Any], Any]] = {
    "one query a sequence: the decode kernel ran": lambda f: f["isl"] == 1,
}


def _latent(root: Path, engine: str) -> Iterator[Candidate]:
    """MLA: expanded 192/128 a head in prefill, absorbed 576/512 over the shared latent in decode; heads
    are those of one GPU (`tp_size` only says how they came about); rope and the write of the latent are inside, and with
    an fp8 cache the quantisation and fp8 arithmetic."""
    for phase, table in (("prefill", "context_mla"), ("decode", "generation_mla")):
        for path in versions(root, "mla", engine, table):
            frame = read_table(path, ("batch_size", "isl", "num_heads", "kv_cache_dtype", "step", "mla_dtype"))
            expanded = phase == "prefill"
            for cache in _CACHES:
                mine = frame[(frame["kv_cache_dtype"] == cache) & (frame["mla_dtype"] == "bfloat16")]
                if len(mine):
                    labels = _core_labels(root, cache, "mla" if expanded else "latent")
                    yield candidate(f"attention_{phase}", labels, mine, _latent_heads(expanded), path)


def _latent_heads(expanded: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        return {
            "batch": f["batch_size"], "q_len": f["isl"] if expanded else 1.0, "past": f["step"], "heads": f["num_heads"],
            "kv_heads": f["num_heads"] if expanded else 1.0, "d_qk": 192.0 if expanded else 576.0,
            "d_v": 128.0 if expanded else 512.0, "window": 0.0,
        }  # fmt: skip

    return columns


def _experts(root: Path, engine: str) -> Iterator[Candidate]:
    """The fused experts on one rank that holds all of them (moe_ep_size 1), top-k and quantisation inside; balanced and
    power-law routings."""
    for path in versions(root, "moe", engine, "moe"):
        frame = read_table(path, _EXPERT_COLUMNS)
        every = root.name == "a100_sxm"  # the old collector gave every model a gate
        columns = _expert_columns(
            engine in _LIMITED and version_order(path.parent.name) >= version_order(_LIMITED[engine])
        )
        for name, rows in frame.groupby("moe_dtype", sort=True):
            if name not in _FORMATS:
                continue
            mine, dropped, bad = kept(rows, _EXPERT_DROPS, (_PARALLEL,))
            for gated in (True, False):
                part, out = (f[(every | ~_plain(f)) == gated] for f in (mine, bad))
                if len(part):
                    labels = {**_product_labels(name), "gated": "gated" if gated else "plain"}
                    yield candidate("experts", labels, part, columns, path, dropped, out, _routing_kind)


def _routing_kind(f: Any) -> Any:
    """0 balanced, else the exponent of the power law."""
    return f["distribution"].map(lambda text: 0.0 if text == "balanced" else float(text.rsplit("_", 1)[-1]))


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
    found = frame["kernel_source"].astype(str).str.contains("nongated")
    for hidden, width in pairs:
        found = found | ((frame["hidden_size"] == hidden) & (frame["inter_size"] == width))
    return found


_EXPERT_COLUMNS = (
    "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
    "distribution", "kernel_source",
)  # fmt: skip
# The first version whose collector drew DeepSeek-V3's experts as its router does, four groups of eight. Told by the rows: balanced
# tokens that touch every expert take longer than skewed ones, unless half of the experts are out of reach (64 tokens on the H200:
# 405 against 556 us; SGLang 0.5.10: 784 against 608, vLLM 0.22 on the B200: 526 against 426, TensorRT-LLM: 789 against 602).
_LIMITED = {"vllm": "0.24.0", "sglang": "0.5.14"}
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
