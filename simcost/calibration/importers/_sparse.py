"""Sparse attention in the tables of `aiconfigurator-core`: the parts that are kernels (scores, picks, the core of a prompt). Whole modules, which hold projections too, are left out.

GLM-5's parts are of SGLang: 32 heads of the indexer, 2,048 picked keys, 64 heads of the core. The paged scores of one query are of DeepSeek-V4, whose keys stand for four tokens each. Most likely to
be wrong: how picks of real scores take longer, or less, than those of the flat ones that are read here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.candidate import Candidate
from simcost.calibration.importers._tables import candidate, kept, read_table, versions

_PICKED, _HEADS, _LATENT, _VALUE = 2048.0, 64.0, 576.0, 512.0  # GLM-5's core
_INDEX = {"glm5": 32.0, "dsv4": 64.0}  # heads of the indexer
_WIDTH, _RATIO = 128.0, 4.0  # width of an indexer's head; tokens for each of V4's keys
_COLUMNS = ("batch_size", "isl", "step", "kernel_source")
_ONE = "one query: another kernel would run"
_FEW = "fewer keys than are picked: nothing runs"
_PROMPTS: dict[str, Callable[[Any], Any]] = {_ONE: lambda f: f["isl"] == 1}
_PICKS: dict[str, Callable[[Any], Any]] = {
    _FEW: lambda f: f["step"] + f["isl"] <= _PICKED,
    "sorted scores": lambda f: f["score_mode"] != "flat",
}


def sparse(root: Path, engine: str) -> Iterator[Candidate]:
    """Scores, picks and cores of every table of an engine."""
    for path in versions(root, "sparse_attention", engine, "glm5_mqa_logits_module"):
        yield from _scores(path, "glm5", False)
    for path in versions(root, "sparse_attention", engine, "dsv4_paged_mqa_logits_module"):
        yield from _scores(path, "dsv4", True)
    for path in versions(root, "sparse_attention", engine, "glm5_topk_module"):
        mine, dropped, _ = kept(read_table(path, (*_COLUMNS, "score_mode")), _PICKS)
        yield candidate("index_topk", {"x": "fp32"}, mine, _picks, path, dropped)
    for path in versions(root, "sparse_attention", engine, "glm5_dsa_attn_module"):
        mine, dropped, _ = kept(read_table(path, _COLUMNS), _PROMPTS)
        labels = {"x": "bf16", "kv": "fp8", "compute": "bf16", "layout": "sparse", "scope": "core"}
        yield candidate("attention_prefill", labels, mine, _cores, path, dropped)


def hyper_connections(root: Path, engine: str) -> Iterator[Candidate]:
    """DeepSeek-V4's residual streams before and after a sublayer; a row is of `num_sites` of them."""
    for path in versions(root, "mhc", engine, "mhc_module"):
        frame = read_table(path, ("op_name", "num_tokens", "num_sites", "hc_mult", "hidden_size"))
        frame = frame.assign(latency=frame["latency"] / frame["num_sites"])
        for name, what in (("pre", "before"), ("post", "after")):
            mine = frame[frame["op_name"] == name]
            if len(mine):
                labels = {"what": f"hyper_connection_{what}", "x": "bf16", "out": "bf16"}
                yield candidate("stream", labels, mine, _streams(what == "before"), path)


def _streams(before: bool) -> Callable[[Any], Mapping[str, Any]]:
    def columns(f: Any) -> Mapping[str, Any]:
        m = f["hc_mult"]
        flops = 2.0 * m * (2.0 * m + m * m + 1.0) if before else 2.0 * m * (m + 1.0)
        moved = {"reads": m, "writes": 1.0} if before else {"reads": m + 1.0, "writes": m}
        return {"elements": f["num_tokens"] * f["hidden_size"], **moved, "flops": flops}

    return columns


def _scores(path: Path, model: str, paged: bool) -> Iterator[Candidate]:
    """Of one query where keys lie in pages, of prompts where they do not."""
    frame = read_table(path, _COLUMNS)
    mine = frame[(frame["isl"] == 1) == paged]

    def columns(f: Any) -> Mapping[str, Any]:
        keys = np.ceil((f["step"] + f["isl"]) / (_RATIO if paged else 1.0))
        past = np.maximum(keys - f["isl"], 0.0)
        return {"batch": f["batch_size"], "q_len": f["isl"], "past": past, "heads": _INDEX[model], "dim": _WIDTH}

    if len(mine):
        yield candidate("index_scores", {"x": "fp8", "keys": "paged" if paged else "plain"}, mine, columns, path)


def _picks(f: Any) -> Mapping[str, Any]:
    return {"batch": f["batch_size"], "q_len": f["isl"], "past": f["step"], "top_k": _PICKED}


def _cores(f: Any) -> Mapping[str, Any]:
    return {
        "batch": f["batch_size"], "q_len": f["isl"], "past": f["step"], "heads": _HEADS, "kv_heads": 1.0, "d_qk": _LATENT,
        "d_v": _VALUE, "window": _PICKED,
    }  # fmt: skip
