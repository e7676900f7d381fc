"""The report's figures: what a kind's curve does on rows that it has not seen, inside the measured range and beyond it."""

from __future__ import annotations

import numpy as np

from simcost.calibration.curves.curve import Curve
from simcost.calibration.curves.sites import site_key
from simcost.calibration.family import Family, Labels
from simcost.calibration.rows import Rows
from simcost.calibration.score import Score, joined, scored
from simcost.calibration.split import SHARE, folds, largest
from simcost.calibration.store import fitted, row_terms
from simcost.calibration.thinning import thinned
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.num import Index

FEW = 200  # below this a fifth says little: every fifth is held out in turn
LEAST = 20


@frozen
class Judgement:
    """`curve`: through all rows. `tested`: which rows the score is of. `beyond`: score on the largest sixth when fitted
    without it; `sixty`: on the rest when fitted to 60 space-filling rows; `unseen`: on shapes of which no row was seen, alike
    in nothing but tokens and one dimension. None with too few rows."""

    curve: Curve
    score: Score
    tested: Index
    beyond: Score | None
    sixty: Score | None
    unseen: Score | None


def is_thin(rows: Rows) -> bool:
    """Whether rows are too few to be judged, or of so few shapes that all are held out together."""
    return len(rows) < LEAST or len(np.unique(folds(rows.numbers))) < 2


def judged(family: Family, rows: Rows, labels: Labels, device: Device) -> Judgement:
    """Scores a kind on rows that the fit did not see: on a fifth of the shapes (on all five fifths, one by one, with few rows),
    on the largest sixth, and on unseen shapes."""
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
        above = np.flatnonzero(largest(size))
        beyond = _without(family, rows, labels, device, above) if len(above) else None
    sixty = None
    if len(rows) >= FEW:
        _, points = row_terms(family, rows, labels, device)
        sixty = _without(family, rows, labels, device, np.setdiff1d(np.arange(len(rows)), thinned(points.features, 60)))
    whole = fitted(family, rows, labels, device)
    return Judgement(
        whole, joined(scores), np.concatenate(tested), beyond, sixty, _unseen(family, rows, labels, device)
    )


def _unseen(family: Family, rows: Rows, labels: Labels, device: Device) -> Score | None:
    """Whole groups of shapes held out, a fifth at a time; every fifth where there are few groups."""
    _, points = row_terms(family, rows, labels, device)
    group = np.round(site_key(points.sites[:, :-1]), 6)
    fold = folds({"group": group})
    turns = range(SHARE) if len(np.unique(group)) < 50 else range(1)
    scores = [
        _without(family, rows, labels, device, out)
        for out in (np.flatnonzero(fold == turn) for turn in turns)
        if 0 < len(out) <= len(rows) // 2
    ]
    return joined(scores) if scores else None


def _without(family: Family, rows: Rows, labels: Labels, device: Device, out: Index) -> Score:
    rest = np.setdiff1d(np.arange(len(rows)), out)
    curve = fitted(family, rows.take(rest), labels, device)
    return scored(curve, family, rows.take(out), labels, device)
