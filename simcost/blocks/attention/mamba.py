"""Mamba-1: a state-space layer in which every channel has its own decays, time steps of a low rank and `mamba_d_state` numbers of state.

The scan is elementwise, with no product of matrices, and the gate of the output is inside its kernel. Most likely to be wrong: no table times it.
Sources: arXiv 2312.00752; Jamba (arXiv 2403.19887), Hugging Face `modeling_jamba.py`; sharding: vLLM `model_executor/layers/mamba/mamba_mixer.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import LINEAR, layer_kind
from simcost.blocks._recurrent import STATE_KEY, Recurrent, States, states
from simcost.blocks.swap import Chosen, Design, Swap, whole
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, ceil, maximum, where
from simcost.ops.collective import Collective
from simcost.ops.recurrent import Heads
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import View, Weight

HANDLES = (
    "mamba_expand", "mamba_dt_rank", "ssm_state_size", "mamba_d_conv", "mamba_conv_bias", "mamba_proj_bias", "mamba_inner_norms", "mamba_inner_norms_weightless", STATE_KEY,
)  # fmt: skip
IGNORES = (
    "time_step_min",
    "time_step_max",
    "time_step_floor",
    "time_step_scale",
    "time_step_init_scheme",
    "mixer_rms_eps",
    "use_falcon_mambapy",
    "use_mamba_kernels",
    "use_mambapy",
    "use_associative_scan",
)
LAYER_TYPES = (LINEAR,)
CHUNK = 2048.0  # tokens between two writes of the state: state-spaces/mamba `selective_scan_fwd_kernel.cuh`


@frozen
class Mamba(Recurrent):
    """`mamba_expand` x hidden_size channels, `dt_rank` the rank of their time steps; `inner_norms`: norms of time steps, B and C, with weights where `norm_weights`; `heads`: parts of the
    channels with time steps, B and C of their own (Zamba; 1: one for all). Channels are cut over tp, heads whole."""

    hidden_size: Num
    mamba_expand: Num
    dt_rank: Num
    ssm_state_size: Num
    conv_kernel: Num
    states: States
    conv_bias: bool = True
    proj_bias: bool = False
    inner_norms: bool = False
    norm_weights: bool = True
    heads: Num = 1.0
    chunk_size: Num = CHUNK
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2312.00752"
    rule: ClassVar[str] = "selective_scan"

    def channels(self, plan: Plan) -> Num:
        """Channels of one rank."""
        return self.mamba_expand * self.hidden_size / plan.tp

    def shape(self, plan: Plan) -> Heads:
        """A channel is a head of width 1; B and C are one for all of a head."""
        return Heads(self.channels(plan), self._own(plan), self.ssm_state_size, 1.0)

    def _own(self, plan: Plan) -> Num:
        """Heads of one rank."""
        return maximum(self.heads / plan.tp, 1.0)

    @property
    def _steps(self) -> Num:
        """Time steps of low rank, B and C of a token and head."""
        return self.dt_rank + 2.0 * self.ssm_state_size

    def peak_elements(self, plan: Plan) -> Num:
        """Channels and their gate; channels after the convolution, their time steps and outputs; B, C and time steps of low rank."""
        return 5.0 * self.channels(plan) + self._steps * self._own(plan)

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the channels; a sequence stands on one rank."""
        return [
            divides(self.mamba_expand * self.hidden_size, plan.tp, "mamba_expand x hidden_size"),
            Check((self.heads == 1.0) | (self.heads % plan.tp == 0.0), "tp must divide n_mamba_heads"),
            self.unsplit(plan),
        ]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the channels of one rank: the projection to channels and gate, the convolution, the projections to time steps, decays, skips and o_proj. Inner
        norms and the bias of o_proj are whole on every rank."""
        d, c, own = self.hidden_size, self.channels(plan), self._own(plan)
        found = [
            Weight("in_proj", "attention", 2.0 * c, d),
            Weight("conv1d", "attention", c * (self.conv_kernel + (1.0 if self.conv_bias else 0.0))),
            Weight("x_proj", "attention", self._steps, c / own, own),
            Weight("dt_proj", "attention", c / own, self.dt_rank, own),
            Weight("dt_bias", "attention", c),
            Weight("A_log", "attention", c * self.ssm_state_size),
            Weight("D", "attention", c),
            Weight("o_proj", "attention", d, c),
        ]
        if self.inner_norms and self.norm_weights:
            found.append(Weight("inner_norms", "attention", self._steps))
        if self.proj_bias:
            found += [Weight("in_bias", "attention", 2.0 * c), Weight("o_bias", "attention", d)]
        return tuple(found)

    def program(self, view: View) -> Program:
        """Input projection, convolution; time steps, B and C, joined over tp, and their norms; the scan; o_proj. The convolution runs before the projections to
        time steps, which read its output."""
        rows, act, plan = view.tokens, view.activation, view.plan
        weight = {w.name: w for w in self.weights(plan)}
        mixed = self.mixed(view)
        convs, cores = mixed[0::2], mixed[1::2]
        steps = rows * self._steps * self._own(plan)
        joined = Collective("all_reduce", act.tensor_bytes(steps), where(self.heads > 1.0, 1.0, plan.tp))
        norms = Call(Stream("norm", steps, 1.0, 1.0, 4.0, act, act), "inner norms")
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weight["in_proj"], rows),
            *convs,
            linear(view, weight["x_proj"], rows),
            Call(joined, "all-reduce of time steps"),
            *([norms] if self.inner_norms else []),
            linear(view, weight["dt_proj"], rows),
            *cores,
            linear(view, weight["o_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "mamba")


_STATE, _EXPAND = 16, 2  # Mamba's and Jamba's


def _mamba(design: Design, text: str) -> list[Chosen]:
    """Jamba's proportions: twice the model's width, a state of 16, time steps of rank hidden_size / 16."""
    state = whole(text, "the state", f"model.attention=mamba:{text}") if text else _STATE
    return [
        Chosen("mamba_expand", _EXPAND, "as Jamba"),
        Chosen("mamba_dt_rank", "auto", "hidden_size / 16, as Jamba"),
        Chosen("ssm_state_size", state, "asked for" if text else "as Jamba"),
        Chosen("mamba_d_conv", 4, "as Jamba"),
    ]


BY_KEYS = ("mamba_dt_rank",)
INSTEAD = {
    "intermediate_size": "mamba_expand"
}  # what pure models say their size by, and what says it where that is an FFN's
SWAPS = {"mamba": Swap(_mamba, "mamba or mamba:<state of a channel>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a recurrent layer of a config with a rank of time steps, else 0."""
    return 4 if r.given("mamba_dt_rank") and layer_kind(r, layer, layers) == LINEAR else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> Mamba:
    """The Mamba block of a layer. Raises SpecError for a missing or wrong key."""
    hidden = r.num("hidden_size")
    stated = r.config.get("mamba_dt_rank", r.implied.get("mamba_dt_rank"))
    auto = isinstance(stated, str) and r.text("mamba_dt_rank") == "auto"
    return Mamba(
        hidden, _expand(r, hidden), ceil(hidden / 16.0) if auto else r.num("mamba_dt_rank"), r.num("ssm_state_size"),
        r.num("mamba_d_conv"), states(r), conv_bias=r.flag("mamba_conv_bias", True), proj_bias=r.flag("mamba_proj_bias"),
        inner_norms=r.flag("mamba_inner_norms"), norm_weights=not r.flag("mamba_inner_norms_weightless"),
    )  # fmt: skip


def _expand(r: Reader, hidden: Num) -> Num:
    """Channels over hidden_size. Pure Mamba models state the channels themselves, by what their class calls intermediate_size; it wins over `expand`. Raises SpecError
    where that is no multiple of the width."""
    if not (r.flag("no_ffn") and r.has("intermediate_size")):
        return r.num("mamba_expand")
    r.ineffective("mamba_expand", "intermediate_size states the channels")
    r.divisible(
        r.num("intermediate_size"), hidden, "intermediate_size (the channels) must be a multiple of hidden_size"
    )
    return r.num("intermediate_size") / hidden
