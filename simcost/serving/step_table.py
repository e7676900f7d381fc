"""Step times as plain Python numbers: a callable asked once on a grid, so that a simulated step costs no NumPy call.

Decode: for each whole batch, a line over the mean context between neighbouring powers of two. Steps with prompts: over
the decoding batch (0 and powers of two) and the prompt tokens (four points an octave), with a slope over the context
and one over the past. Most likely to be wrong: a step with prompts between those points, where kernels go from bound by
memory to bound by compute. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simcost.errors import SpecError
from simcost.num import Array, Num

StepTimes = Callable[[Num, Num, Num, Num], Num]  # (batch, context, tokens, past) -> seconds of a step

_BLOCK = 64  # batches that are asked for in one call
_POINTS = 4  # of prompt tokens an octave
_FEW = 16  # up to here an octave has no more whole numbers than that


class Extent(NamedTuple):
    """What a run can reach: batch, tokens of a step, and contexts [tokens]: least, typical, most."""

    batch: int
    tokens: int
    least: float
    typical: float
    most: float


Line = tuple[
    list[float], list[float]
]  # intercepts [s] and slopes [s/token] over the context, by the bit length of its whole part
Plane = tuple[float, float, float]  # [s], [s/token of context], [s/token of past]


class StepTable:
    """Lines of decode and planes of steps with prompts, with the host's time of a step in each. Nothing beyond the extent
    is asked for: there a step may have no time."""

    def __init__(self, times: StepTimes, extent: Extent, host_step_s: float, shares_step: bool) -> None:
        self.times, self.extent, self.host_step_s = times, extent, host_step_s
        last = int(extent.most).bit_length()
        self._contexts = np.clip(2.0 ** np.arange(last + 1), extent.least, extent.most)
        self._lines: list[Line] = []
        self._planes: dict[tuple[int, int], Plane] = {}
        octaves = extent.batch.bit_length() if shares_step else 0
        self._batches = [0, *(2**i for i in range(octaves))]
        if shares_step and self._batches[-1] < extent.batch:
            self._batches.append(extent.batch)
        self._tokens = _token_points(extent.tokens)
        self._grid = self._prompt_grid()

    def line(self, batch: int) -> Line:
        """Of decode at a whole batch from 1 up."""
        while batch > len(self._lines):
            self._extend()
        return self._lines[batch - 1]

    def plane(self, batch: int, tokens: int) -> Plane:
        """Of a step of `tokens` of prompts beside `batch` decoding sequences: between the points of the grid."""
        key = batch, tokens
        found = self._planes.get(key)
        if found is None:
            found = self._planes[key] = self._between(batch, tokens)
        return found

    def _extend(self) -> None:
        """The next batches, all contexts in one call."""
        start, at = len(self._lines), self._contexts
        batches = np.arange(start + 1, min(start + _BLOCK, self.extent.batch) + 1, dtype=np.float64)[:, None]
        seconds = self._asked(batches, at[None, :], 0.0, 0.0, (len(batches), len(at)))
        width = np.diff(at)
        slopes = np.where(width > 0.0, np.diff(seconds) / np.where(width > 0.0, width, 1.0), 0.0)
        starts = seconds[:, :-1] - slopes * at[:-1] + self.host_step_s
        rows = zip(starts.tolist(), slopes.tolist(), strict=True)
        self._lines += [([math.nan, *start], [math.nan, *slope]) for start, slope in rows]  # no context is below 1

    def _prompt_grid(self) -> list[list[list[float]]]:
        """Planes by the points of batches and of tokens, all in one call."""
        one = self.extent
        low, high = max(one.least, one.typical / 2.0), min(one.most, one.typical * 2.0)
        batches = np.asarray(self._batches, np.float64)[:, None, None]
        tokens = np.asarray(self._tokens, np.float64)[None, :, None]
        contexts, pasts = np.array([low, high, low]), np.array([0.0, 0.0, one.most])
        shape = len(self._batches), len(self._tokens), 3
        at_low, at_high, at_past = np.moveaxis(self._asked(batches, contexts, tokens, pasts, shape), -1, 0)
        per_context = (at_high - at_low) / (high - low) if high > low else 0.0 * at_low
        # What tokens see of each other is in the step, as a mean past of half of them: and no longer than it.
        per_past = np.minimum((at_past - at_low) / one.most, 2.0 * at_low / tokens[..., 0])
        base = at_low - per_context * low + self.host_step_s
        grid: list[list[list[float]]] = np.stack([base, per_context, per_past], -1).tolist()
        return grid

    def _between(self, batch: int, tokens: int) -> Plane:
        """Linear between the four points around."""
        i = min(batch.bit_length(), len(self._batches) - 1)
        above = min(i + 1, len(self._batches) - 1)
        part = (batch - self._batches[i]) / (self._batches[above] - self._batches[i]) if above > i else 0.0
        j = min(bisect_right(self._tokens, tokens) - 1, len(self._tokens) - 2)
        share = (tokens - self._tokens[j]) / (self._tokens[j + 1] - self._tokens[j])
        found = [
            (1.0 - part) * ((1.0 - share) * a + share * b) + part * ((1.0 - share) * c + share * d)
            for a, b, c, d in zip(
                self._grid[i][j], self._grid[i][j + 1], self._grid[above][j], self._grid[above][j + 1], strict=True
            )
        ]
        return found[0], found[1], found[2]

    def _asked(self, batch: Num, context: Num, tokens: Num, past: Num, shape: tuple[int, ...]) -> Array:
        """What the callable says, whole. Raises SpecError for anything but finite times of at least 0."""
        found = np.broadcast_to(np.asarray(self.times(batch, context, tokens, past), np.float64), shape)
        wrong = ~((found >= 0.0) & (found < math.inf))
        if np.any(wrong):
            at = tuple(int(each[0]) for each in np.nonzero(wrong))
            said = [float(np.broadcast_to(each, shape)[at]) for each in (batch, context, tokens, past)]
            names = ("batch", "context", "tokens", "past")
            where = ", ".join(f"{name} = {value:,.0f}" for name, value in zip(names, said, strict=True))
            raise SpecError(f"a step of {where} has no time ({float(found[at])} s)")
        return found


def _token_points(most: int) -> list[int]:
    """Whole numbers of tokens from 1 to `most`, at least two of them."""
    octaves = _POINTS * (max(most, 2) - 1).bit_length()
    fine = _POINTS * (_FEW.bit_length() - 1)
    points = {2**i for i in range(_FEW.bit_length())} | {math.ceil(2.0 ** (i / _POINTS)) for i in range(fine, octaves)}
    return sorted({each for each in points if each < most} | {1, max(most, 2)})
