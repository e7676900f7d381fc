"""The parameters of a rank of a pipeline stage, module by module: which of them learn, which are adapters, and the
copies of weights that stages share.

A tied head, and MTP modules, read the embedding's table: where another stage holds it the last one has a copy, whose
gradients both sum; so do stages that use a shared block (`pipeline.Shared`). Most likely to be wrong: adapters of matrices that a framework fuses or splits otherwise; here a
fused projection has one (Megatron Bridge, `linear_qkv`). Sources: Megatron Core `finalize_model_grads.py` (embedding
group), `multi_token_prediction.py`; LoRA (arXiv 2106.09685 §4.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simcost import pipeline
from simcost.dtypes import Dtype
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.lower import modules
from simcost.model.spec import ModelSpec
from simcost.num import Num, every
from simcost.passes.backward import EXPERTS
from simcost.pipeline import Shared, Stage
from simcost.plan import Plan
from simcost.sharding.shard import ROLES, Block, Weight

LINEAR = ("attention", "ffn", "experts", "shared_experts")
# How matrices that do not learn may be kept (QLoRA): bitsandbytes shares a scale of 32 bits among 64 elements, which
# double quantisation narrows to 8 bits and 32 for every 256 of them (arXiv 2305.14314, section 3).
KEPT = {
    "nf4": Dtype("nf4", 4.0, "", (1, 64), 32.0),
    "nf4-dq": Dtype("nf4", 4.0, "", (1, 64), 8.125),
    "int8": Dtype("int8", 8.0, "int8"),
}
_WHOLE = Plan()


@frozen
class Trained:
    """What learns: weights of `roles`, and adapters of rank `lora_rank` (None: no adapters) beside each matrix of
    `lora_roles`. `kept`: the format of matrices of layers that do not learn, None: that of the precision."""

    roles: tuple[str, ...] = ROLES
    lora_rank: Num | None = None
    lora_roles: tuple[str, ...] = LINEAR
    kept: Dtype | None = None

    def __post_init__(self) -> None:
        for name in ("roles", "lora_roles"):
            for role in getattr(self, name):
                if role not in ROLES:
                    raise SpecError(f"{name}: '{role}' is not one of {', '.join(ROLES)}{nearest(role, ROLES)}")
        if self.lora_rank is not None and not every(self.lora_rank >= 1.0):
            raise SpecError(f"lora_rank must be at least 1, not {self.lora_rank:g}")
        if not self.roles and self.lora_rank is None:
            raise SpecError("nothing is left to train: state roles, or a lora_rank")

    @property
    def frozen(self) -> tuple[str, ...]:
        """Roles whose weights do not learn."""
        return tuple(role for role in ROLES if role not in self.roles)


ALL = Trained()


@frozen
class Parameter:
    """A weight as one rank holds it (`part`), and `whole`. `adapter`: it stands beside a frozen one, and is multiplied
    in the activations' format. `kept`: its own format; None: that of the precision."""

    part: Weight
    whole: Weight
    learns: bool
    adapter: bool = False
    kept: Dtype | None = None

    @property
    def is_expert(self) -> bool:
        """Whether it is a routed expert's: copied less often than all else."""
        return self.part.role == EXPERTS

    @property
    def replicated(self) -> bool:
        """Whether every tensor-parallel rank holds all of it."""
        return not self.is_expert and every(self.part.count == self.whole.count)


@frozen
class Unit:
    """`count` equal modules, each with these parameters: a layer, an end, an MTP module, copies of shared blocks. `key`:
    of the module (`lower.Module`), "" of copies."""

    count: int
    parameters: tuple[Parameter, ...]
    key: str = ""


def units(
    model: ModelSpec, stage: Stage, plan: Plan, trained: Trained = ALL, shares_ends: bool = False
) -> tuple[Unit, ...]:
    """The parameters of a rank of a stage in running order, MTP modules included. `shares_ends`: the rank holds the
    first stage too (DualPipe), so that the last needs no copy of its table."""
    stage = replace(stage, shared=shared(stage, shares_ends))
    keys = [module.key for module in modules(model, True) if stage.count(module.key)]
    found = pipeline.units(model, stage, True)
    keys += [""] * (len(found) - len(keys))
    return tuple(
        Unit(count, of_blocks(blocks, plan, trained), key) for (count, blocks), key in zip(found, keys, strict=True)
    )


def shared(stage: Stage, shares_ends: bool = False) -> tuple[Shared, ...]:
    """Weights that other ranks have too. `shares_ends`: as of `units`."""
    return tuple(one for one in stage.shared if not (shares_ends and one.stack is None))


def of_blocks(blocks: tuple[Block, ...], plan: Plan, trained: Trained = ALL) -> tuple[Parameter, ...]:
    """The parameters of one module."""
    found: list[Parameter] = []
    for block in blocks:
        for part, whole in zip(block.weights(plan), block.weights(_WHOLE), strict=True):
            learns = part.role in trained.roles
            narrow = trained.kept if not learns and part.inner is not None and part.role in LINEAR else None
            found.append(Parameter(part, whole, learns, kept=narrow))
            found += _adapters(part, whole, trained)
    return tuple(found)


def _adapters(part: Weight, whole: Weight, trained: Trained) -> Iterator[Parameter]:
    """Two matrices of rank r beside one of [out, inner]: [r, inner] and [out, r]."""
    rank = trained.lora_rank
    if rank is None or part.inner is None or part.role not in trained.lora_roles:
        return
    for name in ("lora_a", "lora_b"):
        halves = [
            Weight(f"{weight.name}_{name}", weight.role, *sides, weight.copies, weight.active)
            for weight in (part, whole)
            for sides in [(rank, weight.inner) if name == "lora_a" else (weight.out, rank)]
        ]
        yield Parameter(halves[0], halves[1], True, adapter=True)


def frozen_share(model: ModelSpec, trained: Trained) -> float:
    """Of the matrix products of a token, without attention cores, those whose weights do not learn. A tied head counts
    as the table."""
    frozen = every_product = 0.0
    table = "embedding" if model.head.tied else "head"
    products: list[tuple[Num, str]] = [(model.head.vocab_size * model.head.hidden_size, table)]
    for repeat, block in model.blocks():
        for one in block.weights(_WHOLE):
            if one.inner is not None and one.role not in ("embedding", "head"):
                products.append((repeat * one.count * one.active * one.uses, one.role))
    for count, role in products:
        every_product += float(count)
        frozen += float(count) if role not in trained.roles else 0.0
    return frozen / every_product


def total(found: tuple[Unit, ...], learns: bool | None = None) -> Num:
    """Parameters of all units; `learns`: those that do, or do not."""
    count: Num = 0.0
    for unit in found:
        for each in unit.parameters:
            if learns is None or each.learns == learns:
                count = count + unit.count * each.part.count
    return count
