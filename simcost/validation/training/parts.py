"""What a rank does in a step that its source splits by what the pipeline does, and what is predicted: means over ranks.

F: forward alone; B: gradients alone, those of inputs or both together; W: gradients of weights alone; FB: a forward
beside gradients; bubble: waits; optimizer: what follows once a step. Most likely to be wrong: which rank a source
splits. Source: Insights into DeepSeek-V3 (arXiv 2505.09343, table 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from simcost.result import Row as Cells
from simcost.training.question import PARTS
from simcost.validation.training.judge import COUNTING, Scored


def table(scores: Sequence[Scored]) -> list[Cells]:
    """A line for each part of each counting row that states them."""
    found: list[Cells] = []
    for one in scores:
        said = one.fitted or one.cold
        stated = {name: one.row.parts[name] for name in PARTS if name in one.row.parts}
        if said is None or not said.parts or len(stated) < len(PARTS) or one.row.group not in COUNTING:
            continue
        found += [
            {
                "id": one.row.id, "rows_of": one.row.source.name, "part": name, "measured_s": measured,
                "predicted_s": said.parts[name], "off_s": said.parts[name] - measured,
            }
            for name, measured in stated.items()
        ]  # fmt: skip
    return found
