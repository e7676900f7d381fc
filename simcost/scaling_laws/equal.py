"""One width at which a design has the loss of another by a law: the solver behind `--iso loss`.

Most likely to be wrong: that shape does not matter. Laws know sizes, tokens and experts, and nothing of depth, attention or cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.scaling_laws.counts import Counts, dense, flops_per_token
from simcost.scaling_laws.evaluate import Difference, difference, loss, speaks_for
from simcost.scaling_laws.law import FITTED, Law
from simcost.scaling_laws.ranges import span
from simcost.scaling_laws.whole import last_of, lowest, multiples, samples, where_it_holds

AT = ("tokens", "compute")
_HALVINGS = 60  # of the logarithm of a size: what is left is rounding
_SAME = 1e-9  # nats: what is left of a difference of nothing after rounding


@frozen
class Equal:
    """`width`: the least one of equal loss, a multiple of what was asked for; None where there is none (`reasons`). `widths`: all (two at equal compute,
    on both sides of the least loss). `loss`, `low`, `high`: of the first design, and its 90 % interval [nats per token; None: the source states no error].
    `tokens`: of the design found. `residual`: loss of the design found less that of the first [nats]. `narrowest`, `widest`: between them the law
    cannot tell the loss from the first design's (90 %); None where the source states no error, or the end lies outside of the range or the widths asked for."""

    width: float | None
    widths: tuple[float, ...] = ()
    loss: float | None = None
    low: float | None = None
    high: float | None = None
    tokens: float | None = None
    residual: float | None = None
    narrowest: float | None = None
    widest: float | None = None
    reasons: tuple[str, ...] = ()


def equal_loss(
    law: Law, given: Counts, to: Callable[[float], Counts], tokens: float, widths: tuple[float, float], multiple: float = 1.0,
    at: str = "tokens", extent: str = FITTED,
) -> Equal:  # fmt: skip
    """The width at which the design `to(width)` has the loss of `given` trained on `tokens`: with as many tokens, or, `at="compute"`, with the tokens that the
    same training FLOPs buy it. `widths`: (least, most) to try; `multiple`: of which the answer is one. Parameters must grow with the width. Outside of the
    law's range the answer is None with the reason. Raises SpecError for a law that gives no loss, and at equal compute for one without compute."""
    if at not in AT:
        raise SpecError(f"equal loss is at equal {' or '.join(AT)}, not {at!r}")
    first, last = multiples(widths, multiple)
    target = loss(law, given, tokens, extent)
    nats, low, high = (None if np.isnan(each) else float(each) for each in (target.nats, target.low, target.high))
    answer = Equal(None, (), nats, low, high, reasons=target.reasons)
    if nats is None:
        return answer
    tries = _Tries(law, given, to, tokens, multiple, at == "compute", extent)
    picked = samples(first, last)
    speaking = where_it_holds(tries.speaks, picked)
    if not speaking:
        return replace(answer, reasons=tries.silent(picked))
    if tries.compute:  # two widths of equal loss may lie between two samples: the least loss lies between them
        speaking = sorted({*speaking, lowest(tries.nats, speaking)})
    found = tries.crossings(speaking)
    if not found:
        return replace(answer, reasons=(tries.apart(speaking),))
    narrowest, widest = tries.ends(speaking, found[0])
    return replace(
        answer, width=found[0] * multiple, widths=tuple(each * multiple for each in found), tokens=tries.tokens(found[0]),
        residual=tries.nats(found[0]), narrowest=narrowest, widest=widest,
    )  # fmt: skip


def dense_params(law: Law, counts: Counts, tokens: float, extent: str = FITTED) -> tuple[float | None, tuple[str, ...]]:
    """(parameters, as the law counts them, of a dense model that has the loss of a design at as many tokens; None outside of the law's range, and why).
    Raises SpecError for a law that gives no loss."""
    target = loss(law, counts, tokens, extent)
    if np.isnan(target.nats):
        return None, target.reasons
    alone = speaks_for(law, dense(1.0))
    bounds = alone.ranges.get(extent, alone.ranges[FITTED]).bounds["params"]
    ends = [loss(law, dense(each), tokens, extent) for each in bounds]
    if any(np.isnan(each.nats) for each in ends):
        return None, tuple(dict.fromkeys(text for each in ends for text in each.reasons))
    if not ends[1].nats <= target.nats <= ends[0].nats:
        side = "above" if target.nats < ends[1].nats else "below"
        return None, (f"the dense model would be {side} the range ({extent}: {span('params', bounds)} parameters)",)
    low, high = (float(np.log(each)) for each in bounds)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (
            (middle, high)
            if loss(law, dense(float(np.exp(middle))), tokens, extent).nats > target.nats
            else (low, middle)
        )
    return float(np.exp((low + high) / 2.0)), ()


class _Tries:
    """Differences of loss at widths that are whole numbers of the multiple, each computed once."""

    def __init__(
        self, law: Law, given: Counts, to: Callable[[float], Counts], tokens: float, multiple: float, compute: bool, extent: str
    ) -> None:  # fmt: skip
        self.law, self.given, self.to, self.given_tokens = law, given, to, tokens
        self.multiple, self.compute, self.extent = multiple, compute, extent
        self.known: dict[int, Difference] = {}
        self.flops = tokens * flops_per_token(law, given) if compute else 0.0

    def tokens(self, index: int) -> float:
        """Training tokens of the design of that width."""
        if not self.compute:
            return float(self.given_tokens)
        return float(self.flops / flops_per_token(self.law, self.to(index * self.multiple)))

    def at(self, index: int) -> Difference:
        """Its loss less that of the given design."""
        if index not in self.known:
            other = self.to(index * self.multiple)
            self.known[index] = difference(
                self.law, (self.given, self.given_tokens), (other, self.tokens(index)), self.extent
            )
        return self.known[index]

    def nats(self, index: int) -> float:
        """The same as a number; NaN where the law does not speak."""
        return float(self.at(index).nats)

    def speaks(self, index: int) -> bool:
        """Whether the law speaks of that width."""
        return not np.isnan(self.nats(index))

    def told(self, index: int) -> bool:
        """Whether the law tells the loss of that width from the given one's."""
        found = self.at(index)
        return abs(self.nats(index)) > (float(found.high) - float(found.low)) / 2.0

    def untold(self, index: int) -> bool:
        """Whether it does not."""
        return not self.told(index)

    def silent(self, picked: list[int]) -> tuple[str, ...]:
        """Why the law speaks of no width, by the narrowest and the widest."""
        ends = (picked[0], picked[-1])
        return tuple(
            dict.fromkeys(
                f"at width {each * self.multiple:g}: {text}" for each in ends for text in self.at(each).reasons
            )
        )

    def above(self, index: int) -> bool:
        """Whether its loss is above the given one's."""
        return self.nats(index) > _SAME

    def below(self, index: int) -> bool:
        """Whether it is not."""
        return not self.above(index)

    def crossings(self, speaking: list[int]) -> list[int]:
        """Of every change of sign the nearer of the two widths, the narrower of two that are as near."""
        found = {each for each in speaking if abs(self.nats(each)) <= _SAME}
        for one, other in pairwise(speaking):
            if self.above(one) != self.above(other):
                edge = last_of(self.above if self.above(one) else self.below, one, other)
                found.add(min((edge, edge + 1), key=lambda index: abs(self.nats(index))))
        return sorted(found)

    def apart(self, speaking: list[int]) -> str:
        """Why there is no width of equal loss."""
        least = min(speaking, key=self.nats)
        shown = sorted({speaking[0], least, speaking[-1]})
        said = ", ".join(f"{self.nats(each):+.4f} nats at width {each * self.multiple:g}" for each in shown)
        return f"no width in the range of the law has equal loss: {said}"

    def ends(self, speaking: list[int], found: int) -> tuple[float | None, float | None]:
        """The narrowest and the widest around `found` whose loss the law cannot tell from the given one's."""
        if np.isnan(self.at(found).high) or self.told(found):
            return None, None  # no error is stated, or the multiples are coarser than what the law tells apart
        below = [each for each in speaking if each < found and self.told(each)]
        above = [each for each in speaking if each > found and self.told(each)]
        narrowest = last_of(self.untold, found, below[-1]) * self.multiple if below else None
        widest = last_of(self.untold, found, above[0]) * self.multiple if above else None
        return narrowest, widest
