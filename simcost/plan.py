"""How a design is split over devices and in which formats it runs; and what one step processes.

Ranks in order, fastest first: tp (tensor parallel: heads, dense widths), cp (context parallel: tokens), dp_attention
(replicas of the attention that share one set of experts), pp (pipeline stages), dp (whole copies). The experts of a stage live
on the same tp·cp·dp_attention ranks as etp·ep: each expert in etp slices, the experts spread over ep. What is not stated
follows: dp_attention = ep/(tp·cp), at least 1; etp is the rest. Source: Megatron Core and vLLM documentation of parallel groups.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.errors import Infeasible
from simcost.frozen import frozen
from simcost.num import Mask, Num, ceil, every, floor, is_scalar, maximum
from simcost.routing.router import Routing

RANDOM = Routing()


@frozen
class Plan:
    """Sizes of groups [devices]; formats by name, None = the default that the workload resolves and prints.

    capacity_factor: rows that each expert may take over its fair share, the rest is padded; None: dropless. redundant_experts:
    slots for copies of busy experts (EPLB), over all ranks. gpus: devices of the cluster; dp, when not stated, fills them."""

    tp: Num = 1.0
    ep: Num = 1.0
    pp: Num = 1.0
    cp: Num = 1.0
    dp: Num | None = None
    gpus: Num | None = None
    dp_attention: Num | None = None
    etp: Num | None = None
    vpp: Num = 1.0
    sequence_parallel: str = "off"
    cp_method: str = "ring"
    all_to_all: str = "auto"
    overlap: str = "none"
    overlap_p2p_comm: str = "off"
    cuda_graph: str = "on"
    capacity_factor: float | None = None
    redundant_experts: Num = 0.0
    weight_dtype: str | None = None
    compute_dtype: str | None = None
    kv_dtype: str | None = None
    activation_dtype: str | None = None
    state_dtype: str | None = None
    mla_form: str = "auto"
    dequantise: str = "fused"

    @property
    def replicas(self) -> Num:
        """Attention replicas of one stage (data-parallel attention)."""
        return maximum(self.ep / (self.tp * self.cp), 1.0) if self.dp_attention is None else self.dp_attention

    @property
    def stage(self) -> Num:
        """Devices of one pipeline stage of one copy: the experts' group."""
        return self.tp * self.cp * self.replicas

    @property
    def devices(self) -> Num:
        """GPUs of all stages and copies."""
        return self.stage * self.pp * self.copies

    @property
    def copies(self) -> Num:
        """Whole copies of the model: dp as stated, or as many as the cluster's GPUs hold, at least 1."""
        if self.dp is not None:
            return self.dp
        return 1.0 if self.gpus is None else maximum(floor(self.gpus / (self.stage * self.pp)), 1.0)

    @property
    def expert_slices(self) -> Num:
        """Parts that each expert's width is cut into."""
        return self.stage / self.ep if self.etp is None else self.etp

    @property
    def shards_sequence(self) -> bool:
        """Whether sequence parallelism is on."""
        return self.sequence_parallel == "on"

    @property
    def exchanges(self) -> Num:
        """1 where tokens differ between the ranks that share the experts, so that they must travel to them; else 0."""
        apart = self.stage > self.tp
        if self.shards_sequence:
            apart = apart | (self.stage > 1.0)
        return 1.0 * apart


@frozen
class Tokens:
    """A group of sequences that go through a forward alike: `batch` in all, each with `q_len` new tokens after `past` cached ones, of which
    `logits` rows need the head."""

    batch: Num
    q_len: Num
    past: Num
    logits: Num = 1.0


@frozen
class Phase:
    """One step: `batch` sequences in all, each with `q_len` new tokens after `past` cached ones. Prefill, chunked prefill
    and decode are this with other numbers. `logits` rows per sequence need the head. `microbatches`: parts of the batch that are
    in different pipeline stages at a time; a step processes one. `routing`: how tokens choose their experts.
    `chunk`: a prefill passes so many tokens of a sequence at a time. `decode`: sequences go on token by token, as engines hold in
    a CUDA graph; a prefill of one token is none. `beside`: further groups of tokens in the same forward: linear layers run on the
    sum of all, attention cores group by group (an engine's mixed step: decode, and a chunk of a prompt beside it). `images` of each sequence, whose tokens
    are among its new ones, `video_frames` of a video of each, and the pixels of their sides where a tower leaves these open. `loss`: a training step, whose head makes logits of all tokens and the loss by
    this method (`ops/cross_entropy.py`)."""

    batch: Num
    q_len: Num
    past: Num
    logits: Num = 1.0
    microbatches: Num = 1.0
    routing: Routing = RANDOM
    chunk: Num | None = None
    decode: bool = False
    beside: tuple[Tokens, ...] = ()
    images: Num = 0.0
    image_height: Num = 0.0
    image_width: Num = 0.0
    video_frames: Num = 0.0
    loss: str = ""

    @property
    def sees(self) -> bool:
        """Whether any sequence brings images or a video."""
        return not every(np.asarray(self.images + self.video_frames) == 0.0)

    @property
    def groups(self) -> tuple[Phase, ...]:
        """Every group of tokens as a phase of its own; those beside the first are prompts."""
        if not self.beside:
            return (self,)
        others = tuple(
            replace(self, batch=g.batch, q_len=g.q_len, past=g.past, logits=g.logits, decode=False, beside=())
            for g in self.beside
        )
        return (replace(self, beside=()), *others)

    @property
    def context(self) -> Num:
        """Tokens in the cache when the step is done."""
        return self.past + self.q_len


@frozen
class Check:
    """A rule of a sharding: `ok` elementwise, and why it fails."""

    ok: Mask
    reason: str


def divides(size: Num, parts: Num, what: str) -> Check:
    """The rule that `parts` cuts `size` evenly; `what` names the size."""
    ratio = size / parts
    shown = f"{size:.0f}" if is_scalar(size) else "size"
    by = f"{parts:.0f}" if is_scalar(parts) else "that many"
    return Check(ratio == floor(ratio), f"{what} = {shown} cannot be cut into {by} equal parts")


def own_checks(plan: Plan) -> list[Check]:
    """Rules that hold whatever the model: sizes are whole numbers, and attention and experts split the same ranks."""
    found = []
    for name in ("tp", "ep", "pp", "cp", "dp", "vpp", "dp_attention", "etp", "gpus"):
        value = getattr(plan, name)
        if value is not None:
            found.append(Check((value >= 1) & (value % 1 == 0), f"{name} must be a whole number of at least 1"))
    reason = "vpp gives every pipeline stage several chunks of layers, so it needs pp of at least 2"
    found.append(Check((plan.vpp == 1.0) | (plan.pp > 1.0), reason))
    if plan.overlap == "tensor_parallel":
        reason = "overlap=tensor_parallel hides gathers and scatters of tokens, so it needs sequence_parallel=on"
        found.append(Check(plan.shards_sequence, reason))
    if plan.gpus is not None:
        reason = f"the plan takes {_count(plan.devices)} GPUs, the cluster has {_count(plan.gpus)}"
        found.append(Check(plan.devices <= plan.gpus, reason))
    whole = (plan.replicas % 1 == 0) & (plan.expert_slices % 1 == 0)
    if plan.dp_attention is None and plan.etp is None:
        reason = f"one of tp·cp{_shown(plan.tp * plan.cp)} and ep{_shown(plan.ep)} must divide the other"
        return [*found, Check(whole, reason)]
    if plan.etp is None:
        reason = (
            f"ep{_shown(plan.ep)} must divide the tp·cp·dp_attention{_shown(plan.stage)} ranks that share the experts"
        )
        return [*found, Check(whole, reason)]
    same = plan.ep * plan.expert_slices == plan.stage
    reason = (
        f"the ranks of a stage are tp·cp·dp_attention{_shown(plan.stage)} for attention and "
        f"ep·etp{_shown(plan.ep * plan.expert_slices)} for experts: both must be the same number"
    )
    return [*found, Check(whole & same, reason)]


def _count(value: Num) -> str:
    return f"{value:.0f}" if is_scalar(value) else "more or fewer"


def _shown(value: Num) -> str:
    return f" = {value:g}" if is_scalar(value) else ""


def require(checks: list[Check]) -> None:
    """Raises Infeasible with the first rule that is broken at any point; for a single query."""
    for check in checks:
        if not every(check.ok):
            raise Infeasible(f"plan: {check.reason}")


def busiest(batch: Num, parts: Num) -> Num:
    """Sequences on the busiest of `parts` replicas: the batch spread evenly, rounded up."""
    return ceil(batch / parts)


def stage_layers(layers: int, pp: int, index: int) -> int:
    """Layers of a pipeline stage: as even as can be; what is left over goes one each to the stages before the last, which
    has the head. (vLLM `get_pp_indices`.)"""
    return layers // pp + (1 if pp - 1 - layers % pp <= index < pp - 1 else 0)
