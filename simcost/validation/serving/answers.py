"""All predictors of serving at once, on every core: configurations are dealt out, and each is priced once for all of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from functools import partial

from simcost import pool
from simcost.pool import Piece, Progress, quiet
from simcost.validation.serving import bars, fit
from simcost.validation.serving.point import Predict, Prediction, ServingPoint
from simcost.validation.serving.predict import grouped, predict
from simcost.validation.serving.predict_events import predict_events

BARE, BARE_EVENTS = "no front end", "no front end, events"
ANSWERS: dict[str, Predict] = {
    bars.UNFITTED: partial(predict, front=fit.PRIORS),
    bars.EVENTS: partial(predict_events, front=fit.PRIORS),
    BARE: partial(predict, front=fit.NONE),
    BARE_EVENTS: partial(predict_events, front=fit.NONE),
    bars.PROFILES: predict_events,
}
_PIECES = 32


class Every:
    """What each of ANSWERS says of the same points, worked out when the first is asked."""

    def __init__(self, progress: Progress = quiet) -> None:
        self._progress = progress
        self._asked: tuple[int, ...] = ()
        self._found: dict[str, list[Prediction]] = {}

    def of(self, name: str) -> Predict:
        """One of them."""

        def answer(points: Sequence[ServingPoint]) -> list[Prediction]:
            asked = tuple(map(id, points))
            if asked != self._asked:
                self._found, self._asked = every(points, self._progress), asked
            return self._found[name]

        return answer


def every(points: Sequence[ServingPoint], progress: Progress = quiet) -> dict[str, list[Prediction]]:
    """What each of ANSWERS says of points."""
    dealt: list[list[int]] = [[]]
    for group in grouped(points):  # neighbours share a model, a device and its curves, and tables
        if len(dealt[-1]) >= len(points) / _PIECES:
            dealt.append([])
        dealt[-1] += group
    dealt = [places for places in dealt if places]
    pieces = [Piece(([points[i] for i in places],), f"{len(places)} rows", 100.0 * len(places)) for places in dealt]
    alone = multiprocessing.current_process().daemon or multiprocessing.parent_process() is not None
    found: dict[str, list[Prediction]] = {name: [Prediction()] * len(points) for name in ANSWERS}
    for places, said in zip(dealt, pool.mapped(_piece, pieces, 1 if alone else pool.cores(), progress), strict=True):
        for name, own in said.items():
            for place, one in zip(places, own, strict=True):
                found[name][place] = one
    return found


def _piece(points: Sequence[ServingPoint]) -> dict[str, list[Prediction]]:
    return {name: answer(points) for name, answer in ANSWERS.items()}
