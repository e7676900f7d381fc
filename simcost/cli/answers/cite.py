"""The cite command: the sources that an answer rests on."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.answers import asking
from simcost.cli.declared import Argument, Option, Rest
from simcost.cli.output import FORMATS, emit, write
from simcost.errors import SpecError, nearest

BIBTEX = "bibtex"
Style = Annotated[
    str,
    Option("--format", help="bibtex, console, csv, markdown or json; default: by the suffix of -o (.bib is bibtex), else console.", autocompletion=o.starting((BIBTEX, "console", "csv", "markdown", "json"))),
]  # fmt: skip


def cite(
    context: Rest,
    answer: Annotated[str, Argument(help="A saved result (a file of --format json -o), or a question: decode, train, serve or another command, followed by its options.")],
    format: Style = "", output: o.Out = None, details: o.Details = False,
) -> int:  # fmt: skip
    """The sources of a result: papers, facts of the device, price, measurements; as a table or as BibTeX."""
    from simcost import api

    if format not in ("", BIBTEX, *FORMATS):
        raise SpecError(f"--format must be one of {', '.join((BIBTEX, *FORMATS))}, not {format!r}{nearest(format, (BIBTEX, *FORMATS))}")  # fmt: skip
    of_file = answer.endswith(".json")
    if of_file and context.args:
        raise SpecError(f"cite {answer}: {context.args[0]} belongs to a question, not to a file: leave it out")
    found = api.cite(answer if of_file else asking.answer([answer, *context.args]))
    bib = output is not None and output.suffix.lower() == ".bib"
    if bib and format not in ("", BIBTEX):
        raise SpecError(f"--format {format} contradicts -o {output}, whose suffix means {BIBTEX}")
    if format == BIBTEX or bib:
        from simcost.report.answer.bibtex import text

        write(output, text(found))
        return 0
    return emit(found, format, output, details=details)
