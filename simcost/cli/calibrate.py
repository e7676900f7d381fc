"""simcost calibrate: measure a device, import others' rows, report on the curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Commands, Option
from simcost.cli.output import check, emit, render, report_name, write
from simcost.cli.pictures.also import also, ready

app = Commands("Measure devices, import measurements, check the curves.")
importing = Commands("Import measured tables from other tools.")
app.add("import", importing)

Count = Annotated[
    int | None, Option("--rows", help="Most rows per kind; a larger table is thinned. Default 1300.", min=20)
]


@importing.command("aiconfigurator")
def import_aiconfigurator(
    system: Annotated[
        list[str] | None, Option("--system", help="A system of the package, e.g. h200_sxm; repeat. Default: all.")
    ] = None,
    into: Annotated[
        Path | None, Option("--into", help="Folder of profiles to write <gpu>/tables into; default: the shipped hwprofiles.")
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
    file: Annotated[Path, Argument(help="CSV with the family's columns, its labels and seconds.")],
    family: Annotated[str, Option("--family", help="Kernel class, e.g. gemm.", autocompletion=o.families)], hw: o.Hw,
    run: Annotated[Path, Option("--run", help="Folder of the run to write: FOLDER/measurements/NAME, which --hw FOLDER reads.")],
    title: Annotated[str, Option("--title", help="What these rows are.")],
    source: Annotated[str, Option("--source", help="Who measured them, how.")],
    rows: Count = None, format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Your own rows of one kernel class, beside a profile.toml (copied from --hw where there is none)."""
    from simcost.scenarios.calibrate import imports

    format = check(format, output)
    return emit(imports.import_csv(file, family, hw, run, title, source, rows), format, output)


@app.command("report")
def report(
    hw: Annotated[str, Argument(help="Profile name, or a profile.toml.", autocompletion=o.hardware_names)],
    family: Annotated[str | None, Option("--family", help="Only this kernel class.", autocompletion=o.families)] = None,
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
        str, Argument(metavar="PROFILE|ROWS.csv", help="Profile name or profile.toml, or a CSV as for 'import csv'.", autocompletion=o.hardware_names)
    ],
    family: Annotated[str | None, Option("--family", help="Only this kernel class; of a CSV, what its rows are.", autocompletion=o.families)] = None,
    hw: Annotated[
        str | None, Option("--hw", help="Of a CSV: on which device it was measured.", autocompletion=o.hardware_names)
    ] = None,
    strict: Annotated[bool, Option("--strict", help="Exit with 3 when a kind is unsound.")] = False,
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
    hw: Annotated[str | None, Argument(help="Judge by this device's rows; default: every measured one.")] = None,
    sibling: Annotated[str | None, Option("--from", help="Device whose curves are used; default: every measured one.")] = None,
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
        Path, Option("-o", "--output", help="Folder for rows and report.md (.csv, .json by --format); it is created.")
    ],
    device: Annotated[str, Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    mode: Annotated[str, Option("--mode", help="quick, standard or full.", autocompletion=o.starting(("quick", "standard", "full")))] = "standard",
    model: Annotated[
        list[str] | None, Option("--model", "-m", help="Also the layers of this model; repeat.", autocompletion=o.model_names)
    ] = None,
    family: Annotated[list[str] | None, Option("--family", help="Only this kernel class; repeat.", autocompletion=o.families)] = None,
    dtype: Annotated[list[str] | None, Option("--dtype", help="Only this format; repeat.")] = None,
    budget: Annotated[str | None, Option("--budget", help="Stop cleanly after this time, e.g. 8m or 90s.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue with the rows that exist.")] = False,
    threads: Annotated[int, Option("--threads", help="CPU threads.", min=1)] = 1,
    seed: Annotated[int, Option("--seed", help="Seed of the points.", min=0)] = 0,
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
    log: Annotated[Path, Argument(help="Start-up log of vLLM or SGLang.")], hw: o.Hw,
    model: Annotated[str | None, Option("--model", help="Used where the model of the log is not known.", autocompletion=o.model_names)] = None,
    set: o.Set = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Memory that an engine printed at start-up beside the prediction, term by term."""
    from simcost import grammar
    from simcost.validation import startup

    format = check(format, output)
    result = startup.result(log, hw, model, grammar.assignments(set or []))
    return emit(result, format, output, strict, details)
