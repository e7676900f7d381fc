"""Questions about answers: what moved between two of them, and which sources one rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcost.result import Result

if TYPE_CHECKING:  # a step asks for none of it
    from simcost.scenarios.answers.read import Source


def diff(before: Source, after: Source) -> Result:
    """What changed between two results of one command: inputs, terms of the step, metrics. A result is a Result, its JSON document, or the path of a JSON file. Raises SpecError for results of
    two commands, and for tables of points."""
    from simcost.scenarios.answers import difference

    return difference.result(before, after)


def cite(answer: Source) -> Result:
    """The sources of a result, and its assumptions. Raises SpecError for what is not a result."""
    from simcost.scenarios.answers import cited

    return cited.result(answer)


def bibtex(answer: Source) -> str:
    """The same sources as BibTeX entries. Raises SpecError as `cite`."""
    from simcost.report.answer.bibtex import text

    return text(cite(answer))
