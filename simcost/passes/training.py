"""A layer's forward program as a training step runs it, and what runs again before its backward pass.

Nothing is written to a cache; the core of attention is one kernel, or, in stacks without FlashAttention, products and a softmax whose scores stay for the backward pass. Most likely to be wrong: kernels that
an old stack fuses. Sources: Korthikanti et al. (arXiv 2205.05198) §4 and §5; NVIDIA Megatron Core `recompute_modules`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from simcost.ops.attention_core import AttentionCore
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.ops.work import Op
from simcost.passes.saved import ACTIVATION, CORE, LAYERNORM, MLP, MOE
from simcost.program import Call, Choice, Program, Serial, calls

FLASH, FLASH_2, UNFUSED = "flash", "flash-2", "unfused"


def forward(program: Program, attention: str = FLASH, dropout: bool = False) -> Program:
    """The program without writes to a cache, its attention cores by `attention`: FLASH or UNFUSED, with `dropout` of its scores or without."""

    def each(call: Call) -> Program | None:
        op = call.op
        if isinstance(op, Stream) and op.what == "cache write":
            # What an engine rotates on its way into the cache is rotated here too.
            rotated = Call(replace(op, what="rope", out=op.x), call.tag, call.repeat)
            return None if isinstance(op.flops, float) and op.flops == 0.0 else rotated
        if isinstance(op, AttentionCore) and attention == UNFUSED:
            return unfused(call, dropout)
        return call

    found = _mapped(program, each)
    assert found is not None
    return found


def with_second_copies(program: Program | None, scans: float) -> Program | None:
    """A pass whose casts to a narrow format write a second copy, which the gradient of a weight reads along the other side (Transformer Engine, columnwise data; DeepSeek-V3 §3.3.2), after `scans` passes over
    what they cast: 2 where a scale is that of the whole tensor."""
    if program is None or not any(_casts(call) for call in calls(program)):
        return program
    if isinstance(program, Call):
        return Serial((_second(program, scans), program))
    if isinstance(program, Choice):
        return replace(program, options=tuple((name, _copied(option, scans)) for name, option in program.options))
    if isinstance(program, Serial) and program.kernel == "linear":  # a kernel that is measured whole stays so
        casts = tuple(_second(call, scans) for call in calls(program) if _casts(call))
        return Serial((*casts, program))
    return replace(program, parts=tuple(_copied(part, scans) for part in program.parts))


def _copied(program: Program, scans: float) -> Program:
    found = with_second_copies(program, scans)
    assert found is not None
    return found


def _casts(call: Call) -> bool:
    return isinstance(call.op, Stream) and call.op.what == "quantise"


def _second(call: Call, scans: float) -> Call:
    assert isinstance(call.op, Stream)
    return replace(call, op=replace(call.op, reads=scans - 1.0), tag=f"{call.tag}, second copy")


def _mapped(program: Program, each: Callable[[Call], Program | None]) -> Program | None:
    """The program with every call replaced; None where nothing is left."""
    if isinstance(program, Call):
        return each(program)
    if isinstance(program, Choice):
        options = tuple(
            (name, found) for name, option in program.options if (found := _mapped(option, each)) is not None
        )
        return replace(program, options=options) if options else None
    parts = tuple(found for part in program.parts if (found := _mapped(part, each)) is not None)
    if _same(parts, program.parts):
        return program
    if not isinstance(program, Serial):
        return replace(program, parts=parts) if len(parts) == len(program.parts) else Serial(parts) if parts else None
    return (
        replace(program, parts=parts, kernel="") if parts else None
    )  # a kernel that was measured whole is another one now


def unfused(call: Call, dropout: bool = False) -> Serial:
    """Scores, softmax and weighted sum as kernels of their own. Scores are computed for all pairs of new tokens, masked ones too; the softmax reads and writes them; dropout reads them again and writes what it leaves, and a mask of a byte each."""
    op = call.op
    assert isinstance(op, AttentionCore)
    heads, keys = op.batch * op.heads, op.past + op.q_len
    scores = heads * op.q_len * keys
    weighs = Gemm(op.q_len, op.d_v, keys, op.x, op.kv, op.x, op.compute, heads)
    kernels: list[tuple[Op, str]] = [
        (Gemm(op.q_len, keys, op.d_qk, op.x, op.kv, op.x, op.compute, heads), "scores"),
        (Stream("softmax", scores, 1.0, 1.0, 5.0, op.x, op.x), "softmax"),
        *([(Stream("dropout", scores, 1.0, 1.0 + 8.0 / op.x.bits, 2.0, op.x, op.x), "dropout")] if dropout else []),
        (weighs, "weighted sum"),
    ]
    return Serial(tuple(Call(each, name, call.repeat, module=CORE) for each, name in kernels), call.tag)


def repeated(program: Program, block: str, modules: Collection[str]) -> Program | None:
    """What a backward pass runs again of a block's forward program where so many `modules` are recomputed; None for nothing. `block`: the name by which a plan recomputes all of it (MLP, MOE, LAYERNORM)
    or ""."""
    if block in (MLP, MOE, LAYERNORM) and block in modules:
        return program
    return _chosen(program, modules)


def _chosen(program: Program, modules: Collection[str]) -> Program | None:
    """The parts of a program that make what is not kept."""
    if isinstance(program, Serial) and program.branch in modules:
        return program

    def each(call: Call) -> Program | None:
        return call if _module(call) in modules else None

    if isinstance(program, Call):
        return each(program)
    if isinstance(program, Choice):
        options = tuple(
            (name, found) for name, option in program.options if (found := _chosen(option, modules)) is not None
        )
        return replace(program, options=options) if options else None
    if (
        isinstance(program, Serial) and program.kernel == "linear"
    ):  # a product runs with the cast before it, or not at all
        return program if any(isinstance(part, Call) and part.module in modules for part in program.parts) else None
    parts = tuple(found for part in program.parts if (found := _chosen(part, modules)) is not None)
    if not parts:
        return None
    if isinstance(program, Serial):
        return replace(program, parts=parts, kernel=program.kernel if _same(parts, program.parts) else "")
    return replace(program, parts=parts) if len(parts) == len(program.parts) else Serial(parts)


def _same(parts: tuple[Program, ...], others: tuple[Program, ...]) -> bool:
    """Whether nothing was changed: of arrays equality would be no answer."""
    return len(parts) == len(others) and all(one is other for one, other in zip(parts, others, strict=True))


def _module(call: Call) -> str:
    """The module that a kernel belongs to."""
    if call.module:
        return call.module
    if isinstance(call.op, AttentionCore):
        return CORE
    return ACTIVATION if isinstance(call.op, Stream) and call.op.what == "activation" else ""
