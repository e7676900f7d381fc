"""Mixture of experts: a router sends each token to k of E experts; shared experts see every token.

Weights are read for the distinct experts that the batch touches; every rank waits for the one with most rows and experts.
`plan.overlap=shared_experts`: on a stream of their own, as vLLM (PR 26440) and SGLang (PR 12660) run them in decode.
Most likely to be wrong: real routers are more skewed than the routing asked for. Sources: GShard (arXiv 2006.16668),
DeepSeekMoE (arXiv 2401.06066), DeepSeek-V3 (arXiv 2412.19437), Hugging Face `modeling_mixtral.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simcost.blocks.ffn._expert_layers import is_hash_layer, is_moe_layer
from simcost.blocks.ffn.dense import activation
from simcost.blocks.swap import STEP, Chosen, Design, Swap, whole
from simcost.dtypes import Dtype
from simcost.errors import SpecError
from simcost.frozen import frozen, remembered
from simcost.hf import Reader
from simcost.num import Num, every, maximum, minimum, some, where
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.permute import Permute
from simcost.ops.router import Router as TopK
from simcost.ops.stream import Stream
from simcost.passes.contention import held, in_turn, slowed
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Overlap, Program, Serial
from simcost.routing.load import busiest_expert, busiest_rank, most_touched, most_visited
from simcost.routing.router import MOST, MOST_PICKS, Router, Routing
from simcost.sharding import experts as expert_sharding
from simcost.sharding.linear import cast, enter, linear
from simcost.sharding.shard import Plain, View, Weight

SHARED = "shared_experts"  # Megatron Core's name in `recompute_modules`
SCORING = ("softmax", "sigmoid", "sqrtsoftplus")


@frozen
class MoE(Plain):
    """E experts of width `moe_intermediate_size`, k a token; `shared_width` = summed width of the shared experts; `moe_latent_size`: width of the tokens that
    routed experts see, between two projections of their own (None: the model's); `latent_norm`: a norm before the second of them."""

    hidden_size: Num
    n_routed_experts: Num
    num_experts_per_tok: float
    moe_intermediate_size: Num
    shared_width: Num = 0.0
    gated: bool = True
    expert_bias: bool = False
    router_bias: bool = False
    correction_bias: bool = False
    shared_gate: bool = False
    scoring_func: str = "softmax"
    n_group: float = 1.0
    topk_group: float = 1.0
    group_rule: str = "random"
    moe_latent_size: Num | None = None
    latent_norm: bool = False
    kind: ClassVar[str] = "ffn"
    source: ClassVar[str] = "arXiv 2401.06066"

    def checks(self, plan: Plan) -> list[Check]:
        """ep divides the experts with their copies; expert slices divide an expert's width; tp divides the shared width."""
        rules = [
            divides(self.n_routed_experts + plan.redundant_experts, plan.ep, "n_routed_experts and their copies"),
            divides(self.moe_intermediate_size, plan.expert_slices, "moe_intermediate_size"),
        ]
        if self.has_shared:
            rules.append(divides(self.shared_width, plan.tp, "shared expert width"))
        return rules

    @property
    def routed_width(self) -> Num:
        """Width of a token on its way to the routed experts, and inside them."""
        return self.hidden_size if self.moe_latent_size is None else self.moe_latent_size

    @property
    def choices(self) -> tuple[Num, float]:
        """(experts that the router scores, experts that a token picks of them)."""
        return self.n_routed_experts, self.num_experts_per_tok

    @property
    def has_shared(self) -> bool:
        """Whether there are shared experts; in a sweep, whether any point has them."""
        return some(self.shared_width > 0.0)

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Router, shared gate and the projections to the latent and back, whole on every rank; the experts of one rank, each cut into expert slices; shared
        experts, cut by tp; biases."""
        d, r, held = self.hidden_size, self.routed_width, self.held_experts(plan)
        f, share = self.moe_intermediate_size / plan.expert_slices, self.num_experts_per_tok / self.n_routed_experts
        gates, cut = 2.0 if self.gated else 1.0, 1.0 * (plan.expert_slices > 1.0)
        up = f * gates
        found = [
            Weight("router", "router", self.choices[0], d),
            Weight("experts_up", "experts", up, r, held, share, gates * cut),
            Weight("experts_down", "experts", r, f, held, share, -cut),
        ]
        if self.moe_latent_size is not None:
            found += [Weight("latent_down", "shared_experts", r, d), Weight("latent_up", "shared_experts", d, r)]
        if self.latent_norm:
            found.append(Weight("latent_norm", "norm", r))
        if self.has_shared:
            s = self.shared_width / plan.tp
            halves = (s, s) if self.gated else ()
            found.append(Weight("shared_up", "shared_experts", s * (2.0 if self.gated else 1.0), d, parts=halves))
            found.append(Weight("shared_down", "shared_experts", d, s))
        if self.expert_bias:
            found.append(Weight("expert_bias", "experts", up + r, None, held, share))
        if self.router_bias:
            found.append(Weight("router_bias", "router", self.choices[0]))
        if self.correction_bias:
            found.append(Weight("correction_bias", "router", self.choices[0]))
        if self.shared_gate:
            found.append(Weight("shared_gate", "router", 1.0, d))
        return tuple(found)

    def peak_elements(self, plan: Plan) -> Num:
        """Gate, up and their product of the shared experts, cut by tp; without a gate up and its activation."""
        return self.shared_width / plan.tp * (3.0 if self.gated else 2.0)

    def expert_elements(self, plan: Plan, routing: Routing, tokens: Num) -> tuple[Num, Num]:
        """Two buffers that the rows of the experts pass through in turn, as wide as the wider of what enters and what leaves (vLLM
        `modular_kernel.py`). Where all ranks hold all tokens each has rows for every token and expert; where tokens travel, the busiest
        rank has the rows that come to it."""
        width = self.moe_intermediate_size / plan.expert_slices
        d = self.routed_width
        wide = maximum(width, d) + maximum(width * (2.0 if self.gated else 1.0), d)
        came = plan.replicas * plan.cp / plan.ep
        came = came * busiest_rank(
            routing, self.router, tokens * plan.replicas * plan.cp, plan.ep, plan.redundant_experts
        )
        rows = self.num_experts_per_tok * where(plan.exchanges > 0.0, came, 1.0)
        return rows * wide, rows * d

    def exchanged_experts(self, plan: Plan) -> Num:
        """All experts with their copies, where the plan exchanges tokens over an ep above 1; else 0."""
        return (self.n_routed_experts + plan.redundant_experts) * ((plan.exchanges > 0.0) & (plan.ep > 1.0))

    @property
    def router(self) -> Router:
        """`num_experts_per_tok` of the experts, from `topk_group` of `n_group` groups, chosen by `group_rule`."""
        return Router(
            self.n_routed_experts, self.num_experts_per_tok, int(self.n_group), int(self.topk_group), self.group_rule
        )

    def program(self, view: View) -> Program:
        """Tokens go to their experts and back in one node, so that one mode serves both ways; the experts run between."""
        plan, rows, act = view.plan, view.tokens, view.activation
        weight = {w.name: w.whole(view.storage[w.role]) for w in self.weights(plan)}
        choose = TopK(view.own_tokens, *self.choices, self.scoring_func, self.n_group, self.topk_group)
        x = view.quantised_input("experts")
        parts: list[Program] = [linear(view, weight["router"], view.own_tokens, "router"), Call(choose, "top-k")]
        latent = self.moe_latent_size is not None
        if latent:
            parts.append(linear(view, weight["latent_down"], view.own_tokens))
        if x is not act:
            # Quantised once, before dispatch: the wire, the permutation and the shared experts use the narrow copy.
            parts.append(cast(view, "experts", view.own_tokens * self.routed_width, "tokens"))
        shared: Program | None = None
        if self.has_shared:
            shared = Serial(tuple(self._shared(view, weight, rows)), branch=SHARED)
        exchange = expert_sharding.exchange(view, self.router, self.routed_width, x)
        routed = self._run(view, weight, x)
        if shared is not None and plan.overlap == "shared_experts":
            exchange, routed, shared = _beside(view, exchange, routed, shared)
        parts += [] if exchange is None else [exchange]
        parts.append(routed)
        if self.latent_norm:
            parts.append(Call(Stream("norm", view.tokens * self.routed_width, 1.0, 1.0, 4.0, act, act), "latent norm"))
        parts += [linear(view, weight["latent_up"], view.tokens)] if latent else []
        parts += [] if shared is None else [shared]
        parts += expert_sharding.joined(view, self.hidden_size, self.has_shared)
        return Serial(tuple(parts), "moe")

    def _run(self, view: View, weight: dict[str, Weight], x: Dtype) -> Program:
        """What one rank does with the rows that came to it, the busiest rank's."""
        tokens, act = view.all_tokens, view.activation
        router, routing, plan = self.router, view.routing, view.plan
        copies, here = (
            tokens * self.num_experts_per_tok / plan.ep,
            busiest_rank(routing, router, tokens, plan.ep, plan.redundant_experts),
        )
        load = busiest_expert(routing, router, tokens, plan.redundant_experts) / here
        # Most rows and most experts, as if of one rank: an upper bound. An expert that runs has a row.
        run = minimum(most_touched(routing, router, tokens, plan.ep, plan.redundant_experts), copies * here)
        if plan.capacity_factor is not None:
            # Every expert's rows are padded, or cut, to the same number.
            here, load = plan.capacity_factor + 0.0 * here, 1.0 + 0.0 * load
        copies = copies * here
        came = self._came(view, copies)
        inside: list[Program] = [Call(Permute(came, copies, self.routed_width, x), "permute")]
        inside += self._experts(view, weight, copies, run, maximum(load, 1.0))
        inside.append(Call(Permute(came, copies, self.routed_width, act, combine=True), "unpermute"))
        return Serial(tuple(inside), "experts", kernel="experts")

    def _came(self, view: View, copies: Num) -> Num:
        """Tokens that a rank permutes from: all where they are replicated, else those that came, each once."""
        tokens, plan = view.all_tokens, view.plan
        if every(plan.exchanges == 0.0):
            return view.tokens
        visiting = tokens * most_visited(view.routing, self.router, tokens, plan.ep, plan.redundant_experts)
        return where(plan.exchanges > 0.0, minimum(copies, visiting), view.tokens)

    def _experts(self, view: View, weight: dict[str, Weight], copies: Num, run: Num, load: Num) -> list[Program]:
        held = self.held_experts(view.plan)
        x, stored, compute = view.quantised_input("experts"), view.storage["experts"], view.compute["experts"]
        packed = view.unpacked and stored.bits < compute.bits
        parts: list[Program] = []
        width = weight["experts_down"].inner  # of a rank's part of an expert, in whole blocks
        assert width is not None
        for name, inner in (("experts_up", self.routed_width), ("experts_down", width)):
            if x is not view.activation and name == "experts_down":
                parts.append(cast(view, "experts", copies * inner, f"{name} input"))
            gemm = GroupedGemm(
                copies, run, weight[name].out, inner, x, stored, view.activation, compute, packed, held, load
            )
            parts.append(Call(gemm, name))
            if name == "experts_up":
                parts.append(activation(view, copies * width, self.gated))
        return parts

    def held_experts(self, plan: Plan) -> Num:
        """An equal part of the experts and their copies for each ep rank."""
        return (self.n_routed_experts + plan.redundant_experts) / plan.ep

    def _shared(self, view: View, weight: dict[str, Weight], rows: Num) -> list[Program]:
        act = view.activation
        same = (
            view.quantised_input("shared_experts") is view.quantised_input("experts") and self.moe_latent_size is None
        )
        add = Stream("residual", rows * self.hidden_size, 2.0, 1.0, 1.0, act, act)
        return [
            *enter(view, self.hidden_size),
            linear(view, weight["shared_up"], rows, quantise=not same),
            activation(view, rows * self.shared_width / view.plan.tp, self.gated),
            linear(view, weight["shared_down"], rows),
            *([Serial((linear(view, weight["shared_gate"], rows),), branch=SHARED)] if self.shared_gate else []),
            Call(add, "add shared"),
        ]


def _beside(
    view: View, exchange: Program | None, routed: Program, shared: Program
) -> tuple[Program | None, Program, Program | None]:
    """The shared experts on a stream of their own: beside the exchange where tokens travel, else beside the routed experts, whose
    multiprocessors and bandwidth they share, or after them. Of a list of plans each point runs them once."""
    away, after = 1.0 * (view.plan.exchanges > 0.0), 1.0 * in_turn(view.plan, view.tokens)
    near = 1.0 - away - after
    if exchange is not None:
        exchange = Overlap((slowed(exchange), Serial((shared,), repeat=away)), "", (held(exchange), 0.0))
    if not every(near == 0.0):
        routed = Overlap((routed, Serial((shared,), repeat=near)), competes=True)
    return exchange, routed, None if every(after == 0.0) else Serial((shared,), repeat=after)


def _moe(design: Design, text: str) -> list[Chosen]:
    """E routed experts, k a token, shared experts of their width. The router's kind stays where the design has one; groups go where they do not divide the
    experts."""
    parts, written = text.split("/"), f"model.ffn=moe:{text}"
    if len(parts) not in (3, 4):
        raise SpecError(f"{written.removesuffix(':')}: write moe:E/k/shared or moe:E/k/shared/width (moe:256/8/1/2048)")
    experts, top_k = whole(parts[0], "E, routed experts,", written), whole(parts[1], "k, experts per token,", written)
    shared = whole(parts[2], "the shared experts", written, least=0)
    if top_k > experts:
        raise SpecError(f"{written}: a token cannot be sent to {top_k} of {experts} experts")
    had = "n_routed_experts" in design.config
    found = [
        Chosen("n_routed_experts", experts, "asked for"),
        Chosen("num_experts_per_tok", top_k, "asked for"),
        Chosen("n_shared_experts", shared, "asked for, of the routed width"),
    ]
    if len(parts) == 4:
        found.append(Chosen("moe_intermediate_size", whole(parts[3], "the width", written), "asked for"))
    elif "moe_intermediate_size" not in design.config:
        found.append(Chosen("moe_intermediate_size", STEP, "until it is solved for"))
    for key in ("shared_expert_intermediate_size", "shared_intermediate_size"):
        if key in design.config:
            found.append(Chosen(key, None, "shared experts have the routed width"))
    if design.config.get("shared_expert_gate") and not shared:
        found.append(Chosen("shared_expert_gate", False, "no shared experts"))
    groups, limit = design.config.get("n_group", 1), design.config.get("topk_group", 1)
    if had and groups > 1 and (experts % groups or top_k > experts // groups * limit):
        found += [
            Chosen(key, None, f"{groups} groups do not divide {experts} experts") for key in ("n_group", "topk_group")
        ]
    return found


BY_KEYS = ("n_routed_experts",)
LAYER_TYPE = "sparse"  # in mlp_layer_types
SWAPS = {
    "moe": Swap(
        _moe,
        "moe:E/k/shared or moe:E/k/shared/width",
        width_key="moe_intermediate_size",
        states_width=lambda text: text.count("/") == 3,
    )
}


def claims(r: Reader, layer: int, layers: int) -> int:
    """2 for a layer with experts, else 0."""
    return 2 if is_moe_layer(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: whether a hash routes it."""
    return is_hash_layer(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> MoE:
    """The MoE block of a layer. Raises SpecError for a missing or wrong key, and where a token would pick more experts or groups than there are."""
    experts = r.num("n_routed_experts", most=MOST)
    top_k = float(r.layout("num_experts_per_tok", least=1, most=MOST_PICKS))
    if np.any(np.asarray(top_k) > np.asarray(experts)):
        raise SpecError(f"{r.where}: 'num_experts_per_tok' = {top_k:.0f} exceeds the {np.min(experts):.0f} experts")
    width = r.num("moe_intermediate_size") if r.has("moe_intermediate_size") else r.num("intermediate_size")
    if r.has("shared_expert_intermediate_size"):
        shared = r.num("shared_expert_intermediate_size", least=0)
        if r.flag("shared_width_is_whole"):
            r.ineffective("n_shared_experts", "the model class has one shared expert of the stated width")
        else:
            shared = shared * r.num("n_shared_experts", 1, least=0)
    elif r.has("shared_intermediate_size"):
        shared = r.num("shared_intermediate_size", least=0)
    else:
        shared = r.num("n_shared_experts", 0, least=0) * width
    scoring = r.text("scoring_func", "softmax")
    if scoring not in SCORING:
        raise SpecError(f"{r.where}: 'scoring_func' must be one of {', '.join(SCORING)}, not {scoring!r}")
    # DeepSeek-V3 (noaux_tc) ranks groups by the sum of their two best scores, V2 (group_limited_greedy) by the best.
    rule = "max" if r.text("topk_method") == "group_limited_greedy" else "top2"
    groups = float(r.layout("n_group", 1, least=1))
    limit = float(r.layout("topk_group", 1, least=1))
    r.divisible(experts, groups, "n_routed_experts must be a multiple of n_group")
    if limit > groups:
        raise SpecError(f"{r.where}: 'topk_group' = {limit:.0f} exceeds n_group = {groups:.0f}")
    bias = r.flag("ffn_bias") or r.biased() or r.flag("mlp_bias")
    return MoE(
        r.num("hidden_size"), experts, top_k, width, shared, r.flag("gated_ffn", True),
        expert_bias=bias or r.flag("expert_bias"), router_bias=r.flag("router_bias"),
        correction_bias=(r.text("topk_method") == "noaux_tc" or r.flag("router_correction_bias")) and not is_hash_layer(r, layer, layers),
        shared_gate=r.flag("shared_expert_gate"), scoring_func=scoring, n_group=groups, topk_group=limit,
        group_rule=rule, moe_latent_size=r.num("moe_latent_size") if r.has("moe_latent_size") else None,
        latent_norm=r.has("moe_latent_size") and r.flag("latent_moe_use_norm"),
    )  # fmt: skip
