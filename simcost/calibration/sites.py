"""What a smooth surface cannot follow: shapes measured at several token counts, interpolated along the tokens.

A site is one shape in all features but the running one (tokens); between its rows the leftover of the surface is
interpolated in log space, beyond its ends it is held and fades. A site with fewer than four rows is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEAST = 4
_APART = 64.0  # wider than the log range of any running feature: sites never mix
_SAME = 1e-7


@dataclass(frozen=True, slots=True)
class Sites:
    """keys [s] ascending, low/high [s] ends of the running feature; knots [r] (site·APART + running), left [r]."""

    keys: Array
    low: Array
    high: Array
    knots: Array
    left: Array

    def evaluate(self, features: Array, running: int) -> tuple[Array, NDArray[np.bool_], Array, NDArray[np.bool_]]:
        """features [n, d] -> (correction [n], at a known site [n], distance beyond its ends [n], on a measured row [n])."""
        n = len(features)
        if not len(self.keys):
            return np.zeros(n), np.zeros(n, bool), np.zeros(n), np.zeros(n, bool)
        key, at = site_key(features, running), features[:, running]
        index = np.minimum(np.searchsorted(self.keys, key - _SAME), len(self.keys) - 1)
        known = np.abs(self.keys[index] - key) < _SAME
        inside = np.clip(at, self.low[index], self.high[index])
        beyond = np.abs(at - inside)
        where = index * _APART + inside
        correction = np.interp(where, self.knots, self.left) * np.exp(-beyond)
        knot = np.minimum(np.searchsorted(self.knots, where - _SAME), len(self.knots) - 1)
        exact = known & (beyond == 0) & (np.abs(self.knots[knot] - where) < _SAME)
        return np.where(known, correction, 0.0), known, beyond, exact


def site_key(features: Array, running: int) -> Array:
    """One number a shape: an irrational mixture of all features but the running one."""
    mixture = np.sqrt(np.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0]))
    total = np.zeros(len(features))
    for j in range(features.shape[1]):
        if j != running:
            total = total + features[:, j] * mixture[j]
    return total


def fit(features: Array, left: Array, running: int) -> tuple[Sites, Array]:
    """left [n]: what the surface leaves over. Returns the sites and each row's error when it is left out (nan: no site)."""
    errors = np.full(len(left), np.nan)
    keys = np.round(site_key(features, running), 6)
    found: list[tuple[float, Array, Array]] = []
    for key in np.unique(keys):
        rows = np.flatnonzero(keys == key)
        at, order = np.unique(features[rows, running], return_index=True)
        if len(at) < LEAST:
            continue
        values = np.array([left[rows[features[rows, running] == a]].mean() for a in at])
        for i in range(len(at)):
            others = np.arange(len(at)) != i
            errors[rows[order[i]]] = values[i] - np.interp(at[i], at[others], values[others])
        found.append((float(site_key(features[rows[:1]], running)[0]), at, values))
    if not found:
        empty = np.zeros(0)
        return Sites(empty, empty, empty, empty, empty), errors
    found.sort(key=lambda site: site[0])
    return Sites(
        np.array([site[0] for site in found]),
        np.array([site[1][0] for site in found]),
        np.array([site[1][-1] for site in found]),
        np.concatenate([i * _APART + site[1] for i, site in enumerate(found)]),
        np.concatenate([site[2] for site in found]),
    ), errors
