"""How published conventions count training FLOPs: which weights, which pairs of a core, router, embedding, MTP.

One multiply-add is 2 FLOP. A convention that does not define a mixer of a model is refused by its name, not stretched.
Most likely to be wrong: a repository's counter that changes from version to version (verl's core was over all pairs
until 2025; torchtitan's knows windows and delta rules since 2026). Derivation: docs/theory/training-flops.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from simcost.blocks._recurrent import Recurrent
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.model.count import LOOKED_UP
from simcost.model.spec import Layer, ModelSpec
from simcost.num import Num, every, maximum, minimum
from simcost.plan import Plan
from simcost.sharding.shard import Block, Weight

NONE, SELECTIVE, FULL = "none", "selective", "full"  # recomputation
_WHOLE = Plan()
_LONG = 1_234_567.0  # tokens: longer than any window and any number of picked keys


@frozen
class Forward:
    """FLOPs of one token's forward pass: products of the layers with their weights, attention cores, and what stands
    around the layers (head; embedding where a convention counts it). [FLOP]"""

    layers: Num = 0.0
    core: Num = 0.0
    ends: Num = 0.0

    def __add__(self, other: Forward) -> Forward:
        """The sum, part by part."""
        return Forward(self.layers + other.layers, self.core + other.core, self.ends + other.ends)

    def __mul__(self, times: float) -> Forward:
        """So many times each part."""
        return Forward(times * self.layers, times * self.core, times * self.ends)


Core = Callable[[Block, Num], Num]
Weigh = Callable[[Weight], Num]


@frozen
class Convention:
    """`weigh`: elements of a weight that count; `core`: FLOPs of a token in a core, forward; `embedding`: "" for a
    look-up without FLOPs, "once" for a parameter like others, "apart" for a table beside the head's even where both are
    one; `mtp`: whether MTP modules count. `recomputed`: the recomputation that its figure has in it; `ends_again`: full
    recomputation runs embedding and head again too; `accepts`: raises NotModelled for a model that the formula is not
    made for. `words`, `source`: what it counts, and where that is written."""

    name: str
    words: str
    source: str
    weigh: Weigh
    core: Core
    embedding: str = ""
    mtp: bool = False
    recomputed: str = NONE
    ends_again: bool = False
    accepts: Callable[[ModelSpec], None] = lambda model: None

    def forward(self, model: ModelSpec, seq: Num, mtp: bool) -> Forward:
        """What a forward has. `mtp`: whether the run trains the MTP modules. Raises NotModelled for what the convention
        does not define, with its name."""
        try:
            self.accepts(model)
            return self._forward(model, seq, mtp)
        except NotModelled as undefined:
            raise NotModelled(f"flops convention '{self.name}' does not define {undefined}: use 'reference'") from None

    def _forward(self, model: ModelSpec, seq: Num, mtp: bool) -> Forward:
        tied = model.head.tied
        total = Forward(ends=self._products((*model.embedding.weights(_WHOLE), *model.head.weights(_WHOLE)), tied))
        for n, layer in model.stacks:
            total = total + self._layer(layer, seq, tied) * float(n)
        if self.embedding == "apart" and tied:
            total = total + Forward(ends=2.0 * model.hidden_size * model.vocab_size)
        for module in model.mtp if self.mtp and mtp else ():
            cores = self._layer(module.layer, seq, tied).core
            head = 2.0 * model.hidden_size * model.vocab_size
            total = total + Forward(self._products(module.weights(_WHOLE), tied), cores, head)
        return total

    def _layer(self, layer: Layer, seq: Num, tied: bool) -> Forward:
        total = Forward()
        for block in layer:
            total = total + Forward(self._products(block.weights(_WHOLE), tied), self.core(block, seq))
        return total

    def _products(self, weights: Iterable[Weight], tied: bool) -> Num:
        """FLOPs of a token. An input table is a look-up, unless it is the head's too, or counts as a parameter."""
        total: Num = 0.0
        for weight in weights:
            looked_up = weight.name in LOOKED_UP or (weight.name == "embed_tokens" and not tied)
            if self.embedding or not looked_up:
                total = total + 2.0 * self.weigh(weight)
        return total


# Weights


def _products(weight: Weight) -> Num:
    """Elements of a matrix that a token meets, as often as it does; a vector has none."""
    return 0.0 if weight.inner is None else weight.count * weight.active * weight.uses


def _unrouted(weight: Weight) -> Num:
    """The same without routers and the gates of shared experts."""
    return 0.0 if weight.name in ("router", "shared_gate") else _products(weight)


def _parameters(weight: Weight) -> Num:
    """Parameters, each once."""
    return weight.count * weight.active


def _passed(weight: Weight) -> Num:
    """Parameters, those that layers share as often as a token meets them."""
    return weight.count * weight.active * maximum(weight.uses, 1.0)


# Cores


def _exact(block: Block, seq: Num) -> Num:
    """Over the pairs that the mask leaves, with the scores by which keys are picked; recurrent cores as kernels run."""
    return block.core_flops(seq, 0.0) / seq


def _none(block: Block, seq: Num) -> Num:
    return 0.0


def _pairs(share: float, windows: str = "", known: Mapping[str, Callable[[Recurrent], Num]] | None = None) -> Core:
    """A core over `share` of all pairs. `windows`: "ignored", or "seen": so many keys as a window has; "": undefined.
    `known`: FLOPs of a token in recurrent cores, by their rule."""
    rules = known or {}

    def core(block: Block, seq: Num) -> Num:
        longest = block.core_flops(_LONG, 0.0)
        if every(np.asarray(longest) == 0.0):
            return 0.0
        if isinstance(block, Recurrent) and block.rule in rules:
            return rules[block.rule](block)
        mask = block.mask
        plain = mask is not None and every(np.asarray(longest == 2.0 * block.core_width * mask.pairs(_LONG, 0.0)))
        if mask is None or not plain or mask.picked is not None:
            raise _undefined(block)
        if mask.window is not None and windows == "seen":
            return 2.0 * share * minimum(seq, mask.window) * block.core_width
        if mask.bounded and windows != "ignored":
            raise _undefined(block)
        return 2.0 * share * seq * block.core_width

    return core


def _undefined(block: Block) -> NotModelled:
    mask = "" if block.mask is None else f" ({block.mask.label()})"
    return NotModelled(f"{type(block).__name__}{mask}")


def _state(block: Recurrent) -> Num:
    return block.shape(_WHOLE).state


def _delta_and_convolution(block: Recurrent) -> Num:
    """Four products of the width of a value with itself in every head, and the convolution before."""
    heads = block.shape(_WHOLE)
    return 2.0 * (4.0 * heads.heads * heads.d_v**2 + block.conv_kernel * block.channels(_WHOLE))


_MEGATRON_CORES: Mapping[str, Callable[[Recurrent], Num]] = {
    "gated_delta": _delta_and_convolution, "ssd": lambda block: 7.0 * _state(block),
}  # fmt: skip
_TITAN_CORES: Mapping[str, Callable[[Recurrent], Num]] = {
    "gated_delta": lambda block: 6.0 * _state(block), "kda": lambda block: 6.0 * _state(block),
}  # fmt: skip


# Models


def _gpt(model: ModelSpec) -> None:
    """What formulas of h, l, s and V alone are made for: MHA as wide as the model, and 12·h² weights in a layer."""
    h = model.hidden_size
    for _, layer in model.stacks:
        weights: Num = 0.0
        for block in layer:
            for weight in block.weights(_WHOLE):
                weights = weights + _products(weight)
        _as_wide(model, layer)
        if not every(np.asarray(weights == 12.0 * h**2)):
            blocks = " + ".join(type(block).__name__ for block in layer if block.kind in ("attention", "ffn"))
            raise NotModelled(f"{blocks}, whose layer has not the 12·h² weights of MHA and an FFN of width 4·h")


def _as_wide(model: ModelSpec, layer: Layer) -> None:
    for block in layer:
        if block.router is not None:
            raise NotModelled(f"{type(block).__name__}")
        if block.kind == "attention" and not every(np.asarray(block.core_width == 2.0 * model.hidden_size)):
            raise NotModelled(f"{type(block).__name__} whose heads together are not as wide as the model")


def _dense(model: ModelSpec) -> None:
    """What a formula of the number of parameters, layers and model width is made for."""
    for _, layer in model.stacks:
        _as_wide(model, layer)


_MEGATRON = "Megatron-LM megatron/training/training.py (num_floating_point_operations)"
_ALL = (
    Convention(
        "reference", "products with active weights, embedding a look-up; cores over exactly the pairs of the mask",
        "arXiv 2505.09343 table 4 (causal MFU); pairs as in FlashAttention (arXiv 2205.14135)", _passed, _exact,
    ),
    Convention(
        "palm", "6·N without embedding, cores over all pairs of a sequence (12·L·H·Q·T)",
        "PaLM (arXiv 2204.02311) appendix B", _parameters, _pairs(1.0),
    ),
    Convention(
        "6n", "6·N of all active parameters, no core",
        "Kaplan et al. (arXiv 2001.08361) §2.1", _parameters, _none, "once",
    ),
    Convention(
        "6n-no-embedding", "6·N of active parameters without the input embedding, no core",
        "Kaplan et al. (arXiv 2001.08361) §2.1", _parameters, _none,
    ),
    Convention(
        "torchtitan", "6·N without embedding; all pairs, of windows as many keys as they have; delta rules 18·H·Dk·Dv",
        "torchtitan torchtitan/models/utils.py (quadratic_attention_flops_per_token)", _parameters,
        _pairs(1.0, "seen", _TITAN_CORES),
    ),
    Convention(
        "simumax", "products with weights, router with them; cores over all pairs",
        "MooreThreads/SimuMax (not causal)", _products, _pairs(1.0),
    ),
    Convention(
        "megatron", "products with weights, no router; half of all pairs, windows not seen; gated delta rule, Mamba-2",
        _MEGATRON, _unrouted, _pairs(0.5, "ignored", _MEGATRON_CORES),
    ),
    Convention(
        "megatron-mtp", "the same, with each MTP module a layer, its joining projection, and the head once more",
        f"{_MEGATRON}; NeMo flops_formulas.py (deepseekv3)", _unrouted,
        _pairs(0.5, "ignored", _MEGATRON_CORES), mtp=True,
    ),
    Convention(
        "verl", "products with weights, router, embedding and head (two tables even if tied); half of all pairs",
        "verl verl/utils/flops_counter.py", _products, _pairs(0.5, "seen"), "apart",
    ),
    Convention(
        "llm-foundry", "6·N of all parameters and 12·L·d·s; recomputation runs all of it again",
        "llm-foundry scripts/train/benchmarking/README.md", _parameters, _pairs(1.0), "once",
        ends_again=True, accepts=_dense,
    ),
    Convention(
        "narayanan-2021", "hardware FLOPs with full recomputation: 96·l·h²·(1 + s/6h + V/16lh) a token",
        "Narayanan et al. (arXiv 2104.04473) eq. 3", _products, _pairs(1.0), recomputed=FULL, accepts=_gpt,
    ),
    Convention(
        "korthikanti-2022", "model FLOPs 72·l·h²·(1 + s/6h + V/12lh) a token",
        "Korthikanti et al. (arXiv 2205.05198) appendix A", _products, _pairs(1.0), accepts=_gpt,
    ),
)  # fmt: skip
CONVENTIONS: Mapping[str, Convention] = {each.name: each for each in _ALL}
ALIASES: Mapping[str, str] = {"causal": "reference", "non-causal": "palm", "nemo": "megatron-mtp"}
