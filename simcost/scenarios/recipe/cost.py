"""What a stage costs: GPUs for a time, with an interval."""

from __future__ import annotations

from simcost.frozen import frozen


@frozen
class StageCost:
    """`gpus` of them for `seconds`; low_s, high_s: the 90 % interval of the model. `fits`: whether the stage fits the memory; `said`: what it rests on, in a sentence."""

    gpus: float
    seconds: float
    low_s: float
    high_s: float
    fits: bool
    said: str

    @property
    def gpu_hours(self) -> float:
        """GPUs × time. [h]"""
        return self.gpus * self.seconds / 3600.0
