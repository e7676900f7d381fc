"""The largest of several counts: what the busiest of many bins has more than the mean of all.

Bins are taken as independent, and widened to how much they really differ. Most likely to be wrong: counts of fewer than eight trials.
Sources: Blom 1958 (largest normal), Cornish and Fisher 1938 (skew); Abramowitz and Stegun 26.2.23. Derivation: docs/theory/routing.md.
"""

from __future__ import annotations

import numpy as np

from simcost.num import Mask, Num, exp, log1p, maximum, minimum, plain, sqrt, where, within


def largest_load(trials: Num, chance: Num, bins: Num, most: Num, thinner: Num = 1.0) -> Num:
    """E[largest of `bins` binomials] over their mean: Cornish-Fisher around the largest normal, or the exact sum over
    counts where the mean is small; within 4 % of simulation, 7 % below eight tokens."""
    mean = trials * chance
    thinner = thinner * bins / maximum(bins - 1.0, 1.0)  # what one bin has, the others lack: differences scatter more
    sigma = sqrt(mean * (1.0 - chance) * thinner)
    z = largest_normal(bins)
    smooth = mean + z * sigma + (z * z - 1.0) / 6.0 * (1.0 - 2.0 * minimum(chance, 0.5)) * thinner
    small = np.asarray(mean < _FEW_ROWS)
    found = within(small, _summed, (minimum(mean, _FEW_ROWS), chance, thinner, bins), smooth) if small.any() else smooth
    return minimum(maximum(found, maximum(1.0, mean)), most) / mean


_FEW_ROWS = 6.0


def _summed(mean: Num, chance: Num, thinner: Num, bins: Num) -> Num:
    """Sum over m of P(largest > m), each bin Poisson of this mean, narrowed to the true variance."""
    narrow = sqrt((1.0 - minimum(chance, 0.9)) * thinner)
    term = exp(-mean)
    below = term
    total: Num = 0.0
    for m in range(1, 40):
        total = total + 1.0 - plain(np.power(np.minimum(below, 1.0), bins))
        term = term * mean / m
        below = below + term
    return mean + (total - mean) * narrow


def largest_binomial(trials: Num, chance: Num, bins: Num, least: Mask) -> Num:
    """E[largest of `bins` binomials] less their mean; where `least`, the mean less E[the least]. Counts up to 60 are summed."""
    term = exp(trials * log1p(-chance))
    below, odds = term, chance / (1.0 - chance)
    most: Num = 0.0
    fewest: Num = 0.0
    for m in range(60):
        above = maximum(1.0 - below, 0.0)
        fewest = fewest + plain(np.power(above, bins))
        most = most + 1.0 - plain(np.power(1.0 - above, bins))
        term = term * maximum(trials - m, 0.0) / (m + 1.0) * odds
        below = below + term
    mean = trials * chance
    return maximum(where(least, mean - fewest, most - mean), 0.0)


def largest_normal(count: Num) -> Num:
    """E[largest of n normals], Blom: the quantile (n - 0.375)/(n + 0.25). Abramowitz and Stegun 26.2.23."""
    tail = maximum(1.0 - (count - 0.375) / (count + 0.25), 1e-300)
    t = sqrt(-2.0 * np.log(minimum(tail, 0.5)))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    return plain(t - top / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))))
