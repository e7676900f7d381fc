"""What simcost answers of a config: counts first, then questions one by one, each asked only where all before it agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import simcost
from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.spec import ModelSpec
from simcost.provenance import Kind, kind_of

_NEAR, _LONG = 3000.0, 40_000.0  # tokens: within most windows, and beyond all
_IMAGES = {"images": 2}
_SIDES = {"image_height": 1344, "image_width": 1344}
# (command, its numbers, settings): memory of an engine, experts and heads over ranks, images, and a context beyond every limit.
QUESTIONS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("decode", {"batch": 8, "context": _LONG}, {"engine": "vllm"}),
    ("decode", {"batch": 8, "context": _LONG}, {"plan.ep": 8}),
    ("prefill", {"batch": 1, "isl": 65_536}, _IMAGES),
    ("prefill", {"batch": 1, "isl": 65_536}, {**_IMAGES, **_SIDES}),
    ("prefill", {"batch": 1, "isl": 65_536}, {**_IMAGES, **_SIDES, "plan.tp": 8}),
    ("prefill", {"batch": 1, "isl": 65_536}, {**_IMAGES, "plan.tp": 8}),
    ("decode", {"batch": 1, "context": 90_000_000}, {}),
    *(("decode", {"batch": 8, "context": 4096}, {"plan.tp": tp}) for tp in (16, 32, 64, 128, 256)),
)


def _shown(value: Any) -> str:
    """A number without its last digits: sums in another order differ there."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


class Answers:
    """Of one config."""

    def __init__(self, config: Mapping[str, Any], spec: ModelSpec) -> None:
        self.config, self.spec = config, spec
        self._known: dict[int, Any] = {}

    def differ(self, other: Answers) -> bool:
        """Whether any answer is another one."""
        return any(self.to(i) != other.to(i) for i in range(-1, len(QUESTIONS)))

    def to(self, question: int) -> Any:
        """The answer to a question: -1 for what `show model` counts."""
        if question not in self._known:
            self._known[question] = self._counted() if question < 0 else self._asked(*QUESTIONS[question])
        return self._known[question]

    def _counted(self) -> list[str]:
        m = self.spec
        found = [*count.parameters(m).values(), *count.kv_elements(m).values(), count.weight_bytes(m)]
        found += [count.state_elements(m, _NEAR), count.state_elements(m, _LONG)]
        found += [count.flops_per_token(m, _NEAR, 0.0, 1.0), count.flops_per_token(m, 1.0, _LONG, 1.0)]
        return [_shown(float(value)) for value in found]

    def _asked(self, command: str, sizes: dict[str, Any], sets: dict[str, Any]) -> Any:
        """Metrics, and limits that are passed; a refusal is an answer too."""
        ask = {"decode": simcost.decode, "prefill": simcost.prefill}[command]
        try:
            found = ask(self.config, "gb200", set={"hw.measurements": "none", **sets}, **sizes)
        except SimcostError as error:
            return str(error)
        return [_shown(value) for value in found.metrics.values()], [
            note for note in found.warnings if kind_of(note) is Kind.LIMIT
        ]
