"""Each split at its best batch and variant, all splits at once.

Powers of two come first, with the plainest variant; then the largest batch that memory admits, and quarters of the gap above the best power
of two where a limit ends it; then the other overlaps at that batch. The best `FINEST` splits are searched on: the gaps beside the best
batch are cut down to a 64th of it, or one sequence a replica; other overlaps are tried at larger batches, sequence parallelism with the
overlap that was best; and gaps are cut again where that was better. What is returned was priced itself, at that batch and with that variant.
Most likely to be wrong: a metric with several peaks between two powers of two, of which one is found. Decision 0020 has what it misses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from simcost.cost.cost import NOISE
from simcost.frozen import frozen
from simcost.num import Array, Bools, Index
from simcost.query import reasons
from simcost.search.objective import STEP
from simcost.search.points import Ask, Points, together
from simcost.search.splits import replicas
from simcost.search.variants import Variant

FINEST = 64  # splits
_QUARTERS = 4
_CUTS = (8, 8)  # parts of a gap, round by round: a call takes long, and a point little
_FEW = 16  # splits whose gaps are cut as finely in one round
_LARGER = np.array([1.0, 1.06, 1.12, 1.25, 1.5, 2.0])  # batches at which another variant is tried, over the best


@frozen
class Found:
    """Of every split: `points` at its best batch, at its fastest where none is allowed; `variant`: index of what it was found with, of
    `variants`; `least_short`: bytes that it lacks at the batch that lacks least; `late`: limits that no batch keeps which fits; `priced`:
    points that were priced in all."""

    points: Points
    variant: Index
    variants: Sequence[Variant]
    least_short: Array
    late: dict[str, Bools]
    priced: int


class Search:
    """The search over splits that break no rule. `batches`: ascending; `refine`: others may be tried, too, up to `largest` of each split.
    low, high: the ends of the gaps beside the best batch, where nothing better is known to lie."""

    def __init__(
        self, ask: Ask, table: Array, variants: Sequence[Variant], batches: Array, refine: bool, largest: Array
    ) -> None:
        self.ask, self.table, self.variants = ask, table, variants
        self.batches, self.refine, self.largest = batches, refine, np.floor(largest)
        self.replicas, self.time = replicas(table), "tpot_s" if ask.query.decode else "ttft_s"
        self.variant, self.priced = np.zeros(len(table), np.intp), 0
        self.admitted: Array | None = None
        self._every, like = range(len(variants)), variants[0].sequence_parallel
        self._cheap = [i for i, one in enumerate(variants) if one.sequence_parallel == like]

    def found(self) -> Found:
        """The best point of every split."""
        coarse, every = self._coarse(), np.arange(len(self.table))
        column = self._column(coarse)
        self.points = coarse.at(column)
        self.admitted = self.points.values["max_batch"]
        edges = np.concatenate([[0.0], self.batches, [np.inf]])
        self.low, self.high = edges[column], np.minimum(edges[column + 2], self.largest + 1.0)
        if self.refine:
            self._step(every, self._quarters(coarse, column))
        self._try(every, self._cheap, self.points.batch[:, None])
        finest = self._first(FINEST)
        self._finish(finest) if self.refine else self._climb(finest)
        late = {
            name: np.asarray(~(coarse.fits & (coarse.values[name] <= most)).any(axis=1))
            for name, most in self.ask.wish.limits.items()
        }
        short = coarse.values["memory_short_bytes_per_gpu"].min(axis=1)
        return Found(self.points, self.variant, self.variants, short, late, self.priced)

    def _coarse(self) -> Points:
        """The plainest variant at all batches; those beyond the largest of a split count as too large."""
        found = self._priced(np.arange(len(self.table)), 0, self.batches[None, :])
        inside = found.batch <= self.largest[:, None]
        return replace(found, fits=found.fits & inside, worth=np.where(inside, found.worth, -np.inf))

    def _priced(self, rows: Index, variant: int, batch: Array) -> Points:
        self.priced += len(rows) * batch.shape[1]
        known = self.variants[variant].sequence_parallel == self.variants[0].sequence_parallel
        admitted = self.admitted[rows] if known and self.admitted is not None else None
        return self.ask.priced(self.table[rows], self.variants[variant], batch, admitted)

    def _column(self, points: Points) -> Index:
        """The best batch of each split, its fastest that fits where none is allowed."""
        time = np.where(points.fits, points.values[self.time], np.inf)
        best = np.isfinite(points.worth).any(axis=1)
        return np.asarray(np.where(best, points.worth.argmax(axis=1), time.argmin(axis=1)))

    def _first(self, count: int) -> Index:
        """The best splits that fit."""
        points = self.points
        order = np.lexsort((points.values[self.time], -points.worth, ~points.fits))
        return np.asarray(order[: min(count, int(points.fits.sum()))])

    def _climb(self, rows: Index) -> None:
        """Every variant at the best batch and larger ones of those that may be tried, as long as splits move on."""
        while len(rows):
            before = self.points.batch
            self._try(rows, self._every, self._larger(rows))
            rows = rows[self.points.batch[rows] > before[rows]]

    def _finish(self, rows: Index) -> None:
        """Search on: between batches; other overlaps at larger ones; sequence parallelism with the overlap that was best, and what needs
        it; and between batches again."""
        self._cut(rows)
        before, larger = self.variant, self._larger(rows)
        everywhere = {one.overlap for i, one in enumerate(self.variants) if i in self._cheap}
        for variant in self._every[1:]:  # the plainest one has been searched by itself
            mine = self.variants[variant].overlap
            overlap = np.array([self.variants[i].overlap for i in self.variant[rows]])
            if variant in self._cheap:  # at this batch it has been tried
                here = (larger != self.points.batch[rows, None]).any(axis=1)
            else:
                here = (overlap == mine) | (mine not in everywhere)
            self._try(rows[here], [variant], larger[here])
        self._cut(rows[self.variant[rows] != before[rows]])

    def _try(self, rows: Index, which: Iterable[int], batch: Array) -> None:
        """Other variants of some splits at batches [rows, batches], where they change anything and break no rule."""
        for variant in which:
            at = np.flatnonzero((self.variant[rows] != variant) & self.points.fits[rows])
            if len(at):
                w = self.ask.built(self.table[rows[at]], self.variants[variant], batch[at])
                at = at[self.variants[variant].applies(w, len(at)) & reasons(w, (len(at), 1))[0][:, 0]]
            if len(at):
                self._take(rows[at], self._priced(rows[at], variant, batch[at]), variant)

    def _take(self, rows: Index, tried: Points, variant: int) -> None:
        """Keep the best of what was tried of a variant, where it is better; the gaps beside it are open again."""
        best = tried.at(self._column(tried))
        better = self._better(best, self.points.each(lambda value: value[rows]))
        rows, best = rows[better], best.each(lambda value: value[better])
        self.points, self.variant = self.points.over(rows, best), self.variant.copy()
        self.variant[rows] = variant
        self.low[rows] = best.batch / 2.0
        self.high[rows] = np.minimum(2.0 * best.batch, self.largest[rows] + 1.0)

    def _better(self, new: Points, old: Points) -> Bools:
        """Worth more than floats leave over; where neither is allowed, faster."""
        more = new.worth > old.worth + NOISE * np.abs(np.where(np.isfinite(old.worth), old.worth, 0.0))
        neither = ~np.isfinite(new.worth) & ~np.isfinite(old.worth) & new.fits
        return np.asarray(more | (neither & (new.values[self.time] < old.values[self.time] * (1.0 - NOISE))))

    def _larger(self, rows: Index) -> Array:
        """The best batch of some splits and larger ones. [rows, batches]"""
        best = self.points.batch[rows, None]
        if not self.refine:
            at = np.searchsorted(self.batches, best)
            return np.asarray(self.batches[np.minimum(at + np.arange(3), len(self.batches) - 1)])
        most = np.minimum(self.largest, self.points.values["max_batch"])[rows, None]
        larger = self._whole(best * _LARGER, rows)
        return np.where(larger <= most, larger, best)

    def _quarters(self, coarse: Points, column: Index) -> Array:
        """Quarters of the gap above the best power of two, and the largest batch that memory admits, where the next power of two is too
        large; the best one itself elsewhere. [plans, batches]"""
        best, most = self.points.batch, self.points.values["max_batch"]
        following = np.minimum(column + 1, len(self.batches) - 1)
        open_ = ~np.isfinite(coarse.worth[np.arange(len(column)), following]) | (following == column)
        parts = np.arange(1, _QUARTERS) / _QUARTERS
        top = np.minimum(self.high, most + self.replicas)
        cuts = most[:, None]
        if self.ask.wish.limits:
            cuts = np.column_stack([self._whole(best[:, None] + (top - best)[:, None] * parts), cuts])
        inside = (
            (cuts > best[:, None]) & (cuts < self.high[:, None]) & (open_ & np.isfinite(self.points.worth))[:, None]
        )
        return np.where(inside, cuts, best[:, None])

    def _whole(self, batch: Array, rows: Index | slice = slice(None)) -> Array:
        """Batches of as many sequences for every replica, whole ones below one for each. [rows, batches]"""
        each = np.where(batch >= self.replicas[rows, None], self.replicas[rows, None], 1.0)
        return np.asarray(np.ceil(batch / each) * each)

    def _cut(self, rows: Index) -> None:
        """Cut the gaps beside the best batch of some splits in parts, and the smaller gaps that are left. Where the largest batch that
        memory admits is the best, there is none above it, and the gap below is left alone."""
        above = np.minimum(self.high, self.points.values["max_batch"] + 1.0) - self.points.batch
        rows = rows[(np.isfinite(self.points.worth) & (above > 1.0))[rows]]
        for count in _CUTS if len(rows) > _FEW else (int(1.0 / STEP),):
            best, low, parts = self.points.batch[rows, None], self.low[rows, None], np.arange(1, count) / count
            most = (self.points.values["max_batch"] + self.replicas)[rows, None]
            high = np.minimum(self.high[rows, None], most)
            cuts = self._whole(np.column_stack([low + (best - low) * parts, best + (high - best) * parts]), rows)
            self._step(rows, np.where((cuts > low) & (cuts < high), cuts, best))

    def _step(self, rows: Index, cuts: Array) -> None:
        """Price batches [rows, batches] of some splits, each with its own variant; keep the best, and narrow the gaps to its neighbours."""
        news = (cuts != self.points.batch[rows, None]).any(axis=1)
        rows, cuts = rows[news], cuts[news]
        if not len(rows):
            return
        old, tried = self.points.each(lambda value: value[rows]), self._by_variant(rows, cuts)
        best = tried.at(tried.worth.argmax(axis=1))
        new = best.where(self._better(best, old), old)
        self.points = self.points.over(rows, new)
        ends = np.column_stack([self.low[rows], old.batch, self.high[rows], cuts])
        at = new.batch[:, None]
        self.low[rows] = np.where(ends < at, ends, -np.inf).max(axis=1)
        self.high[rows] = np.where(ends > at, ends, np.inf).min(axis=1)

    def _by_variant(self, rows: Index, batch: Array) -> Points:
        """Splits each with its own variant. [rows, batches]"""
        which = self.variant[rows]
        kinds = [np.flatnonzero(which == variant) for variant in range(len(self.variants))]
        parts = [self._priced(rows[here], variant, batch[here]) for variant, here in enumerate(kinds) if len(here)]
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate([here for here in kinds if len(here)]))
        return together(parts, lambda values: np.concatenate(values)[back])
