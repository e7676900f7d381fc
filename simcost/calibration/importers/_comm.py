"""Collectives of `aiconfigurator-core`: NCCL, vLLM's all-reduce, DeepEP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simcost import units
from simcost.calibration.importers._tables import Candidate, candidate, kept, newest, order, plain_table, read_table
from simcost.routing import distinct_ranks


def nccl(root: Path) -> Iterator[Candidate]:
    """nccl-tests on one node, half precision. Sizes are elements of the whole buffer: what is gathered, scattered,
    reduced, or sent by a rank with its own part."""
    path = max(root.glob("comm/nccl/*/nccl_perf.parquet"), key=lambda p: order(p.parent.name), default=None)
    if path is None:
        return
    frame = read_table(path, ("nccl_dtype", "num_gpus", "message_size", "op_name"))
    frame = frame[frame["nccl_dtype"] == "half"]
    for name, what in (("all_reduce",) * 2, ("all_gather",) * 2, ("reduce_scatter",) * 2, ("alltoall", "all_to_all")):
        mine = frame[frame["op_name"] == name]
        if len(mine):
            columns = _exchanged if what == "all_to_all" else _whole
            yield candidate("collective", {"what": what, "backend": "nccl"}, mine, columns, path)


def _whole(f: Any) -> dict[str, Any]:
    return {"bytes": 2.0 * f["message_size"], "group": f["num_gpus"]}


def _exchanged(f: Any) -> dict[str, Any]:
    """What stays on a rank does not travel."""
    group = f["num_gpus"]
    return {"bytes": 2.0 * f["message_size"] * (group - 1) / group, "group": group}


def deepep(root: Path) -> Iterator[Candidate]:
    """DeepEP inside one node, uniform top-k, tokens a rank: normal kernels (one copy a token and distinct rank; without the
    layout and notify steps, most SMs offered) and low-latency kernels (one copy a token and expert). Dispatch in fp8 with
    a fp32 scale for 128 numbers, combine in bf16. Bytes are those that leave a rank."""
    if root.name not in _EIGHT:
        return
    for mode, backend in (("normal", "deepep"), ("ll", "deepep_ll")):
        path = newest(root, "comm", "sglang", f"wideep_deepep_{mode}")
        if path is None:
            continue
        times = [f"{way}_transmit_us" if mode == "normal" else f"{way}_avg_t_us" for way in ("dispatch", "combine")]
        frame = plain_table(path, ("node_num", "hidden_size", "num_token", "num_topk", "num_experts", *times))
        frame = frame[frame["node_num"] == 1]
        if mode == "normal":
            frame = frame[frame["dispatch_sms"] == frame["dispatch_sms"].max()]
        if not len(frame):
            continue
        yield _exchanges(frame, backend, times, path)


_EIGHT = (
    "h100_sxm",
    "h200_sxm",
    "b200_sxm",
    "b300_sxm",
)  # boxes of eight; other tables do not say how many ranks took part


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
    return candidate("collective", labels, rows, lambda f: {"bytes": f["size"], "group": ranks}, path)


_MS = units.parse("1 us", "seconds") / units.parse("1 ms", "seconds")


def custom(root: Path) -> Iterator[Candidate]:
    """vLLM's own all-reduce as it runs in a CUDA graph; it falls back to NCCL for large tensors by itself."""
    path = newest(root, "comm", "vllm", "custom_allreduce")
    if path is None:
        return
    frame = read_table(path, ("num_gpus", "message_size", "allreduce_dtype", "kernel_source"))
    mine, dropped, bad = kept(
        frame, {"eager rows copy their input first": lambda f: f["kernel_source"].str.contains("eager")}
    )
    if len(mine):
        yield candidate("collective", {"what": "all_reduce", "backend": "custom"}, mine, _whole, path, dropped, bad)
