"""Collectives under torchrun: NCCL on CUDA devices, gloo on CPUs. Rank 0 writes the rows.

    torchrun --nproc-per-node 8 -m simcost.measure.session.collectives --out DIR

As of `calibrate run`: a GPU's rows go to DIR itself, ready for `hwprofiles/<gpu>/measurements/`; a CPU's to
DIR/measurements/collectives, with DIR/profile.toml stating the link (made where there is none): `--hw DIR` answers.
Sizes from 256 B to 64 MB (CPU) or 512 MB (CUDA), in random order, so that any prefix is a design; a row is on the disk before
the next size starts. What rank 0 decides (what to measure, when to stop) it tells the others. Most likely to be wrong: a rank
that fails alone inside a collective, for which the others wait until torchrun ends them.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simcost.errors import SimcostError, SpecError
from simcost.frozen import frozen
from simcost.measure.kernels.collective import Exchange, kind, point
from simcost.measure.machine.target import one_line
from simcost.measure.machine.torch import need_torch
from simcost.measure.points.folder import Folder
from simcost.measure.points.hold import undisturbed
from simcost.measure.session import link_profile, session
from simcost.measure.session.event import Event
from simcost.measure.session.quality import quality, sound
from simcost.measure.timing.cpu import moved
from simcost.units import parse, show

OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
LEAST, MOST_CPU, MOST_CUDA = parse("256 B", "bytes"), parse("64 MB", "bytes"), parse("512 MB", "bytes")
STEPS = {"quick": 6, "standard": 12, "full": 19}
EVERY = 8  # sizes between two looks at an all-reduce of one size
LOOK_CPU, LOOK_CUDA = parse("1 MB", "bytes"), parse("32 MB", "bytes")  # its size: large enough for its rate to show


class Elsewhere(SimcostError):
    """Rank 0 stopped and says why; the others leave with it."""


def sizes(steps: int, most: float) -> list[float]:
    """At most `steps` sizes from 256 B to `most` [B], even in the logarithm, multiples of 256."""
    ratio = (most / LEAST) ** (1.0 / max(steps - 1, 1))
    return sorted({LEAST * round(ratio**i) for i in range(steps)})


@frozen
class Asked:
    """The sizes, and how long they may take; `most` None: what the device can."""

    mode: str = "standard"
    most: float | None = None
    budget_s: float | None = None
    resume: bool = False
    seed: int = 0


def measure(out: Path, asked: Asked | None = None) -> Iterator[Event]:
    """Every rank of a torchrun group calls this; rank 0 writes below `out`. Raises SimcostError outside of a group."""
    asked = asked or Asked()
    torch = need_torch()
    if asked.mode not in STEPS:
        raise SimcostError(f"--mode must be one of {', '.join(STEPS)}, not {asked.mode!r}")
    if "RANK" not in os.environ:
        raise SimcostError(
            "collectives run under torchrun: torchrun --nproc-per-node 2 -m simcost.measure.session.collectives ..."
        )
    device = _device(torch)
    cuda = device.type == "cuda"
    backend = "nccl" if cuda else "gloo"
    torch.distributed.init_process_group(backend)
    home = out if cuda else out / "measurements" / "collectives"
    rank, group = torch.distributed.get_rank(), torch.distributed.get_world_size()
    try:
        yield from _Run(torch, Folder(home), asked, device, backend, rank, group).events()
    finally:
        with suppress(Exception):  # an error of its own must not hide the one that ended the run
            torch.distributed.destroy_process_group()
    if rank == 0 and not cuda and Folder(home).count(kind("p2p", backend)):  # a run that was stopped may have none yet
        link_profile.state(out / "profile.toml", link_profile.found(home, backend, group))


def _device(torch: Any) -> Any:
    """This rank's. Raises SimcostError for more ranks than GPUs."""
    if not torch.cuda.is_available():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        return torch.device("cpu")
    ranks, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if ranks > there:
        raise SimcostError(f"--nproc-per-node {ranks}: this machine has {there} GPUs, one per rank")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


@dataclass
class _Run:
    """One rank's part; `before`: the record of the run that is resumed; `times`: of the all-reduce looked at now and then."""

    torch: Any
    folder: Folder
    asked: Asked
    device: Any
    backend: str
    rank: int
    group: int
    before: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    stamp: str = field(default_factory=lambda: _now())

    def events(self) -> Iterator[Event]:
        if self.group < 2:
            raise SimcostError("a collective needs two ranks or more: torchrun --nproc-per-node 2 ...")
        todo, ended = self._agreed(), "stopped"
        started = time.monotonic()
        try:
            for done, (what, size) in enumerate(todo, start=1):
                if self._told(done > 1 and self._over(started)):  # any budget has room for one
                    ended = "budget reached"
                    yield Event(done - 1, len(todo), "", "", 0.0, "the time budget is used up")
                    break
                if done % EVERY == 1:
                    self._look()
                note = self._row(what, size)
                left = (time.monotonic() - started) / done * (len(todo) - done)
                if self.asked.budget_s is not None:
                    left = min(left, max(self.asked.budget_s - (time.monotonic() - started), 0.0))
                yield Event(done, len(todo), "", f"{what} {show(size, 'bytes')}", left, note)
            else:
                ended = "complete"
            self._look()
        finally:
            if self.rank == 0:
                with undisturbed():
                    self.folder.merge()
                    self.folder.write_record(self._record(ended))

    def _agreed(self) -> list[tuple[str, float]]:
        """What is still to measure, in the order of rank 0, which looks at the disk; or why it cannot go on."""
        found: list[Any] = [None, None]
        problem: SimcostError | None = None
        if self.rank == 0:
            try:
                found[0] = self._begun()
            except SimcostError as error:
                problem, found[1] = error, str(error)
        self.torch.distributed.broadcast_object_list(found, src=0)
        if problem is not None:
            raise problem
        if found[0] is None:
            raise Elsewhere(str(found[1]))
        return [(str(what), float(size)) for what, size in found[0]]

    def _begun(self) -> list[tuple[str, float]]:
        """The folder is there, its record written."""
        folder, asked = self.folder, self.asked
        if folder.record_file.exists():
            if not asked.resume:
                raise SpecError(
                    f"{folder.home}: collectives were measured here before; add to them with --resume, or choose another folder"
                )
            self._resumed()
        else:
            folder.begin()
        most = asked.most or (MOST_CUDA if self.device.type == "cuda" else MOST_CPU)
        every = [(what, size) for what in OPS for size in sizes(STEPS[asked.mode], most)]
        random.Random(asked.seed).shuffle(every)
        todo = [one for one in every if not folder.has(point(*one, self.group, self.backend))]
        folder.write_record(self._record("running"))
        return todo

    def _resumed(self) -> None:
        """Raises SpecError for rows of another machine or of another number of ranks."""
        from simcost.measure.machine.environment import same

        where = str(self.folder.record_file)
        self.before, notes = self.folder.resume()
        sound(self.before, where)
        known = self.before.get("environment", {})
        for key, mine in (("ranks", self.group), ("backend", self.backend)):
            if known.get(key) != mine:
                raise SpecError(
                    f"{where}: measured with {key} = {known.get(key)!r}, not {mine!r}: choose another folder"
                )
        same(self._here(), known, where)
        try:
            self.times = [float(t) for t in self.before.get("all_reduce_s", [])]
        except (TypeError, ValueError):
            raise SpecError(f"{where}: all_reduce_s must be a list of numbers") from None
        self.left_out = notes

    def _over(self, started: float) -> bool:
        return self.asked.budget_s is not None and time.monotonic() - started > self.asked.budget_s

    def _told(self, decision: bool) -> bool:
        """What rank 0 decides: its clock is the one that counts."""
        value = self.torch.tensor([float(decision)], device=self.device)
        self.torch.distributed.broadcast(value, 0)
        return bool(value.item() > 0)

    def _any(self, failed: bool) -> bool:
        """Whether it is so on any rank."""
        value = self.torch.tensor([float(failed)], device=self.device)
        self.torch.distributed.all_reduce(value, self.torch.distributed.ReduceOp.MAX)
        return bool(value.item() > 0)

    def _built(self, what: str, size: float) -> Exchange | None:
        """None where any rank lacks the memory: no rank waits for one that could not come."""
        bench: Exchange | None = None
        with suppress(MemoryError, RuntimeError):
            bench = Exchange(self.torch, what, size, self.group, self.rank, self.device)
        return None if self._any(bench is None) else bench

    def _row(self, what: str, size: float) -> str:
        """Time one size and write its row; a note where that could not be."""
        bench = self._built(what, size)
        if bench is None:
            self.left_out.append(f"{what} {show(size, 'bytes')}: more than the memory of a rank can hold")
            return f"left out: {self.left_out[-1]}"
        timing = bench.timed()
        if self.rank == 0:
            self.folder.append(point(what, size, self.group, self.backend), timing)
        return ""

    def _look(self) -> None:
        """The same all-reduce again: when it drifts, so did everything between."""
        bench = self._built("all_reduce", LOOK_CUDA if self.device.type == "cuda" else LOOK_CPU)
        if bench is not None:
            self.times.append(bench.timed().seconds)

    def _here(self) -> dict[str, Any]:
        from simcost.measure.machine.environment import record
        from simcost.measure.sampling.target import find

        target = find("cuda:0" if self.backend == "nccl" else "cpu", None, ["bf16"])
        asked = {"ranks": self.group, "backend": self.backend, "mode": self.asked.mode}
        return {**record(target), **asked}

    def _record(self, state: str) -> dict[str, Any]:
        """run.toml, by what is on disk. Not `sentinel_drift`: that is of the processor, and widens every kernel's interval."""
        here, drift = self._here(), moved(self.times, 0.8)
        rows = {str(one): self.folder.count(one) for one in (kind(what, self.backend) for what in OPS)}
        return {
            "schema": 1,
            "kind": "measured",
            "title": f"{self.group} x {here['device_name']}, {self.backend}, torch {here['torch']} ({self.asked.mode})",
            "started": self.before.get("started", self.stamp),
            "ended": _now(),
            "state": state,
            "quality": quality(self.device.type == "cuda", 0.0, drift),
            "all_reduce_drift": round(drift, 4),
            "all_reduce_s": [f"{t:.5g}" for t in self.times],
            "left_out": self.left_out,
            "environment": here,
            "kinds": {
                name: {"kernels": [self.backend], "rows": count} for name, count in sorted(rows.items()) if count
            },
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _how(out: Path) -> str:
    """What to do with the rows."""
    if (out / "profile.toml").is_file():
        return f"rows in {out / 'measurements' / 'collectives'}: use them with --hw {out}"
    return f"rows in {out}: copy them to use them, to hwprofiles/<gpu>/measurements/<run>/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m simcost.measure.session.collectives`, under torchrun."""
    parser = argparse.ArgumentParser(prog="simcost.measure.session.collectives", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the rows")
    parser.add_argument("--mode", default="standard", choices=list(STEPS))
    parser.add_argument("--most", default=None, help='largest size, like "64 kB"')
    parser.add_argument("--budget", default=None, help="stop cleanly after this time, like 8m or 90s")
    parser.add_argument("--resume", action="store_true", help="continue with the rows that exist")
    given = parser.parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"
    os.environ.setdefault(
        "TORCH_CPP_LOG_LEVEL", "ERROR"
    )  # a rank that leaves is said in one line, not by every library
    try:
        most = None if given.most is None else parse(given.most, "bytes", "--most")
        asked = Asked(given.mode, most, session.seconds(given.budget), given.resume)
        for event in measure(given.out, asked):
            if first:
                print(f"{event.done}/{event.total} {event.note or event.what}", flush=True)
        if first:
            print(_how(given.out), flush=True)
    except KeyboardInterrupt:
        return _said("interrupted: every row so far is kept; continue with --resume", first)
    except SimcostError as error:
        return _said(str(error), first and not isinstance(error, Elsewhere))
    except (RuntimeError, MemoryError, OSError) as error:  # of NCCL, gloo, the device: rows are on the disk
        return _said(f"{one_line(error)}; every row so far is kept; continue with --resume", first)
    return 0


def _said(message: str, aloud: bool) -> int:
    """One line for all ranks."""
    if aloud:
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
