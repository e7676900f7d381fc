"""The steps of DualPipe and DualPipeV, which differ in how many ranks there are and where stages stand. Source: deepseek-ai/DualPipe `dualpipe.py` and `dualpipev.py`."""

from __future__ import annotations

from simcost.schedules._order import BACKWARD, FORWARD, INPUT, WEIGHT, Op

Half = list[tuple[int, int]]  # (micro-batch, stage) of one of the two virtual stages of a rank, in order


def rank_order(place: int, places: int, pairs: int, halves: tuple[Half, Half]) -> list[Op]:
    """Ops of the rank at `place` of `places`, 0 being the one that starts: step by step, `pairs` times a forward of each half beside a backward of the other."""
    run = _Rank(halves)
    late = places - place - 1
    run.forward(0, 2 * late)
    for _ in range(place + 1):
        run.forward(0)
        run.forward(1)
    for _ in range(late):
        run.backward(1, split=True)
        run.weight()
        run.forward(1)
    for pair in range(pairs):
        if pair == 0 and late == 0:  # the rank where both halves meet runs the first two one after the other
            run.forward(0)
            run.backward(1)
        else:
            run.both(0, 1)
        run.both(1, 0)
    for _ in range(late):
        run.backward(1)
        run.both(1, 0)
    middle = (place + 1) // 2
    for turn in range(place + 1):
        run.backward(1, split=turn > middle or (turn == middle and place % 2 == 1))
        run.backward(0, split=turn >= middle)
    for _ in range(late):
        run.weight()
        run.backward(0, split=True)
    for _ in range(place + 1):
        run.weight()
    return run.ops


class _Rank:
    """Ops of one rank, each of the next micro-batch of its half; weight gradients in the order in which their inputs' came."""

    def __init__(self, halves: tuple[Half, Half]) -> None:
        self.halves, self.ops = halves, list[Op]()
        self.forwards, self.backwards = [0, 0], [0, 0]
        self.waiting: list[tuple[int, int]] = []

    def forward(self, half: int, times: int = 1) -> None:
        for _ in range(times):
            self.ops.append(Op(FORWARD, *self._next(self.forwards, half)))

    def backward(self, half: int, split: bool = False) -> None:
        at = self._next(self.backwards, half)
        self.ops.append(Op(INPUT if split else BACKWARD, *at))
        self.waiting += [at] if split else []

    def both(self, forward: int, backward: int) -> None:
        ahead = self._next(self.forwards, forward)
        self.ops.append(Op(FORWARD, *ahead, self._next(self.backwards, backward)))

    def weight(self) -> None:
        self.ops.append(Op(WEIGHT, *self.waiting.pop(0)))

    def _next(self, done: list[int], half: int) -> tuple[int, int]:
        done[half] += 1
        return self.halves[half][done[half] - 1]
