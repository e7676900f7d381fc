"""Plans of a training step as columns: sizes of groups, and which schedule, recomputation and stage of ZeRO each has.

Most likely to be wrong: a setting that a plan has and no column holds; a test asks the executor for plans of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.hardware.engines import ANY
from simcost.hardware.profile import Device
from simcost.model.spec import ModelSpec
from simcost.num import Array, Bools, Index, maximum
from simcost.plan import Plan
from simcost.training.job import Job, Recipe, build
from simcost.training.recompute import parse

COLUMNS = ("tp", "cp", "ep", "pp", "vpp", "schedule", "micro_batch", "recompute", "zero_stage")


@frozen
class Asked:
    """What all plans share: `fixed`: formats and exchanges of a plan, and whether sequence parallelism goes with tensor
    parallelism; `recipe`: all that no column states, with the global batch; `gpus`: of the cluster, which every plan
    fills."""

    model: ModelSpec
    device: Device
    fixed: Plan
    recipe: Recipe
    gpus: float
    engine: str = ANY

    def job(self, row: Mapping[str, Any]) -> Job:
        """The job of one row: `Grid.row`. Raises SpecError and Infeasible as `build`."""
        sizes: dict[str, Any] = {name: float(row[name]) for name in ("tp", "cp", "ep", "pp", "vpp")}
        plan = replace(self.fixed, **sizes, gpus=self.gpus, sequence_parallel=self.sequence_parallel(row["tp"] > 1))
        recipe = replace(
            self.recipe,
            micro_batch=int(row["micro_batch"]),
            schedule=row["schedule"],
            recompute=row["recompute"],
            zero_stage=int(row["zero_stage"]),
        )
        return build(self.model, self.device, plan, recipe, self.engine)

    def sequence_parallel(self, split: bool) -> str:
        """Of a plan that splits tensors, or of one that does not: what `fixed` says, off without tensor parallelism."""
        return "on" if split and self.fixed.shards_sequence else "off"


@frozen
class Grid:
    """Plans [n] by column; `schedules`, `recomputes`: what the numbers in their columns stand for."""

    columns: Mapping[str, Array]
    schedules: tuple[str, ...]
    recomputes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.columns["tp"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def taken(self, which: Index | Bools) -> Grid:
        """Some of the plans."""
        return replace(self, columns={name: column[which] for name, column in self.columns.items()})

    def row(self, i: int) -> dict[str, Any]:
        """One plan."""
        found: dict[str, Any] = {name: int(self.columns[name][i]) for name in COLUMNS}
        return found | {"schedule": self.schedules[found["schedule"]], "recompute": self.recomputes[found["recompute"]]}

    @property
    def stage(self) -> Array:
        """GPUs of a pipeline stage of one copy."""
        near = self["tp"] * self["cp"]
        return np.asarray(near * maximum(self["ep"] / near, 1.0))

    def replicas(self, gpus: float) -> Array:
        """Data-parallel ranks of each plan."""
        return np.asarray(gpus / (self["tp"] * self["cp"] * self["pp"]))

    def microbatches(self, gpus: float, global_batch: int) -> Array:
        """Micro-batches of a replica; a broken number where the batch cannot be cut."""
        return np.asarray(global_batch / (self["micro_batch"] * self.replicas(gpus)))

    @property
    def modules(self) -> Array:
        """Of each plan a number for the modules that are recomputed: plans that recompute none of them, or whole
        layers, run the same programs."""
        kinds = [parse(name).modules for name in self.recomputes]
        return np.asarray(np.array([kinds.index(one) for one in kinds])[self["recompute"].astype(int)])


def distinct(columns: list[Array]) -> tuple[Index, Index]:
    """(the place of one of every distinct row, the place of each row among these), of columns of whole numbers."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        whole = column.astype(np.int64)
        key = key * (int(whole.max(initial=0)) + 1) + whole
    _, first, at = np.unique(key, return_index=True, return_inverse=True)
    return first, at
