"""Collectives of `aiconfigurator-core`: NCCL, vLLM's all-reduce, DeepEP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simcost import units
from simcost.calibration.candidate import Candidate
from simcost.calibration.importers._tables import candidate, kept, plain_table, read_table, versions
from simcost.routing.load import visited
from simcost.routing.router import Router, Routing


def nccl(root: Path) -> Iterator[Candidate]:
    """nccl-tests on one node, half precision. Sizes are elements of the whole buffer: what is gathered, scattered,
    reduced, or sent by a rank with its own part."""
    for path in versions(root, "comm", "nccl", "nccl"):
        frame = read_table(path, ("nccl_dtype", "num_gpus", "message_size", "op_name"))
        frame = frame[frame["nccl_dtype"] == "half"]
        for name, what in (
            ("all_reduce",) * 2, ("all_gather",) * 2, ("reduce_scatter",) * 2, ("alltoall", "all_to_all"),
        ):  # fmt: skip
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
    """DeepEP over one node and over 2, 4 and 8: normal kernels (one copy a token and distinct rank, over the network one a
    token and node; without the layout and notify steps) by their number of multiprocessors, and low-latency kernels (one copy a
    token and expert). Dispatch in fp8 with a fp32 scale for 128 numbers, combine in bf16; routing as DeepEP's own tests
    draw it: uniform scores, over several nodes at most four of them, those with the best score."""
    if root.name not in _EIGHT:
        return
    for mode, stem in (("normal", "normal"), ("low_latency", "ll")):
        frames = _exchange_tables(root, stem)
        for direction in ("dispatch", "combine"):
            for reach in ("node", "nodes"):
                yield from _exchange(frames, mode, direction, reach)


_EIGHT = (
    "h100_sxm",
    "h200_sxm",
    "b200_sxm",
    "b300_sxm",
)  # boxes of eight; other tables do not say how many ranks took part
_SLOW = "over 8 nodes this cluster's dispatch ran at 17 GB/s a NIC, its combine at 45: not the kernel's doing"


def _exchange_tables(root: Path, stem: str) -> list[tuple[Path, Any]]:
    """Every version's table, the newest first: one node from the newest, several nodes from the one that has them."""
    each = ("transmit_us", "sms") if stem == "normal" else ("avg_t_us",)
    times = (f"{direction}_{name}" for direction in ("dispatch", "combine") for name in each)
    needed = ("node_num", "hidden_size", "num_token", "num_topk", "num_experts", *times)
    return [(path, plain_table(path, needed)) for path in versions(root, "comm", "sglang", f"wideep_deepep_{stem}")]


def _exchange(frames: list[tuple[Path, Any]], mode: str, direction: str, reach: str) -> Iterator[Candidate]:
    for path, frame in frames:
        mine = frame[(frame["node_num"] == 1) == (reach == "node")]
        if not len(mine):
            continue
        time = f"{direction}_transmit_us" if mode == "normal" else f"{direction}_avg_t_us"
        mine = mine.assign(latency=mine[time] * _MS, sms=mine[f"{direction}_sms"] if mode == "normal" else 0)
        slow = (
            (lambda f: f["node_num"] == 8)
            if (mode, direction) == ("normal", "dispatch")
            else (lambda f: f["node_num"] > 8)
        )
        mine, dropped, bad = kept(mine, {_SLOW: slow})
        labels = {"mode": mode, "direction": direction, "reach": reach}
        yield candidate("exchange", labels, mine, _copies(mode, direction), path, dropped, bad, library="deepep")
        return


def _copies(mode: str, direction: str) -> Callable[[Any], dict[str, Any]]:
    def columns(f: Any) -> dict[str, Any]:
        hidden, nodes = f["hidden_size"].to_numpy(float), f["node_num"].to_numpy(float)
        near, far = np.array(
            [_spread(mode, float(e), int(k), float(n)) for e, k, n in zip(f["num_experts"], f["num_topk"], nodes, strict=True)]
        ).reshape(-1, 2).T  # fmt: skip
        return {
            "tokens": f["num_token"], "width": hidden + hidden / 32.0 if direction == "dispatch" else 2.0 * hidden,
            "near": near, "far": far, "group": 8.0 * nodes, "nodes": nodes, "sms": np.maximum(f["sms"], 1.0),
        }  # fmt: skip

    return columns


def _spread(mode: str, experts: float, top_k: int, nodes: float) -> tuple[float, float]:
    """Copies of a token inside nodes and over the network."""
    if mode == "low_latency":
        return top_k * 7.0 / (8.0 * nodes), top_k * (nodes - 1.0) / nodes
    groups = int(nodes)
    router = Router(experts, float(top_k), groups, min(groups, 4), "max")
    there = float(visited(Routing(), router, nodes))
    return float(visited(Routing(), router, 8.0 * nodes)) * 7.0 / 8.0, there * (nodes - 1.0) / nodes


def nvlink(root: Path) -> Iterator[Candidate]:
    """TensorRT-LLM's All2All over an NVLink domain of many racks' worth of GPUs: one copy a token and distinct rank. Of its two kinds of
    kernels the one-sided, which it runs by default since 1.2 and which needs no exchange of indices before a dispatch (tech blog 18);
    they were timed with tokens of nvfp4, a scale for 16 numbers, and combine in bf16. The collector's balanced routing spreads a
    token's picks over as many ranks as there are."""
    path = next(iter(versions(root, "comm", "trtllm", "trtllm_alltoall")), None)
    if path is None:
        return
    key = ("moe_dtype", "num_tokens", "moe_ep_size", "hidden_size", "topk", "num_experts")
    frame = read_table(path, (*key, "op_name", "kernel_source"))
    frame = frame[frame["kernel_source"] == "NVLinkOneSided"]
    for direction in ("dispatch", "combine"):
        mine = frame[frame["op_name"] == f"alltoall_{direction}"]
        if len(mine):
            labels = {"mode": "nvlink", "direction": direction, "reach": "node"}
            yield candidate("exchange", labels, mine, _spread_evenly(direction), path, library="nvlink")


_TOKEN = {"bfloat16": 2.0, "fp8": 1.0, "nvfp4": 0.5 + 1.0 / 16.0}  # bytes an element


def _spread_evenly(direction: str) -> Callable[[Any], dict[str, Any]]:
    def columns(f: Any) -> dict[str, Any]:
        ranks = f["moe_ep_size"].to_numpy(float)
        wide = f["moe_dtype"].map(_TOKEN) if direction == "dispatch" else 2.0
        return {
            "tokens": f["num_tokens"], "width": f["hidden_size"] * wide, "near": np.minimum(f["topk"], ranks) * (ranks - 1.0) / ranks,
            "far": 0.0, "group": ranks, "nodes": 1.0, "sms": 1.0,
        }  # fmt: skip

    return columns


_MS = units.parse("1 us", "seconds") / units.parse("1 ms", "seconds")


def custom(root: Path, engine: str) -> Iterator[Candidate]:
    """An engine's own all-reduce as it runs in a CUDA graph; it falls back to NCCL for large tensors by itself. TensorRT-LLM's name
    stands in some tables that were filed under another engine: they are its kernels, and are read as its own."""
    for path in versions(root, "comm", engine, "custom_allreduce"):
        frame = read_table(path, ("num_gpus", "message_size", "allreduce_dtype", "kernel_source"))
        if engine != "trtllm" and frame["kernel_source"].eq("TRTLLM").all():
            continue
        mine, dropped, bad = kept(
            frame, {"eager rows copy their input first": lambda f: f["kernel_source"].str.contains("eager")}
        )
        if len(mine):
            yield candidate("collective", {"what": "all_reduce", "backend": "custom"}, mine, _whole, path, dropped, bad)
