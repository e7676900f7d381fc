"""The report's figures: what a kind's curve does on rows that it has not seen, inside the measured range and beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simcost.calibration.curve import Curve
from simcost.calibration.family import Family, Labels
from simcost.calibration.rows import Rows
from simcost.calibration.score import Score, joined, scored
from simcost.calibration.split import SHARE, folds
from simcost.calibration.store import fitted, row_terms
from simcost.hardware.profile import Device
from simcost.num import Index

FEW = 200  # below this a fifth says little: every fifth is held out in turn
LEAST = 20


@dataclass(frozen=True, slots=True)
class Judgement:
    """`curve`: through all rows. `tested`: which rows the score is of. `beyond`: score on the largest sixth when fitted
    without it; None with too few rows."""

    curve: Curve
    score: Score
    tested: Index
    beyond: Score | None


def judged(family: Family, rows: Rows, labels: Labels, device: Device) -> Judgement:
    """Fits as often as it takes: once without the held-out fifth (five times with few rows), once without the largest."""
    fold = folds(rows.numbers)
    turns = [0] if len(rows) >= FEW else list(range(SHARE))
    scores, tested = [], []
    for turn in turns:
        out = np.flatnonzero(fold == turn)
        if len(out) and len(out) < len(rows):
            scores.append(_without(family, rows, labels, device, out))
            tested.append(out)
    beyond = None
    if len(rows) >= LEAST:
        terms, _ = row_terms(family, rows, labels, device)
        size = np.asarray(terms.compute_s + terms.memory_s + terms.serial_s, np.float64)
        beyond = _without(family, rows, labels, device, np.flatnonzero(size > np.quantile(size, 5.0 / 6.0)))
    return Judgement(fitted(family, rows, labels, device), joined(scores), np.concatenate(tested), beyond)


def _without(family: Family, rows: Rows, labels: Labels, device: Device, out: Index) -> Score:
    rest = np.setdiff1d(np.arange(len(rows)), out)
    curve = fitted(family, rows.take(rest), labels, device)
    return scored(curve, family, rows.take(out), labels, device)
