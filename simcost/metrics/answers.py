"""Names of questions about answers: what moved between two of them, what one rests on."""

from __future__ import annotations

from simcost.metrics._words import NUMBER, TEXT, Rows

DIFF: Rows = (
    ("before", TEXT, "", "of the first answer: an input, or a metric as it is read"),
    ("after", TEXT, "", "the same of the second"),
    ("before_s", "seconds", "", "time of the step, or of a term as far as it counts in the step, in the first answer"),
    ("after_s", "seconds", "", "the same in the second"),
    (
        "relative_change",
        "change",
        "",
        "the second over the first, less 1; null where either has none, or the first is 0",
    ),
    ("share_of_change", "fraction", "", "of a term: its part of the change of the step; they add up to 1"),
    ("metric", TEXT, "", "name of a metric"),
    ("before_value", NUMBER, "", "the metric of the first answer in SI"),
    ("after_value", NUMBER, "", "the metric of the second in SI"),
    ("metrics_moved", "count", "", "metrics that differ"),
)

CITE: Rows = (
    ("sources", "count", "", "sources that an answer rests on"),
    ("assumptions", "count", "", "values of the device that nobody states"),
    ("source_kind", TEXT, "", "paper, text, model, hardware, price, measurements or software"),
    ("cited_for", TEXT, "", "what of the answer rests on it"),
    ("bibtex_key", TEXT, "", "its key in `--format bibtex`"),
    ("arxiv", TEXT, "", "number of a paper on arXiv"),
    ("authors", TEXT, "", "authors of a paper, as BibTeX reads them"),
    ("licence", TEXT, "", "licence of measurements"),
    ("copyright", TEXT, "", "who holds the rights in them"),
    ("package", TEXT, "", "the package that they are from, and its version"),
)
