"""Writes what is generated in docs: docs/cli.md, docs/schema, docs/metrics.md, docs/settings.md, docs/engines.md, docs/structure.md, docs/measurements.md, what commands in
pages print (docs/executed.py), docs/models.md and docs/devices (docs/catalogue.py), the site's navigation (docs/navigation.py) and the README's tour; `--check` fails when they are stale
(numbers may differ by one per cent: curves are fitted on each machine). `--validation` writes docs/validation from
`simcost calibrate report` of every measured device, which takes minutes."""

from __future__ import annotations

import argparse
import inspect
import io
import json
import math
import os
import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import catalogue
import engines
import executed
import navigation
import structure
import typer

from simcost import api, metrics, pool
from simcost.api import keys, schemas
from simcost.calibration import coverage, store
from simcost.calibration.family import families
from simcost.calibration.held_out import LEAST
from simcost.calibration.rows import EXTRA
from simcost.cli.app import app, run
from simcost.dtypes import names as formats
from simcost.files import write_whole
from simcost.hardware import load as hardware
from simcost.scenarios.calibrate.report import report
from simcost.scenarios.calibrate.transfer import transfer
from simcost.units import symbol
from simcost.validation import memory as memory_logs
from simcost.validation import memory_fit
from simcost.validation.kernels import BAR, reference
from simcost.validation.recipes import page as recipes_page
from simcost.validation.recipes import report as recipes_report
from simcost.validation.serving import page as serving_page
from simcost.validation.serving import report as serving_report
from simcost.validation.training import page as training_page
from simcost.validation.training import report as training_report

PAGE = Path(__file__).parent / "cli.md"
ROWS = Path(__file__).parent / "measurements.md"
METRICS, SETTINGS, STRUCTURE, ENGINES = (
    PAGE.parent / f"{name}.md" for name in ("metrics", "settings", "structure", "engines")
)
MEMORY = PAGE.parent / "validation" / "memory.md"
TRAINING = PAGE.parent / "validation" / "training.md"
RECIPES = PAGE.parent / "validation" / "recipes.md"
SERVING = PAGE.parent / "validation" / "serving.md"
SCHEMAS = PAGE.parent / "schema"
GIB = 2**30
README = Path(__file__).parent.parent / "README.md"
TOUR = (  # (command, where its shown output ends)
    ("simcost compare deepseek-v3 llama-3.1-405b mixtral-8x22b --hw h200 --tp 8 --batch 64", "terms"),
    ("simcost decode --model deepseek-v3 --hw h200 --tp 8 --batch 64 --vary model.attention=mha,gqa:8,mqa,mla,mfa,mfa:1024", "not shown"),
    ("simcost plans --model llama-3.1-70b --hw a100,h100,h200,b200,h20,mi300x --gpus 1,2,4,8 --tpot 50ms --metric usd", "not shown"),
)  # fmt: skip


WORDS = {str: "text", int: "integer", float: "number", bool: "flag", Path: "path"}


def kind(hint) -> str:
    """A parameter's type in a word: typer keeps it in other places by version, the function's annotation stays."""
    inner = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is list:
        return f"{kind(inner[0])}, several"
    return kind(inner[0]) if inner else WORDS[hint]


def default(parameter) -> str:
    """What is taken when nothing is said; a flag that is off says nothing."""
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False or parameter.default == "":
        return ""
    if parameter.default is True:
        return f"`{parameter.opts[0]}`"
    return f"{parameter.default}"


def sections(command, path: list[str]) -> list[str]:
    """One section a command, groups opened."""
    if hasattr(command, "commands"):
        return [part for name in command.commands for part in sections(command.commands[name], [*path, name])]
    lines = [
        f"## {' '.join(path)}",
        "",
        " ".join((command.help or "").split()),
        "",
        "| parameter | type | default | meaning |",
        "|---|---|---|---|",
    ]
    hints = get_type_hints(inspect.unwrap(command.callback))
    for parameter in command.params:
        names = [*parameter.opts, *parameter.secondary_opts]
        name = ", ".join(f"`{o}`" for o in names) if names[0].startswith("-") else f"`{parameter.name.upper()}`"
        meaning = getattr(parameter, "help", "") or ""
        counted = getattr(parameter, "metavar", None) == "<count>"
        hint = hints.get(parameter.name, Path if parameter.name == "plan" else str)  # of what `cli.question` adds
        lines.append(f"| {name} | {'count' if counted else kind(hint)} | {default(parameter)} | {meaning} |")
    return [*lines, ""]


def contents(command, path: list[str]) -> list[str]:
    """A line a command, with a link to its section."""
    if hasattr(command, "commands"):
        return [line for name in command.commands for line in contents(command.commands[name], [*path, name])]
    name = " ".join(path)
    said = " ".join((command.help or "").split()).split(". ")[0].rstrip(".:")
    return [f"- [`{name}`](#{name.replace(' ', '-')}): {said}."]


def page() -> str:
    command = typer.main.get_command(app)
    head = [
        "# Command line",
        "",
        "Generated by `python docs/generate.py`. `simcost COMMAND --help` prints the same for one command.",
        "",
        *contents(command, ["simcost"]),
        "",
    ]
    tail = [
        "Exit codes: 0 answered; 2 wrong input, one line on stderr; 3 `--strict` and the design does not fit (`calibrate doctor`: a kind is unsound).",
        "",
    ]
    return "\n".join([*head, *sections(command, ["simcost"]), *tail])


def metrics_page() -> str:
    """Every printed name, section by section."""
    lines = [
        "# Metrics and columns",
        "",
        "Generated by `python docs/generate.py` from `simcost/metrics`. Values are SI and the unit is in the name or in this table; JSON holds it as `units`. A `*` stands for the name of a "
        "design, a format, a term or a length.",
        "",
    ]
    for section in metrics.SECTIONS:
        lines += [f"## {section.title}", "", *([section.note, ""] if section.note else [])]
        lines += ["| name | unit | better | meaning |", "|---|---|---|---|"]
        for one in section.metrics:
            unit = symbol(one.unit) or {"text": "text", "flag": "yes/no"}.get(one.unit, "number")
            lines.append(f"| `{one.name}` | {unit} | {one.better} | {one.meaning} |")
        lines.append("")
    return "\n".join(lines)


def settings_page() -> str:
    """Every key that a user may set, root by root."""
    heads = {
        "model": "Model: Hugging Face's config keys",
        "plan": "Plan",
        "phase": "Step",
        "engine": "Engine",
        "hw": "Device",
    }
    lines = [
        "# Settings",
        "",
        "Generated by `python docs/generate.py`, as `simcost keys` prints them. `--set path=value` sets one, `--vary path=a,b,c` makes it an axis; `simcost keys --schema` is the JSON Schema of a "
        "file of them, which `--plan file.toml` (or .json) reads; what the line says overrides the file, and the answer says so. A key of a config that is not listed may be set where the config has it.",
        "",
        "`64k`, `64K` and `64Ki` are 65,536 where a key holds a length in tokens, as in the 128K of a model's context; `1M` is 1,048,576. Of other counts `k` may mean 1,000 or 1,024 and is refused: write `4Ki` or `4000`. "
        "Words, formats, engines, models and devices go in any case and by their usual names (`FP8`, `bfloat16`, `TensorRT-LLM`, `deepseek-ai/DeepSeek-V3`, `H100 SXM5`); a name that may be several devices is refused, with "
        "their names. `6 tb/s` is 6 TB/s of a device's memory; of links, and as `6 Tb/s`, it may be bits and is refused. One thing is said once: `--batch 64 --set batch=2` is an error.",
        "",
    ]
    for root, rows in keys().tables.items():
        lines += [
            f"## {heads[root]}",
            "",
            "| key | takes | default | meaning | needs | aliases |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            aliases = ", ".join(f"`{alias}`" for alias in row["aliases"].split(", ") if alias)
            lines.append(
                f"| `{row['key']}` | {row['takes']} | {row['default']} | {row['meaning']} | {row['needs']} | {aliases} |"
            )
        lines.append("")
    return "\n".join(lines)


def measurements() -> str:
    """What measured rows are: one section a family."""
    lines = [
        "# Measured rows",
        "",
        "Generated by `python docs/generate.py` from `simcost/calibration/families`.",
        "",
        "The rows of a device are stored beside its profile: `FOLDER/profile.toml`, `FOLDER/measurements/<run>/run.toml` and",
        "`FOLDER/measurements/<run>/<family>/<labels joined by ->.csv`, one file per kind of kernel. A row is one kernel: the family's columns in the order below,",
        f"then `seconds` (the median of one call, s) and what a run adds ({', '.join(f'`{name}`' for name in EXTRA)}). `simcost calibrate import csv` takes",
        'the columns in any order, with the labels as columns of their own. `run.toml` begins with `schema = 1` and `kind = "measured"` or `"imported"`.',
        "",
        "Tables of engines that ship are in `tables/<engine>/<version>/<family>/<kind>.csv` in the same form; `tables/picks.csv` says which table is used for which engine.",
        "",
        'Runs of `kind = "imported"` are used before tables, and tables before runs of `kind = "measured"` (the only ones for `engine=torch`). Runs of one sort are used in the order of their names;',
        "`[measurements] use = [...]` in the profile states another order, and excludes runs that it does not name.",
        f"For each kind of kernel the first source with {store.LEAST} rows is used; a file with fewer rows is skipped with a message. `simcost calibrate report`",
        f"judges kinds of {LEAST} rows and more.",
        "",
    ]
    for name, family in families().items():
        said = " ".join((family.__doc__ or "").split())
        lines += [f"## {name}", "", said, "", "| column | unit | meaning | value |", "|---|---|---|---|"]
        lines += [f"| `{key}` | {c.unit} | {c.what} | {c.allowed} |" for key, c in family.COLUMNS.items()]
        lines += ["", "| label | meaning | value |", "|---|---|---|"]
        lines += [f"| `{key}` | {word.what} | {values(word)} |" for key, word in family.WORDS.items()]
        lines += [""]
    lines += ["## Number formats", "", ", ".join(f"`{name}`" for name in formats()), ""]
    return "\n".join(lines)


def values(word) -> str:
    """What a label may be."""
    if word.values is None:
        return "a number format"
    return ", ".join(f"`{value}`" for value in word.values) or "any word"


def readme() -> str:
    """The README with the tour's output as the program prints it today."""
    text = README.read_text(encoding="utf-8")
    start, end = text.index("<!-- tour -->"), text.index("<!-- /tour -->")
    shown = [line for command, stop in TOUR for line in ("```", f"$ {command}", *printed(command, stop), "```", "")]
    return "\n".join([text[:start] + "<!-- tour -->", *shown[:-1], text[end:]])


def printed(command: str, stop: str) -> list[str]:
    """What a command prints at 100 columns, up to a line that begins with `stop`."""
    kept = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    with redirect_stdout(io.StringIO()) as out:
        code = run(shlex.split(command)[1:])
    os.environ.pop("COLUMNS") if kept is None else os.environ.update(COLUMNS=kept)
    lines = out.getvalue().splitlines()
    ends = [i for i, line in enumerate(lines) if line.startswith(stop)]
    if code or not ends:
        raise SystemExit(f"{command}: exit code {code}, {len(ends)} lines begin with {stop!r}")
    while not lines[ends[0] - 1].strip():
        ends[0] -= 1
    return lines[: ends[0]]


def same(one: str, other: str) -> bool:
    """Equal but for one per cent in a number."""
    left, right = (re.split(r"(-?\d[\d,]*\.?\d*)", text) for text in (one, other))
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        if a != b:
            try:
                x, y = (float(v.replace(",", "")) for v in (a, b))
            except ValueError:
                if a.split() != b.split():
                    return False
                continue
            if abs(x - y) > 0.01 * max(abs(x), abs(y)) + 0.11:
                return False
    return True


def percent(row: dict, median: str, p90: str) -> str:
    return "" if row.get(median) is None else f"{row[median] * 100:.1f} / {row[p90] * 100:.1f}"


def covered(row: dict) -> str:
    """Coverage on unseen shapes."""
    share = row.get("unseen_shapes_coverage")
    return "" if share is None else f" ({share * 100:.0f})"


def validation(name: str) -> str:
    """One device's page."""
    result = report(name, None, pool.cores())
    lines = [
        f"# {name}: held-out errors",
        "",
        f"The table shows how far the curves of {name} are from measured rows that they have not seen, as `simcost calibrate report {name}` prints it. Errors are |predicted / measured - 1| in per cent, as median / P90 "
        "(nine of ten rows are within the P90).",
        "",
        "| column | meaning |",
        "|---|---|",
        "| of | engine and version whose table it is, or a run of `calibrate run` |",
        "| answers | engines for which this curve is used; `any`: kernels of a library, for all engines; `gb200:vllm`: for vLLM on that device, which has no table of its own |",
        "| held out | a fifth of the shapes, chosen by hash, was left out of the fit (each fifth in turn below 200 rows) |",
        "| coverage, half-width | of the 90 % interval on the held-out rows, in per cent; half-width is the logarithm of its upper end over the estimate |",
        "| unused | rows of the imported table that were never used for a fit |",
        "| left out | rows that an import excluded although their work is known |",
        "| with them | unused and left-out rows together: the error without exclusions |",
        "| unseen | shapes that differ from all fitted shapes in more than tokens and one dimension (coverage in brackets) |",
        "| beyond | the largest sixth of the rows, by a curve through the other rows |",
        "| sixty | a curve through only 60 rows |",
        "",
        "| curve | of | answers | rows | held out | coverage | half-width | unused | left out | with them | unseen | beyond | sixty |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result.tables["curves"]:
        lines.append(
            f"| {row['curve']} | {row['run']} | {row['answers']} | {row['rows']:,} | {percent(row, 'median_error', 'p90_error')} | {row['coverage'] * 100:.0f} | {row['half_width'] * 100:.1f} "
            f"| {percent(row, 'unused_median_error', 'unused_p90_error')} | {percent(row, 'excluded_median_error', 'excluded_p90_error')} "
            f"| {percent(row, 'with_excluded_median_error', 'with_excluded_p90_error')} | {percent(row, 'unseen_shapes_median_error', 'unseen_shapes_p90_error')}{covered(row)} "
            f"| {percent(row, 'extrapolated_median_error', 'extrapolated_p90_error')} | {percent(row, 'sixty_rows_median_error', 'sixty_rows_p90_error')} |"
        )
    lines += [
        "",
        "## By family",
        "",
        "All held-out rows of a family together; the last column is the half-width over the median error.",
        "",
        "| family | curves | rows | held out | coverage | half-width | half-width / median |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result.tables["families"]:
        lines.append(
            f"| {row['family']} | {row['curves']} | {row['tested']:,} | {percent(row, 'median_error', 'p90_error')} | {row['coverage'] * 100:.0f} "
            f"| {row['half_width'] * 100:.1f} | {row['width_over_error']:.1f} |"
        )
    lines += [
        "",
        "## Worst held-out rows",
        "",
        "| curve | of | shape | measured | predicted |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(result.tables["worst rows"], key=lambda r: -abs(math.log1p(r["error"])))[:12]:
        lines.append(
            f"| {row['curve']} | {row['run']} | {row['shape']} | {row['measured_s'] * 1e6:,.1f} us | {row['predicted_s'] * 1e6:,.1f} us |"
        )
    left_out = [f"- {note}" for note in result.warnings if not note.startswith("a share above")]
    lines += ["", "## Left out", "", *left_out, ""]
    return "\n".join(lines)


def published() -> str:
    """Published kernels by source."""
    result = reference()
    lines = [
        "# Published kernels that no fit has seen",
        "",
        f"From `simcost validate kernels`: {result.verdict}. Figures with their sources: `workloads/validation/kernels.csv`.",
        "",
        "No coefficient was fitted to any of them. Rows that somebody looked at before a decision are no independent check; they are listed separately, with the decision "
        "(`workloads/validation/looked_at.csv`, [calibration](../theory/calibration.md), [expert parallelism](../theory/expert-parallel.md)). *Roofline* is the error of the same device without measured rows.",
        "",
        "| source | device | op | basis | n | median / P90 % | roofline | bias % | covered % | looked at |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result.tables["sources"], key=lambda r: bool(r["looked_at"])):
        lines.append(
            f"| {row['source']} | {row['hw']} | {row['op']} | {row['basis']} | {row['n']} | {percent(row, 'median_abs_error', 'p90_abs_error')} "
            f"| {percent(row, 'roofline_median_abs_error', 'roofline_p90_abs_error')} | {row['bias'] * 100:.1f} | {row['coverage'] * 100:.0f} | {row['looked_at']} |"
        )
    lines += classes(result)
    lines += [
        "",
        "## Worst rows",
        "",
        "| id | source | kernel | device | measured | predicted |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.tables["worst"]:
        lines.append(
            f"| {row['id']} | {row['source']} | {row['kernel']} | {row['hw']} | {row['measured_s'] * 1e6:,.1f} us | {row['predicted_s'] * 1e6:,.1f} us |"
        )
    return "\n".join([*lines, ""])


def classes(result) -> list[str]:
    """Coverage of every class of answers alone."""
    low, high = BAR
    lines = [
        "",
        "## By basis and by width",
        "",
        "Intervals that are right on average may be too narrow for some classes of answers and too wide for others, so each class is judged alone: by what the larger "
        f"share of a time rests on, and by the half-width of its interval. Each class should cover {low:.0%} to {high:.0%}.",
        "",
        "| class | n | median / P90 % | bias % | covered % | median half-width % | within the bar | looked at |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for table, name in (("basis", "basis"), ("half-width", "half_width")):
        for row in result.tables[table]:
            lines.append(
                f"| {table} {row[name]} | {row['n']} | {percent(row, 'median_abs_error', 'p90_abs_error')} | {row['bias'] * 100:.1f} "
                f"| {row['coverage'] * 100:.0f} | {row['median_half_width'] * 100:.0f} | {'yes' if row['within_bar'] else 'no'} | {row['looked_at']} |"
            )
    return lines


def memory() -> str:
    """Start-up logs: term by term, by release, the worst with their stories, and where fitted terms come from."""
    result = memory_logs.result()
    lines = [
        "# Start-up logs of engines",
        "",
        f"Generated by `python docs/generate.py`, as `simcost validate memory` prints: {result.verdict}. Logs with their sources: `workloads/validation/memory.csv`; terms: "
        "[theory](../theory/memory.md).",
        "",
        "Median / P90 of |predicted / printed - 1| in per cent, and of the difference in GiB a GPU. Each log is judged with its own release's terms and the settings that it prints. The coefficients "
        "of the last table were fitted to these logs; *unseen* is the error on families of models that a fit has not seen.",
        "",
        *(f"Note: {note}.\n" for note in result.warnings),
        "| term | engine | n | error % | bias % | difference, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.tables["terms"]:
        lines.append(
            f"| {row['term'].replace('_', ' ')} | {row['engine']} | {row['n']} | {percent(row, 'median_abs_error', 'p90_abs_error')} | {row['bias'] * 100:.1f} | {gib(row)} |"
        )
    lines += [
        "",
        "## Pool by release",
        "",
        "| engine | release | n | error % | bias % | difference, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.tables["pool by release"]:
        lines.append(
            f"| {row['engine']} | {row['release']} | {row['n']} | {percent(row, 'median_abs_error', 'p90_abs_error')} | {row['bias'] * 100:.1f} | {gib(row)} |"
        )
    lines += [
        "",
        "## Worst pools",
        "",
        "| log | engine | model | GPUs | printed | predicted | error % | story |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result.tables["worst"]:
        lines.append(
            f"| {row['id']} | {row['engine']} {row['release']} | {row['model']} | {row['tp']} x {row['hw']} | {row['printed_bytes_per_gpu'] / GIB:.2f} GiB | {row['predicted_bytes_per_gpu'] / GIB:.2f} GiB "
            f"| {row['error'] * 100:.1f} | {row['story']} |"
        )
    lines += [
        "",
        "## Fitted terms",
        "",
        "| term | coefficient | value | n | families | error % | unseen % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in memory_fit.rows_of(memory_fit.fits(memory_logs.logs()[0])):
        lines.append(
            f"| {row['term']} | {row['coefficient']} | {row['value']:,.4g} B | {row['n']} | {row['families']} | {row['median_abs_error'] * 100:.1f} | {row['unseen_families_median_abs_error'] * 100:.1f} |"
        )
    return "\n".join([*lines, ""])


def gib(row: dict) -> str:
    if row.get("median_off_bytes_per_gpu") is None:
        return ""
    return f"{row['median_off_bytes_per_gpu'] / GIB:.2f} / {row['p90_off_bytes_per_gpu'] / GIB:.2f}"


def stand_ins() -> str:
    """Leave one device out."""
    rows = transfer(None, None, pool.cores()).tables["stand-ins"]
    families = list(dict.fromkeys(key for row in rows for key in row if key.endswith("_p90_error")))
    head = [name.removesuffix("_p90_error").replace("_", " ") for name in families]
    lines = [
        "# What stand-ins are worth",
        "",
        "A device without measurements uses those of a similar device. This page shows how well that works where both were measured, as `simcost calibrate transfer` prints it: rows of a device predicted by the curves of another one, "
        "or by related kinds of kernels of its own; an engine's own table by the same engine's. As in an answer, the start-up time is kept and the rest is scaled by the ratio of the two speeds of light. "
        "Errors are |log error| in per cent, as median / P90 over all kinds that both have, then the P90 by family. *Spread* is P90 over 1.645: the value that a profile that borrows should state.",
        "",
        f"| device | by | rows | all | spread | {' | '.join(head)} |",
        "|" + "---|" * (5 + len(head)),
    ]
    for row in rows:
        name = "related kinds" if row["what"] == "related kind" else row["by"]
        parts = [f"{row[f] * 100:.0f}" if f in row else "" for f in families]
        lines.append(
            f"| {row['hw']} | {name} | {row['rows']:,} | {percent(row, 'median_error', 'p90_error')} | {row['spread']:.2f} "
            f"| {' | '.join(parts)} |"
        )
    return "\n".join([*lines, ""])


def serving(peer: str | None) -> None:
    """Writes the page of served models with its pictures."""
    sample = serving_report.sample_of(None)
    said = serving_report.answers(sample, serving_report.shipped(peer))
    others = serving_report.published_figures()
    serving_page.write(serving_report.result(sample, said, others), said, SERVING.parent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    parser.add_argument(
        "--validation",
        nargs="*",
        metavar="DEVICE",
        help="pages of docs/validation (minutes): all, or of these devices; `training`: of published steps; `serving`: of served models; `recipes`: of reinforcement learning",
    )
    parser.add_argument("--pictures", action="store_true", help="also draw the pictures of docs/pictures again")
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has aiconfigurator, for `serving`")
    asked = parser.parse_args()
    if asked.validation is not None:
        home = PAGE.parent / "validation"
        if not asked.validation:
            write_whole(home / "kernels.md", published())
            write_whole(home / "stand-ins.md", stand_ins())
        if not asked.validation or asked.validation == [TRAINING.stem]:
            write_whole(TRAINING, training_page.text(training_report.result()))
        if not asked.validation or asked.validation == [SERVING.stem]:
            serving(asked.peer)
        if not asked.validation or asked.validation == [RECIPES.stem]:
            RECIPES.write_text(
                recipes_page.text(recipes_report.result(*recipes_report.gathered(api.recipe))), encoding="utf-8"
            )
        if asked.validation in ([TRAINING.stem], [SERVING.stem], [RECIPES.stem]):
            sys.exit(0)
        for name in asked.validation or [n for n in hardware.names() if coverage.every(hardware.load(n))]:
            print(name, flush=True)
            write_whole(home / f"{name}.md", validation(name))
        sys.exit(0)
    pages = {
        PAGE: page(),
        STRUCTURE: structure.page(),
        METRICS: metrics_page(),
        SETTINGS: settings_page(),
        ENGINES: engines.page(),
        ROWS: measurements(),
        README: readme(),
        MEMORY: memory(),
        **{
            SCHEMAS / f"{name}.json": json.dumps(schemas.schema(name), indent=2, ensure_ascii=False) + "\n"
            for name in schemas.NAMES
        },
        **catalogue.pages(),
        **executed.pages(asked.pictures),
        **navigation.pages(),
    }
    stale = [
        path.name
        for path, text in pages.items()
        if not path.exists() or not same(path.read_text(encoding="utf-8"), text)
    ]
    if asked.check:
        sys.exit(f"out of date: {', '.join(stale)}: run python docs/generate.py" if stale else 0)
    for path, text in pages.items():
        if path.name in stale:
            write_whole(path, text)
