"""A measuring run from a device's name to a folder of rows: the points, several passes over them, the record.

Yields an event a visit; whoever draws them may stop at any time. The budget and Ctrl-C end it the same way: visits are
merged, run.toml says how far it came. Most likely to be wrong: the estimate of the time left while the first kinds warm up.
"""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcost.calibration import held_out
from simcost.calibration.store import LEAST
from simcost.errors import SimcostError
from simcost.frozen import frozen
from simcost.measure.machine.allocator import steady_allocator
from simcost.measure.machine.environment import record as environment
from simcost.measure.machine.environment import same
from simcost.measure.machine.target import Target
from simcost.measure.machine.torch import need_torch
from simcost.measure.points import anchors, kinds
from simcost.measure.points.folder import Folder
from simcost.measure.points.hold import undisturbed
from simcost.measure.points.point import Kind, Point, interleaved
from simcost.measure.sampling.target import find
from simcost.measure.session.event import Event
from simcost.measure.session.quality import judged, looks, together

_PROOFS = 0.3  # of the budget, at most, before the first row: first calls compile kernels

if TYPE_CHECKING:
    from simcost.measure.points.design import Rates
    from simcost.measure.sampling.probe import Sentinel
    from simcost.measure.sampling.visit import Visits


@frozen
class Question:
    """What to measure, found good: a device with its formats, a mode, kernel classes (None: all), models by name and as read."""

    target: Target
    mode: str
    families: Sequence[str] | None
    models: Sequence[str]
    specs: Sequence[Any]


def question(
    device: str, mode: str, models: Sequence[str], families: Sequence[str] | None = None, threads: int | None = None,
    formats: Sequence[str] | None = None,
) -> Question:  # fmt: skip
    """Raises SimcostError (one line) for anything a user can cause. On a GPU it tries the formats, so it is asked once."""
    kinds.mode(mode)
    kinds.chosen(families)
    specs = anchors.load(models)
    return Question(find(device, threads, formats), mode, families, models, specs)


def measure(asked: Question, budget_s: float | None, resume: bool, out: Path, seed: int = 0) -> Iterator[Event]:
    """Measure a device into the folder `out`. Raises SimcostError for a folder that cannot be written or resumed."""
    size = kinds.sized(asked.mode, asked.target.cuda)
    here = {**environment(asked.target), "mode": asked.mode, "models": list(asked.models), "seed": seed}
    folder = Folder(out)
    notes: list[str] = []
    before: dict[str, Any] = {}
    if resume and folder.record_file.is_file():
        before, notes = folder.resume()
        same(here, before.get("environment", {}), str(folder.record_file))
    else:
        folder.begin()
    with settings(asked.target):
        yield from _run(_Job(asked, size, budget_s, seed, folder, here, before, notes))


@contextmanager
def settings(target: Target) -> Iterator[None]:
    """Threads, denormals, no gradients, no surprise in the allocator; as they were, afterwards."""
    torch = need_torch()
    threads = torch.get_num_threads()
    if not target.cuda:
        steady_allocator()
    torch.set_num_threads(target.threads)
    torch.set_flush_denormal(True)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backend that refuses a shape warns; the record names what ran
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


@frozen
class _Job:
    """What a run was asked and where it writes. before: the record of the run that is resumed."""

    asked: Question
    size: kinds.Mode
    budget_s: float | None
    seed: int
    folder: Folder
    here: Mapping[str, Any]
    before: Mapping[str, Any]
    notes: Sequence[str]


def _run(job: _Job) -> Iterator[Event]:
    from simcost.measure.kernels.launch import launch
    from simcost.measure.points.design import design
    from simcost.measure.sampling.probe import TIMED, Sentinel, rates
    from simcost.measure.sampling.visit import Visits
    from simcost.measure.timing.buffers import Bench
    from simcost.measure.timing.cuda_graph import forget

    started = time.monotonic()
    stamp = _now()
    for note in job.notes:
        yield Event(0, 0, "", "", None, note)
    if str(job.here.get("clock_source", "")).startswith("not read"):
        yield Event(0, 0, "", "", None, f"clock {job.here['clock_source']}")
    yield Event(0, 1, "", "rates that choose the points")
    bench = Bench(job.asked.target, job.seed)
    if bench.cuda:
        forget()  # what an exploration could not capture says nothing of these kernels
    probed = rates(bench)
    wanted = kinds.kinds(job.asked.target, job.asked.mode, job.asked.families)
    planned = _planned(job.before) or probed
    yield Event(0, 1, "", "points")
    plan = design(wanted, job.asked.specs, job.asked.target, job.size, job.asked.mode, planned, job.seed)
    todo = [point for point in plan.points if not job.folder.has(point)]
    sentinel, visits = (
        Sentinel(bench, *looks(job.before)),
        Visits(bench, job.size.visit_s, job.size.call_s, probed.seconds, spare(todo, job)),
    )
    flops = {f"{name}_flops_per_s": rate for name, rate in probed.flops_per_s.items() if name in TIMED}
    said = {"bytes_per_s": probed.bytes_per_s, **flops}  # guesses for narrower formats are none of its rates
    extra = {
        "rates": job.before.get("rates", said),
        "launch": launch(bench, job.size.visit_s),
    }
    job.folder.write_record(_record(job, stamp, visits, sentinel, plan.left_out, extra, "running"))
    ended = "stopped"
    try:
        yield from _proofs(job, todo, visits, started)
        yield from _looked(sentinel)
        ended = yield from _passes(job, todo, visits, sentinel, started, plan.left_out)
    finally:
        if ended != "stopped":
            sentinel.look()  # nobody is told any more: its times are in the record, or are missing there
        with undisturbed():
            job.folder.merge()
            job.folder.write_record(_record(job, stamp, visits, sentinel, plan.left_out, extra, ended))
        bench.release()
    yield Event(len(todo), len(todo), "", "", 0.0, f"{ended}: {job.folder.home}")


def _planned(before: Mapping[str, Any]) -> Rates | None:
    """The rates by which an earlier session chose its points: by others, a run that is resumed would choose others."""
    from simcost.measure.points.design import Rates

    known = dict(before.get("rates", {}))
    speed = float(known.pop("bytes_per_s", 0.0))
    return Rates({name.removesuffix("_flops_per_s"): float(v) for name, v in known.items()}, speed) if speed else None


def spare(points: Sequence[Point], job: _Job) -> dict[Kind, int]:
    """Points of each kind beyond the rows that a curve needs, with those on disk; a quick run, of few kinds, keeps those that a
    judgement needs."""
    counts = Counter(point.kind for point in points)
    least = held_out.LEAST if job.asked.mode == "quick" else LEAST + 1
    return {kind: count + job.folder.count(kind) - least for kind, count in counts.items()}


def _looked(sentinel: Sentinel) -> Iterator[Event]:
    """A look at the sentinel; one that fails costs no row."""
    why = sentinel.look()
    if why:
        yield Event(0, 0, "", "", None, why)


def _proofs(job: _Job, points: Sequence[Point], visits: Visits, started: float) -> Iterator[Event]:
    """Every kind on its smallest point, before anything is timed; a kind without time for that is proved when its first
    point comes."""
    smallest: dict[Any, Point] = {}
    for point in points:
        known = smallest.get(point.kind)
        if known is None or float(point.op.work().bytes) < float(known.op.work().bytes):
            smallest[point.kind] = point
    for done, point in enumerate(smallest.values()):
        if _over(job, started, _PROOFS):
            yield Event(0, 0, "", "", None, f"{done} of {len(smallest)} kinds checked before the first row")
            return
        yield Event(done, len(smallest), "", f"check of {point.kind.family} {point.kind}")
        why = visits.prove(point)
        if why:
            yield Event(0, 0, point.kind.family, str(point.kind), None, why)


def _over(job: _Job, started: float, share: float = 1.0) -> bool:
    return job.budget_s is not None and time.monotonic() - started > share * job.budget_s


def _passes(
    job: _Job, points: Sequence[Point], visits: Visits, sentinel: Sentinel, started: float, left_out: Counter[str]
) -> Generator[Event, None, str]:
    """Returns how it ended."""
    from simcost.measure.sampling.probe import EVERY

    total, done = len(points) * job.size.passes, 0
    skipped = "; ".join(f"{count} left out: {why}" for why, count in sorted(left_out.items()))
    yield Event(0, total, "", "", None, f"{len(points)} points{'; ' + skipped if skipped else ''}")
    rng = random.Random(job.seed + 1)
    first = time.monotonic()
    for number in range(job.size.passes):
        for point in points if number == 0 else _again(points, rng):
            if _over(job, started):
                yield Event(done, total, "", "", 0.0, "the time budget is used up")
                return "budget reached"
            timing, note = visits.time(point)
            if timing is not None:
                job.folder.append(point, timing)
            done += 1
            if done % EVERY == 0:
                yield from _looked(sentinel)
            left = (time.monotonic() - first) / done * (total - done)
            if job.budget_s is not None:
                left = min(left, max(job.budget_s - (time.monotonic() - started), 0.0))
            yield Event(done, total, point.kind.family, str(point), left, note)
    return "complete"


def _again(points: Sequence[Point], rng: random.Random) -> list[Point]:
    """Another order for another pass, kinds spread evenly as in the first."""
    queues: dict[Any, list[Point]] = {}
    for point in points:
        queues.setdefault(point.kind, []).append(point)
    for queue in queues.values():
        rng.shuffle(queue)
    return interleaved(list(queues.values()), rng)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _record(
    job: _Job,
    stamp: str,
    visits: Visits,
    sentinel: Sentinel,
    left_out: Counter[str],
    extra: Mapping[str, Any],
    ended: str,
) -> dict[str, Any]:
    """run.toml: what was measured, by whom, how well, over all sessions of a run that was resumed."""
    here, target = job.here, job.asked.target
    threads = "" if target.cuda else f", {target.threads} thread{'s' if target.threads > 1 else ''}"
    known: dict[str, Any] = dict(job.before.get("kinds", {}))
    for kind, count in visits.kernels.items():
        ran = dict((count + _ran(known.get(str(kind), {}))).most_common())
        known[str(kind)] = {"kernels": list(ran), "visits": list(ran.values()), "rows": job.folder.count(kind)}
    for kind, why in visits.dropped.items():
        known[str(kind)] = {"kernels": [], "visits": [], "rows": job.folder.count(kind), "dropped": why}
    missing = left_out + visits.skipped
    found = judged(target.cuda, *together(job.before, visits.dirty), sentinel)
    if not visits.dirty:  # nothing was left to measure: the earlier judgement stands
        found |= {key: job.before[key] for key in found if key in job.before}
    return {
        "schema": 1,
        "kind": "measured",
        "title": f"{here['device_name']}{threads}, torch {here['torch']} ({job.asked.mode})",
        "started": job.before.get("started", stamp),
        "ended": _now(),
        "state": ended,
        **found,
        "left_out": [f"{count}: {why}" for why, count in sorted(missing.items())],
        "environment": dict(here),
        **extra,
        "kinds": dict(sorted(known.items())),
    }


def _ran(kind: Mapping[str, Any]) -> Counter[str]:
    """Visits by what ran, of a kind's record; one of an older run has no counts."""
    names = kind.get("kernels", [])
    return Counter(dict(zip(names, kind.get("visits") or [1] * len(names), strict=False)))


def finished(home: Path) -> Mapping[str, Any]:
    """The record of a run. Raises SimcostError when there is none."""
    from simcost.calibration.rows import load_run

    found = load_run(home)
    if found.record["kind"] != "measured":
        raise SimcostError(f"{home}: not a folder of measured rows")
    return found.record
