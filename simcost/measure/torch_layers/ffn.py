"""Torch sections of norms and feed-forward layers: dense, experts with their router, permutation and combination, and both side by side (Gemma 4).

Most likely to be wrong: routers of random weights spread tokens about evenly, trained ones less so. Sources: the blocks'
own (`simcost/blocks/ffn`, `norm`); dropless experts as in arXiv 2211.15841.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.dense_beside_experts import ScaledMoE
from simcost.blocks.ffn.gaussian_topk import GaussianTopK
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.ffn.zero_experts import ZeroExperts
from simcost.blocks.norm.norm import Norm
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers.section import Section, Site, Tensors, Weights, linear, norm_of, whole

_DEVIATIONS = 1.6448536269514722  # the normal distribution's quantile of 0.95, Gemma 3n's share


def norm(block: Norm, at: Site) -> list[Section]:
    """The residual stream plus all branch outputs that wait, and its norm; or the norm of one branch output, or of what enters a sublayer."""
    if isinstance(at.neighbour(1), ScaledMoE):
        return [_norm_before(block, at)]
    if isinstance(at.neighbour(-1), ScaledMoE):
        return [_norm_behind(block, at)]
    flow, gain, out = at.flow, at.key(block.name), at.key("normed")
    mean, vectors = block.vectors != 1.0, int(block.vectors)
    residual, pending, total = flow.residual, tuple(flow.pending), at.key("residual")
    width = whole(block.width, "hidden_size")
    entering, flow.entering = flow.entering, ""
    if not block.residual and not flow.pending and not entering:
        raise SpecError(f"{at.spec.name}: no torch block for this layer yet: {block.name} follows no branch")
    if not block.residual:
        pending, residual = (), entering or flow.pending[-1]

    def run(w: Weights, s: Tensors) -> None:
        x = s[residual]
        for name in pending:
            x = x + s[name]
        s[total] = x
        weight = w[gain][:width] if vectors else None
        bias = w[gain][width:] if vectors > 1 else None
        s[out] = ops.norm(x, weight, bias, mean)

    if block.residual:
        flow.residual, flow.pending, flow.normed = total, [], out
    elif entering:
        flow.normed = out
    else:
        flow.pending[-1] = out
    return [Section(block.name, run)]


def _norm_before(block: Norm, at: Site) -> Section:
    """Of the residual stream, while the dense branch waits: what the experts read, and what their router does, by scales of its own."""
    flow, k, width = at.flow, at.key, whole(block.width, "hidden_size")
    source, scale = flow.residual, f"{int(at.prefix) + 1}.router_scale"
    flow.normed, flow.routing = k("normed"), k("routing")

    def run(w: Weights, s: Tensors) -> None:
        plain = ops.norm(s[source], None, None, False)
        s[k("normed")] = plain * w[k(block.name)]
        s[k("routing")] = plain * (w[scale][:width] * width**-0.5)

    return Section(block.name, run)


def _norm_behind(block: Norm, at: Site) -> Section:
    """Of the experts' output, and the sum of both branches, which waits."""
    k, (*before, dense, experts) = at.key, at.flow.pending
    at.flow.pending = [*before, k("both")]

    def run(w: Weights, s: Tensors) -> None:
        s[k("both")] = s[dense] + ops.norm(s[experts], w[k(block.name)], None, False)

    return Section(block.name, run)


def dense(block: Dense, at: Site) -> list[Section]:
    """Sections of a dense FFN: gate_up_proj or up_proj, the cutoff of its gate where there is one, activation, down_proj. Its output
    waits to be added to the residual stream."""
    k, bias = at.key, block.bias
    up = "gate_up_proj" if block.gated else "up_proj"
    found = [
        linear(at, f"ffn/{up}", up, at.flow.normed, k("up"), "up_bias" if bias else ""),
        *(
            _cut(at)
            if isinstance(block, GaussianTopK)
            else [activation("ffn/activation", k("up"), k("inner"), block.gated)]
        ),
        linear(at, "ffn/down_proj", "down_proj", k("inner"), k("out"), "down_bias" if bias else ""),
    ]
    at.flow.pending.append(k("out"))
    return found


def _cut(at: Site) -> list[Section]:
    """Of a row of the gate what exceeds its mean and 1.64 deviations, less that; and its activation."""
    up, kept, inner = at.key("up"), at.key("kept"), at.key("inner")

    def cut(w: Weights, s: Tensors) -> None:
        gate = torch.chunk(s[up], 2, -1)[0]
        limit = gate.mean(-1, keepdim=True) + _DEVIATIONS * gate.std(-1, keepdim=True, correction=0)
        s[kept] = torch.relu(gate - limit)

    def activate(w: Weights, s: Tensors) -> None:
        s[inner] = F.silu(s[kept]) * torch.chunk(s[up], 2, -1)[1]

    return [Section("ffn/gaussian top-k", cut), Section("ffn/activation", activate)]


def activation(name: str, source: str, out: str, gated: bool) -> Section:
    """The gate's activation times the rest of a value, or the activation alone."""

    def run(w: Weights, s: Tensors) -> None:
        s[out] = ops.activation(s[source], gated)

    return Section(name, run)


def moe(block: MoE, at: Site) -> list[Section]:
    """Sections of router, top-k, experts and, where the layer has them, shared experts. Raises SpecError for ep above 1."""
    k, plan, source = at.key, at.view.plan, at.flow.normed
    if float(plan.ep) != 1.0:
        raise SpecError(f"{at.spec.name}: experts of one device only (ep = {float(plan.ep):.0f})")
    logits, router_bias = k("logits"), "router_bias" if block.router_bias else ""
    routing = at.flow.routing if isinstance(block, ScaledMoE) else source
    found = [linear(at, "moe/router", "router", routing, logits, router_bias), _top_k(block, at)]
    found += _routed(block, at, source)
    if block.has_shared:
        found += _shared(block, at, source)
    at.flow.pending.append(k("out"))
    return found


def zero_experts(block: ZeroExperts, at: Site) -> list[Section]:
    """As experts; the token itself by the weights of its zero experts, and a shortcut's sum, which joins the residual stream here. A token meets as many real experts as it does on average."""
    k, flow, source = at.key, at.flow, at.flow.normed
    at.path = "zero experts/"
    found = [
        one if one.name.startswith(at.path) else Section(f"{at.path}{one.name}", one.run, one.splits)
        for one in moe(block, at)
    ]
    out = flow.pending.pop()

    def add(w: Weights, s: Tensors) -> None:
        s[k("both")] = s[k("out")] + s[k("zero weight")] * s[source]

    if float(block.zero_experts) > 0.0:
        found.append(Section(f"{at.path}zero experts", add))
        out = k("both")
    if not block.shortcut:
        flow.pending.append(out)
        return found
    stream, flow.residual = flow.residual, k("stream")

    def join(w: Weights, s: Tensors) -> None:
        s[k("stream")] = s[stream] + s[out]

    return [*found, Section(f"{at.path}add shortcut", join)]


def _top_k(block: MoE, at: Site) -> Section:
    if isinstance(block, ZeroExperts):
        return _top_k_of_both(block, at)
    logits, weights, chosen = (at.key(name) for name in ("logits", "weights", "chosen"))
    correction, top_k = at.key("correction_bias"), int(block.num_experts_per_tok)
    groups, limit = int(block.n_group), int(block.topk_group)
    scale, first = at.key("router_scale"), whole(block.hidden_size, "hidden_size")

    def run(w: Weights, s: Tensors) -> None:
        s[weights], s[chosen] = ops.route(s[logits], top_k, block.scoring_func, groups, limit, w.get(correction))
        if scale in w:  # of each expert (Gemma 4)
            s[weights] = s[weights] * w[scale][first:][s[chosen]]

    return Section("moe/top-k", run)


def _top_k_of_both(block: ZeroExperts, at: Site) -> Section:
    """The best of the real experts and the best of the zero experts, weighted together."""
    k, correction = at.key, at.key("correction_bias")
    real, top_k, zero = whole(block.n_routed_experts, "experts"), int(block.num_experts_per_tok), int(block.picks)
    zero -= top_k

    def run(w: Weights, s: Tensors) -> None:
        logits = s[k("logits")].float()
        scores = torch.softmax(logits, -1) if block.scoring_func == "softmax" else torch.sigmoid(logits)
        choice = scores + w[correction].float() if correction in w else scores
        s[k("chosen")] = choice[:, :real].topk(top_k, -1).indices
        away = choice[:, real:].topk(zero, -1).indices + real
        weights = scores.gather(1, torch.cat((s[k("chosen")], away), 1))
        weights = weights / weights.sum(-1, keepdim=True)
        s[k("weights")] = weights[:, :top_k]
        s[k("zero weight")] = weights[:, top_k:].sum(-1, keepdim=True).to(at.dtype)

    return Section("moe/top-k", run)


def _routed(block: MoE, at: Site, source: str) -> list[Section]:
    """The experts, between the projections to the latent and back where they see one."""
    k, out = at.key, at.key("routed" if block.has_shared else "out")
    if block.moe_latent_size is None:
        return _experts(block, at, source, out)
    back, normed = k("latent.back"), k("latent.normed")
    found = [linear(at, "moe/latent_down", "latent_down", source, k("latent")), *_experts(block, at, k("latent"), back)]
    if block.latent_norm:
        width = whole(block.moe_latent_size, "moe_latent_size")
        found.append(norm_of(at, "latent_norm", back, slice(0, width), normed, "moe/latent norm"))
    return [*found, linear(at, "moe/latent_up", "latent_up", normed if block.latent_norm else back, out)]


def _experts(block: MoE, at: Site, source: str, out: str) -> list[Section]:
    k, experts, top_k = at.key, whole(block.n_routed_experts, "experts"), int(block.num_experts_per_tok)
    weights, chosen, back, ends, copies = (k(name) for name in ("weights", "chosen", "back", "ends", "copies"))
    down = k("down")

    def permute(w: Weights, s: Tensors) -> None:
        order, s[back], s[ends] = ops.expert_order(s[chosen], experts)
        s[copies] = s[source].index_select(0, order // top_k)

    def combine(w: Weights, s: Tensors) -> None:
        s[out] = ops.unpermute(s[down], s[back], s[weights])

    return [
        Section("moe/experts/permute", permute),
        _grouped(block, at, "experts_up", copies, k("up")),
        activation("moe/experts/activation", k("up"), k("inner"), block.gated),
        _grouped(block, at, "experts_down", k("inner"), down),
        Section("moe/experts/unpermute", combine),
    ]


def _grouped(block: MoE, at: Site, name: str, source: str, out: str) -> Section:
    kit, weight, ends, chosen, offset = at.kit, at.key(name), at.key("ends"), at.key("chosen"), at.key("expert_bias")
    section = f"{at.path}moe/experts/{name}"
    up = whole(block.moe_intermediate_size / at.view.plan.expert_slices, "width") * (2 if block.gated else 1)
    part = slice(0, up) if name == "experts_up" else slice(up, None)

    def run(w: Weights, s: Tensors) -> None:
        y = kit.grouped(section, s[source], w[weight], s[ends])
        if offset in w:
            y = y + w[offset][:, part].index_select(0, s[chosen].flatten().sort().values)
        s[out] = y

    return Section(section, run, True)


def _shared(block: MoE, at: Site, source: str) -> list[Section]:
    k, gated = at.key, block.shared_gate
    routed, shared, gate, out = k("routed"), k("shared"), k("gate"), k("out")

    def add(w: Weights, s: Tensors) -> None:
        s[out] = s[routed] + (torch.sigmoid(s[gate]) * s[shared] if gated else s[shared])

    return [
        linear(at, "moe/shared_up", "shared_up", source, k("shared.up")),
        activation("moe/activation", k("shared.up"), k("shared.inner"), block.gated),
        linear(at, "moe/shared_down", "shared_down", k("shared.inner"), shared),
        *([linear(at, "moe/shared_gate", "shared_gate", source, gate)] if gated else []),
        Section("moe/add shared", add),
    ]
