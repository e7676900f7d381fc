"""`workloads/validation/recipes/rl_runs.csv`: published steps of reinforcement learning, with what their sources print.

Empty cells are not printed. `model`, `hw`: names of the zoo and of profiles, empty where there is none; `mean_total`:
tokens of prompt and answer; `mean_osl`: of the answer alone; `rollout_gpus`: of a pool; `way`: of a transfer of
weights; `tokens_of`: tokens/s of one GPU or of all. A printed range "a-b" counts as its middle. Of fully asynchronous
rows `gen_s` is what the trainer waits. Most likely to be wrong: what a framework counts into a phase.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from simcost.errors import SpecError
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.model import load as models

PHASES = ("gen_s", "reward_s", "old_logprob_s", "reference_s", "update_s", "sync_s")
TIMES = (*PHASES, "step_s", "tokens_per_s")
_COUNTS = (
    "gpus", "rollout_gpus", "prompts", "samples", "max_prompt", "max_osl", "max_total", "rollout_batch", "train_batch",
    "gen_tp", "gen_pp", "train_tp", "train_cp", "train_ep", "train_pp",
)  # fmt: skip
_MEANS = ("prompt_len", "mean_osl", "mean_total")
_WORDS: Mapping[str, tuple[str, ...]] = {
    "placement": ("", "colocated", "disaggregated"),
    "asynchrony": ("", "off", "one-step", "full"),
    "way": ("", "gather", "broadcast", "reshard", "delta", "peer", "staged"),
    "trainer": ("", "megatron", "fsdp", "fsdp2", "dtensor"),
    "format": ("", "bf16", "fp8"),
    "tokens_of": ("", "gpu", "all"),
    "kind": (
        "step", "phases", "run", "epoch", "throughput", "sync-only", "train-micro-batch-only",
        "phases-sum-of-25-updates",
    ),
}  # fmt: skip
_TEXTS = (
    "id",
    "source",
    "framework",
    "version",
    "algorithm",
    "printed_model",
    "model",
    "printed_hw",
    "hw",
    "certainty",
)
COLUMNS = (*_TEXTS, *_WORDS, *_COUNTS, *_MEANS, *TIMES)


@frozen
class Row:
    """A published row. `cells`: as printed, by column; `numbers`: those that are numbers."""

    cells: Mapping[str, str]
    numbers: Mapping[str, float]

    @property
    def id(self) -> str:
        """Its name."""
        return self.cells["id"]

    def count(self, name: str) -> int | None:
        """A whole number of the row; None where it is not printed."""
        return int(self.numbers[name]) if name in self.numbers else None


def home() -> Path:
    """The folder of the data that ships."""
    return folder("workloads") / "validation" / "recipes"


@cache
def every() -> tuple[Row, ...]:
    """All rows that ship."""
    return tuple(read(home() / "rl_runs.csv"))


def read(path: Path) -> list[Row]:
    """The rows of a file. Raises SpecError naming file, line and column."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        lines, columns = list(table), table.fieldnames or []
    if sorted(columns) != sorted(COLUMNS):
        odd = sorted(set(columns) ^ set(COLUMNS)) or ["one appears twice"]
        raise SpecError(f"{path.name}: columns must be those of simcost.validation.recipes.rows ({odd[0]})")
    found = [_row(cells, f"{path.name}:{number}") for number, cells in enumerate(lines, 2)]
    seen: set[str] = set()
    for row in found:
        if row.id in seen:
            raise SpecError(f"{path.name}: id '{row.id}' appears twice")
        seen.add(row.id)
    return found


def _row(cells: Mapping[str, str], at: str) -> Row:
    if None in cells or None in cells.values():
        raise SpecError(f"{at}: not as many cells as the header")
    for name, words in _WORDS.items():
        if cells[name] not in words:
            raise SpecError(f"{at}: {name} = {cells[name]!r} is not one of {', '.join(map(repr, words))}")
    for name in ("id", "source", "framework"):
        if not cells[name]:
            raise SpecError(f"{at}: {name} is empty")
    if cells["model"] and models.of_name(cells["model"]) != cells["model"]:
        raise SpecError(f"{at}: model '{cells['model']}' is not a name of the zoo")
    if cells["hw"] and cells["hw"] not in hardware.names():
        raise SpecError(f"{at}: hw '{cells['hw']}' is not a profile")
    numbers = {name: _number(cells[name], f"{at}: {name}") for name in (*_COUNTS, *_MEANS, *TIMES) if cells[name]}
    for name in _COUNTS:
        if not float(numbers.get(name, 1.0)).is_integer():
            raise SpecError(f"{at}: {name} = {cells[name]!r} must be a whole number above 0")
    return Row(dict(cells), numbers)


def _number(text: str, at: str) -> float:
    """A number above 0, or the middle of a range; phases may be 0."""
    try:
        ends = [float(part) for part in text.split("-")]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2 or not all(math.isfinite(end) and end >= 0.0 for end in ends):
        raise SpecError(f"{at} = {text!r} must be a number, or a range as in 2.4-2.8")
    return sum(ends) / len(ends)
