"""Questions about answers: what moved between two of them, and which sources one rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcost.result import Result

if TYPE_CHECKING:  # a step asks for none of it
    from simcost.scenarios.answers.read import Source


def diff(before: Source, after: Source) -> Result:
    """What moved between two answers of one command: inputs, terms of the step, metrics. An answer is a Result, its JSON document, or the path of a file of it. Raises SpecError for answers of
    two commands, and for tables of points."""
    from simcost.scenarios.answers import difference

    return difference.result(before, after)


def cite(answer: Source) -> Result:
    """The sources that an answer rests on, and what is assumed. Raises SpecError for what is no answer."""
    from simcost.scenarios.answers import cited

    return cited.result(answer)


def bibtex(answer: Source) -> str:
    """The same sources as BibTeX entries. Raises SpecError as `cite`."""
    from simcost.report.answer.bibtex import text

    return text(cite(answer))
