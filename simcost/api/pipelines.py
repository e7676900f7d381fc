"""Pipeline schedules from bare durations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simcost.result import Result


def schedule(
    schedules: str | Sequence[str], pp: int, microbatches: int, forward: float = 1.0, backward: float | None = None, weight: float | None = None,
    hop: float = 0.0, vpp: int | None = None, overlapped: float | None = None, stage_times: Sequence[Sequence[float]] | None = None,
    barrier: bool = True, draw: str | Path | None = None,
) -> Result:  # fmt: skip
    """Time, bubble and chunks in flight of pipeline schedules. Durations in seconds of one micro-batch through one virtual stage: `forward`, `backward` (the input gradient alone) and `weight`, both as long as
    a forward where they are not stated; `overlapped`: a forward and both gradients together. `stage_times`: these three for each virtual stage. `draw`: a picture (.png, .svg, .pdf), a page (.html) or a trace (.trace.json) to write.
    Raises SpecError for numbers that a schedule does not allow."""
    from simcost.scenarios import schedule as scenario

    names = [schedules] if isinstance(schedules, str) else list(schedules)
    if draw is not None:
        from simcost.report import timeline

        timeline.checked(Path(draw))
    question = scenario.question(
        pp, microbatches, forward, backward, weight, hop, vpp, overlapped, stage_times, barrier
    )
    result, drawn = scenario.result(names, question)
    if draw is not None:
        from simcost.report.bars import chart

        timeline.write(Path(draw), [chart(each) for each in drawn], result)
    return result
