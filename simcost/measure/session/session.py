"""`calibrate run` from end to end: what a device needs measured, in which folder, and what to say of it afterwards.

A GPU's rows go to the folder itself, ready for `hwprofiles/<gpu>/measurements/`. A CPU gets a whole profile: its own rates in
profile.toml, kernels timed inside running layers in measurements/in-situ, and alone in measurements/isolated; the first
answer where both know a kind, because a kernel alone is not the kernel in a layer. Most likely to be wrong: a machine that
somebody else uses meanwhile; the record says how disturbed it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simcost.calibration.rows import load_run
from simcost.errors import SpecError
from simcost.files import data_rows, write_whole
from simcost.frozen import frozen
from simcost.measure.session.event import Event
from simcost.model.spec import ModelSpec
from simcost.result import Result, Row

if TYPE_CHECKING:
    from simcost.measure.session.kernels import Question

QUICK_S = 60.0  # what a quick run may take, where nobody says
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@frozen
class Job:
    """What was asked for. budget_s None: as long as it takes, a quick run QUICK_S."""

    device: str
    mode: str
    models: tuple[str, ...]
    families: tuple[str, ...]
    budget_s: float | None
    resume: bool
    threads: int
    seed: int
    out: Path
    formats: tuple[str, ...] = ()


def seconds(text: str | None) -> float | None:
    """ "8m" -> 480 s; None -> None. Raises SpecError for anything else than a number above 0 and s, m or h."""
    if text is None:
        return None
    match = _BUDGET.fullmatch(text.strip())
    if not match or float(match[1]) <= 0:
        raise SpecError(f"--budget {text}: write a number and s, m or h, for example 8m")
    return float(match[1]) * _SECONDS[match[2]]


def measured(job: Job) -> Iterator[Event]:
    """Measures a device, and on a CPU its profile and whole layers first, event by event. Whoever draws events may stop at any
    time and no row is lost. Raises SpecError before anything is written for a job that cannot run."""
    from simcost.measure.session.kernels import measure as measure_kernels

    asked = _question(job)
    budget = QUICK_S if job.budget_s is None and job.mode == "quick" else job.budget_s
    start = time.monotonic()
    home = job.out
    if job.device == "cpu":
        yield from _cpu(job, asked.specs, budget)
        home = job.out / "measurements" / "isolated"
    left = None if budget is None else max(budget - (time.monotonic() - start), 1.0)
    yield from measure_kernels(asked, left, job.resume and (home / "run.toml").is_file(), home, job.seed)


def _question(job: Job) -> Question:
    """What it asks of the device. Raises SpecError for whatever is wrong with a job, before anything is measured or written."""
    from simcost.measure.session.kernels import question
    from simcost.measure.session.quality import sound

    threads = job.threads if job.device == "cpu" else None
    asked = question(job.device, job.mode, job.models, job.families or None, threads, job.formats or None)
    for home in runs(job.out) if job.resume else ():
        sound(load_run(home).record, str(home / "run.toml"))
    return asked


def _cpu(job: Job, models: Sequence[ModelSpec], budget_s: float | None) -> Iterator[Event]:
    """The profile, and kernels inside layers: half of the budget."""
    from simcost.measure.machine.cpu_profile import profile_text
    from simcost.measure.session.layers import measure_in_situ
    from simcost.measure.torch_layers import choice

    profile = job.out / "profile.toml"
    if profile.exists() and not job.resume:
        raise SpecError(f"{profile}: measured before; add to it with --resume, or choose another folder")
    if not profile.exists():
        yield Event(0, 1, "host", "rates of this processor")
        try:
            job.out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is said at once
        except OSError as error:
            raise SpecError(f"{profile}: {error.strerror or error}") from None
        write_whole(profile, profile_text(job.threads))
    blocks, notes = choice.blocks(job.mode, job.seed, models)
    if job.families or not blocks:
        return
    for note in notes:
        yield Event(0, len(blocks), "block", "", note=f"left out: {note}")
    half = None if budget_s is None else budget_s / 2.0
    yield from measure_in_situ(
        "cpu", blocks, job.out / "measurements" / "in-situ", half, job.resume,
        threads=job.threads, asked={"mode": job.mode, "seed": job.seed},
    )  # fmt: skip


def runs(out: Path) -> list[Path]:
    """The run folders of an output folder: itself, and those below measurements/."""
    return [path.parent for path in [out / "run.toml", *sorted(out.glob("measurements/*/run.toml"))] if path.is_file()]


def result(job: Job, notes: tuple[str, ...] = ()) -> Result:
    """Rows by kind and how the run went. Raises SpecError when nothing was measured."""
    rows: list[Row] = []
    said = list(notes)
    for home in runs(job.out):
        run = load_run(home)
        for path in sorted(home.glob("*/*.csv")):
            rows.append({"run": run.name, "curve": f"{path.parent.name} {path.stem}", "rows": data_rows(path)})
        quality = run.record.get("quality", "good")
        if quality != "good":
            said.append(
                f"{run.name}: quality {quality}: the machine was disturbed, or its clocks moved (see {home / 'run.toml'})"
            )
        said += [f"{run.name}: left out {line}" for line in run.record.get("left_out", [])]
        if run.record.get("disturbed"):
            said.append(
                f"{run.name}: {len(run.record['disturbed'])} blocks on a disturbed machine (see {home / 'run.toml'})"
            )
    if not rows:
        raise SpecError(f"{job.out}: nothing was measured")
    total = sum(int(row["rows"]) for row in rows)
    how = f"--hw {job.out}" if job.device == "cpu" else "copied to hwprofiles/<gpu>/measurements/"
    return Result(
        "calibrate run", {"device": job.device, "mode": job.mode, "output": str(job.out)},
        {"rows": total, "kinds": len(rows)}, {"kinds": rows}, tuple(said), (), f"{total:,} rows in {job.out}: use them with {how}",
    )  # fmt: skip
