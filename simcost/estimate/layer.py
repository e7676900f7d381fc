"""Which decoder layer is measured, at which operating point; and the ops that simcost's program lists for it, by name.

Without torch, so that predictions need none. A name is the path of tags inside the layer ("attention/core"); the torch
block runs one section for each. Most likely to be wrong: random designs stand for real ones. Source: the program itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.lower import layer_program
from simcost.model.spec import Layer, ModelSpec, from_config
from simcost.ops.collective import Collective
from simcost.ops.fused import Fused
from simcost.ops.work import Op
from simcost.passes.backward import adjoint, backward
from simcost.plan import Phase, Plan
from simcost.program import Call, Choice, Program, Serial, calls
from simcost.sharding.shard import ROLES, View

FORMATS = ("fp32", "bf16", "fp16")
DIRECTIONS = ("forward", "backward")


@frozen
class BlockSpec:
    """One layer at one operating point. `backward`: a training step of the layer. `mla_form` auto: absorbed for one query
    a sequence, else expanded. `tp`: dimensions of one of so many ranks; its collectives are left out."""

    name: str
    layer: Layer
    phase: Phase
    dtype: str = "bf16"
    backward: bool = False
    mla_form: str = "auto"
    tp: float = 1.0

    def __post_init__(self) -> None:
        if self.dtype not in FORMATS:
            raise SpecError(f"{self.name}: the format must be one of {', '.join(FORMATS)}, not {self.dtype!r}")
        if self.backward and float(self.phase.past) > 0:
            raise SpecError(f"{self.name}: a training step has no cached tokens (past = {float(self.phase.past):.0f})")

    @property
    def decode(self) -> bool:
        """Whether every sequence has one query."""
        return float(self.phase.q_len) == 1.0

    @property
    def kind(self) -> str:
        """Kind of layer: "dense", "moe", "mla" or "mla+moe"."""
        words = ["mla"] if any(block.forms for block in self.layer) else []
        words += ["moe"] if any(block.router is not None for block in self.layer) else []
        return "+".join(words) or "dense"

    @property
    def stage(self) -> str:
        """ "train", "decode" or "prefill"."""
        return "train" if self.backward else "decode" if self.decode else "prefill"

    @property
    def view(self) -> View:
        """What the blocks see: plan and phase, one format for all, the form of MLA resolved."""
        form = self.mla_form
        if form == "auto":
            form = "absorbed" if self.decode and not self.backward else "expanded"
        every = dict.fromkeys(ROLES, dtype(self.dtype))
        return View(Plan(tp=self.tp, mla_form=form), self.phase, dtype(self.dtype), dtype(self.dtype), every, every)

    @property
    def program(self) -> Serial:
        """simcost's program of this layer."""
        return layer_program(self.layer, self.view, "")

    @property
    def backward_program(self) -> Program:
        """That of its backward pass."""
        found = backward(self.program, whole=False)  # layers are measured kernel by kernel
        assert found is not None  # every layer multiplies
        return found


@frozen
class Listed:
    """One op of a layer by its path of tags."""

    name: str
    op: Op
    repeat: float = 1.0


def listed(spec: BlockSpec) -> tuple[Listed, ...]:
    """Every op that moves or computes something, in running order, without collectives and fused classes. Raises SpecError for
    two ops of one name, and for a Choice in the program."""
    found = tuple(item for item in _walk(spec.program, ()) if not isinstance(item.op, (Collective, Fused)))
    names = [item.name for item in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"{spec.name}: two ops of the layer are called {twice[0]!r}")
    return found


def fused(spec: BlockSpec) -> tuple[Listed, ...]:
    """Classes that are timed as a whole ("experts"); the names of their members begin with theirs and a slash."""
    return tuple(item for item in _walk(spec.program, ()) if isinstance(item.op, Fused))


def _walk(program: Program, path: tuple[str, ...]) -> Iterator[Listed]:
    here = (*path, program.tag) if program.tag else path
    if isinstance(program, Call):
        if float(program.op.work().bytes) > 0:
            yield Listed("/".join(here), program.op, float(program.repeat))
        return
    if isinstance(program, Choice):
        raise SpecError(f"{'/'.join(here)}: choose one of {', '.join(name for name, _ in program.options)}")
    if isinstance(program, Serial) and program.kernel and program.tag:
        yield Listed("/".join(here), Fused(program.kernel, tuple(call.op for call in calls(program))))
    for part in program.parts:
        yield from _walk(part, here)


def adjoints(item: Listed) -> tuple[tuple[Listed, ...], tuple[Listed, ...]]:
    """(ops of the gradient of the input, ops of the gradient of the weight) of a forward op."""
    found = adjoint(Call(item.op, item.name, item.repeat))
    inputs, weights = (tuple(Listed(call.tag, call.op, item.repeat) for call in calls_) for calls_ in found)
    return inputs, weights


def of_model(
    model: ModelSpec, phase: Phase, dtype: str = "bf16", backward: bool = False, tp: float = 1.0
) -> tuple[BlockSpec, ...]:
    """One block for each kind of layer of a model."""
    found = []
    for index, (_, layer) in enumerate(model.stacks):
        name = (
            f"{model.name}-{index}-b{float(phase.batch):.0f}-q{float(phase.q_len):.0f}-p{float(phase.past):.0f}-{dtype}"
        )
        name += "-train" if backward else ""
        found.append(BlockSpec(name, layer, phase, dtype, backward, tp=tp))
    return tuple(found)


# Kind and stage of consecutive blocks: any prefix holds about as many of each. One in five is a training step.
_KINDS = ("dense", "moe", "mla")
_STAGES = ("prefill", "decode", "prefill", "decode", "train")
_HIDDEN = (512, 1024, 2048)
_HEAD = 64


def random_blocks(n: int, seed: int = 0, dtype: str = "bf16", backward: bool = True) -> tuple[BlockSpec, ...]:
    """`n` designs of calibration's range: hidden 512, 1024, 2048; prefill 128 to 1024 tokens; decode 1 to 32 sequences of
    512 to 2048 tokens; dense GQA, top-2 of 8 experts, MLA. Block i depends on seed and i alone."""
    return tuple(_random_block(index, seed, dtype, backward) for index in range(n))


def _random_block(index: int, seed: int, dtype: str, backward: bool) -> BlockSpec:
    draw = np.random.default_rng((seed, index))
    kind, stage = _KINDS[index % len(_KINDS)], _STAGES[index % len(_STAGES)]
    if stage == "train" and not backward:
        stage = "prefill"
    hidden = int(draw.choice(_HIDDEN))
    config = _config(kind, hidden, draw)
    if stage == "decode":
        batch, context = _between(draw, 1, 32), _between(draw, 512, 2048)
        phase = Phase(float(batch), 1.0, float(context - 1))
    else:
        # A training step costs three times the forward pass: half the tokens keep it as short.
        phase = Phase(1.0, float(_between(draw, 128, 512 if stage == "train" else 1024)), 0.0)
    name = f"{kind}-{stage}-{index:03d}-h{hidden}-b{phase.batch:.0f}-q{phase.q_len:.0f}-p{phase.past:.0f}-{dtype}"
    layer = from_config(config, name, name).stacks[0][1]
    return BlockSpec(name, layer, phase, dtype, stage == "train")


def _between(draw: np.random.Generator, low: int, high: int) -> int:
    """Even in the logarithm; every second one a multiple of 16, where kernels are at their best."""
    value = round(math.exp(draw.uniform(math.log(low), math.log(high))))
    step = 16 if high > 32 and draw.random() < 0.5 else 1
    return min(max(round(value / step) * step, low), high)


def _config(kind: str, hidden: int, draw: np.random.Generator) -> dict[str, Any]:
    heads = hidden // _HEAD
    width = int(hidden * draw.choice((1.5, 2.0, 2.75, 3.5)) // 64 * 64)
    config: dict[str, Any] = {
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": 1, "num_attention_heads": heads,
        "num_key_value_heads": int(heads // draw.choice((1, 2, 4))), "head_dim": _HEAD, "intermediate_size": width,
        "vocab_size": 32000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    if kind == "moe":
        config |= {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
        config["intermediate_size"] = int(hidden * draw.choice((0.5, 1.0, 1.5)) // 64 * 64)
    if kind == "mla":
        for key in ("num_key_value_heads", "head_dim"):
            del config[key]
        config |= {
            "model_type": "deepseek_v3", "kv_lora_rank": 256, "q_lora_rank": hidden // 2, "qk_nope_head_dim": 64,
            "qk_rope_head_dim": 32, "v_head_dim": 64, "n_routed_experts": None,
        }  # fmt: skip
    return config
