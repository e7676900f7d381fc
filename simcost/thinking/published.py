"""Published lengths of answers, by model, level and benchmark: `workloads/lengths/lengths.csv`.

A row has a mean, or the ends between which it lies, and some have a median and P95. A distribution needs a spread too:
where a row states none, the answer takes that of the rows that do. Most likely to be wrong: a row of one benchmark as
the length of somebody's traffic. Totals of suites stand in no row: they are no length of a query.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import median, quantiles

from simcost import files
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Z90
from simcost.texts import csv_table

ANSWER, SAMPLE = "answer", "training sample"
_CERTAINTIES = ("published", "derived", "unsure", "claim")
_COLUMNS = (
    "model", "level", "benchmark", "kind", "answers", "mean", "mean_low", "mean_high", "median", "p95", "longest", "cap",
    "accuracy", "certainty", "note", "source",
)  # fmt: skip


@frozen
class Row:
    """Published tokens of an answer, thinking included; None where the source does not say."""

    model: str
    level: str
    benchmark: str
    kind: str
    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    p95: float | None
    cap: float | None
    accuracy: float | None
    certainty: str
    note: str
    source: str

    @property
    def tokens(self) -> float:
        """The mean; the middle of its ends; or the least that it can be. [tokens]"""
        if self.mean is not None:
            return self.mean
        assert self.low is not None
        return self.low if self.high is None else (self.low + self.high) / 2.0

    @property
    def sigma(self) -> float | None:
        """Of the log of a length, from median and P95 of a log-normal distribution; None where these are not stated, or
        where the cap cuts the P95."""
        if self.median is None or self.p95 is None or (self.cap is not None and self.p95 >= self.cap):
            return None
        return math.log(self.p95 / self.median) / Z90

    @property
    def said(self) -> str:
        """What the row says, for a note."""
        if self.mean is not None:
            tokens = f"a mean of {self.mean:,.0f} tokens"
        elif self.high is not None:
            tokens = f"a mean of {self.low:,.0f} to {self.high:,.0f} tokens, of which the middle is taken"
        else:
            tokens = f"more than {self.low:,.0f} tokens, which is taken: a lower end"
        more = f"; {self.note}" if self.note else ""
        return f"{self.model}, {self.level}, {self.benchmark}: {tokens} ({self.certainty}: {self.source}{more})"


@cache
def rows() -> tuple[Row, ...]:
    """All rows. Raises SpecError for one that is malformed, naming its line."""
    path = files.folder("workloads") / "lengths" / "lengths.csv"
    return tuple(_row(row, f"{path.name}:{line}") for line, row in enumerate(csv_table(path, _COLUMNS), start=2))


def _row(row: dict[str, str], where: str) -> Row:
    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    if row["kind"] not in (ANSWER, SAMPLE) or row["certainty"] not in _CERTAINTIES:
        raise SpecError(f"{where}: kind {row['kind']!r} or certainty {row['certainty']!r} is not known")
    if not row["mean"] and not row["mean_low"]:
        raise SpecError(f"{where}: neither a mean nor its lower end")
    return Row(
        row["model"], row["level"], row["benchmark"], row["kind"], number("mean"), number("mean_low"), number("mean_high"), number("median"), number("p95"),
        number("cap"), number("accuracy"), row["certainty"], row["note"], row["source"],
    )  # fmt: skip


def find(model: str, level: str, benchmark: str | None) -> Row:
    """The row of a model's answers at a level. Raises SpecError for a model, a level or a benchmark without one, and where
    several benchmarks have one and none is named."""
    answers = [row for row in rows() if row.kind == ANSWER]
    mine = _narrowed(answers, "model", model, "--lengths-of")
    of_level = _narrowed(mine, "level", level, f"--levels ({model})")
    if benchmark is None and len(of_level) > 1:
        known = ", ".join(row.benchmark for row in of_level)
        raise SpecError(f"{model}, {level}: lengths of several benchmarks: choose one with --benchmark ({known})")
    return (
        of_level[0]
        if benchmark is None
        else _narrowed(of_level, "benchmark", benchmark, f"--benchmark ({model}, {level})")[0]
    )


def _narrowed(found: list[Row], field: str, wanted: str, option: str) -> list[Row]:
    kept = [row for row in found if getattr(row, field).lower() == wanted.lower()]
    if not kept:
        known = list(dict.fromkeys(getattr(row, field) for row in found))
        raise SpecError(
            f"{option}: no published lengths of '{wanted}' ({', '.join(known)}){nearest(wanted, known)}; state them with --osl"
        )
    return kept


@cache
def usual_sigma() -> tuple[float, float, float, int]:
    """(median, 10 % and 90 % points, number) of the sigmas of all rows that state one."""
    found = [sigma for row in rows() if row.kind == ANSWER and (sigma := row.sigma) is not None]
    tenths = quantiles(found, n=10)
    return median(found), tenths[0], tenths[-1], len(found)
