"""Torch sections of attention over one vector a token that is key and value of all heads (DeepSeek-V4): its window, and entries that stand for several tokens, all of them (HCA) or picked by an indexer (CSA).

Window and entries lie in one cache, one behind the other. The indexer's keys are kept in fp8 with a scale each, as engines do where no kernel reads MXFP4. Most likely to be wrong: a decode step closes a window of 4
or 128 tokens at one position in 4 or 128, and is measured where it stands; engines also turn the rotary part of the output back, in the kernel of the core. Sources: the block's own
(`simcost/blocks/attention/compressed.py`); Hugging Face `modeling_deepseek_v4.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from simcost.blocks.attention.compressed import CompressedAttention
from simcost.measure import torch_index as index
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers.section import (
    LATENT_CPU,
    PICKED,
    SINKS,
    Cache,
    Run,
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
from simcost.ops.attention_core import Mask

_FP8 = torch.float8_e4m3fn
_NEVER = float("-inf")


def compressed(block: CompressedAttention, at: Site) -> list[Section]:
    """Sections of the layer: down to the queries' latent and the key, up to the heads, norms and rope, write, entries and their picks, core with sinks, and the output in groups of low rank. Raises SpecError
    for a training step of a layer that picks entries."""
    k, ratio = at.key, whole(block.compress_ratio, "compress_ratio")
    window, rank = Mask(window=block.window), whole(block.q_lora_rank, "q_lora_rank")
    d, groups = whole(block.head_dim, "head_dim"), whole(block.o_groups / at.view.plan.tp, "o_groups")
    keys, entries = at.keys(window), (at.past + at.q_len) // ratio if ratio else 0
    if block.indexer:
        inference(at)
    else:
        at.hides(window)
    if not at.training:
        at.caches[k("latent")] = Cache((at.batch, keys + entries, d))

    def norms(w: Weights, s: Tensors) -> None:
        query, key = torch.split(s[k("a")], [rank, d], -1)
        s[k("q_a.normed")] = ops.norm(query, w[k("q_a_norm")], None, False)
        s[k("key.normed")] = ops.norm(key, w[k("kv_norm")], None, False)

    def grouped(w: Weights, s: Tensors) -> None:
        parts = torch.unflatten(s[k("core")], -1, (groups, -1)).transpose(0, 1)
        s[k("low")] = torch.bmm(parts, w[k("o_a_proj")].transpose(1, 2)).transpose(0, 1).flatten(1)

    at.flow.pending.append(k("out"))
    return [
        linear(at, "attention/qkv_a_proj", "qkv_a_proj", at.flow.normed, k("a")),
        Section("attention/latent norms", norms),
        linear(at, "attention/q_b_proj", "q_b_proj", k("q_a.normed"), k("query")),
        Section("attention/q norm + rope", _rope(block, at)),
        Section("attention/key rope + write", _write(at, keys, d)),
        *(_compression(block, at, ratio, keys) if ratio else []),
        *(_picks(block, at, ratio, entries) if block.indexer else []),
        Section("attention/core", (_picked if block.indexer else _all)(block, at, keys, entries, ratio)),
        Section("attention/o_a_proj", grouped),
        linear(at, "attention/o_b_proj", "o_b_proj", k("low"), k("out")),
    ]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The last elements of x [..., d] rotated by tables of their width."""
    width = cos.shape[-1]
    return torch.cat((x[..., :-width], ops.rope(x[..., -width:], cos, sin)), -1)


def _rope(block: CompressedAttention, at: Site) -> Run:
    k, d, (cos, sin) = at.key, whole(block.head_dim, "head_dim"), at.rope(whole(block.rotary_dim, "rope"))

    def run(w: Weights, s: Tensors) -> None:
        query = ops.norm(s[k("query")].view(at.rows, -1, d), None, None, False)
        s[k("turned")] = _turned(torch.cat((query, s[k("key.normed")].unsqueeze(1)), 1), w[cos], w[sin])

    return run


def _write(at: Site, keys: int, d: int) -> Run:
    k, latent = at.key, at.key("latent")

    def run(w: Weights, s: Tensors) -> None:
        new = s[k("turned")][:, -1].view(at.batch, at.q_len, d)
        if latent in w:
            w[latent][:, keys - at.q_len : keys].copy_(new)
            s[k("keys")] = w[latent]
        else:
            s[k("window")] = s[k("keys")] = new

    return run


def _compression(block: CompressedAttention, at: Site, ratio: int, keys: int) -> list[Section]:
    """Both products of the compressors, the indexer's queries and weights, and the entries of the windows that end here."""
    k, tag, source, rows = at.key, "attention/compression", at.flow.normed, at.rows
    found = [linear(at, f"{tag}/compressor", "compressor", source, k("entering"))]
    if block.indexer:
        heads, width = whole(block.index_n_heads, "index_n_heads"), whole(block.index_head_dim, "index_head_dim")
        cos, sin = at.rope(min(whole(block.rotary_dim, "rope"), width))

        def quantise(w: Weights, s: Tensors) -> None:
            query = _turned(s[k("index query")].view(rows, heads, width), w[cos], w[sin])
            s[k("index narrow")], s[k("index scale")] = narrow(query.view(at.batch, at.q_len, heads, width))

        found += [
            linear(at, f"{tag}/index_compressor", "index_compressor", source, k("index entering")),
            linear(at, f"{tag}/index_wq_b", "index_wq_b", k("q_a.normed"), k("index query")),
            linear(at, f"{tag}/index_weights_proj", "index_weights_proj", source, k("index weights")),
            Section(f"{tag}/index rope + quantise", quantise),
        ]
    return [*found, Section(f"{tag}/compress + write", _entries(block, at, ratio, keys))]


def _entries(block: CompressedAttention, at: Site, ratio: int, keys: int) -> Run:
    """Of every window that ends here one entry, and one key of the indexer; what is left waits in buffers."""
    k, d, first = at.key, whole(block.head_dim, "head_dim"), at.past // ratio
    make = _compressor(block, at, ratio, d, "", first)
    make_index = _compressor(block, at, ratio, whole(block.index_head_dim, "d"), "index ", first) if block.indexer else None  # fmt: skip

    def run(w: Weights, s: Tensors) -> None:
        found = make(w, s)
        if at.training:
            s[k("keys")] = torch.cat((s[k("window")], found), 1)
        else:
            w[k("latent")][:, keys + first :].copy_(found)
        if make_index is not None:
            keys_, scales = narrow(make_index(w, s))
            w[k("index keys")][:, first:].copy_(keys_)
            w[k("index scales")][:, first:].copy_(scales)

    return run


def _compressor(
    block: CompressedAttention, at: Site, ratio: int, d: int, whose: str, first: int
) -> Callable[[Weights, Tensors], Tensor]:
    """A function that makes the entries [B, windows, d] of the windows that end here, the first of them number `first`: of each element the mean of its tokens, by the softmax of gates and the position's bias. An
    indexer's windows overlap: half of what a token enters goes to the entry after its own."""
    k, lead, wide = at.key, at.past % ratio, 2 if block.indexer else 1
    names = ("index_bias", "index_norm") if whose else ("compressor_bias", "compressor_norm")
    source, buffer, (bias, gain) = k(f"{whose}entering"), k(f"{whose}buffer"), (k(name) for name in names)
    windows, back = (lead + at.q_len) // ratio, ratio * (wide - 1)
    cos, sin = _positions(at, min(whole(block.rotary_dim, "rope"), d), ratio, first, windows)
    if not at.training:
        at.caches[buffer] = Cache((at.batch, wide * ratio, 2 * wide * d), torch.float32)

    def rows(w: Weights, s: Tensors) -> tuple[Tensor, Tensor]:
        """Values and gates of the window before, of what waits, and of the new tokens."""
        fresh = s[source].view(at.batch, at.q_len, -1).float()
        held = 0 if buffer not in w else (back if first else 0) + lead
        if held:
            fresh = torch.cat((w[buffer][:, back + lead - held : back + lead], fresh), 1)
        missing = (0, 0, 0 if first else back, 0)  # nothing stands before the first window
        value, gate = torch.chunk(fresh, 2, -1)
        return F.pad(value, missing), F.pad(gate, missing, value=_NEVER)

    def run(w: Weights, s: Tensors) -> Tensor:
        value, gate = rows(w, s)
        if buffer in w:
            rest = value.shape[1] - windows * ratio
            w[buffer][:, :rest].copy_(torch.cat((value, gate), -1)[:, windows * ratio :])
        used = back + windows * ratio
        value = torch.unflatten(value[:, :used], 1, (-1, ratio))
        gate = torch.unflatten(gate[:, :used], 1, (-1, ratio)) + w[bias].view(ratio, -1).float()
        if wide > 1:
            value, gate = (torch.cat((x[:, :-1, :, :d], x[:, 1:, :, d:]), 2) for x in (value, gate))
        mean = (value * torch.softmax(gate, 2)).sum(2).to(at.dtype)
        return _turned(ops.norm(mean, w[gain], None, False).unsqueeze(2), w[cos], w[sin]).squeeze(2)

    return run


def _positions(at: Site, width: int, ratio: int, first: int, windows: int) -> tuple[str, str]:
    """Keys of the cosine and sine tables of the entries that are made: of the first token of each window."""
    names = f"cos.{width}.{ratio}", f"sin.{width}.{ratio}"

    def table(which: int) -> Tensor:
        length = (first + windows) * ratio
        return ops.rope_tables(length, width, at.device, at.dtype)[which][first * ratio :: ratio]

    for which, name in enumerate(names):
        at.shared.setdefault(name, (windows * width, lambda which=which: table(which)))  # type: ignore[misc]
    return names


def _seen(at: Site, entries: int, ratio: int) -> Tensor:
    """Whether the window of an entry has ended when a query comes: [T, entries]."""
    ended = torch.arange(at.past + 1, at.past + at.q_len + 1, device=at.device).div(ratio, rounding_mode="floor")
    return torch.arange(entries, device=at.device) < ended.unsqueeze(1)


def _picks(block: CompressedAttention, at: Site, ratio: int, entries: int) -> list[Section]:
    """Scores of the entries by the indexer, and the best of those that a query may see; -1 where there are fewer."""
    k, b, t = at.key, at.batch, at.q_len
    heads, d = whole(block.index_n_heads, "index_n_heads"), whole(block.index_head_dim, "index_head_dim")
    cached, scales, count = k("index keys"), k("index scales"), min(whole(block.index_topk, "index_topk"), entries)
    at.caches |= {cached: Cache((b, entries, d), _FP8), scales: Cache((b, entries), torch.float32, 0.1, 1.0)}

    def score(w: Weights, s: Tensors) -> None:
        weight = s[k("index weights")].view(b, t, heads) * s[k("index scale")]
        s[k("scores")] = index.scores(s[k("index narrow")].to(at.dtype), w[cached], weight) * w[scales].unsqueeze(1)

    def pick(w: Weights, s: Tensors) -> None:
        found = s[k("scores")]
        if t > 1:  # the last query sees every entry
            found = found.masked_fill(~_seen(at, entries, ratio), _NEVER)
        best = found.topk(count, -1, sorted=False)
        s[k("picks")] = best.indices.masked_fill(best.values == _NEVER, -1)

    return [Section("attention/index scores", score), Section("attention/index top-k", pick)]


def _picked(block: CompressedAttention, at: Site, keys: int, entries: int, ratio: int) -> Run:
    """Over the window's keys and the picked entries of each query."""
    k, t, d, window = at.key, at.q_len, whole(block.head_dim, "head_dim"), whole(block.window, "sliding_window")
    at.kit.core = PICKED

    def run(w: Weights, s: Tensors) -> None:
        query = s[k("turned")][:, :-1].view(at.batch, t, -1, d).transpose(1, 2)
        own = torch.arange(keys - t, keys, device=at.device).unsqueeze(1)
        near = own - torch.arange(min(window, keys), device=at.device)
        near = near.clamp(min=-1).expand(at.batch, -1, -1)
        far = s[k("picks")]
        picks = torch.cat((near, torch.where(far < 0, far, far + keys)), -1).unsqueeze(1)
        behind = keys + entries  # no position: every key that stands in the picks is seen
        out = index.attention(query, s[k("keys")].unsqueeze(1), None, picks, behind, d, d**-0.5, w[k("sinks")])
        s[k("core")] = out.transpose(1, 2).reshape(at.rows, -1)

    return run


def _all(block: CompressedAttention, at: Site, keys: int, entries: int, ratio: int) -> Run:
    """Over the window's keys and all entries whose windows have ended."""
    k, t, d = at.key, at.q_len, whole(block.head_dim, "head_dim")
    mask, causal = at.masking
    if entries and t > 1:
        mask, causal, window = f"mask.{keys}.{entries}", False, whole(block.window, "sliding_window")

        def table() -> Tensor:
            near = ops.lower_right(t, keys, at.device, at.dtype, window)
            far = torch.zeros(t, entries, device=at.device, dtype=at.dtype)
            return torch.cat((near, far.masked_fill(~_seen(at, entries, ratio), _NEVER)), 1)

        at.shared.setdefault(mask, (t * (keys + entries), table))

    def run(w: Weights, s: Tensors) -> None:
        query = s[k("turned")][:, :-1].view(at.batch, t, -1, d).transpose(1, 2)
        at.kit.core = LATENT_CPU if ops.takes_latent_sinks(query) else SINKS
        hides = w[mask] if mask else None
        out: Tensor = ops.latent_attention(query, s[k("keys")], d, hides, causal, d**-0.5, w[k("sinks")])
        s[k("core")] = out.transpose(1, 2).reshape(at.rows, -1)

    return run
