"""Torch sections of attention to picked keys: DSA, whose indexer picks keys for a query, and block-sparse attention, whose indexer picks blocks of keys for a head of keys and values.

Picked keys are gathered and multiplied a piece of the queries at a time. Most likely to be wrong: kernels read picked keys where they lie, where torch writes them side by side first. Sources: the blocks' own
(`simcost/blocks/attention/dsa.py`, `block_sparse.py`); Hugging Face `modeling_deepseek_v32.py`, `modeling_minimax_m3_vl.py` for the order.
"""

from __future__ import annotations

import torch

from simcost.blocks.attention.block_sparse import BlockSparse
from simcost.blocks.attention.dsa import DSA
from simcost.measure import torch_index as index
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers import attention, latent
from simcost.measure.torch_layers.section import (
    PICKED,
    Cache,
    Section,
    Site,
    Tensor,
    Tensors,
    Weights,
    inference,
    linear,
    narrow,
    whole,
)

_FP8 = torch.float8_e4m3fn


def dsa(block: DSA, at: Site) -> list[Section]:
    """Sections of DSA: MLA's projections, the indexer, the absorbed core over the picked keys, o_proj. A layer without an indexer reads random picks. Raises SpecError for a training step."""
    inference(at)
    k, scale, picked = at.key, float(block.qk_head_dim) ** -0.5, whole(block.index_topk, "index_topk")
    b, t, rank = at.batch, at.q_len, whole(block.kv_lora_rank, "kv_lora_rank")
    name, at.kit.core = _picks(at, picked), PICKED

    def attend(w: Weights, s: Tensors) -> None:
        query = torch.cat((s[k("q.absorbed")], s[k("q.rope")]), -1)
        query = query.view(b, t, -1, query.shape[-1]).transpose(1, 2)
        picks = s[name] if block.indexer else w[name]
        keys = s[k("latent")].unsqueeze(1)
        s[k("mixed")] = index.attention(query, keys, None, picks.unsqueeze(1), at.past, rank, scale, w.get(k("sinks")))

    found = [
        *latent.projections(block, at),
        *(_indexer(block, at, name, picked) if block.indexer else []),
        *latent.absorbed(block, at, "attention/sparse core", [Section("attention/sparse core/core", attend)]),
        *latent.leave(block, at),
    ]
    return found


def _picks(at: Site, picked: int) -> str:
    """Key of the picks [B, T, keys]; random ones stand among the shared tables for layers that another layer's indexer serves."""
    b, t, context = at.batch, at.q_len, at.past + at.q_len
    count = min(picked, context)

    def draw() -> Tensor:
        scores = torch.rand(b, t, context, generator=torch.Generator().manual_seed(0))
        return index.hidden(scores, at.past).topk(count, -1).indices.to(at.device)

    at.shared.setdefault("picks", (b * t * count * 4, draw))
    return "picks"


def _indexer(block: DSA, at: Site, picks: str, picked: int) -> list[Section]:
    """Queries from their latent, one key a token, weights of the heads; keys in fp8 with a scale each."""
    k, tag, source = at.key, "attention/indexer", at.flow.normed
    b, t, context = at.batch, at.q_len, at.past + at.q_len
    heads, d = whole(block.index_n_heads, "index_n_heads"), whole(block.index_head_dim, "index_head_dim")
    cos, sin = at.rope(min(whole(block.qk_rope_head_dim, "rope"), d))
    cached, scales = k("index keys"), k("index scales")
    at.caches |= {cached: Cache((b, context, d), _FP8), scales: Cache((b, context), torch.float32, 0.1, 1.0)}

    def norm(w: Weights, s: Tensors) -> None:
        gain, bias = torch.split(w[k("index_k_norm")], d)
        s[k("index key.normed")] = ops.norm(s[k("index key")], gain, bias, True)

    def rope(w: Weights, s: Tensors) -> None:
        both = torch.cat((s[k("index query")].view(-1, heads, d), s[k("index key.normed")].unsqueeze(1)), 1)
        s[k("index turned")] = ops.rope(both, w[cos], w[sin])

    def write(w: Weights, s: Tensors) -> None:
        rows, scale = narrow(s[k("index turned")].view(b, t, heads + 1, d))
        s[k("index narrow")], s[k("index scale")] = rows[:, :, :heads], scale[:, :, :heads]
        w[cached][:, context - t :].copy_(rows[:, :, heads])
        w[scales][:, context - t :].copy_(scale[:, :, heads])

    def score(w: Weights, s: Tensors) -> None:
        query, weight = s[k("index narrow")].to(at.dtype), s[k("index weights")].view(b, t, heads) * s[k("index scale")]
        s[k("scores")] = index.scores(query, w[cached], weight) * w[scales].unsqueeze(1)

    def pick(w: Weights, s: Tensors) -> None:
        s[picks] = index.hidden(s[k("scores")], at.past).topk(min(picked, context), -1, sorted=False).indices

    return [
        linear(at, f"{tag}/index_wq_b", "index_wq_b", k("q_a.normed"), k("index query")),
        linear(at, f"{tag}/index_wk", "index_wk", source, k("index key")),
        linear(at, f"{tag}/index_weights_proj", "index_weights_proj", source, k("index weights")),
        Section(f"{tag}/index k norm", norm),
        Section(f"{tag}/index rope", rope),
        Section(f"{tag}/index quantise + write", write),
        Section(f"{tag}/index scores", score),
        Section(f"{tag}/index top-k", pick),
    ]


def block_sparse(block: BlockSparse, at: Site) -> list[Section]:
    """Sections of block-sparse attention: those of GQA, the indexer after the norms, the core over the picked blocks. Raises SpecError for a training step."""
    inference(at)
    tag, picks, attend = _picked_core(block, at)
    return attention.gqa(block, at, attention.Inner(_block_indexer(block, at), tag, picks, attend))


def _block_indexer(block: BlockSparse, at: Site) -> list[Section]:
    """Queries of each head of keys and values, one key a token, both normed and rotated."""
    k, d, context = at.key, whole(block.index_head_dim, "index_head_dim"), at.past + at.q_len
    heads, cached = whole(block.index_heads(at.view.plan), "index heads"), k("index keys")
    turned = int(float(block.index_head_dim * block.rotary)) // 2 * 2
    cos, sin = at.rope(turned)
    at.caches[cached] = Cache((at.batch, context, d), torch.bfloat16)

    def norms(w: Weights, s: Tensors) -> None:
        gains = torch.split(w[k("index_k_norm")], d)
        query, key = (
            ops.norm(s[k(name)].view(-1, n, d), gain, None, False)
            for name, n, gain in zip(("index query", "index key"), (heads, 1), gains, strict=True)
        )
        s[k("index normed")] = torch.cat((query, key), 1)

    def rope(w: Weights, s: Tensors) -> None:
        s[k("index turned")] = ops.rope(s[k("index normed")], w[cos], w[sin])

    def write(w: Weights, s: Tensors) -> None:
        w[cached][:, context - at.q_len :].copy_(s[k("index turned")][:, heads].view(at.batch, at.q_len, d))

    return [
        linear(at, "attention/index_wq", "index_wq", at.flow.normed, k("index query")),
        linear(at, "attention/index_wk", "index_wk", at.flow.normed, k("index key")),
        Section("attention/index norms", norms),
        Section("attention/index rope", rope),
        Section("attention/index write", write),
    ]


def _picked_core(block: BlockSparse, at: Site) -> tuple[str, list[Section], attention.Attend]:
    """Scores of blocks, picks, write and core."""
    k, b, t, past = at.key, at.batch, at.q_len, at.past
    heads, size = (
        whole(block.index_heads(at.view.plan), "index heads"),
        whole(block.index_block_size, "index_block_size"),
    )
    blocks = whole(block.index_topk_blocks, "index_topk_blocks")
    at.kit.core, tag = PICKED, "attention/sparse core"

    def score(w: Weights, s: Tensors) -> None:
        query = s[k("index turned")][:, :heads].reshape(b, t, heads, -1)
        s[k("scores")] = index.block_scores(query, w[k("index keys")], size, past)

    def pick(w: Weights, s: Tensors) -> None:
        s[k("blocks")] = index.best_blocks(s[k("scores")], blocks, size, past)

    def attend(w: Weights, s: Tensors, query: Tensor, scale: float) -> Tensor:
        keys = index.keys_of(s[k("blocks")], size)
        return index.attention(query, s[k("K")], s[k("V")], keys, past, 0, scale, w.get(k("sinks")))

    return tag, [Section(f"{tag}/index scores", score), Section(f"{tag}/index top-k", pick)], attend
