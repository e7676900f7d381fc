"""Torch sections of what stands around sublayers in place of one residual stream: attention residuals, hyper-connections, AltUp with LAuReL, and per-layer inputs.

Copies of the stream that earlier layers put aside, and vectors of a layer's own tokens, are random tables beside the layer. Several streams are one value [rows, streams, d]. Most likely to be wrong: each
half is one section here, of as many torch operators as it has steps, where engines fuse them. Sources: the blocks' own (`simcost/blocks/norm`, `embed/per_layer.py`); Hugging Face `modeling_deepseek_v4.py`,
`modeling_gemma3n.py`, `modeling_gemma4.py`; Kimi-K3: SGLang `layers/attn_residual.py`.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from simcost.blocks.embed.per_layer import PerLayerInput
from simcost.blocks.norm.altup import AltUp, Laurel
from simcost.blocks.norm.attention_residual import AttentionResidual
from simcost.blocks.norm.hyper_connection import HyperConnection
from simcost.errors import SpecError
from simcost.measure import torch_ops as ops
from simcost.measure.torch_layers.section import Run, Section, Site, Tensor, Tensors, Weights, linear, whole

_COPIES, _VECTORS = "residual copies", "per-layer vectors"
_ROUNDS = 20  # of Sinkhorn's normalisation: `hc_sinkhorn_iters` of DeepSeek-V4


def _summed(at: Site) -> Run:
    """The stream plus the branches that wait, to "residual"; it is the stream from here on."""
    flow, total = at.flow, at.key("residual")
    names = (flow.residual, *flow.pending)
    flow.residual, flow.pending = total, []

    def run(w: Weights, s: Tensors) -> None:
        x = s[names[0]]
        for name in names[1:]:
            x = x + s[name]
        s[total] = x

    return run


def attention_residual(block: AttentionResidual, at: Site) -> list[Section]:
    """The stream plus the branch before it; the sum of stream and copies by the softmax of their scores, normed. A copy more than the layer began with is the stream as it is."""
    flow, k, d = at.flow, at.key, whole(block.width, "hidden_size")
    copies, first = whole(block.copies, "copies"), flow.residual == "in.residual"
    flow.aside = copies if first else flow.aside
    table = at.left(_COPIES, flow.aside, at.rows, d) if flow.aside else ""
    own = copies - flow.aside
    add, out, gain, score = _summed(at), k("normed"), k(block.name), k(f"{block.name}_score")
    if not block.vectors == 1.0 or own not in (0, 1):
        raise SpecError(f"{at.spec.name}: no torch block for this layer yet: {block.name} of {own} copies of its own")

    def run(w: Weights, s: Tensors) -> None:
        add(w, s)
        x = s[k("residual")].unsqueeze(0)
        rows = torch.cat((*([w[table]] if table else []), *[x] * own, x))
        scale, vector = torch.split(w[score], d)
        weights = torch.softmax((ops.norm(rows, scale, None, False) * vector).sum(-1, keepdim=True), 0)
        s[out] = ops.norm((weights * rows).sum(0), w[gain], None, False)

    flow.normed = out
    return [Section(block.name, run)]


def hyper_connection(block: HyperConnection, at: Site) -> list[Section]:
    """Before a sublayer: weights from all streams, and their weighted sum, which the norm behind reads. After it: its output and the mixed streams."""
    return [_hyper_before(block, at) if block.before else _hyper_after(block, at)]


def _hyper_before(block: HyperConnection, at: Site) -> Section:
    flow, k, m = at.flow, at.key, whole(block.hc_mult, "hc_mult")
    flow.opens(m)
    if flow.pending:
        raise SpecError(f"{at.spec.name}: no torch block for this layer yet: {block.name} beside a branch that waits")
    streams, mixed, mixes = flow.residual, block.mixes_streams, 2 * m + (m * m if block.mixes_streams else 0)
    function, base, entering = k(f"{block.name}_fn"), k(f"{block.name}_base"), k("entering")
    flow.entering, flow.halves[block.name] = entering, at.prefix

    def run(w: Weights, s: Tensors) -> None:
        x = s[streams]
        product = F.linear(ops.norm(x.flatten(1), None, None, False), w[function].view(mixes, -1))
        offset, scale = torch.split(w[base], [mixes, 3 if mixed else 2])
        enter, leave, *rest = torch.split(product, [m, m, *([m * m] if mixed else [])], -1)
        at_enter, at_leave, *at_rest = torch.split(offset, [m, m, *([m * m] if mixed else [])])
        share = torch.sigmoid(enter * scale[0] + at_enter)
        s[k("leave")] = 2.0 * torch.sigmoid(leave * scale[1] + at_leave)
        if mixed:
            s[k("between")] = _doubly_stochastic((rest[0] * scale[2] + at_rest[0]).view(-1, m, m))
        s[entering] = (share.unsqueeze(-1) * x).sum(1)

    return Section(block.name, run)


def _doubly_stochastic(x: Tensor) -> Tensor:
    """exp(x) [..., m, m] with rows and columns that add up to one, by turns."""
    x = torch.softmax(x, -1)
    for _ in range(_ROUNDS - 1):
        x = x / x.sum(-2, keepdim=True)
        x = x / x.sum(-1, keepdim=True)
    return x / x.sum(-2, keepdim=True)


def _hyper_after(block: HyperConnection, at: Site) -> Section:
    flow, out, streams = at.flow, at.key("streams"), at.flow.residual
    before, (branch,) = flow.halves[block.name], flow.pending
    leave, between, mixed = f"{before}.leave", f"{before}.between", block.mixes_streams
    flow.residual, flow.pending = out, []

    def run(w: Weights, s: Tensors) -> None:
        kept = torch.bmm(s[between], s[streams]) if mixed else s[streams]
        s[out] = kept + s[leave].unsqueeze(-1) * s[branch].unsqueeze(1)

    return Section(f"{block.name} after", run)


def altup(block: AltUp, at: Site) -> list[Section]:
    """Before the layer: all streams predicted from all, of which the first goes on. After it: all corrected by what the first learnt."""
    return [_predict(block, at) if block.before else _correct(block, at)]


def _coefficients(prefix: str, name: str, x: Tensor, w: Weights) -> Tensor:
    """Weights [rows, ...] that the router makes of a stream."""
    routed = ops.norm(x, w[f"{prefix}.router_norm"], None, False) / x.shape[-1]
    modality = torch.tanh(F.linear(routed, w[f"{prefix}.modality_router"].view(-1, x.shape[-1])))
    return F.linear(modality, w[f"{prefix}.{name}"].view(-1, modality.shape[-1]))


def _predict(block: AltUp, at: Site) -> Section:
    flow, k, m = at.flow, at.key, whole(block.streams, "altup_num_inputs")
    flow.opens(m)
    streams, predicted, active = flow.residual, k("predicted"), k("active")
    flow.residual, flow.halves["altup"] = active, at.prefix

    def run(w: Weights, s: Tensors) -> None:
        x = s[streams]
        mix = _coefficients(at.prefix, "prediction_coefs", x[:, 0], w).view(-1, m, m)
        s[predicted] = x + torch.bmm(mix, x)
        s[active] = s[predicted][:, 0]

    return Section(block.name, run)


def _correct(block: AltUp, at: Site) -> Section:
    """Also the first stream times its learned scale, which per-layer inputs read."""
    flow, k, before = at.flow, at.key, at.flow.halves["altup"]
    add, out = _summed(at), k("streams")
    flow.residual, flow.normed = out, k("scaled")

    def run(w: Weights, s: Tensors) -> None:
        add(w, s)
        x, predicted = s[k("residual")], s[f"{before}.predicted"]
        weights = _coefficients(before, "correction_coefs", x, w) + 1.0
        s[out] = predicted + weights.unsqueeze(-1) * (x - predicted[:, 0]).unsqueeze(1)
        s[k("scaled")] = s[out][:, 0] * w[f"{before}.correct_output_scale"]

    return Section(block.name, run)


def laurel(block: Laurel, at: Site) -> list[Section]:
    """Both products of the residual of low rank, of what the attention read, its norm, and the sum with the stream and the attention's output, over √2."""
    k, add, source, d = at.key, _summed(at), at.flow.normed, whole(block.hidden_size, "hidden_size")

    def norm(w: Weights, s: Tensors) -> None:
        add(w, s)
        low = ops.norm(s[k("back")], w[k("post_laurel_norm")], None, False)
        s[k("residual")] = (s[k("residual")] + s[source].view(-1, d) + low) * 0.5**0.5

    return [
        linear(at, "laurel/linear_left", "linear_left", source, k("low")),
        linear(at, "laurel/linear_right", "linear_right", k("low"), k("back")),
        Section("laurel/laurel norm", norm),
    ]


def per_layer_input(block: PerLayerInput, at: Site) -> list[Section]:
    """A product to the width, an activation times the layer's vectors, a product back, a norm, and the sum with the stream; of several streams with all but the first."""
    flow, k, tag = at.flow, at.key, "per-layer input"
    several, vectors = flow.streams > 1, at.left(_VECTORS, at.rows, whole(block.width, "width"))
    streams, source = flow.residual, flow.normed if several else k("residual")
    add = None if several else _summed(at)
    gate = linear(at, f"{tag}/per_layer_input_gate", "per_layer_input_gate", source, k("gate"))
    flow.residual = k("streams")

    def enter(w: Weights, s: Tensors) -> None:
        if add is not None:
            add(w, s)
        gate.run(w, s)

    def activate(w: Weights, s: Tensors) -> None:
        s[k("inner")] = F.gelu(s[k("gate")], approximate="tanh") * w[vectors]

    def norm(w: Weights, s: Tensors) -> None:
        found = ops.norm(s[k("back")], w[k("post_per_layer_input_norm")], None, False)
        if several:
            s[k("streams")] = torch.cat((s[streams][:, :1], s[streams][:, 1:] + found.unsqueeze(1)), 1)
        else:
            s[k("streams")] = s[source] + found

    return [
        Section(gate.name, enter, True),
        Section(f"{tag}/activation", activate),
        linear(at, f"{tag}/per_layer_projection", "per_layer_projection", k("inner"), k("back")),
        Section(f"{tag}/per-layer norm", norm),
    ]
