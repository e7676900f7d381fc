"""Names of questions about answers: what moved between two of them, what one rests on."""

from __future__ import annotations

from simcost.metrics._words import NUMBER, TEXT, Rows

DIFF: Rows = (
    ("before", TEXT, "", "in the first result: an input, or a metric as text"),
    ("after", TEXT, "", "in the second result: an input, or a metric as text"),
    ("before_s", "seconds", "", "time of the step, or of a term as far as it counts in the step, in the first result"),
    ("after_s", "seconds", "", "time of the step, or of a term as far as it counts in the step, in the second result"),
    (
        "relative_change",
        "change",
        "",
        "the second over the first, less 1; null where either has none, or the first is 0",
    ),
    ("share_of_change", "fraction", "", "part of a term in the change of the step; all parts add up to 1"),
    ("metric", TEXT, "", "name of a metric"),
    ("before_value", NUMBER, "", "the metric of the first result in SI"),
    ("after_value", NUMBER, "", "the metric of the second result in SI"),
    ("metrics_moved", "count", "", "metrics that differ"),
)

CITE: Rows = (
    ("sources", "count", "", "sources of the result"),
    ("assumptions", "count", "", "values of the device that are assumed"),
    ("source_kind", TEXT, "", "paper, text, model, hardware, price, measurements or software"),
    ("cited_for", TEXT, "", "what the source is cited for"),
    ("bibtex_key", TEXT, "", "key of the source in `--format bibtex`"),
    ("arxiv", TEXT, "", "number of a paper on arXiv"),
    ("authors", TEXT, "", "authors of a paper, in BibTeX's form"),
    ("licence", TEXT, "", "licence of measurements"),
    ("copyright", TEXT, "", "copyright holder of the measurements"),
    ("package", TEXT, "", "package of the measurements, and its version"),
)
