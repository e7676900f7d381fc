"""simcost calibrate: measure a device, import others' rows, report on the curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcost.cli import options as o
from simcost.cli.output import check, emit, render, report_name, write
from simcost.cli.pictures.also import also, ready

app = typer.Typer(
    no_args_is_help=True, help="Measure devices, import measurements, check the curves.", rich_markup_mode=None
)
importing = typer.Typer(no_args_is_help=True, help="Import measured tables from other tools.", rich_markup_mode=None)
app.add_typer(importing, name="import")

Count = Annotated[
    int | None, typer.Option("--rows", help="Most rows per kind; a larger table is thinned. Default 1300.", min=20)
]


@importing.command("aiconfigurator")
def import_aiconfigurator(
    system: Annotated[
        list[str] | None, typer.Option("--system", help="A system of the package, e.g. h200_sxm; repeat. Default: all.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Folder of profiles to write <gpu>/tables into; default: the shipped hwprofiles.")
    ] = None,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Every engine's tables of the package aiconfigurator-core (extra 'import'), each with a verdict: sound ones are written."""
    from simcost import pool
    from simcost.cli.progress import measured_out
    from simcost.scenarios.calibrate import engine_tables

    format = check(format, output)
    with measured_out() as tell:
        result = engine_tables.import_aiconfigurator(system or (), into, None, pool.cores(), tell)
    return emit(result, format, output)


@importing.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="CSV with the family's columns, its labels and seconds.")],
    family: Annotated[str, typer.Option("--family", help="Kernel class, e.g. gemm.", autocompletion=o.families)], hw: o.Hw,
    run: Annotated[Path, typer.Option("--run", help="Folder of the run to write: FOLDER/measurements/NAME, which --hw FOLDER reads.")],
    title: Annotated[str, typer.Option("--title", help="What these rows are.")],
    source: Annotated[str, typer.Option("--source", help="Who measured them, how.")],
    rows: Count = None, format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Your own rows of one kernel class, beside a profile.toml (copied from --hw where there is none)."""
    from simcost.scenarios.calibrate import imports

    format = check(format, output)
    return emit(imports.import_csv(file, family, hw, run, title, source, rows), format, output)


@app.command("report")
def report(
    hw: Annotated[str, typer.Argument(help="Profile name, or a profile.toml.", autocompletion=o.hardware_names)],
    family: Annotated[str | None, typer.Option("--family", help="Only this kernel class.", autocompletion=o.families)] = None,
    plot: o.Plot = None,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Every curve: engines that it is used for, rows, error on held-out rows inside and beyond the range, coverage, width, parameters;
    and laws that are broken on a grid of kernels and questions."""
    from simcost import pool
    from simcost.cli.progress import measured_out
    from simcost.scenarios.calibrate import report as scenario
    from simcost.validation import laws

    format = check(format, output)
    ready(plot)
    with measured_out() as tell:
        result = scenario.report(hw, family, pool.cores(), tell, None if family else laws.table(hw))
    also(result, plot, "calibration")
    return emit(result, format, output)


@app.command("doctor")
def doctor(
    what: Annotated[
        str, typer.Argument(metavar="PROFILE|ROWS.csv", help="Profile name or profile.toml, or a CSV as for 'import csv'.", autocompletion=o.hardware_names)
    ],
    family: Annotated[str | None, typer.Option("--family", help="Only this kernel class; of a CSV, what its rows are.", autocompletion=o.families)] = None,
    hw: Annotated[
        str | None, typer.Option("--hw", help="Of a CSV: on which device it was measured.", autocompletion=o.hardware_names)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when a kind is unsound.")] = False,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Are measured rows sound? The rule that chose the shipped tables, applied to a profile's tables and runs, or to your own rows."""
    from simcost import pool
    from simcost.cli.progress import measured_out
    from simcost.scenarios.calibrate import doctor as scenario

    format = check(format, output)
    with measured_out() as tell:
        result = scenario.doctored(what, family, hw, pool.cores(), tell)
    return emit(result, format, output, strict)


@app.command("transfer")
def transfer(
    hw: Annotated[str | None, typer.Argument(help="Judge by this device's rows; default: every measured one.")] = None,
    sibling: Annotated[str | None, typer.Option("--from", help="Device whose curves are used; default: every measured one.")] = None,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """How well one device's measurements predict another: rows predicted by a similar device's curves, and by related kinds of the same device."""
    from simcost import pool
    from simcost.cli.progress import measured_out
    from simcost.scenarios.calibrate import transfer as scenario

    format = check(format, output)
    with measured_out() as tell:
        result = scenario.transfer(hw, sibling, pool.cores(), tell)
    return emit(result, format, output)


@app.command("run")
def run(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for rows and report.md (.csv, .json by --format); it is created.")
    ],
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    mode: Annotated[str, typer.Option("--mode", help="quick, standard or full.", autocompletion=o.starting(("quick", "standard", "full")))] = "standard",
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Also the layers of this model; repeat.", autocompletion=o.model_names)
    ] = None,
    family: Annotated[list[str] | None, typer.Option("--family", help="Only this kernel class; repeat.", autocompletion=o.families)] = None,
    dtype: Annotated[list[str] | None, typer.Option("--dtype", help="Only this format; repeat.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="Stop cleanly after this time, e.g. 8m or 90s.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue with the rows that exist.")] = False,
    threads: Annotated[int, typer.Option("--threads", help="CPU threads.", min=1)] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the points.", min=0)] = 0,
    format: o.Format = "",
) -> int:  # fmt: skip
    """Measure a device with torch (extra 'measure'): rows, their environment, and for a CPU a profile that --hw reads."""
    from simcost.cli.progress import drawn
    from simcost.measure.session import session

    format = check(format)  # before an hour of measuring
    job = session.Job(
        device,
        mode,
        tuple(model or ()),
        tuple(family or ()),
        session.seconds(budget),
        resume,
        threads,
        seed,
        output,
        tuple(dtype or ()),
    )
    notes = drawn(session.measured(job))
    result = session.result(job, notes)
    write(output / report_name(format), render(result, "markdown" if format == "console" else format, None))
    return emit(result, format, None)


@app.command("memory")
def memory(
    log: Annotated[Path, typer.Argument(help="Start-up log of vLLM or SGLang.")], hw: o.Hw,
    model: Annotated[str | None, typer.Option("--model", help="Used where the model of the log is not known.", autocompletion=o.model_names)] = None,
    set: o.Set = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Memory that an engine printed at start-up beside the prediction, term by term."""
    from simcost import grammar
    from simcost.validation import startup

    format = check(format, output)
    result = startup.result(log, hw, model, grammar.assignments(set or []))
    return emit(result, format, output, strict, details)
