"""What simcost expects of a step, in a form that a trace can stand beside: ops with how often they run and what all runs take, and kinds of work.

Of decode and prefill every op of `explain`; of a training step the rows of `where the step goes`, which hold what nothing hides. A trace is of one rank, and so is a step here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.result import Result, Row
from simcost.scenarios.profiled.names import Rules

OTHER = "other"  # predictions that no class takes
_SIZE = re.compile(r"\b(m|n|k)=(\d+)\b")
_LAYERS = re.compile(r" x(\d+)\Z")


@frozen
class Op:
    """A predicted op: its class, its block and how many layers have it, how often it runs in a step, what all runs take with the ends of their interval [s], and of a product (m, n, k)."""

    of: str
    name: str
    part: str
    layers: int
    times: float
    seconds: float
    low: float
    high: float
    basis: str
    shape: str
    sizes: tuple[int, int, int] | None


def of_step(answer: Result, rules: Rules) -> list[Op]:
    """Ops of an answer of `explain` in execution order. Raises SpecError for a step over several pipeline stages, of which a rank runs one."""
    stages = int(answer.inputs["plan"]["pp"])
    if stages > 1:
        raise SpecError(
            f"plan.pp = {stages}: a trace is of one stage: set --pp 1 and --set model.num_hidden_layers=... for the layers of its rank"
        )
    return [_op(row, rules) for row in answer.tables["ops"]]


def _op(row: Row, rules: Rules) -> Op:
    found = dict(_SIZE.findall(row["shape"]))
    layers = _LAYERS.search(str(row["part"]))
    return Op(
        rules.of_op(row["kernel"], row["op"]) or OTHER, row["op"], str(row["part"]), int(layers[1]) if layers else 1,
        float(row["times"]), float(row["step_s"]), float(row["step_low_s"]), float(row["step_high_s"]), row["basis"], row["shape"],
        (int(found["m"]), int(found["n"]), int(found["k"])) if found.keys() == {"m", "n", "k"} else None,
    )  # fmt: skip


def of_training(answer: Result, rules: Rules) -> list[Op]:
    """Rows of a training step, whose interval is the step's as a whole."""
    return [
        Op(
            rules.of_training(row["part"]) or OTHER,
            row["part"],
            "",
            1,
            0.0,
            float(row["time_s"]),
            0.0,
            0.0,
            "",
            "",
            None,
        )
        for row in answer.tables["where the step goes"]
    ]


def summed(ops: Sequence[Op]) -> dict[str, Any]:
    """Time and interval of ops of one class: they are of one kind of kernel, so they err together. [s]"""
    return {
        "predicted_s": sum(op.seconds for op in ops),
        "low_s": sum(op.low for op in ops) if ops and all(op.high for op in ops) else None,
        "high_s": sum(op.high for op in ops) if ops and all(op.high for op in ops) else None,
    }
