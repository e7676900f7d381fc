"""Mamba-2: a state-space layer whose heads decay by one number per token, with keys (B) and queries (C) shared by groups of heads.

Prompts run in chunks as products of matrices (SSD), one token as a step of the recurrence. A layer of kind "hybrid" has attention beside it, behind one norm
(Falcon-H1). Most likely to be wrong: no table times an SSD scan; another rule's rows stand in, said so. Sources: arXiv 2405.21060; Hugging Face
`modeling_nemotron_h.py`, `modeling_bamba.py`, `modeling_falcon_h1.py`; sharding: vLLM `model_executor/layers/mamba/mamba_mixer2.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simcost.blocks._layer_kinds import HYBRID, LINEAR, layer_kind
from simcost.blocks._recurrent import STATE_KEY, Recurrent, States, states
from simcost.blocks.attention import gqa
from simcost.blocks.swap import Chosen, Design, Swap, whole
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, maximum, where
from simcost.ops.recurrent import Heads
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import Block, View, Weight

HANDLES = (
    "mamba_num_heads", "mamba_head_dim", "mamba_n_groups", "ssm_state_size", "mamba_d_conv", "mamba_conv_bias", "mamba_proj_bias",
    "mamba_chunk_size", "mamba_expand", "mamba_d_ssm", "mamba_rms_norm", "projectors_bias", STATE_KEY,
)  # fmt: skip
IGNORES = (
    "mamba_hidden_act", "mamba_norm_before_gate", "mamba_dt_min", "mamba_dt_max", "mamba_dt_limit", "mamba_dt_init_floor",
    "time_step_rank", "time_step_min", "time_step_max", "time_step_floor", "time_step_limit", "use_mamba_kernels", "ssm_multipliers", "ssm_in_multiplier",
    "ssm_out_multiplier", "use_mem_eff_path",
)  # fmt: skip
LAYER_TYPES = (LINEAR, HYBRID)


@frozen
class Mamba2(Recurrent):
    """`mamba_num_heads` heads of `mamba_head_dim` channels, each channel with `ssm_state_size` numbers of state; B and C of `mamba_n_groups` groups. Heads are
    cut over tp, groups too as long as there are as many as ranks."""

    hidden_size: Num
    mamba_num_heads: Num
    mamba_head_dim: Num
    mamba_n_groups: Num
    ssm_state_size: Num
    conv_kernel: Num
    chunk_size: Num
    states: States
    conv_bias: bool = True
    in_bias: bool = False
    out_bias: bool = False
    gated_norm: bool = True
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2405.21060"
    rule: ClassVar[str] = "ssd"

    def width(self, plan: Plan) -> Num:
        """Channels of the heads of one rank."""
        return self.mamba_num_heads * self.mamba_head_dim / plan.tp

    def groups(self, plan: Plan) -> Num:
        """Groups of one rank; they are replicated when tp exceeds them."""
        return maximum(self.mamba_n_groups / plan.tp, 1.0)

    def shape(self, plan: Plan) -> Heads:
        """A state of ssm_state_size x mamba_head_dim for each head."""
        return Heads(self.mamba_num_heads / plan.tp, self.groups(plan), self.ssm_state_size, self.mamba_head_dim)

    def channels(self, plan: Plan) -> Num:
        """Channels of the heads, and B and C of the groups."""
        return self.width(plan) + 2.0 * self.groups(plan) * self.ssm_state_size

    def peak_elements(self, plan: Plan) -> Num:
        """The input projection; what leaves the convolution; outputs before and after their norm."""
        return 2.0 * self.channels(plan) + 3.0 * self.width(plan) + self.mamba_num_heads / plan.tp

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads; it divides the groups, or is a multiple of them; a sequence stands on one rank."""
        return [
            divides(self.mamba_num_heads, plan.tp, "mamba_num_heads"),
            _shares(self.mamba_n_groups, plan.tp),
            self.unsplit(plan),
        ]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the heads of one rank: the projection to gate, channels, B, C and time steps; the convolution; decays, time steps' biases and skips; the gated
        norm; o_proj. The bias of o_proj is whole on every rank."""
        d, width, channels, heads = (
            self.hidden_size, self.width(plan), self.channels(plan), self.mamba_num_heads / plan.tp,
        )  # fmt: skip
        entering = width + channels + heads
        found = [
            Weight("in_proj", "attention", entering, d),
            Weight("conv1d", "attention", channels * (self.conv_kernel + (1.0 if self.conv_bias else 0.0))),
            Weight("A_log", "attention", heads),
            Weight("dt_bias", "attention", heads),
            Weight("D", "attention", heads),
            Weight("o_proj", "attention", d, width),
        ]
        if self.gated_norm:
            found.append(Weight("mixer_norm", "attention", width))
        if self.in_bias:
            found.append(Weight("in_bias", "attention", entering))
        if self.out_bias:
            found.append(Weight("o_bias", "attention", d))
        return tuple(found)

    def program(self, view: View) -> Program:
        """Input projection, convolution and core of each group of tokens, the gate with its norm, o_proj; collectives of the plan around them."""
        rows, act = view.tokens, view.activation
        weight = {w.name: w for w in self.weights(view.plan)}
        gate = Stream(
            "norm" if self.gated_norm else "activation", rows * self.width(view.plan), 2.0, 1.0, 9.0 if self.gated_norm else 5.0, act, act
        )  # fmt: skip
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weight["in_proj"], rows),
            *self.mixed(view),
            Call(gate, "gated norm" if self.gated_norm else "output gate"),
            linear(view, weight["o_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "mamba")


def _shares(groups: Num, ranks: Num) -> Check:
    """The rule that each rank gets whole groups, or that each group is copied to as many ranks."""
    even = where(groups >= ranks, groups / ranks, ranks / groups)
    return Check(
        even == np.floor(even), f"tp must divide mamba_n_groups = {float(np.max(groups)):.0f}, or be a multiple of it"
    )


def has_heads(r: Reader) -> bool:
    """Whether a config's recurrent layers are Mamba-2's."""
    return r.given("mamba_num_heads")


_HEAD, _STATE, _GROUPS, _CHUNK = 64, 128, 8, 128  # Nemotron-H's: width of a head, state, groups, tokens of a chunk


def _mamba2(design: Design, text: str) -> list[Chosen]:
    """Nemotron-H's proportions: twice the model's width in heads of 64, a state of 128."""
    state = whole(text, "the state", f"model.attention=mamba2:{text}") if text else _STATE
    heads = max(round(2 * float(design.hidden_size) / _HEAD / _GROUPS) * _GROUPS, _GROUPS)
    return [
        Chosen("mamba_num_heads", heads, f"2 x hidden_size / {_HEAD}, as Nemotron-H, to a multiple of {_GROUPS}"),
        Chosen("mamba_head_dim", _HEAD, "as Nemotron-H"),
        Chosen("mamba_n_groups", _GROUPS, "as Nemotron-H"),
        Chosen("ssm_state_size", state, "asked for" if text else "as Nemotron-H"),
        Chosen("mamba_d_conv", 4, "as Nemotron-H"),
        Chosen("mamba_chunk_size", _CHUNK, "as Nemotron-H"),
    ]


BY_KEYS = ("mamba_num_heads",)
SWAPS = {"mamba2": Swap(_mamba2, "mamba2 or mamba2:<state of a channel>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a recurrent layer, or one beside attention, of a config with Mamba-2's heads; else 0."""
    return 4 if has_heads(r) and layer_kind(r, layer, layers) in LAYER_TYPES else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind."""
    return layer_kind(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> Block | tuple[Block, ...]:
    """The Mamba-2 block of a layer, with attention beside it in a hybrid one. Raises SpecError for a missing or wrong key."""
    mine = of(r)
    return (mine, gqa.from_hf(r, layer, layers)) if layer_kind(r, layer, layers) == HYBRID else mine


def of(r: Reader) -> Mamba2:
    """The Mamba-2 block of a config. Raises SpecError for a missing or wrong key."""
    hidden, heads = r.num("hidden_size"), r.num("mamba_num_heads")
    groups = r.num("mamba_n_groups")
    r.divisible(heads, groups, "mamba_num_heads must be a multiple of mamba_n_groups")
    proj = r.flag("mamba_proj_bias") or r.biased()
    return Mamba2(
        hidden, heads, _head_dim(r, hidden, heads), groups, r.num("ssm_state_size"), r.num("mamba_d_conv"), r.num("mamba_chunk_size"),
        states(r), conv_bias=r.flag("mamba_conv_bias", True), in_bias=proj, out_bias=r.flag("projectors_bias", proj),
        gated_norm=r.flag("mamba_rms_norm", True),
    )  # fmt: skip


def _head_dim(r: Reader, hidden: Num, heads: Num) -> Num:
    """Channels of a head: as stated; where it is "auto" or absent, the inner width over the heads. Raises SpecError where two keys contradict each other."""
    inner = r.num("mamba_d_ssm") if r.has("mamba_d_ssm") else None
    stated = r.config.get("mamba_head_dim", r.implied.get("mamba_head_dim"))
    if stated is None or isinstance(stated, str):
        if r.text("mamba_head_dim", "auto") != "auto":
            raise SpecError(f"{r.where}: 'mamba_head_dim' must be a whole number or \"auto\", not {stated!r}")
        inner = r.num("mamba_expand") * hidden if inner is None else inner
        r.divisible(
            inner, heads, "mamba_head_dim is not stated, and the inner width must be a multiple of mamba_num_heads"
        )
        return inner / heads
    found = r.num("mamba_head_dim")
    if inner is not None and not np.all(np.asarray(found * heads) == inner):
        raise SpecError(f"{r.where}: mamba_num_heads x mamba_head_dim is not mamba_d_ssm = {float(np.max(inner)):.0f}")
    return found
