"""Expert selection over the router's logits: scores, group limit, top-k, normalised weights. Kinds: softmax and sigmoid.

Most likely to be wrong: engines fuse it into one kernel, plain torch runs half a dozen; the rows say which ran.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import Column, Word
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.router import Router
from simcost.ops.work import Op

COLUMNS = {
    "tokens": Column("tokens", "count"),
    "experts": Column("experts to choose from", "count"),
    "top_k": Column("experts chosen for a token", "count"),
    "groups": Column("groups of experts, 1 without a group limit", "count"),
    "topk_groups": Column("groups that a token may use, 1 without a group limit", "count"),
}
WORDS = {"scoring": Word("how logits become scores", ("softmax", "sigmoid", "sqrtsoftplus"))}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The selection of a row, with its group limit; 1 group is none."""
    tokens, experts, top_k, groups, topk_groups = (numbers[name] for name in NUMBERS)
    return Router(tokens, experts, top_k, labels["scoring"], groups, topk_groups)


def labels(op: Op) -> Labels | None:
    """How logits become scores; its gradient is another op, which no family times."""
    return {"scoring": op.scoring} if isinstance(op, Router) else None


def covers(op: Op) -> Mask:
    """Every selection, with a group limit or without."""
    return True


def relatives(labels: Labels) -> list[Labels]:
    """The other scorings, the elementwise one first."""
    return [{"scoring": name} for name in ("sigmoid", "softmax") if name != labels["scoring"]]


def numbers(op: Op) -> Mapping[str, Num]:
    """Groups are 1 without a group limit."""
    assert isinstance(op, Router)
    return {
        "tokens": op.tokens, "experts": op.experts, "top_k": op.top_k, "groups": op.groups,
        "topk_groups": op.topk_groups,
    }  # fmt: skip


def terms(op: Op, device: Device) -> Terms:
    """The passes over the scores follow one another: nothing hides them."""
    assert isinstance(op, Router)
    work = op.work()
    return kernel_terms(op, device, work, 4.0 * op.tokens * op.experts, ())


def features(op: Op) -> tuple[Num, ...]:
    """Logs of tokens, experts, chosen experts and groups; not of groups that a token may use."""
    assert isinstance(op, Router)
    return (np.log(op.tokens), np.log(op.experts), np.log(op.top_k), np.log(op.groups))


def site(op: Op) -> tuple[Num, ...]:
    """Experts, chosen experts and groups are one site; the tokens run along it."""
    assert isinstance(op, Router)
    return (op.experts, op.top_k, op.groups, op.topk_groups, np.log(op.tokens))
