"""What the tests of families share: labels that every family knows, and numbers that make a kernel together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Labels = dict[str, str]


def labelled(names: str, *rows: str) -> list[Labels]:
    """Labels by name: rows of words."""
    return [dict(zip(names.split(), row.split(), strict=True)) for row in rows]


PRODUCTS = ("bf16 bf16 bf16", "fp16 fp16 fp16", "fp32 fp32 tf32", "bf16 fp8 fp8", "bf16 fp8_block fp8_block",
            "fp8 fp8 fp8", "bf16 int4 bf16", "bf16 mxfp4 bf16", "nvfp4 nvfp4 nvfp4")  # fmt: skip
CORES = [f"{formats} {layout}" for formats in ("bf16 bf16 bf16", "bf16 fp8 bf16", "bf16 fp8 fp8")
         for layout in ("gqa", "window", "mla", "latent", "sparse")]  # fmt: skip
SCOPED = [f"{row} {scope}" for row in CORES for scope in ("core", "write")]
KINDS: dict[str, list[Labels]] = {
    "gemm": labelled("x w compute", *PRODUCTS),
    "batched_gemm": labelled("x w compute", *(row for row in PRODUCTS if not row.startswith("bf16 fp8"))),
    "gemm_variant": labelled("what x w compute", *(f"{what} {row}" for what in ("input", "weight") for row in PRODUCTS)),
    "grouped_gemm": labelled("x w compute", *PRODUCTS),
    "grouped_weight_grad": labelled("x out compute", "bf16 bf16 bf16", "bf16 fp32 bf16", "fp8 bf16 fp8"),
    "experts": labelled("x w compute gated", *(f"{row} {gate}" for row in PRODUCTS if row != "fp8 fp8 fp8"
                                               and "nvfp4" not in row for gate in ("gated", "plain"))),
    "attention_prefill": labelled("x kv compute layout scope", *SCOPED),
    "attention_decode": labelled("x kv compute layout scope", *SCOPED),
    "attention_backward": labelled("x kv compute layout", *CORES),
    "gather": labelled("w out", "bf16 bf16", "fp8 bf16", "fp32 fp16"),
    "permute": labelled("what x", "permute bf16", "combine bf16", "permute fp8_block"),
    "router": labelled("scoring", "softmax", "sigmoid"),
    "stream": labelled("what x out", "norm bf16 bf16", "cache_write bf16 fp8", "quantise bf16 fp8_block",
                       "norm_backward bf16 bf16", "adamw_fused fp32 fp32"),
    "recurrent_prefill": labelled("rule x", "gated_delta bf16", "kda bf16", "ssd bf16", "lightning fp16", "selective_scan bf16"),
    "recurrent_decode": labelled("rule x state", "gated_delta bf16 fp32", "ssd bf16 bf16", "kda bf16 fp32", "lightning fp16 fp32",
                                 "selective_scan bf16 fp32"),
    "index_scores": labelled("x keys", "fp8 paged", "fp8 plain", "bf16 plain"),
    "block_scores": labelled("x", "bf16", "fp8"),
    "index_topk": labelled("x", "fp32"),
    "block_topk": labelled("x", "fp32"),
    "causal_conv": labelled("x state", "bf16 bf16", "bf16 fp32", "fp16 fp16"),
    "exchange": labelled("mode direction reach", *(f"{m} {d} {r}" for m in ("normal", "low_latency", "nvlink")
                                                   for d in ("dispatch", "combine") for r in ("node", "nodes"))),
    "collective": labelled("what backend", "all_reduce custom", "all_gather nccl", "reduce_scatter nccl",
                           "all_to_all nccl", "p2p nccl"),
}  # fmt: skip
COUNT, FEW, SHARE = st.integers(1, 4096), st.integers(1, 16), st.floats(0.25, 8.0)


def every_kind() -> Iterator[tuple[str, Labels]]:
    for family, kinds in KINDS.items():
        for labels in kinds:
            yield family, labels


@st.composite
def cores(draw: st.DrawFn, family: str, labels: Labels) -> dict[str, float]:
    """Cores of a layout; of one query for decode, of more for the others, of many over a latent."""
    layout, group = labels["layout"], draw(FEW)
    latent = layout in ("latent", "sparse")
    kv = 1 if latent else draw(FEW)
    d_qk, d_v = {"latent": (576, 512), "sparse": (576, 512), "mla": (192, 128)}.get(layout, (128, 128))
    q_len = 1 if family == "attention_decode" else draw(st.integers(65 if latent else 2, 4096))
    past = draw(st.integers(0, 4096))
    window = draw(st.integers(1, past + q_len)) if layout in ("window", "sparse") else 0
    return {"batch": draw(FEW), "q_len": q_len, "past": past, "heads": kv * group, "kv_heads": kv, "d_qk": d_qk,
            "d_v": d_v, "window": window}  # fmt: skip


@st.composite
def numbers(draw: st.DrawFn, family: str, labels: Labels) -> dict[str, float]:
    """Numbers of one row of a family."""
    found: dict[str, Any]
    if family.startswith("attention"):
        found = draw(cores(family, labels))
    elif family in ("gemm", "batched_gemm", "gemm_variant"):
        batch = draw(st.integers(2, 128)) if family == "batched_gemm" else 1
        found = {"batch": batch, "m": draw(COUNT), "n": draw(COUNT), "k": draw(COUNT)}
    elif family in ("grouped_gemm", "grouped_weight_grad"):
        touched = draw(FEW)
        found = {"rows": touched + draw(COUNT), "touched": touched, "n": draw(COUNT), "k": draw(COUNT)}
        if family == "grouped_gemm":
            found = {**found, "experts": touched + draw(FEW), "load": 1.0 + draw(SHARE)}
    elif family == "experts":
        tokens, top_k = draw(COUNT), draw(FEW)
        found = {"tokens": tokens, "copies": tokens * top_k, "touched": top_k, "experts": top_k + draw(FEW),
                 "hidden": draw(COUNT), "width": draw(COUNT), "load": 1.0 + draw(SHARE)}  # fmt: skip
    elif family == "permute":
        tokens = draw(COUNT)
        found = {"tokens": tokens, "copies": tokens * draw(FEW), "width": draw(COUNT)}
    elif family == "router":
        groups, opened = draw(FEW), draw(FEW)
        found = {"tokens": draw(COUNT), "experts": groups * 16, "top_k": draw(FEW), "groups": groups,
                 "topk_groups": min(opened, groups)}  # fmt: skip
    elif family == "exchange":
        nodes = 1 if labels["reach"] == "node" else draw(st.integers(2, 8))
        found = {"tokens": draw(COUNT), "width": draw(SHARE) * 1000, "near": draw(SHARE), "far": draw(SHARE) * (nodes > 1),
                 "group": 8 * nodes, "nodes": nodes, "sms": draw(FEW)}  # fmt: skip
    elif family == "stream":
        found = {"elements": draw(COUNT), "reads": draw(st.integers(0, 4)), "writes": draw(st.integers(0, 3)),
                 "flops": draw(st.integers(0, 12))}  # fmt: skip
    elif family in ("recurrent_prefill", "recurrent_decode"):
        key_heads = draw(FEW)
        found = {"batch": draw(FEW), "q_len": draw(st.integers(2, 4096)), "heads": key_heads * draw(FEW), "key_heads": key_heads,
                 "d_k": draw(FEW) * 16, "d_v": draw(FEW), "chunk": 64}  # fmt: skip
        if family == "recurrent_decode":
            found = {name: value for name, value in found.items() if name not in ("q_len", "chunk")}
    elif family in ("index_scores", "block_scores", "index_topk", "block_topk"):
        found = {"batch": draw(FEW), "q_len": draw(FEW), "past": draw(st.integers(0, 4096))}
        found |= {"top_k": draw(COUNT)} if family.endswith("topk") else {"heads": draw(FEW), "dim": draw(COUNT)}
        found |= {"heads": draw(FEW)} if family == "block_topk" else {}
        found |= {"block": draw(FEW)} if family.startswith("block") else {}
    elif family == "causal_conv":
        found = {"batch": draw(FEW), "q_len": draw(COUNT), "channels": draw(COUNT), "width": draw(st.integers(2, 8))}
    elif family == "gather":
        found = {"rows": draw(COUNT), "width": draw(COUNT)}
    else:
        found = {"bytes": draw(SHARE) * 1e6, "group": draw(st.integers(2, 72))}
    return {name: float(value) for name, value in found.items()}
