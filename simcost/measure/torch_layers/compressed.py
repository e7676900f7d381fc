"""Torch sections of attention over one vector a token that is key and value of all heads: DeepSeek-V4's window layers.

Most likely to be wrong: engines also turn the rotary part of the output back, in the kernel of the core. Sources: the block's own (`simcost/blocks/attention/compressed.py`); Hugging Face `modeling_deepseek_v4.py`.
"""

from __future__ import annotations

import torch

from simcost.blocks.attention.compressed import WindowMQA
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers.section import (
    LATENT_CPU,
    SINKS,
    Cache,
    Section,
    Site,
    Tensor,
    Tensors,
    Weights,
    linear,
    whole,
)


def window_mqa(block: WindowMQA, at: Site) -> list[Section]:
    """Sections of the layer: down to the queries' latent and the key, up to the heads, norms and rope, write, core with sinks, and the output in groups of low rank."""
    k, b, t = at.key, at.batch, at.q_len
    rank, d, turned = (whole(n, "width") for n in (block.q_lora_rank, block.head_dim, block.rotary_dim))
    groups, keys = whole(block.o_groups / at.view.plan.tp, "o_groups"), at.keys(block.mask)
    at.hides(block.mask)
    (mask, causal), (cos, sin), latent = at.masking, at.rope(turned), k("latent")
    if not at.training:
        at.caches[latent] = Cache((b, keys, d))

    def norms(w: Weights, s: Tensors) -> None:
        query, key = torch.split(s[k("a")], [rank, d], -1)
        s[k("q_a.normed")] = ops.norm(query, w[k("q_a_norm")], None, False)
        s[k("key.normed")] = ops.norm(key, w[k("kv_norm")], None, False)

    def rope(w: Weights, s: Tensors) -> None:
        query = ops.norm(s[k("query")].view(b * t, -1, d), None, None, False)
        both = torch.cat((query, s[k("key.normed")].unsqueeze(1)), 1)
        s[k("turned")] = torch.cat((both[..., :-turned], ops.rope(both[..., -turned:], w[cos], w[sin])), -1)

    def write(w: Weights, s: Tensors) -> None:
        new = s[k("turned")][:, -1].view(b, t, d)
        if latent in w:
            w[latent][:, keys - t :].copy_(new)
            s[latent] = w[latent]
        else:
            s[latent] = new

    def core(w: Weights, s: Tensors) -> None:
        query = s[k("turned")][:, :-1].view(b, t, -1, d).transpose(1, 2)
        at.kit.core = LATENT_CPU if ops.takes_sinks(query) else SINKS
        hides = w[mask] if mask else None
        out: Tensor = ops.latent_attention(query, s[latent], d, hides, causal, d**-0.5, w[k("sinks")])
        s[k("core")] = out.transpose(1, 2).reshape(b * t, -1)

    def grouped(w: Weights, s: Tensors) -> None:
        parts = torch.unflatten(s[k("core")], -1, (groups, -1)).transpose(0, 1)
        s[k("low")] = torch.bmm(parts, w[k("o_a_proj")].transpose(1, 2)).transpose(0, 1).flatten(1)

    at.flow.pending.append(k("out"))
    return [
        linear(at, "attention/qkv_a_proj", "qkv_a_proj", at.flow.normed, k("a")),
        Section("attention/latent norms", norms),
        linear(at, "attention/q_b_proj", "q_b_proj", k("q_a.normed"), k("query")),
        Section("attention/q norm + rope", rope),
        Section("attention/key rope + write", write),
        Section("attention/core", core),
        Section("attention/o_a_proj", grouped),
        linear(at, "attention/o_b_proj", "o_b_proj", k("low"), k("out")),
    ]
