"""Which layers a CPU run times from the inside: the random designs of calibration, and those of the models that were named.

A layer of a model is taken at five token counts, so that its products make sites of their own (`calibration.curves.sites.LEAST`);
what does not fit into memory, or would take the time of many others, is left out aloud. Most likely to be wrong: the operating
points of whoever names a model are others. Source: docs/theory/calibration.md, "From kernels to a block".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

from simcost.estimate.layer import BlockSpec, listed, of_model, random_blocks
from simcost.model.spec import ModelSpec
from simcost.plan import Phase

COUNT = {"quick": 0, "standard": 60, "full": 120}  # below 60 the held-out P90 of blocks doubles
MOST_FLOPS = 3e11  # of a model's layer: a forward pass of about a second on a core, of which a timing takes a dozen
_PHASES = (
    Phase(8.0, 1.0, 1023.0), Phase(1.0, 128.0, 0.0), Phase(1.0, 1.0, 1023.0), Phase(1.0, 512.0, 0.0), Phase(32.0, 1.0, 1023.0),
)  # fmt: skip


def blocks(mode: str, seed: int, models: Sequence[ModelSpec]) -> tuple[list[BlockSpec], list[str]]:
    """(layers in the order in which they are measured, what was left out). Random designs and layers of models in turn: half
    of any prefix each, as long as both last. A quick run has no time for any: kernels alone are ten times as fast to measure."""
    if not COUNT[mode]:
        return [], []
    wanted = list(_of_models(models))
    long = [spec for spec in wanted if flops(spec) > MOST_FLOPS]
    notes = [f"{spec.name}: {flops(spec):.2g} FLOP, more than a CPU run has the time for" for spec in long]
    mine = [spec for spec in wanted if flops(spec) <= MOST_FLOPS]
    both = zip_longest(mine, random_blocks(COUNT[mode], seed))
    return [spec for spec in chain.from_iterable(both) if spec is not None], notes


def flops(spec: BlockSpec) -> float:
    """FLOP of a forward pass of the layer."""
    return sum(float(item.op.work().flops) * item.repeat for item in listed(spec))


def _of_models(models: Sequence[ModelSpec]) -> Iterator[BlockSpec]:
    for phase in _PHASES:
        for model in models:
            yield from of_model(model, phase)
