"""Elementwise kernels as PyTorch's eager mode runs them: each operator a pass of its own over memory, which keeps what
autograd says.

An RMSNorm widens its rows to fp32, squares, averages, scales, narrows and weighs them; SwiGLU is an activation and a
product; a rotation turns halves, multiplies twice and adds, of queries and of keys; a residual sum is a kernel of its
own, and the gradients of its two readers are added. LayerNorm and GELU are one kernel each in eager mode too; kernels of
experts stay as they are. Most likely to be wrong: which norm a layer has, which configs do not say (RMSNorm where norms
have one vector and the FFN is gated: not so of Cohere and DBRX), and with it whether positions are rotated so; keys and values that are repeated for each query head
before a core, which some files do and others leave to the core.
Sources: huggingface/transformers, models/llama/modeling_llama.py (LlamaRMSNorm, apply_rotary_pos_emb, LlamaMLP);
pytorch/pytorch, tools/autograd/derivatives.yaml (what pow, mul and silu keep).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simcost.dtypes import Dtype, dtype
from simcost.num import Num
from simcost.ops.stream import Operator, Stream
from simcost.passes.saved import ACTIVATION
from simcost.program import Call, Choice, Program, Serial
from simcost.sharding.shard import Block

EAGER = "eager"
_EXPERTS = "experts"  # kernels that are measured whole
_WIDE = dtype("fp32")


def rms_norms(blocks: Sequence[Block]) -> bool:
    """Whether the norms of a layer are RMSNorms: each has one vector, and the FFN is gated."""
    vectors = [getattr(block, "vectors", 1.0) for block in blocks if block.kind == "norm"]
    gated = any(getattr(block, "gated", False) for block in blocks if block.kind == "ffn")
    return gated and all(each == 1.0 for each in vectors)


def apart(program: Program, rms: bool, rows: Num) -> Program:
    """A block's forward program, operator by operator. `rms`: whether its layer is one of RMSNorms and rotations, as
    Llama's; `rows`: tokens that a norm has a number each of."""
    if isinstance(program, Call):
        return _operators(program, rms, rows)
    if isinstance(program, Choice):
        return replace(program, options=tuple((name, apart(one, rms, rows)) for name, one in program.options))
    if isinstance(program, Serial) and program.kernel == _EXPERTS:
        return program
    return replace(program, parts=tuple(apart(part, rms, rows) for part in program.parts))


def _operators(call: Call, rms: bool, rows: Num) -> Program:
    op = call.op
    if not isinstance(op, Stream) or isinstance(op, Operator) or op.x.bits < 16:
        return call
    if op.what == "norm" and (op.reads, op.writes) in ((1.0, 1.0), (2.0, 2.0)):
        added = [_sum(op)] if op.reads == 2.0 else []
        return _serial(call, [*added, *(_rms_norm(op, rows) if rms else [replace(op, reads=1.0, writes=1.0)])])
    if op.what == "activation" and (op.reads, op.writes) == (2.0, 1.0):
        return _serial(call, _gated(op), ACTIVATION)
    return _serial(call, _rotation(op)) if op.what == "rope" and rms else call


def _serial(call: Call, ops: Sequence[Stream], module: str = "") -> Serial:
    return Serial(tuple(Call(op, call.tag, module=module) for op in ops), call.tag, call.repeat, EAGER)


def _pass(elements: Num, reads: float, x: Dtype, out: Dtype, writes: float = 1.0) -> Stream:
    """A plain pass: of two tensors as a sum is, of one as a copy."""
    return Stream("residual" if reads > 1.0 else "copy", elements, reads, writes, 1.0, x, out)


def _run(one: Stream, *back: Stream, stays: float = 0.0, makes: float = 0.0) -> Operator:
    return Operator(
        one.what, one.elements, one.reads, one.writes, one.flops, one.x, one.out, stays=stays, makes=makes, back=back
    )  # fmt: skip


def _sum(op: Stream) -> Operator:
    """A residual sum; on the way back the gradients of its two readers are added."""
    both = _pass(op.elements, 2.0, op.x, op.x)
    return _run(both, both)


def _rms_norm(op: Stream, rows: Num) -> list[Stream]:
    """Eight operators. The rows in fp32 stay for the square and the scaling, the normed ones for the weight; the input
    itself does not."""
    e, x, width = op.elements, op.x, op.x.bits / 8.0
    wide, narrow = _pass(e, 1.0, x, _WIDE), _pass(e, 1.0, _WIDE, x)
    own, once = _pass(e, 1.0, _WIDE, _WIDE), _pass(e, 1.0, x, x)
    two, few = _pass(e, 2.0, _WIDE, _WIDE), _pass(rows, 1.0, _WIDE, _WIDE)
    mean = _pass(e, 1.0, _WIDE, _WIDE, 0.0)
    return [
        _run(wide, narrow, stays=width),
        _run(own, own, own, two),  # 2 x times the gradient, and the sum with that of the scaling
        _run(mean),
        _run(few, few),
        _run(few, few),
        _run(own, own, two, mean, makes=4.0 - width),
        _run(narrow, wide),
        _run(once, once, _pass(e, 2.0, x, x), _pass(e, 1.0, x, x, 0.0), makes=width),  # the last two: of the weight
    ]


def _gated(op: Stream) -> list[Stream]:
    """The activation of the gate, and the product with the other half: three tensors stay."""
    e, x, width = op.elements, op.x, op.x.bits / 8.0
    act = Stream("activation", e, 1.0, 1.0, op.flops - 1.0, x, x)
    two = _pass(e, 2.0, x, x)
    return [_run(act, two, stays=2.0 * width), _run(two, two, two, makes=width)]


def _rotation(op: Stream) -> list[Stream]:
    """Minus one half, both halves joined, two products and a sum, for queries and for keys: half of the elements each,
    taken as equal."""
    e, x = op.elements / 2.0, op.x
    half, one, two = _pass(e / 2.0, 1.0, x, x), _pass(e, 1.0, x, x), _pass(e, 2.0, x, x)
    return [_run(each, each) for each in (half, one, one, one, two) for _ in range(2)]
