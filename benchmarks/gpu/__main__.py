"""Everything that a GPU is needed for, in one call of ten minutes:

    python -m benchmarks.gpu --out DIR

Environment, attention backends, formats and kernel names, then rows: off-grid points and the layers of the named models; whole
blocks, the questions that a CPU cannot answer, the drift over the run, and a table of what was measured. DIR/report.md holds
the answers, DIR/run the rows (`simcost calibrate report`, or a folder under hwprofiles/<gpu>/measurements). `--dry` runs
the same with small shapes on a CPU in a minute. Every section has a share of the time, and a watchdog ends what hangs. Most
likely to be wrong: those shares, which are estimates. Source: docs/gpu-runs.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from simcost.errors import SimcostError
from simcost.measure.machine.torch import need_torch
from simcost.measure.timing.deadline import after
from simcost.units import parse, show

if TYPE_CHECKING:
    from benchmarks.gpu.bench import Lab, Section
    from simcost.estimate.layer import BlockSpec

REPORT, TABLE = "report.md", "Table"
MODELS = ("deepseek-v3", "mixtral-8x7b", "llama-3.1-70b")
MIXERS = ("qwen3-next-80b-a3b", "mamba-codestral-7b", "deepseek-v3.2")  # whose first layers have no plain attention
BUDGET = parse("560 s", "seconds")  # of the 600 that a call may take
GRACE = parse("25 s", "seconds")  # beyond the budget, before the watchdog ends what hangs
TIMED_OUT = 124
_TAIL = parse("8 s", "seconds")  # of a section's time, for its last step and for what it writes at the end
_TOLD = parse("30 s", "seconds")  # between two lines of progress in the rows


@dataclass(frozen=True, slots=True)
class Part:
    """A section; `share`: of the budget. What one leaves over, or takes too much, all later ones share."""

    title: str
    section: Section
    share: float


def report(
    out: Path, device: str = "cuda", models: Sequence[str] = MODELS, budget_s: float = BUDGET, dry: bool = False,
    mode: str = "standard",
) -> Iterator[str]:  # fmt: skip
    """Lines of the report, as they come; also written to `out`/report.md. Raises SimcostError."""
    ends = after(budget_s)
    need_torch()
    from simcost.measure.sampling.target import find
    from simcost.measure.session.kernels import settings

    target = find("cpu" if dry else device, None, ["bf16", "fp32"] if dry else None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / REPORT).open("w", encoding="utf-8")
    except OSError as error:
        raise SimcostError(f"{out}: {error.strerror or error}") from None
    with file, settings(target):
        from benchmarks.gpu.bench import Lab

        for line in _sections(Lab(target, out, dry, ends), models, mode):
            print(line, file=file, flush=True)
            yield line


def parts(models: Sequence[str], mode: str) -> list[Part]:
    """What counts first, what explores after it: nothing before the rows is captured but plain products, because a
    capture that fails may leave a process without any."""
    from benchmarks.gpu import sections as ask

    drift = ask.Drift()
    return [
        Part("Environment", ask.environment, 0.01),
        Part("Drift, start", drift.start, 0.02),
        Part("Attention backends", ask.backends, 0.04),
        Part("Formats", ask.formats, 0.04),
        Part("Rows", lambda at: _rows(at, models, mode), 0.56),
        Part("Blocks", lambda at: _blocks(at, models), 0.18),
        Part("MLA decode", ask.mla, 0.05),
        Part("Grouped product around 128 rows an expert", ask.grouped, 0.02),
        Part("Block-scaled fp8 shapes", ask.block_scales, 0.02),
        Part("Ways to time", ask.methods, 0.02),
        Part("Drift, end", drift.end, 0.03),
        Part(TABLE, lambda at: table(at.out), 0.01),
    ]


def _sections(lab: Lab, models: Sequence[str], mode: str) -> Iterator[str]:
    """A section's failure costs that section; the device's end all but the table, which needs none."""
    wanted = parts(models, mode)
    gone: SimcostError | None = None
    for index, part in enumerate(wanted):
        if gone is not None and part.title != TABLE:
            continue
        lab.begin(part.share / sum(later.share for later in wanted[index:]))
        yield f"\n## {part.title} ({lab.ends.left_s:.0f} s left)\n"
        try:
            yield from _guarded(part.section, lab)
        except SimcostError as error:
            gone = error
            yield f"- {error}"
    if gone is not None:
        raise gone


def _guarded(section: Section, lab: Lab) -> Iterator[str]:
    """A section that fails says so and the next one starts. Raises SimcostError when the device no longer answers."""
    from simcost.measure.machine.target import alive, one_line

    said = ""
    try:
        for line in section(lab):
            yield f"- {line}"
    except Exception as error:
        said = f"- failed: {error if isinstance(error, SimcostError) else one_line(error)}"
    if said:
        alive(lab.target)
        lab.bench.release()
        yield said
    if lab.cut:
        yield f"- cut short after {lab.cut}: its share of the time is spent"


def _rows(lab: Lab, models: Sequence[str], mode: str) -> Iterator[str]:
    """Standard points and the models' layers, as far as the time goes: all points once, then again."""
    from simcost.measure.session.kernels import measure, question

    lab.bench.release()
    budget = 2.0 if lab.dry else max(lab.until.left_s - _TAIL, 1.0)
    families = ("gemm", "stream") if lab.dry else None
    names = () if lab.dry else models
    formats = ["bf16"] if lab.dry else None
    told = lab.ends.left_s
    asked = question(lab.target.name, "quick" if lab.dry else mode, names, families, formats=formats)
    for event in measure(asked, budget, True, lab.out / "run"):
        late = told - lab.ends.left_s > _TOLD
        if event.note or late:
            left = f"{event.eta_s or 0.0:.0f} s left for rows"
            yield f"{event.done} of {event.total}: {event.note or left}"
        told = lab.ends.left_s if late else told


def layers(models: Sequence[str], mixers: Sequence[str] = MIXERS) -> list[BlockSpec]:
    """Every kind of layer of the models at two prefills and two decode steps; any prefix has all kinds. Of the three
    models of a full run 16: dense, experts, MLA, MLA with experts. Then the first layer of each of `mixers` at one of either."""
    from simcost.estimate.layer import of_model
    from simcost.model import load as zoo
    from simcost.plan import Phase

    found, new = ([zoo.load(name) for name in names] for names in (models, mixers))
    points = (Phase(1.0, 2048.0, 0.0), Phase(64.0, 1.0, 4095.0), Phase(1.0, 512.0, 0.0), Phase(8.0, 1.0, 8191.0))
    old = [spec for phase in points for model in found for spec in of_model(model, phase, "bf16")]
    return [*old, *(of_model(model, phase, "bf16")[0] for phase in points[:2] for model in new)]


def _blocks(lab: Lab, models: Sequence[str]) -> Iterator[str]:
    """Whole layers, eager and as graphs."""
    from simcost.estimate.layer import random_blocks
    from simcost.measure.session.layers import measure_in_situ

    lab.bench.release()
    if lab.dry:
        small = random_blocks(12, dtype="fp32", backward=False)
        specs = sorted(small, key=lambda one: one.phase.batch * one.phase.q_len)[:1]
    else:
        specs = layers(models)
    budget = max(lab.until.left_s - _TAIL, 1.0)
    seconds = 0.1 if lab.dry else 1.0  # of one block, eagerly and as a graph each
    for event in measure_in_situ(lab.target.name, specs, lab.out / "blocks", budget, resume=True, seconds=seconds):
        if event.note:
            yield f"{event.done} of {event.total}: {event.what} {event.note}"
    rows = _csv(lab.out / "blocks" / "blocks.csv")
    graphs = sum(bool(row.get("graph_s")) for row in rows)
    yield f"{len(rows)} of {len(specs)} layers timed, {graphs} of them as graphs too"
    for row in rows:
        shown = {
            key: show(float(row[key]), "seconds", 3) for key in ("seconds", "in_situ_s", "graph_s") if row.get(key)
        }
        times = ", ".join(f"{key.removesuffix('_s')} {value}" for key, value in shown.items())
        yield f"{row.get('block')}: {times} ({row.get('backend') or 'no attention'})"


def _csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(out: Path) -> Iterator[str]:
    """What lies in DIR/run: rows a kind, what ran how often, what was dropped; the run's quality. From the disk alone:
    it is written whatever happened to the device, or to the process."""
    from simcost.measure.session.kernels import finished

    found = finished(out / "run")
    kinds = dict(found.get("kinds", {}))
    for path in sorted((out / "run").glob("*/*.csv")):  # of a run that did not come to write its record
        kinds.setdefault(f"{path.parent.name}/{path.stem}", {"rows": path.read_bytes().count(b"\n") - 1})
    for name, kind in sorted(kinds.items()):
        counts = kind.get("visits") or [0] * len(kind.get("kernels", []))
        ran = (
            f"{what} ({count})" if count else what for what, count in zip(kind.get("kernels", []), counts, strict=False)
        )
        yield f"{name}: {kind['rows']} rows, {kind.get('dropped') or ', '.join(ran) or 'not summed up'}"
    yield (
        f"quality {found['quality']}: dirty samples {found['dirty_share']:.1%}, sentinel drift {found['sentinel_drift']:.1%}; "
        f"left out: {'; '.join(found['left_out']) or 'nothing'}"
    )


def watchdog(out: Path, seconds: float, end: Callable[[int], object] = os._exit) -> threading.Timer:
    """After so long the table is written by what is on the disk, and the process ends: a kernel that never returns
    cannot be asked to. Cancel it when the run is over."""

    from simcost.measure.session.kernels import finished  # noqa: F401 -- now: whoever hangs may hold the import lock

    def bite() -> None:
        try:
            lines = [f"\n## {TABLE} (the run hung and was ended)\n", *(f"- {line}" for line in table(out))]
        except Exception as error:
            lines = [f"\n## {TABLE}\n", f"- failed: {error}"]
        try:
            with suppress(OSError), (out / REPORT).open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            print("\n".join(lines), flush=True)
        finally:
            end(TIMED_OUT)

    timer = threading.Timer(seconds, bite)
    timer.daemon = True
    timer.start()
    return timer


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m benchmarks.gpu.__main__`."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.__main__", description="Everything that a GPU is needed for.")
    parser.add_argument("--out", type=Path, required=True, help="folder for report and rows")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", default="standard", choices=("quick", "standard", "full"))
    parser.add_argument("--model", action="append", help="layers to anchor on (several)")
    parser.add_argument("--budget", default=None, help='like "560 s"')
    parser.add_argument("--dry", action="store_true", help="small shapes on the CPU")
    parser.add_argument("--flashinfer", action="store_true", help="MLA by FlashInfer too, which compiles for minutes")
    given = parser.parse_args(arguments)
    watch: threading.Timer | None = None
    try:
        budget = BUDGET if given.budget is None else parse(given.budget, "seconds", "--budget")
        watch = watchdog(given.out, budget + GRACE)
        if given.flashinfer:
            need_torch()
            from simcost.measure.kernels import flashinfer_mla

            flashinfer_mla.ask()
        for line in report(given.out, given.device, tuple(given.model or MODELS), budget, given.dry, given.mode):
            print(line, flush=True)
    except SimcostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; rows and report hold what was done", file=sys.stderr)
        return 130
    finally:
        if watch is not None:
            watch.cancel()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
