"""The backward pass of the attention core: gradients of Q, K and V together, the scores computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simcost.calibration.families import attention_prefill as prefill
from simcost.calibration.family import Labels, Numbers
from simcost.num import Mask, Num
from simcost.ops.attention_core import AttentionCore
from simcost.ops.work import INPUT, Op

COLUMNS = prefill.COLUMNS
WORDS = {name: word for name, word in prefill.WORDS.items() if name != "scope"}
NUMBERS = prefill.NUMBERS
LABELS = tuple(WORDS)
SIZES = prefill.SIZES
ACROSS = prefill.ACROSS
LENGTHS = None
EFFICIENCY = "attention_efficiency"  # of the profile, by which another device's rows are carried over

relatives = prefill.alike
terms = prefill.terms
features = prefill.features
site = prefill.site


def op(numbers: Numbers, labels: Labels) -> Op:
    """The gradient of the core of a row; rows have no `scope`."""
    core = prefill.op(numbers, {**labels, "scope": "core"})
    assert isinstance(core, AttentionCore)
    return replace(core, gradient=INPUT)


def labels(op: Op) -> Labels | None:
    """The forward core's without `scope`: a gradient is of the core alone."""
    if not isinstance(op, AttentionCore) or not op.gradient:
        return None
    found = prefill.labels(replace(op, gradient=""))
    return None if found is None else {name: found[name] for name in LABELS}


def covers(op: Op) -> Mask:
    """Every gradient of a core, with any number of queries."""
    return isinstance(op, AttentionCore) and bool(op.gradient)


def numbers(op: Op) -> Mapping[str, Num]:
    """As of the forward core."""
    return prefill.numbers(op)
