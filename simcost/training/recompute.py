"""What of a stage's forward passes runs again before its backward passes: `plan.recompute`.

`none`; `full`: every layer keeps its input alone; `full:4`: of every four layers the first one's input stays (Megatron Core, `recompute_method uniform`); `block:4`: four layers of each virtual stage, the others keep
everything (`recompute_method block`); or modules joined by "+", as in `layernorm+mla_up_proj` (`recompute_modules`); `op`: all but what a list of operators puts out (`passes/operators.py`). Sources: NVIDIA Megatron Core, arguments `recompute_granularity`,
`recompute_method`, `recompute_num_layers`, `recompute_modules`; torchtitan, `selective_ac_option`.
"""

from __future__ import annotations

import math

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Num
from simcost.passes.operators import OPERATORS
from simcost.passes.saved import MODULES

NONE, FULL, BLOCK = "none", "full", "block"


@frozen
class Recompute:
    """`modules` of every layer, or OPERATORS alone; or whole layers: `every` so many keep one input between them, of all layers or of the first `first` of a virtual stage. `every` = 0: no whole layers."""

    modules: tuple[str, ...] = ()
    every: int = 0
    first: float = math.inf

    def layers(self, count: float) -> float:
        """Layers of a virtual stage of so many that run again whole."""
        return min(self.first, count) if self.every else 0.0

    def kept_bytes(self, count: float, whole: Num, entry: Num) -> Num:
        """What `count` layers of a virtual stage keep of a micro-batch: `whole`: one that keeps all; `entry`: the input of one. [B]"""
        again = self.layers(count)
        return (count - again) * whole + (math.ceil(again / self.every) * entry if again else 0.0)

    def live_bytes(self, whole: Num) -> Num:
        """What stays while layers between two kept inputs are run again and differentiated. [B]"""
        return self.every * whole


def parse(text: str) -> Recompute:
    """What `plan.recompute` says. Raises SpecError for a word that is none."""
    word, colon, number = text.partition(":")
    if text == NONE:
        return Recompute()
    if word in (FULL, BLOCK):
        if (colon or word == BLOCK) and not (number.isdecimal() and int(number) >= 1):
            raise SpecError(
                f"plan.recompute={text}: write full, full:4 (every 4 layers keep one input) or block:4 (4 layers of a virtual stage)"
            )
        layers = int(number or 1)
        return Recompute(every=layers) if word == FULL else Recompute(every=1, first=float(layers))
    if text == OPERATORS:
        return Recompute((OPERATORS,))
    names = text.split("+")
    for name in names:
        if name not in MODULES:
            known = (NONE, FULL, "full:4", "block:4", OPERATORS, *MODULES)
            raise SpecError(
                f"plan.recompute={text}: '{name}' is not one of {', '.join(known)}{nearest(name, known)}; modules are joined by +"
            )
    if len(set(names)) < len(names):
        raise SpecError(f"plan.recompute={text}: a module is given twice")
    return Recompute(tuple(names))
