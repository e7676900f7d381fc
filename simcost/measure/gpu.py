"""Everything that a GPU is needed for, in one call of ten minutes:

    python -m simcost.measure.gpu --out DIR

Environment, attention backends, formats and kernel names, the questions that a CPU cannot answer, then rows: off-grid points and
the layers of the named models, whole blocks, the drift over the run, and a table of what was measured. DIR/report.md holds
the answers, DIR/run the rows (`simcost calibrate report`, or a folder under hwprofiles/<gpu>/measurements). `--dry` runs
the same with small shapes on a CPU in a minute. Most likely to be wrong: the order of sections is that of a budget; what comes
late may be cut. Source: docs/gpu-runs.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simcost.errors import SimcostError
from simcost.measure.need import need_torch
from simcost.units import parse, show

if TYPE_CHECKING:
    from simcost.measure.blocks_spec import BlockSpec
    from simcost.measure.gpu_lab import Lab, Section

MODELS = ("deepseek-v3", "mixtral-8x7b", "llama-3.1-70b")
BUDGET = parse("560 s", "seconds")  # of the 600 that a call may take
_BLOCKS = 0.25  # of the budget, for whole blocks
_TAIL = parse("25 s", "seconds")  # for the drift and the table


def report(
    out: Path, device: str = "cuda", models: Sequence[str] = MODELS, budget_s: float = BUDGET, dry: bool = False,
    mode: str = "standard",
) -> Iterator[str]:  # fmt: skip
    """Lines of the report, as they come; also written to `out`/report.md. Raises SimcostError."""
    started = time.monotonic()
    need_torch()
    from simcost.measure.run import settings
    from simcost.measure.target import find

    target = find("cpu" if dry else device, None, ["bf16", "fp32"] if dry else None)
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / "report.md").open("w", encoding="utf-8")
    except OSError as error:
        raise SimcostError(f"{out}: {error.strerror or error}") from None
    with file, settings(target):
        from simcost.measure.gpu_lab import Lab

        for line in _sections(Lab(target, out, dry, started + budget_s), models, mode):
            print(line, file=file, flush=True)
            yield line


def _sections(lab: Lab, models: Sequence[str], mode: str) -> Iterator[str]:
    from simcost.measure import gpu_sections as ask

    drift = ask.Drift()
    wanted: list[tuple[str, Section]] = [
        ("Environment", ask.environment),
        ("Drift, start", drift.start),
        ("Attention backends", ask.backends),
        ("Formats", ask.formats),
        ("Grouped product around 128 rows an expert", ask.grouped),
        ("Block-scaled fp8 shapes", ask.block_scales),
        ("MLA decode", ask.mla),
        ("Ways to time", ask.methods),
        ("Rows", lambda at: _rows(at, models, mode)),
        ("Blocks", lambda at: _blocks(at, models)),
        ("Drift, end", drift.end),
        ("Table", _table),
    ]
    for title, section in wanted:
        yield f"\n## {title} ({lab.left_s:.0f} s left)\n"
        yield from _guarded(section, lab)


def _guarded(section: Section, lab: Lab) -> Iterator[str]:
    """A section that fails says so and the next one starts; only the device's end ends the run."""
    from simcost.measure.target import alive, one_line

    try:
        for line in section(lab):
            yield f"- {line}"
    except Exception as error:
        alive(lab.target)
        yield f"- failed: {error if isinstance(error, SimcostError) else one_line(error)}"


def _rows(lab: Lab, models: Sequence[str], mode: str) -> Iterator[str]:
    """Standard points and the models' layers, for what is left of the budget."""
    from simcost.measure.run import measure

    lab.bench.release()
    budget = 2.0 if lab.dry else max(lab.left_s * (1.0 - _BLOCKS) - _TAIL, 1.0)
    families = ("gemm", "stream") if lab.dry else None
    names = () if lab.dry else models
    formats = ["bf16"] if lab.dry else None
    for event in measure(lab.target.name, "quick" if lab.dry else mode, names, budget, True, lab.out / "run", families,
                         formats=formats):  # fmt: skip
        if event.note:
            yield f"{event.done} of {event.total}: {event.note}"


def layers(models: Sequence[str]) -> list[BlockSpec]:
    """Every kind of layer of the models at two prefills and two decode steps; any prefix has all kinds. Of the three
    models of a full run 16: dense, experts, MLA, MLA with experts."""
    from simcost.measure.blocks_spec import of_model
    from simcost.model import load as zoo
    from simcost.plan import Phase

    found = [zoo.load(name) for name in models]
    points = (Phase(1.0, 2048.0, 0.0), Phase(64.0, 1.0, 4095.0), Phase(1.0, 512.0, 0.0), Phase(8.0, 1.0, 8191.0))
    return [spec for phase in points for model in found for spec in of_model(model, phase, "bf16")]


def _blocks(lab: Lab, models: Sequence[str]) -> Iterator[str]:
    """Whole layers, eager and as graphs."""
    from simcost.measure.blocks_spec import random_blocks
    from simcost.measure.in_situ import measure_in_situ

    lab.bench.release()
    if lab.dry:
        small = random_blocks(12, dtype="fp32", backward=False)
        specs = sorted(small, key=lambda one: one.phase.batch * one.phase.q_len)[:1]
    else:
        specs = layers(models)
    budget = max(lab.left_s - _TAIL, 1.0)
    seconds = 0.1 if lab.dry else 2.0  # of one block
    for event in measure_in_situ(lab.target.name, specs, lab.out / "blocks", budget, resume=True, seconds=seconds):
        yield f"{event.done} of {event.total}: {event.what} {event.note}"
    rows = _csv(lab.out / "blocks" / "blocks.csv")
    graphs = sum(bool(row.get("graph_s")) for row in rows)
    yield f"{len(rows)} of {len(specs)} layers timed, {graphs} of them as graphs too"
    for row in rows:
        shown = {
            key: show(float(row[key]), "seconds", 3) for key in ("seconds", "in_situ_s", "graph_s") if row.get(key)
        }
        yield f"{row.get('block')}: " + ", ".join(f"{key.removesuffix('_s')} {value}" for key, value in shown.items())


def _csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(lab: Lab) -> Iterator[str]:
    """What lies in DIR/run: rows a kind, what ran, what was dropped; the run's quality."""
    from simcost.measure.run import finished

    found = finished(lab.out / "run")
    for name, kind in found.get("kinds", {}).items():
        what = kind.get("dropped") or ", ".join(kind["kernels"])
        yield f"{name}: {kind['rows']} rows, {what}"
    yield (
        f"quality {found['quality']}: dirty samples {found['dirty_share']:.1%}, sentinel drift {found['sentinel_drift']:.1%}; "
        f"left out: {'; '.join(found['left_out']) or 'nothing'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m simcost.measure.gpu`."""
    parser = argparse.ArgumentParser(prog="simcost.measure.gpu", description="Everything that a GPU is needed for.")
    parser.add_argument("--out", type=Path, required=True, help="folder for report and rows")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", default="standard", choices=("quick", "standard", "full"))
    parser.add_argument("--model", action="append", help="layers to anchor on (several)")
    parser.add_argument("--budget", default=None, help='like "560 s"')
    parser.add_argument("--dry", action="store_true", help="small shapes on the CPU")
    given = parser.parse_args(arguments)
    try:
        budget = BUDGET if given.budget is None else parse(given.budget, "seconds", "--budget")
        for line in report(given.out, given.device, tuple(given.model or MODELS), budget, given.dry, given.mode):
            print(line, flush=True)
    except SimcostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; rows and report hold what was done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
