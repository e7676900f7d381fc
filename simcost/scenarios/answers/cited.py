"""The sources that an answer rests on: papers of its blocks, the model's config, every fact of the device with its source, the prices that its USD rest on, the tables of measurements that time its kernels; and
what is assumed, with the reason.

Most likely to be wrong: an answer that names no tables of its own (training, sweeps): all tables of its devices that may answer are named.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from simcost.calibration import rows as files
from simcost.calibration import tables
from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware import load as hardware
from simcost.hardware.engines import ANY
from simcost.hardware.price_use import USE, of_file
from simcost.hardware.prices import KEYS, KINDS, TOTAL
from simcost.model import load as models
from simcost.provenance import VERSION, Kind, Note
from simcost.result import Result, Row
from simcost.scenarios.answers.read import Answer, Source, answer
from simcost.scenarios.variants import parsed
from simcost.texts import csv_table

PAPERS = ("arxiv", "authors", "title")
_ARXIV = re.compile(r"(?:arXiv[: ]|, )(\d{4}\.\d{4,5})")
_TABLES = ("tables: ", "tables of its sibling: ")
_RUNS = ("measurements: ", "measurements of its sibling: ")
_USE, _TOTAL = f"hw.{USE}", f"hw.price.{TOTAL}"
_ELSEWHERE = ("hardware: ", *_TABLES, *_RUNS)  # told from the files themselves


def result(source: Source) -> Result:
    """Rows of `sources`, each with what rests on it, and of `assumptions`. Raises SpecError for what is no answer, and for one that names no source."""
    of = answer(source)
    rows = [*_papers(of.references), *_models(of)]
    said: list[Note] = []
    assumed: list[Row] = []
    for name in _names(of, "hw"):
        facts, reasons = _facts(name, of, said)
        rows += facts
        assumed += reasons
    rows += _measured(of, said)
    if not rows:
        raise SpecError(f"{of.name}: an answer of {of.command} has no sources")
    rows.append({"source_kind": "software", "cited_for": "the model of costs", "source": f"simcost {VERSION}", "bibtex_key": _key("simcost", VERSION)})  # fmt: skip
    counted = {kind: sum(row["source_kind"] == kind for row in rows) for kind in dict.fromkeys(row["source_kind"] for row in rows)}  # fmt: skip
    verdict = ", ".join(f"{kind} {count}" for kind, count in counted.items())
    found = {"sources": rows, "assumptions": assumed} if assumed else {"sources": rows}
    return Result(
        "cite", {"answer": of.name, "command": of.command}, {"sources": len(rows), "assumptions": len(assumed)}, found, tuple(said),
        verdict=f"{len(rows)} sources: {verdict}; {len(assumed)} assumed values",
    )  # fmt: skip


def _row(kind: str, cited_for: str, source: str, key: str, **more: str) -> Row:
    return {"source_kind": kind, "cited_for": cited_for, "source": source, "bibtex_key": key, **more}


def _key(*words: str) -> str:
    """A key that BibTeX takes: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:60]


@cache
def papers() -> Mapping[str, Mapping[str, str]]:
    """arXiv number -> authors and title of the papers that ship named."""
    return {row["arxiv"]: row for row in csv_table(folder("workloads") / "papers.csv", PAPERS)}


def _papers(references: Sequence[str]) -> Iterator[Row]:
    """A row a paper of each reference; of one that names no paper a row of its text."""
    found: dict[str, Row] = {}
    for line in references:
        if line.startswith(_ELSEWHERE):
            continue
        what, colon, source = line.partition(": ")
        what, source = (what, source) if colon else ("", line)
        numbers = _ARXIV.findall(f", {source}" if source[:1].isdigit() else source)
        for number in numbers:
            known = papers().get(number, {})
            named = f"{known['title']}, arXiv {number}" if known else f"arXiv {number}"
            row = found.setdefault(number, _row("paper", "", named, f"arxiv-{_key(number)}", arxiv=number, title=known.get("title", ""), authors=known.get("authors", "")))  # fmt: skip
            row["cited_for"] = f"{row['cited_for']}, {what}".removeprefix(", ")
        if not numbers:
            found.setdefault(line, _row("text", what, source, _key(source)))
    yield from found.values()


def _names(of: Answer, key: str) -> list[str]:
    """Models or devices of an answer by name; configs that were handed over have none."""
    stated = of.inputs.get("models", of.inputs.get(key)) if key == "model" else of.inputs.get(key)
    stated = of.inputs.get("vary", {}).get(key, []) if stated is None else stated
    every = [*stated] if isinstance(stated, (list, tuple)) else [stated]
    every += [row.get(key) for row in of.rows]  # of designs, of fleets, of the stages of a recipe
    return list(dict.fromkeys(each for each in every if isinstance(each, str)))


def _models(of: Answer) -> Iterator[Row]:
    """Where the config of each model of the zoo comes from, and its published size."""
    with (folder("workloads") / "models" / "sources.csv").open(encoding="utf-8", newline="") as file:
        known = {row["name"]: row for row in csv.DictReader(file)}
    for name in _names(of, "model"):
        row = known.get(models.spelled(name) if name not in known else name)
        if row is not None:
            yield _row("model", f"config of {row['name']}", row["config_source"], _key("model", row["name"]))
        else:
            yield _row("model", "the design", f"{name}: a config of your own", _key("model", Path(name).stem))


def _facts(name: str, of: Answer, said: list[Note]) -> tuple[list[Row], list[Row]]:
    """(sources of a device's facts, its assumptions); a fact that was set by hand has neither, and a price that no number rests on. A profile that is gone is a note."""
    changed = of.inputs.get("set", {})
    try:
        where, read = hardware.read(name)
    except SpecError as error:
        said.append(Note(f"{name}: its profile cannot be read ({error}): its sources are left out", Kind.MISSING))
        return [], []
    rows: dict[str, Row] = {}
    reasons: list[Row] = []
    entries = list(hardware.entries(read, where))
    used, own = _prices(of, name, {path for path, _ in entries})
    unused = {f"price.{key}" for key in KEYS} - used
    for path, entry in entries:
        if f"hw.{path}" in changed or path in unused:
            continue
        if "source" in entry:
            source = str(read["sources"].get(entry["source"], entry["source"]))
            kind = "price" if path.startswith("price.") else "hardware"
            row = rows.setdefault(f"{kind} {source}", _row(kind, "", source, _key(kind, read.get("name", name), str(entry["source"]))))  # fmt: skip
            row["cited_for"] = f"{row['cited_for']}, hw.{path}".removeprefix(", ")
        if why := entry.get("reason") or entry.get("assumed"):
            reasons.append({"key": f"hw.{path}", "stated": str(entry.get("value")), "why": str(why)})
    of_facts = [{**row, "cited_for": f"{name}: {row['cited_for']}"} for row in rows.values()]
    return [*of_facts, *_quoted(name, str(read.get("name", name)), sorted(own), said)], reasons


def _quoted(name: str, device: str, tables: Sequence[str], said: list[Note]) -> Iterator[Row]:
    """A row a price of a device in tables of the user's own, with its source and date; of a table that is gone a note."""
    for table in tables:
        try:
            price = of_file(Path(table), device)
        except SpecError as error:
            said.append(Note(f"{name}: its price cannot be read ({error}): its source is left out", Kind.MISSING))
            continue
        ends = "" if price.low is None else f" ({price.low:,.4g} to {price.high:,.4g})"
        what = ", ".join(part for part in (f"{price.usd:,.4g} USD per GPU hour{ends}", price.words) if part)
        source = f"{price.source or 'no source stated'}; {table}: {what}"
        yield _row("price", f"{name}: hw.{USE}", source, _key("price", name, Path(table).stem))


def _prices(of: Answer, name: str, has: Collection[str]) -> tuple[set[str], set[str]]:
    """(paths of the prices of a device, which `has` these facts, that the answer's USD rest on; tables of the user's own that they rest on): none where it has no USD, or where the question
    states the price."""
    if not any("usd" in str(column) for table in (of.metrics, *of.rows, *of.terms) for column in table):
        return set(), set()
    stated, varied = of.inputs.get("set", {}), of.inputs.get("vary", {})
    variants = [parsed(each) for each in _several(of.inputs.get("variants", ()))]
    usual = next((f"price.{key}" for key in KEYS if f"price.{key}" in has), "")
    found, tables = set(), set()
    for usd, settings in product(_said(of, name), ({**stated}, *({**stated, **each} for each in variants))):
        if _TOTAL in settings or _TOTAL in varied or not (usd is None or isinstance(usd, str)):
            continue
        for use in _several(varied.get(_USE, settings.get(_USE, usd))):
            if str(use).lower().endswith(".csv"):
                tables.add(str(use))
            else:
                found.add(f"price.{use}" if use in KINDS else usual)
    return found, tables


def _said(of: Answer, name: str) -> list[Any]:
    """What a question says of the price of a device outside its settings; of a teacher apart where it runs elsewhere, or has a price of its own."""
    given = of.inputs
    usd, teacher = given.get("usd_per_hour", given.get("price")), given.get("teacher_price")
    if "teacher_hw" in given and name != given["hw"]:
        return [teacher]
    return [usd] if teacher is None or given.get("teacher_hw", name) != name else [usd, teacher]


def _several(value: Any) -> list[Any]:
    return [*value] if isinstance(value, (list, tuple)) else [value]


def _measured(of: Answer, said: list[Note]) -> Iterator[Row]:
    """The tables and runs whose rows time the kernels."""
    stated = [line for line in of.references if line.startswith((*_TABLES, *_RUNS))]
    if not stated:
        stated = list(_possible(of))
    for line in stated:
        words = line.partition(": ")[2]
        if line.startswith(_RUNS):
            device, _, run = words.partition("/")
            yield from _run(device, run, Path(_home(device)) / "measurements" / run, said)
            continue
        device, _, every = words.partition(" ")
        for table in every.split(", "):
            whose, _, rest = table.rpartition(":")
            yield from _run(whose or device, rest, Path(_home(whose or device)) / "tables" / rest, said)


def _possible(of: Answer) -> Iterator[str]:
    """All tables of the devices that may answer, of an answer that says nothing of them."""
    if of.metrics.get("share_datasheet") == 1 or not _names(of, "hw"):
        return
    for name in _names(of, "hw"):
        try:
            device = hardware.load(name, {})
        except SpecError:
            continue
        engine = of.inputs.get("engine") or ANY
        for one in (device, device.sibling):
            named = [] if one is None else tables.named(one.tables, engine if isinstance(engine, str) else ANY)
            if one is not None and named:
                yield f"tables: {one.name} {', '.join(named)}"


def _home(device: str) -> str:
    try:
        return str(hardware.find(device).parent)
    except SpecError:
        return str(folder("hwprofiles") / device)


def _run(device: str, name: str, home: Path, said: list[Note]) -> Iterator[Row]:
    try:
        if ".." in Path(name).parts:
            raise SpecError("no name of a table")
        record = files.load_run(home).record
    except SpecError as error:
        said.append(Note(f"{device}/{name}: its record cannot be read ({error}): its source is left out", Kind.MISSING))
        return
    package = " ".join(str(record[key]) for key in ("package", "version") if key in record)
    yield _row(
        "measurements", f"times of kernels on {device}", f"{record.get('title', name)}", _key("rows", device, name),
        **{key: str(record[key]) for key in ("licence", "copyright") if key in record}, **({"package": package} if package else {}),
    )  # fmt: skip
