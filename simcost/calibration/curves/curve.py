"""A curve: form x residual x site correction, and the distribution of its error.

Errors are those of rows left out, scaled so that 90 % of them lie inside (split conformal: Lei et al. 2018). Where the
surface is asked beyond its rows its edge is held, in holes it fades into the form, and the interval widens to the form's own
error and further.
Most likely to be wrong: independence of rows; neighbours in a table were timed by one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np

from simcost.calibration import form as forms
from simcost.calibration.curves import residual as residuals
from simcost.calibration.curves import sites as site_tables
from simcost.calibration.curves.edges import risen_over
from simcost.calibration.curves.residual import Residual
from simcost.calibration.curves.sites import Sites
from simcost.calibration.family import At
from simcost.calibration.form import Form, Terms
from simcost.calibration.ladders import Ladder
from simcost.calibration.split import largest
from simcost.frozen import frozen
from simcost.num import Z90, Array, Ints, Mask, Num, exp, log, maximum, minimum, where

COVERAGE = 0.9
_LEAST_ERROR = 0.01  # no clock reads better than this over a run
_FEW = 60
_FOLDS = 5
_OTHER_LAYER = 0.27  # P90 on unseen layers of the worst kind with many of them (experts in bf16, H200)
_WIDEN = 0.5  # further share of the form's error for every unit of distance


@frozen
class Prediction:
    """seconds [n]; start_s, compute_s, memory_s: the form's parts before they are joined; sigma [n] of log seconds;
    measured [n]: on a row."""

    seconds: Num
    start_s: Num
    compute_s: Num
    memory_s: Num
    sigma: Num
    measured: Mask


@frozen
class Curve:
    """`wide`: 90 % error of the form alone; `scale`: conformal factor on the
    local error, `site`: the same at known sites. `outer`: 90 % error on the largest sixth of a curve that has not seen it;
    `largest`: log of the largest row's roofline seconds. `rows`: how many made it."""

    form: Form
    residual: Residual
    sites: Sites
    wide: float
    scale: float
    site: float
    outer: float
    largest: float
    rows: int
    # What the rows of several tables hold apart (`parts.part_of`), and which of the tables each is of; nothing for one table.
    parts: Array = field(default_factory=lambda: np.zeros(0))
    table: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def sound(self) -> bool:
        """Whether all of it is numbers; a length alone may be infinite, of a dimension that never varied."""
        unused = np.isposinf(self.residual.lengths).sum()
        return bool((~np.isfinite(pack(self))).sum() == unused)

    def highest(self, feature: int) -> float:
        """The largest value of a feature that a row has (a centre, where there are more rows than centres)."""
        r = self.residual
        if np.isinf(r.lengths[feature]):
            return float(r.fixed[feature])
        return float(r.centres[:, feature].max() * r.lengths[feature])

    def table_of(self, part: Num) -> Ints:
        """Which table the rows of each part are of; the first for parts that none holds. [n] -> [n]"""
        if not len(self.parts):
            return np.zeros(np.shape(part), np.int64)
        place = np.minimum(np.searchsorted(self.parts, part), len(self.parts) - 1)
        return np.where(self.parts[place] == part, self.table[place], 0.0).astype(np.int64)

    def predict(self, terms: Terms, at: At) -> Prediction:
        """Seconds and their sigma at points `at`; terms: arrays [n], numbers of one point."""
        start, compute, memory = self.form.parts(terms)
        base = self.form.joined(terms, start, compute, memory)
        mean, local, far = risen_over(self.residual, at)
        correction, around, known, beyond, measured = self.sites.evaluate(at.sites, at.across)
        shift = mean + correction
        outside = maximum(_size(terms) - self.largest, 0.0)
        away = where(known & (outside > 0.0), maximum(beyond, far), far)
        error = _faded(far, self.scale * local, self.wide) + _WIDEN * self.wide * minimum(away, 4.0)
        error = where(known, _faded(beyond, self.site * around, error), error)
        error = maximum(error, _LEAST_ERROR)
        error = where(outside > 0.0, maximum(error, self.outer) * (1.0 + 0.2 * minimum(outside, 5.0)), error)
        return Prediction(base * exp(shift), start, compute, memory, error / Z90, measured & at.exact)


def _faded(distance: Num, here: Num, elsewhere: Num) -> Num:
    """An error that passes into another, larger one with distance."""
    held = exp(-distance)
    return held * here + (1.0 - held) * maximum(elsewhere, here)


def fit(terms: Terms, at: At, seconds: Array, ladders: Sequence[Ladder] = ()) -> Curve:
    """A curve through rows: terms, points and seconds are arrays [rows]. Along `ladders` its times do not fall. Raises LinAlgError where the
    form has no time for a row."""
    form = forms.fit(terms, seconds)
    rest = np.log(seconds / np.asarray(form.seconds(terms)))
    if not np.isfinite(rest).all():
        raise np.linalg.LinAlgError("times or sizes are far too large or small")
    lengths, ratio = residuals.lengths_of(at.features, rest, at.lengths)
    surface, errors = residuals.fit(at.features, rest, lengths, ratio)
    if ladders:
        along = [(np.log(np.asarray(form.seconds(each.terms))), each.at.features, each.rungs) for each in ladders]
        surface = residuals.levelled(surface, at.features, rest, ratio, along)
    mean, local, _ = risen_over(surface, at)
    alone = errors - (mean - surface.evaluate(at.features)[0])
    table, site_errors, expected = site_tables.fit(at.sites, rest - mean, alone, at.across)
    at_site = np.isfinite(site_errors)
    scale = _conformal(np.abs(_strange(at, rest, lengths, ratio, errors)) / np.maximum(local, 1e-6))
    site = _conformal(np.abs(site_errors[at_site]) / expected[at_site]) if at_site.any() else 0.0
    size = np.asarray(_size(terms))
    wide = _conformal(np.abs(rest))
    outer = _outer(terms, at, seconds, size, lengths, ratio, wide) if len(seconds) >= _FEW else wide
    return Curve(form, surface, table, wide, scale, site, outer, float(size.max()), len(seconds))


def _strange(at: At, rest: Array, lengths: Array, ratio: float, errors: Array) -> Array:
    """Errors of the surface on shapes of which it has seen none alike in more than tokens and one dimension: what a layer
    that nobody measured should expect. Few layers are left out one by one; one alone says nothing of others."""
    layers, index = np.unique(np.round(site_tables.site_key(at.sites[:, :-1]), 6), return_inverse=True)
    if len(layers) == 1:
        return np.where(np.abs(errors) > _OTHER_LAYER, errors, _OTHER_LAYER)
    found = errors.copy()
    folds = _FOLDS if len(layers) >= 2 * _FOLDS else len(layers)
    for fold in range(folds):
        out = index % folds == fold
        surface, _ = residuals.fit(at.features[~out], rest[~out], lengths, ratio)
        mean, _, _ = surface.evaluate(at.features[out])
        found[out] = rest[out] - mean
    return found


def _size(terms: Terms) -> Num:
    """log of the seconds that the datasheet alone would ask: how large a kernel is."""
    return log(maximum(terms.compute_s + terms.memory_s + terms.serial_s, 1e-15))


def _outer(terms: Terms, at: At, seconds: Array, size: Array, lengths: Array, ratio: float, wide: float) -> float:
    """How wrong a curve is beyond its rows: fitted to the smaller five sixths, judged on the largest; `wide` where all are of one size."""
    small = ~largest(size)
    if small.all():
        return wide
    inner, rest = terms.take(small), terms.take(~small)
    form = forms.fit(inner, seconds[small])
    left = np.log(seconds[small] / np.asarray(form.seconds(inner)))
    surface, _ = residuals.fit(at.features[small], left, lengths, ratio)
    mean, _, _ = surface.evaluate(at.features[~small])
    predicted = np.asarray(form.seconds(rest)) * np.exp(mean)
    return _conformal(np.abs(np.log(seconds[~small] / predicted)))


def _conformal(scores: Array) -> float:
    """The 90 % quantile with the finite-sample correction."""
    n = len(scores)
    return float(np.quantile(scores, min(COVERAGE * (n + 1) / n, 1.0)))


def pack(curve: Curve) -> Array:
    """The whole curve as one vector, for the cache; `unpack` reads it."""
    r, s = curve.residual, curve.sites
    head = [curve.wide, curve.scale, curve.site, curve.outer, curve.largest, curve.rows, len(curve.form.sizes), len(r.lengths),
            len(r.centres), len(s.keys), len(s.knots), r.reach, len(curve.parts), len(s.groups)]  # fmt: skip
    body = [
        curve.form.vector(),
        r.lengths,
        r.fixed,
        r.centres.ravel(),
        r.mean,
        r.error,
        s.groups,
        s.keys,
        s.low,
        s.high,
        s.knots,
        s.left,
        s.near,
        s.on,
        curve.parts,
        curve.table,
    ]
    return np.concatenate([np.asarray(head, np.float64), *body])


def unpack(values: Array) -> Curve:
    """The curve of `pack`. Raises ValueError when the vector is not one."""
    head, rest = values[:14], values[14:]
    sizes, d, c, s, k = (int(v) for v in head[6:11])
    p, g = int(head[12]), int(head[13])
    lengths = [len(forms.NAMES) + sizes, d, d, c * d, c, c, g, s, s, s, k, k, k, k, p, p]
    if sum(lengths) != len(rest):
        raise ValueError("not a packed curve")
    parts = np.split(rest, np.cumsum(lengths)[:-1])
    surface = Residual(parts[1], parts[3].reshape(c, d), parts[4], parts[5], float(head[11]), parts[2])
    return Curve(
        forms.from_vector(parts[0]), surface, Sites(*parts[6:14]), float(head[0]), float(head[1]),
        float(head[2]), float(head[3]), float(head[4]), int(head[5]), parts[14], parts[15],
    )  # fmt: skip
