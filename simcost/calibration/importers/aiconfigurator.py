"""The measured tables of the package `aiconfigurator-core` (ai-dynamo/aiconfigurator, Apache-2.0), read once to make rows.

Every table says which engine timed which kernel; the importer says what work that was. Most likely to be wrong: a
collector that changed under the same column names; every reading below was checked against FLOP/s and B/s of the rows.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcost import units
from simcost.calibration.importers._routing import table_routing
from simcost.errors import SpecError, nearest
from simcost.num import Array
from simcost.routing import distinct_ranks

PACKAGE = "aiconfigurator-core"
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
BAD = {
    "vllm 0.24.0 gemm fp8_block": "eager, launch-bound: 55 us and more a call (ai-dynamo/aiconfigurator issue 1414)",
    "trtllm 1.0.0 attention": "A100 1.0.0 tables stand above the memory bandwidth",
    "trtllm 1.3.0rc10 attention": "H100 rc10 tables are broken",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Rows of one kind before thinning. `table`: where they stood; `kernels`: what ran; `dropped`: rows left out, by reason."""

    family: str
    labels: Mapping[str, str]
    numbers: Mapping[str, Array]
    seconds: Array
    table: str
    kernels: tuple[str, ...]
    dropped: Mapping[str, int]


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
    for read in (_gemm, _batched, _attention, _latent, _experts, _nccl, _custom, _deepep):
        yield from read(root)


def _newest(root: Path, op: str, engine: str, table: str, dtype: str = "") -> Path | None:
    """The newest version's table that is not in BAD; of a MoE format, the newest that holds more than a few models."""
    found = [p for p in root.glob(f"{op}/{engine}/*/{table}_perf.parquet") if _usable(engine, p, op)]
    for path in sorted(found, key=lambda p: _order(p.parent.name), reverse=True):
        if not dtype or dtype in _FEW:
            return path
        frame = _table(path, ("moe_dtype", "num_experts"))
        if frame[frame["moe_dtype"] == dtype]["num_experts"].nunique() >= 4:
            return path
    return None


def _usable(engine: str, path: Path, op: str) -> bool:
    return f"{engine} {path.parent.name} {op}" not in BAD


_FEW = ("w4a16_mxfp4", "int4_wo")


def _order(text: str) -> tuple[tuple[int, str], ...]:
    parts = text.replace("rc", ".").split(".")
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts)


def _table(path: Path, needed: tuple[str, ...]) -> Any:
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, ImportError) as error:
        raise SpecError(f"{path}: {str(error).splitlines()[0]}") from None
    missing = [name for name in (*needed, "latency") if name not in frame.columns]
    if missing:
        raise SpecError(f"{path}: not a table of {PACKAGE}: no column '{missing[0]}'")
    return frame


def _plain_table(path: Path, needed: tuple[str, ...]) -> Any:
    """A table without a `latency` column of its own."""
    import pandas as pd

    frame = pd.read_parquet(path)
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise SpecError(f"{path}: not a table of {PACKAGE}: no column '{missing[0]}'")
    return frame


def _where(path: Path) -> str:
    return "/".join(path.parts[-5:])


def _candidate(
    family: str,
    labels: Mapping[str, str],
    frame: Any,
    columns: Mapping[str, Any],
    path: Path,
    dropped: Mapping[str, int],
) -> Candidate:
    """One kind from a frame: rows of one shape become their median; milliseconds become seconds."""
    import pandas as pd

    numbers = pd.DataFrame({name: np.broadcast_to(np.asarray(v, float), (len(frame),)) for name, v in columns.items()})
    numbers["seconds"] = frame["latency"].to_numpy(float) * units.parse("1 ms", "seconds")
    merged = numbers.groupby(list(columns), as_index=False)["seconds"].median()
    kernels = tuple(sorted(map(str, frame["kernel_source"].unique()))) if "kernel_source" in frame else ()
    return Candidate(
        family, labels, {name: merged[name].to_numpy(float) for name in columns}, merged["seconds"].to_numpy(float),
        _where(path), kernels, dropped,
    )  # fmt: skip


def _gemm(root: Path) -> Iterator[Candidate]:
    """vLLM's linear layers: `F.linear` in bf16; fp8 and nvfp4 with the quantisation of their input. fp8 blocks from
    TensorRT-LLM, because vLLM's table of them is bad (BAD)."""
    for dtype, engine in (("bfloat16", "vllm"), ("fp8", "vllm"), ("fp8_block", "trtllm"), ("nvfp4", "vllm")):
        path = _newest(root, "gemm", engine, "gemm")
        if path is None:
            continue
        frame = _table(path, ("gemm_dtype", "m", "n", "k"))
        mine = frame[frame["gemm_dtype"] == dtype]
        if len(mine):
            name = _DTYPE[dtype]
            columns = {"batch": 1.0, "m": mine["m"], "n": mine["n"], "k": mine["k"]}
            yield _candidate("gemm", {"x": "bf16", "w": name, "compute": name}, mine, columns, path, {})


def _batched(root: Path) -> Iterator[Candidate]:
    """MLA's per-head absorption: [T, 128] x [128, 512] and back, one product a head. Stands beside the plain GEMMs of
    its format as a kind of its own: the input is strided."""
    path = _newest(root, "mla_bmm", "vllm", "mla_bmm")
    if path is None:
        return
    frame = _table(path, ("bmm_dtype", "num_tokens", "num_heads", "op_name"))
    mine = frame[frame["bmm_dtype"] == "bfloat16"]
    before = mine["op_name"] == "mla_gen_pre"
    columns = {
        "batch": mine["num_heads"], "m": mine["num_tokens"], "n": np.where(before, 512.0, 128.0),
        "k": np.where(before, 128.0, 512.0),
    }  # fmt: skip
    yield _candidate("batched_gemm", {"x": "bf16", "w": "bf16", "compute": "bf16"}, mine, columns, path, {})


def _attention(root: Path) -> Iterator[Candidate]:
    """vLLM's attention kernels over a paged cache; heads are those of one GPU, the mask is causal, windows slide and
    count the token itself, the write of the new K and V is inside. With an fp8 cache Q is fp8 too and the kernel computes
    in fp8 (FlashAttention 3, TensorRT-LLM's kernels), whatever `attn_dtype` says; FlashInfer on the L40S keeps bf16."""
    for phase, table in (("prefill", "context_attention"), ("decode", "generation_attention")):
        path = _newest(root, "attention", "vllm", table)
        if path is None:
            continue
        frame = _table(
            path, ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "kv_cache_dtype", "step")
        )
        frame = frame.assign(window_size=frame.get("window_size", 0))
        drops = _DECODE_DROPS | (_PREFILL_DROPS if phase == "prefill" else {})
        for cache in ("bfloat16", "fp8"):
            for windowed in (False, True):
                mine = frame[(frame["kv_cache_dtype"] == cache) & ((frame["window_size"] > 0) == windowed)]
                mine, dropped = _kept(mine, drops)
                if len(mine):
                    narrow = cache == "fp8" and root.name not in _WIDE_CORE
                    labels = {
                        "x": "bf16", "kv": _DTYPE[cache], "compute": "fp8" if narrow else "bf16",
                        "layout": "window" if windowed else "gqa",
                    }  # fmt: skip
                    columns = {
                        "batch": mine["batch_size"], "q_len": mine["isl"] if phase == "prefill" else 1.0,
                        "past": mine["step"], "heads": mine["num_heads"], "kv_heads": mine["num_key_value_heads"],
                        "d_qk": mine["head_dim"], "d_v": mine["head_dim"], "window": mine["window_size"],
                    }  # fmt: skip
                    yield _candidate(f"attention_{phase}", labels, mine, columns, path, dropped)


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


def _kept(frame: Any, drops: Mapping[str, Callable[[Any], Any]]) -> tuple[Any, dict[str, int]]:
    dropped = {}
    for reason, test in drops.items():
        bad = test(frame)
        if int(bad.sum()):
            dropped[reason] = int(bad.sum())
            frame = frame[~bad]
    return frame, dropped


def _latent(root: Path) -> Iterator[Candidate]:
    """TensorRT-LLM's MLA: expanded 192/128 a head in prefill, absorbed 576/512 over the shared latent in decode; heads
    are those of one GPU (`tp_size` only says how they came about); rope and the write of the latent are inside, and with
    an fp8 cache the quantisation and fp8 arithmetic."""
    for phase, table in (("prefill", "context_mla"), ("decode", "generation_mla")):
        path = _newest(root, "mla", "trtllm", table)
        if path is None:
            continue
        frame = _table(path, ("batch_size", "isl", "num_heads", "kv_cache_dtype", "step", "mla_dtype"))
        for cache in ("bfloat16", "fp8"):
            mine = frame[(frame["kv_cache_dtype"] == cache) & (frame["mla_dtype"] == "bfloat16")]
            if not len(mine):
                continue
            expanded = phase == "prefill"
            labels = {
                "x": "bf16", "kv": _DTYPE[cache], "compute": "bf16" if root.name in _WIDE_CORE else _DTYPE[cache],
                "layout": "mla" if expanded else "latent",
            }  # fmt: skip
            columns = {
                "batch": mine["batch_size"], "q_len": mine["isl"] if expanded else 1.0, "past": mine["step"],
                "heads": mine["num_heads"], "kv_heads": mine["num_heads"] if expanded else 1.0,
                "d_qk": 192.0 if expanded else 576.0, "d_v": 128.0 if expanded else 512.0, "window": 0.0,
            }  # fmt: skip
            yield _candidate(f"attention_{phase}", labels, mine, columns, path, {})


def _experts(root: Path) -> Iterator[Candidate]:
    """The fused experts on one rank that holds all of them (moe_ep_size 1), top-k and quantisation inside; balanced and
    two power-law routings. vLLM's kernels; on Blackwell TensorRT-LLM's in bf16, fp8 and fp8_block, where vLLM's stood on
    an untuned default (half the rate at large batches)."""
    blackwell = root.name in _BLACKWELL
    for dtype in ("bfloat16", "fp8", "fp8_block", "nvfp4", "w4a16_mxfp4", "int4_wo"):
        engine = "trtllm" if blackwell and dtype in ("bfloat16", "fp8", "fp8_block") else "vllm"
        path = _newest(root, "moe", engine, "moe", dtype)
        if path is None:
            continue
        frame = _table(path, _EXPERT_COLUMNS)
        mine, dropped = _kept(frame[frame["moe_dtype"] == dtype], _EXPERT_DROPS)
        plain = _plain(mine) & (root.name != "a100_sxm")  # the old collector gave every model a gate
        for gated in (True, False):
            part = mine[~plain if gated else plain]
            if len(part):
                yield _expert_kind(part, dtype, gated, engine == "vllm" and root.name != "a100_sxm", path, dropped)


def _expert_kind(
    mine: Any, dtype: str, gated: bool, by_groups: bool, path: Path, dropped: Mapping[str, int]
) -> Candidate:
    touched, load = table_routing(mine, by_groups)
    name = _DTYPE[dtype]
    compute = name if name in ("bf16", "fp8", "fp8_block", "nvfp4") else "bf16"
    labels = {"x": "bf16", "w": name, "compute": compute, "gated": "gated" if gated else "plain"}
    columns = {
        "tokens": mine["num_tokens"], "copies": mine["num_tokens"] * mine["topk"], "touched": touched,
        "experts": mine["num_experts"], "hidden": mine["hidden_size"], "width": mine["inter_size"] / mine["moe_tp_size"],
        "load": load,
    }  # fmt: skip
    return _candidate("experts", labels, mine, columns, path, dropped)


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
_EXPERT_DROPS: dict[str, Callable[[Any], Any]] = {
    "expert parallel: which copies a rank computes is not in the table": lambda f: f["moe_ep_size"] != 1,
    "'balanced' ids above 256 were rounded in bf16: the touched experts are not known": lambda f: (
        (f["distribution"] == "balanced") & (f["num_experts"] > 256)
        & (f["num_tokens"] < np.ceil(f["num_experts"] / f["topk"]))
    ),
    "another activation stood in for SiLU": lambda f: (
        f["kernel_source"].astype(str).str.contains("situ") | ((f["hidden_size"] == 3584) & (f["num_experts"] == 896))
    ),
    "a kernel without its last step": lambda f: f["kernel_source"].astype(str).str.contains("min_latency"),
}  # fmt: skip


def _nccl(root: Path) -> Iterator[Candidate]:
    """nccl-tests on one node, half precision. Sizes are elements of the whole buffer: what is gathered, scattered,
    reduced, or sent by a rank with its own part."""
    path = max(root.glob("comm/nccl/*/nccl_perf.parquet"), key=lambda p: _order(p.parent.name), default=None)
    if path is None:
        return
    frame = _table(path, ("nccl_dtype", "num_gpus", "message_size", "op_name"))
    frame = frame[frame["nccl_dtype"] == "half"]
    for name, what in (("all_reduce",) * 2, ("all_gather",) * 2, ("reduce_scatter",) * 2, ("alltoall", "all_to_all")):
        mine = frame[frame["op_name"] == name]
        if len(mine):
            group = mine["num_gpus"]
            remote = (group - 1) / group if what == "all_to_all" else 1.0
            columns = {"bytes": 2.0 * mine["message_size"] * remote, "group": group}
            yield _candidate("collective", {"what": what, "backend": "nccl"}, mine, columns, path, {})


def _deepep(root: Path) -> Iterator[Candidate]:
    """DeepEP inside one node, uniform top-k, tokens a rank: normal kernels (one copy a token and distinct rank; without the
    layout and notify steps, most SMs offered) and low-latency kernels (one copy a token and expert). Dispatch in fp8 with
    a fp32 scale for 128 numbers, combine in bf16. Bytes are those that leave a rank."""
    if root.name not in _EIGHT:
        return
    for mode, backend in (("normal", "deepep"), ("ll", "deepep_ll")):
        path = _newest(root, "comm", "sglang", f"wideep_deepep_{mode}")
        if path is None:
            continue
        times = [f"{way}_transmit_us" if mode == "normal" else f"{way}_avg_t_us" for way in ("dispatch", "combine")]
        frame = _plain_table(path, ("node_num", "hidden_size", "num_token", "num_topk", "num_experts", *times))
        frame = frame[frame["node_num"] == 1]
        if mode == "normal":
            frame = frame[frame["dispatch_sms"] == frame["dispatch_sms"].max()]
        if not len(frame):
            continue
        yield _exchanges(frame, backend, times, path)


_EIGHT = ("h100_sxm", "h200_sxm", "b200_sxm", "b300_sxm")  # boxes of eight; other tables do not say how many ranks took part


def _exchanges(frame: Any, backend: str, times: list[str], path: Path) -> Candidate:
    import pandas as pd

    ranks = 8.0  # all GPUs of the collector's nodes
    away = (ranks - 1.0) / ranks
    top_k = frame["num_topk"].to_numpy(float)
    copies = top_k if backend == "deepep_ll" else np.array(
        [float(distinct_ranks(float(e), int(k), ranks)) for e, k in zip(frame["num_experts"], frame["num_topk"], strict=True)]
    )  # fmt: skip
    tokens, hidden = frame["num_token"].to_numpy(float), frame["hidden_size"].to_numpy(float)
    sizes = (tokens * copies * (hidden + hidden / 32.0) * away, tokens * copies * 2.0 * hidden * away)
    both = [
        pd.DataFrame(
            {
                "size": size,
                "latency": frame[time].to_numpy(float) * _MS,
                "kernel_source": f"DeepEP {time.split('_')[0]}",
            }
        )
        for size, time in zip(sizes, times, strict=True)
    ]
    rows = pd.concat(both, ignore_index=True)
    labels = {"what": "all_to_all", "backend": backend}
    return _candidate("collective", labels, rows, {"bytes": rows["size"], "group": ranks}, path, {})


_MS = units.parse("1 us", "seconds") / units.parse("1 ms", "seconds")


def _custom(root: Path) -> Iterator[Candidate]:
    """vLLM's own all-reduce as it runs in a CUDA graph; it falls back to NCCL for large tensors by itself."""
    path = _newest(root, "comm", "vllm", "custom_allreduce")
    if path is None:
        return
    frame = _table(path, ("num_gpus", "message_size", "allreduce_dtype", "kernel_source"))
    mine, dropped = _kept(
        frame, {"eager rows copy their input first": lambda f: f["kernel_source"].str.contains("eager")}
    )
    if len(mine):
        columns = {"bytes": 2.0 * mine["message_size"], "group": mine["num_gpus"]}
        yield _candidate("collective", {"what": "all_reduce", "backend": "custom"}, mine, columns, path, dropped)
