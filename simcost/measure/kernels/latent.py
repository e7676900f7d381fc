"""Absorbed MLA: all heads attend to one latent whose first part is also the value (576 and 512 wide in DeepSeek-V3).

On a CPU torch's flash kernel takes the latent as K and as V. On CUDA torch has no kernel: FlashInfer's where it was asked
for and runs, else our own Triton kernel, else two products and a softmax, which write all scores to memory. Most likely to
be wrong: that last form stands far from what engines run; its rows say "matmul".
"""

from __future__ import annotations

from functools import partial

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels import flashinfer_mla
from simcost.measure.kernels.attention import Shape, shape, wrong
from simcost.measure.kernels.kernel import Kernel, Unsupported
from simcost.measure.machine.torch import optional
from simcost.measure.timing.buffers import Bench, tolerance
from simcost.measure.timing.cpu import Call
from simcost.ops.attention_core import AttentionCore

Tensor = torch.Tensor


def build(op: AttentionCore, bench: Bench, copies: int) -> Kernel:
    """All heads on one latent; the backend is the first of the module's list that this device has. Raises Unsupported for a
    window."""
    s = shape(op)
    if s.window:
        raise Unsupported("a window over a latent has no kernel here")
    sets = [
        (
            bench.take((s.batch, s.q_len, s.heads, s.d_qk), s.name).transpose(1, 2),
            bench.take((s.batch, s.keys, s.d_qk), s.name),
        )
        for _ in range(copies)
    ]
    calls, backend = _calls(s, sets, bench)
    q, latent = sets[0]
    keys = latent.unsqueeze(1)
    return Kernel(
        calls, lambda: wrong(s, calls[0](), q, keys, keys[..., : s.d_v]), tolerance(s.name), backend
    )  # fmt: skip


def _calls(s: Shape, sets: list[tuple[Tensor, Tensor]], bench: Bench) -> tuple[list[Call], str]:
    if bench.cuda and s.name in ("bf16", "fp16") and flashinfer_mla.works(bench.device):
        return flashinfer_mla.calls(sets, s.d_v, s.scale), "flashinfer"
    if bench.cuda and optional("triton") is not None and s.name in ("bf16", "fp16"):
        from simcost.measure.triton_kernels import mla_decode

        return [
            partial(mla_decode.attend, q, latent, s.d_v, s.scale) for q, latent in sets
        ], "triton split-KV (simcost)"
    mask = None
    if s.q_len > 1 and s.past > 0:
        mask = ops.lower_right(s.q_len, s.keys, bench.device, sets[0][0].dtype)
    causal = s.q_len > 1 and mask is None
    calls: list[Call] = [partial(ops.latent_attention, q, latent, s.d_v, mask, causal, s.scale) for q, latent in sets]
    return calls, "matmul" if bench.cuda else "sdpa flash (CPU), latent as K and V"
