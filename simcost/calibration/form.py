"""The analytic part of a curve: few parameters that a person can read, safe outside the measured range.

t = t0 + S/(BW·eS) + (tc^p + tm^p)^(1/p), with tc = F/(P·eP)·prod(1 + d0/d) and tm = (B + B0)/(BW·eB): a start-up time,
bytes that nothing hides, and compute against memory, each reaching its share of the datasheet rate as the kernel grows.
(A gain for bytes that the L2 holds was tried: fitted to 1.0-1.1 nearly everywhere, and it spoiled extrapolation.)
Most likely to be wrong: a kernel that switches tiles or algorithms; the residual learns that. Fitted in log time with a
robust loss (Levenberg-Marquardt) and weak priors, so that 20 rows suffice and no parameter runs away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Bools, Num, maximum, power

NAMES = ("t0_s", "compute_efficiency", "memory_efficiency", "serial_efficiency", "half_bytes", "sharpness")
MOST = 1.08  # boost clocks above the datasheet's: 1980 against 1830 MHz on Hopper
_WIDEST = 1e5  # kernels that need more than that never saturate: something else is at work
_PRIOR_SD = np.array([1.5, 0.5, 0.4, 0.7, 1.5, 0.7])
_SIZE_SD = 1.5
_HELD_SD = 1e-4  # holds a size at its prior
_VARIES = 1.5  # largest over smallest, from which on rows tell what a size does
_HUBER = 0.25
_STEPS = 60


@frozen
class Terms:
    """What the form needs of a kernel: seconds at the datasheet rates, bytes, sizes.

    compute_s = F/P, memory_s = B/BW, serial_s = S/BW [s]; bytes = B [B]; sizes: the dims that must be large to be fast."""

    compute_s: Num
    memory_s: Num
    serial_s: Num
    bytes: Num
    sizes: tuple[Num, ...]

    @property
    def numbers(self) -> tuple[Num, ...]:
        """All terms, sizes last."""
        return (self.compute_s, self.memory_s, self.serial_s, self.bytes, *self.sizes)

    def each(self, act: Callable[[Num], Num]) -> Terms:
        """The terms with `act` applied to each."""
        return Terms(
            act(self.compute_s), act(self.memory_s), act(self.serial_s), act(self.bytes), tuple(map(act, self.sizes))
        )

    def take(self, index: Bools) -> Terms:
        """The terms of some rows; every term must be an array."""
        return self.each(lambda value: np.asarray(value)[index])

    def scaled(self, compute: Num, memory: Num) -> Terms:
        """The terms of a device whose datasheet rates are lower by these factors; bytes and sizes stay."""
        return Terms(self.compute_s * compute, self.memory_s * memory, self.serial_s * memory, self.bytes, self.sizes)

    def flat(self, shape: tuple[int, ...]) -> Terms:
        """Every term as an array over all points of a grid."""
        return self.each(lambda value: np.broadcast_to(np.asarray(value, np.float64), shape).ravel())


@frozen
class Form:
    """Fitted parameters (natural units; `sizes` are the half-saturation values d0)."""

    t0_s: float
    compute_efficiency: float
    memory_efficiency: float
    serial_efficiency: float
    half_bytes: float
    sharpness: float
    sizes: tuple[float, ...]

    def parts(self, x: Terms) -> tuple[Num, Num, Num]:
        """(start-up, compute, memory) times at the terms x; `joined` makes the whole of them. [s]"""
        compute = x.compute_s / self.compute_efficiency
        for size, half in zip(x.sizes, self.sizes, strict=True):
            compute = compute * (1.0 + half / size)
        per_byte = x.memory_s / maximum(x.bytes, 1.0)
        memory = (x.memory_s + per_byte * self.half_bytes) / self.memory_efficiency
        return self.t0_s, compute, memory

    def joined(self, x: Terms, start: Num, compute: Num, memory: Num) -> Num:
        """Time of the given parts: start + serial + (compute^p + memory^p)^(1/p), with the sharpness p. [s]"""
        p = self.sharpness
        high = maximum(maximum(compute, memory), 1e-30)
        both = high * power(power(compute / high, p) + power(memory / high, p), 1.0 / p)
        return start + x.serial_s / self.serial_efficiency + both

    def seconds(self, x: Terms) -> Num:
        """Time at the terms x. [s]"""
        return self.joined(x, *self.parts(x))

    def vector(self) -> Array:
        """All parameters in the order of NAMES, then sizes."""
        return np.array([*(getattr(self, n) for n in NAMES), *self.sizes])


def from_vector(values: Array) -> Form:
    """The form of a `vector`."""
    head = [float(v) for v in values[: len(NAMES)]]
    return Form(head[0], head[1], head[2], head[3], head[4], head[5], tuple(float(v) for v in values[len(NAMES) :]))


def _natural(theta: Array) -> Array:
    """Logs to natural units, the parameters along the first axis; an efficiency saturates below `MOST`, so that sizes or bytes
    must explain the rest."""
    values = np.exp(theta)
    values[1:4] = MOST * values[1:4] / (MOST + values[1:4])
    values[5] = 1.0 + values[5]
    values[6:] = _WIDEST * values[6:] / (_WIDEST + values[6:])
    return np.asarray(values)


def fit(x: Terms, seconds: Array) -> Form:
    """Robust maximum a posteriori fit, the better of two starts. x holds arrays [rows]; seconds [rows] > 0."""
    start = np.log([max(float(np.quantile(seconds, 0.02)) * 0.7, 1e-8), 2.0, 3.0, 1.0, 1e5, 2.0])
    prior = np.concatenate([start, np.log(np.full(len(x.sizes), 32.0))])
    slow = prior.copy()
    slow[3] = np.log(0.15)  # passes that crawl: otherwise the sizes take their place, far from the optimum
    return min((_climb(x, seconds, first, prior) for first in (prior, slow)), key=lambda found: found[0])[1]


def _varies(size: Num) -> bool:
    """Whether rows tell what a size does: of one that hardly varies any half-saturation fits, and other sizes would pay for it."""
    return float(np.max(size)) > _VARIES * float(np.min(size))


def _climb(x: Terms, seconds: Array, theta: Array, prior: Array) -> tuple[float, Form]:
    """Levenberg-Marquardt from one start: (loss, form)."""
    weight = 1.0 / np.concatenate([_PRIOR_SD, [_SIZE_SD if _varies(size) else _HELD_SD for size in x.sizes]]) ** 2
    noise = 0.1**2  # prior strength: as if one row had ten per cent of noise
    target = np.log(seconds)

    def residual(t: Array) -> Array:
        return np.asarray(np.log(from_vector(_natural(t)).seconds(x)) - target)

    def jacobian_at(t: Array, r: Array) -> Array:
        # All parameters are moved at once, each in a row of its own: values [parameters, moved, 1].
        values: Any = _natural(t[:, None] + 1e-5 * np.eye(len(t)))[:, :, None]
        moved = Form(**dict(zip(NAMES, values, strict=False)), sizes=tuple(values[len(NAMES) :]))
        return np.ascontiguousarray(((np.log(moved.seconds(x)) - target - r) / 1e-5).T)

    def loss(r: Array, t: Array) -> float:
        a = np.abs(r)
        data = np.where(a < _HUBER, r * r / 2, _HUBER * (a - _HUBER / 2)).sum()
        return float(data + noise * (weight * (t - prior) ** 2).sum() / 2)

    r = residual(theta)
    best, damping = loss(r, theta), 1e-2
    for _ in range(_STEPS):
        jacobian = jacobian_at(theta, r)
        robust = np.minimum(1.0, _HUBER / np.maximum(np.abs(r), 1e-12))
        normal = jacobian.T @ (robust[:, None] * jacobian) + noise * np.diag(weight)
        gradient = jacobian.T @ (robust * r) + noise * weight * (theta - prior)
        gain = 0.0
        for _ in range(10):
            step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            trial = theta + np.clip(step, -1.0, 1.0)
            r_trial = residual(trial)
            now = loss(r_trial, trial)
            if np.isfinite(now) and now < best:
                gain, theta, r, best, damping = best - now, trial, r_trial, now, damping * 0.3
                break
            damping *= 4.0
        if gain <= 1e-7 * best:
            break
    return best, from_vector(_natural(theta))
