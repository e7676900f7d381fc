"""Collectives under torchrun: NCCL on CUDA devices, gloo on CPUs. Rank 0 writes the rows.

    torchrun --nproc-per-node 8 -m simcost.measure.collectives --out DIR

As of `calibrate run`: a GPU's rows go to DIR itself, ready for `hwprofiles/<gpu>/measurements/`; a CPU's to
DIR/measurements/collectives, with DIR/profile.toml stating the link (made where there is none): `--hw DIR` answers.
Sizes from 256 B to 64 MB (CPU) or 512 MB (CUDA), in random order, every size a block of calls between barriers; the time of a
call is that of the slowest rank. Bytes are counted as `simcost/ops/collective.py` does: the reduced tensor, the gathered
one, the one to be scattered, what a rank sends to others. Most likely to be wrong: gloo on one machine measures its scheduler
below 64 kB. Source: torch.distributed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simcost.errors import SimcostError
from simcost.measure import links
from simcost.measure.event import Event
from simcost.measure.folder import Folder
from simcost.measure.need import need_torch
from simcost.measure.points import Kind, Point, kind_of
from simcost.measure.timing import Timing, summary
from simcost.units import parse, show

OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")
LEAST, MOST_CPU, MOST_CUDA = parse("256 B", "bytes"), parse("64 MB", "bytes"), parse("512 MB", "bytes")
STEPS = {"quick": 6, "standard": 12, "full": 19}
_BLOCK = parse("2 ms", "seconds")
_SAMPLES = 9


def sizes(steps: int, most: float) -> list[float]:
    """Bytes, evenly in the log, multiples of 256."""
    ratio = (most / LEAST) ** (1.0 / max(steps - 1, 1))
    return sorted({LEAST * round(ratio**i) for i in range(steps)})


def measure(out: Path, mode: str = "standard", most: float | None = None, seed: int = 0) -> Iterator[Event]:
    """Every rank of a torchrun group calls this; rank 0 writes below `out`. Raises SimcostError outside of a group."""
    torch = need_torch()
    if mode not in STEPS:
        raise SimcostError(f"--mode must be one of {', '.join(STEPS)}, not {mode!r}")
    if "RANK" not in os.environ:
        raise SimcostError(
            "collectives run under torchrun: torchrun --nproc-per-node 2 -m simcost.measure.collectives ..."
        )
    cuda = bool(torch.cuda.is_available())
    backend = "nccl" if cuda else "gloo"
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
    torch.distributed.init_process_group(backend)
    home = out if cuda else out / "measurements" / "collectives"
    rank, group = torch.distributed.get_rank(), torch.distributed.get_world_size()
    try:
        yield from _run(torch, home, mode, most or (MOST_CUDA if cuda else MOST_CPU), seed, device, backend)
    finally:
        torch.distributed.destroy_process_group()
    if rank == 0 and not cuda:
        links.state(out / "profile.toml", links.found(home, backend, group))


def _run(torch: Any, out: Path, mode: str, most: float, seed: int, device: Any, backend: str) -> Iterator[Event]:
    rank, group = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if group < 2:
        raise SimcostError("a collective needs two ranks or more: torchrun --nproc-per-node 2 ...")
    folder = Folder(out)
    ready = torch.zeros(1, device=device)  # ranks agree on whether rank 0 may write
    problem: SimcostError | None = None
    stamp = _now()
    if rank == 0:
        try:
            if folder.record_file.exists():
                raise SimcostError(f"{out}: collectives were measured here before; name another folder")
            folder.begin()
            folder.write_record(_record(torch, mode, group, backend, stamp, {}))
        except SimcostError as error:
            problem, ready = error, ready + 1.0
    torch.distributed.broadcast(ready, 0)
    if problem is not None:
        raise problem
    if float(ready) > 0:
        return
    todo = [(what, size) for what in OPS for size in sizes(STEPS[mode], most)]
    random.Random(seed).shuffle(todo)
    rows: dict[str, int] = {}
    started = time.monotonic()
    for done, (what, size) in enumerate(todo, start=1):
        bench = Exchange(torch, what, size, group, rank, device)
        timing = bench.timed()
        point = Point(kind(what, backend), bench.numbers())
        if rank == 0:
            folder.append(point, timing)
            rows[str(point.kind)] = rows.get(str(point.kind), 0) + 1
        left = (time.monotonic() - started) / done * (len(todo) - done)
        yield Event(done, len(todo), point.kind.family, f"{what} {show(size, 'bytes')}", left)
    if rank == 0:
        folder.merge()
        folder.write_record(_record(torch, mode, group, backend, stamp, rows))


def kind(what: str, backend: str) -> Kind:
    """Point-to-point has a family of its own: it is no collective of a group."""
    return kind_of("p2p", backend=backend) if what == "p2p" else kind_of("collective", what=what, backend=backend)


class Exchange:
    """One collective at one size. size: bytes of the tensor that the op counts."""

    def __init__(self, torch: Any, what: str, size: float, group: int, rank: int, device: Any) -> None:
        self.torch, self.what, self.group, self.rank, self.device = torch, what, group, rank, device
        # fp32; whole parts for every rank
        self.count = max(int(size) // (4 * group), 1) * group
        self.tensor = torch.zeros(self.count, device=device)
        self.other = torch.zeros(self.count, device=device)
        self.part = torch.zeros(self.count // group, device=device)
        self.call = self._calls()[what]

    def numbers(self) -> tuple[float, ...]:
        """The row's columns."""
        whole = 4.0 * self.count
        if self.what == "p2p":
            return (whole,)
        if self.what == "all_to_all":
            return (whole * (self.group - 1) / self.group, float(self.group))
        return (whole, float(self.group))

    def _calls(self) -> dict[str, Callable[[], object]]:
        d, tensor, other, part = self.torch.distributed, self.tensor, self.other, self.part
        scatter = getattr(d, "reduce_scatter_single", None) or d.reduce_scatter_tensor
        gather = getattr(d, "all_gather_single", None) or d.all_gather_into_tensor
        return {
            "all_reduce": lambda: d.all_reduce(tensor, d.ReduceOp.MAX),  # a sum would grow without end
            "all_gather": lambda: gather(tensor, part),
            "reduce_scatter": lambda: scatter(part, other, op=d.ReduceOp.MAX),
            "all_to_all": lambda: d.all_to_all_single(other, tensor),
            "p2p": self._pair,
        }

    def _pair(self) -> None:
        """Rank 0 sends to rank 1; the others wait at the barrier."""
        d = self.torch.distributed
        if self.rank == 0:
            d.send(self.tensor, 1)
        elif self.rank == 1:
            d.recv(self.tensor, 0)

    def timed(self) -> Timing:
        """Samples of a block of calls; the slowest rank's time counts. Checks the first result."""
        self._check()
        once = self._slowest(self._block(3))
        block = max(1, min(int(_BLOCK / max(once, 1e-7)), 200))
        samples = [self._slowest(self._block(block)) for _ in range(_SAMPLES)]
        return summary(samples, [False] * len(samples))

    def _block(self, calls: int) -> float:
        d = self.torch.distributed
        d.barrier()
        self._finish()
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        self._finish()
        return (time.perf_counter() - start) / calls

    def _finish(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def _slowest(self, seconds: float) -> float:
        """The largest over all ranks, so that all take the same decisions."""
        value = self.torch.tensor([seconds], dtype=self.torch.float64, device=self.device)
        self.torch.distributed.all_reduce(value, self.torch.distributed.ReduceOp.MAX)
        return float(value)

    def _check(self) -> None:
        """Every rank puts its number in, the result must hold the right ones; then random data."""
        mine = self.rank + 1.0
        for tensor in (self.tensor, self.other, self.part):
            tensor.fill_(mine)
        self.call()
        self._finish()
        each = self.torch.arange(1, self.group + 1, device=self.device, dtype=self.torch.float32)
        spread = each.repeat_interleave(self.count // self.group)
        want = {
            "all_reduce": (self.tensor, spread * 0.0 + self.group),
            "all_gather": (self.tensor, spread),
            "reduce_scatter": (self.part, self.part * 0.0 + self.group),
            "all_to_all": (self.other, spread),
            "p2p": (self.tensor, spread * 0.0 + (1.0 if self.rank < 2 else mine)),
        }[self.what]
        if not self.torch.equal(*want):
            raise SimcostError(f"{self.what}: rank {self.rank} holds a wrong result")
        for tensor in (self.tensor, self.other, self.part):
            tensor.normal_(std=0.1)


def _record(torch: Any, mode: str, group: int, backend: str, stamp: str, rows: dict[str, int]) -> dict[str, Any]:
    from simcost.measure.environment import record
    from simcost.measure.target import find

    target = find("cuda:0" if backend == "nccl" else "cpu", None, ["bf16"])
    here = record(target)
    return {
        "schema": 1,
        "kind": "measured",
        "title": f"{group} x {here['device_name']}, {backend}, torch {here['torch']} ({mode})",
        "started": stamp,
        "ended": _now(),
        "quality": "good" if backend == "nccl" else "noisy",
        "environment": {**here, "ranks": group, "backend": backend, "mode": mode},
        "kinds": {name: {"kernels": [backend], "rows": count} for name, count in sorted(rows.items())},
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _how(out: Path) -> str:
    """What to do with the rows."""
    if (out / "profile.toml").is_file():
        return f"rows in {out / 'measurements' / 'collectives'}: they answer with --hw {out}"
    return f"rows in {out}: they answer when copied to hwprofiles/<gpu>/measurements/<run>/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m simcost.measure.collectives`, under torchrun."""
    parser = argparse.ArgumentParser(prog="simcost.measure.collectives", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the rows")
    parser.add_argument("--mode", default="standard", choices=list(STEPS))
    parser.add_argument("--most", default=None, help='largest size, like "64 kB"')
    given = parser.parse_args(arguments)
    try:
        most = None if given.most is None else parse(given.most, "bytes", "--most")
        for event in measure(given.out, given.mode, most):
            if os.environ.get("RANK") == "0":
                print(f"{event.done}/{event.total} {event.what}", flush=True)
        if os.environ.get("RANK") == "0":
            print(_how(given.out), flush=True)
    except SimcostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
