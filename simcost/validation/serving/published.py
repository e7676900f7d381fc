"""`workloads/validation/serving/published/`: serving that others measured and published, each row as a question.

`published.csv` holds the figures in SI, with a locator each; `sources.csv` says where they are from; `models.csv`,
`devices.csv` and `stacks.csv` say what the names of sources are here, or why they are nothing. A row says what kind
of load it states:

- closed: `number` requests in flight, the next one sent when one ends; open: `number` requests per second; max: more
  requests than fit;
- batch: `number` sequences start together, pass one prefill, and run to their last token;
- decode, prefill: one step of a pool that holds `number` sequences over all its GPUs;
- production: a fleet's day, which is no operating point.

`judges` names the printed figures that count, of which none follows from another one of the row. Groups: `judged`
rows count; `reported` ones, which other measurements contradict, and `speculative` ones are scored apart; `apart`
rows judge nothing, with the reason in `why`; `unpriced` ones name a model or a device that is not here. None of the
1,585 rows that were collected is left out. Most likely to be wrong: what a source does not print and a default
decides, which `why` names.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from simcost import grammar
from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.result import Row as Cells
from simcost.texts import csv_table
from simcost.validation import csv_cells
from simcost.validation.serving.figures import QUANTITIES
from simcost.validation.serving.point import ServingPoint

LOADS = ("closed", "open", "max", "batch", "decode", "prefill", "production")
GROUPS = ("judged", "reported", "speculative", "apart")
UNPRICED = "unpriced"
# What a source's word for the format of weights sets. Recipes of checkpoints: experts in NVFP4 beside attention as it
# was (nvidia/DeepSeek-R1-0528-NVFP4, hf_quant_config.json); int8 and int4 of gpt-fast are of weights alone, whose
# products are in bf16.
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "checkpoint": {},
    **{name: {"plan.weight_dtype": name} for name in ("bf16", "fp16", "fp8", "fp8_block", "nvfp4")},
    "int8": {"plan.weight_dtype": "int8", "plan.compute_dtype": "bf16"},
    "int4-g32": {"model.quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}},
    "int4-awq": {"model.quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}},
    "nvfp4-experts": {
        "model.quantization_config": {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "exclude_modules": ["lm_head", "*self_attn*", "*router*"],
        }
    },
}
_FIGURES = {"ttft_s": "ttft", "tpot_s": "tpot", "output_tokens_per_s": "output", "input_tokens_per_s": "input"}
_COLUMNS = (
    "id", "source", "locator", "model", "device", "gpus", "stack", "weights", "kv", "tp", "pp", "ep", "dp_attention",
    "set", "load", "number", "isl", "osl", "shortest", "prefix_hit", "draft", "accepted", "pools", *_FIGURES, "parts",
    "judges", "group", "why",
)  # fmt: skip
Meaning = tuple[str, Mapping[str, Any], str]  # a name here, "" where there is none; what it sets; why


@frozen
class Source:
    """Where rows are from."""

    name: str
    title: str
    reference: str
    note: str


@frozen
class Row:
    """A published measurement. measured: what is printed, by quantity; judges: those that count; point: what to ask,
    None where nothing can be, for the reason in `why`; load: of LOADS; accepted: tokens that a step with drafts
    makes, 0 where not printed; stands_for: what was read into names of the source; parts: other printed figures by
    name."""

    id: str
    source: Source
    locator: str
    model: str
    device: str
    gpus: float
    stack: str
    load: str
    point: ServingPoint | None
    accepted: float
    measured: Mapping[str, float]
    judges: tuple[str, ...]
    group: str
    why: str
    stands_for: tuple[str, ...]
    parts: Mapping[str, float]

    @property
    def kind(self) -> str:
        """The class of measurement, of which each has its aim."""
        if self.load in ("max", "production", "open"):
            return self.load
        if self.point is not None and self.point.concurrency == 1.0:
            return "batch 1"
        return {"batch": "static batch", "closed": "closed loop"}.get(self.load, f"{self.load} pool")


@frozen
class _Names:
    """What names of sources stand for, by the tables beside the rows."""

    models: Mapping[str, Meaning]
    devices: Mapping[str, Meaning]
    stacks: Mapping[str, Meaning]


def home() -> Path:
    """The folder of the rows that ship."""
    return folder("workloads") / "validation" / "serving" / "published"


@cache
def every() -> tuple[Row, ...]:
    """All rows that ship, in the order of the file."""
    return tuple(read(home()))


def read(where: Path) -> list[Row]:
    """The rows of a folder. Raises SpecError naming file, line and column."""
    sources = {
        cells["name"]: Source(**cells)
        for cells in csv_table(where / "sources.csv", ("name", "title", "reference", "note"))
    }
    known, found, ids = _names(where), [], Counter[str]()
    for line, cells in enumerate(csv_table(where / "published.csv", _COLUMNS), start=2):
        at = f"published.csv:{line}"
        _one_of(cells["source"], sources, at, "source")
        found.append(_row(cells, sources[cells["source"]], known, at))
        ids[cells["id"]] += 1
        if ids[cells["id"]] > 1 or not cells["id"]:
            raise SpecError(f"{at}: id '{cells['id']}' is empty, or appears twice")
    idle = set(sources) - {row.source.name for row in found}
    if idle:
        raise SpecError(f"{where}: {min(idle)} of sources.csv has no rows")
    return found


def counts(rows: Iterable[Row]) -> list[Cells]:
    """A line for each source: how many rows, of them by group, in the order of the file."""
    found: dict[Source, Counter[str]] = {}
    for row in rows:
        found.setdefault(row.source, Counter())[row.group] += 1
    return [
        {
            "source": source.name, "reference": source.reference, "rows": each.total(),
            **{group: each[group] for group in (*GROUPS, UNPRICED)},
        }
        for source, each in found.items()
    ]  # fmt: skip


def reasons(rows: Iterable[Row]) -> list[Cells]:
    """Why rows do not count: a line for each source, group and reason, with how many."""
    found = Counter((row.source.name, row.group, row.why) for row in rows if row.group != "judged")
    return [{"source": name, "group": group, "rows": n, "why": why} for (name, group, why), n in found.items()]


def _names(where: Path) -> _Names:
    named: dict[str, Meaning] = {}
    for cells in csv_table(where / "models.csv", ("name", "base", "why")):
        own = where / "models" / f"{cells['base']}.json"
        if cells["base"] and not own.is_file():
            _one_of(cells["base"], models.names(), f"models.csv, {cells['name']}", "base")
        named[cells["name"]] = (str(own) if own.is_file() else cells["base"]), {}, cells["why"]
    devices: dict[str, Meaning] = {}
    for cells in csv_table(where / "devices.csv", ("name", "hw", "set", "why")):
        if cells["hw"]:
            _one_of(cells["hw"], hardware.names(), f"devices.csv, {cells['name']}", "hw")
        devices[cells["name"]] = cells["hw"], _sets(cells["set"], f"devices.csv, {cells['name']}"), cells["why"]
    stacks: dict[str, Meaning] = {}
    for cells in csv_table(where / "stacks.csv", ("name", "engine", "version", "set", "why")):
        at = f"stacks.csv, {cells['name']}"
        _one_of(cells["engine"], (engines.ANY, *engines.names()), at, "engine")
        version = {"engine.version": cells["version"]} if cells["version"] else {}
        stacks[cells["name"]] = cells["engine"], {**version, **_sets(cells["set"], at)}, cells["why"]
    for file, table in (("models", named), ("devices", devices)):
        silent = [name for name, (here, _, why) in table.items() if not here and not why]
        if silent:
            raise SpecError(f"{file}.csv: {silent[0]} stands for nothing, without a reason")
    return _Names(named, devices, stacks)


def _row(cells: Mapping[str, str], source: Source, known: _Names, at: str) -> Row:
    for column, words in (("load", LOADS), ("group", GROUPS), ("device", known.devices), ("stack", known.stacks)):
        _one_of(cells[column], words, at, column)
    measured = {name: csv_cells.number(cells[column], at, column) for column, name in _FIGURES.items() if cells[column]}
    judges = tuple(cells["judges"].split("+"))
    for name in judges:
        _one_of(name, QUANTITIES, at, "judges")
    if cells["model"] not in known.models:
        _one_of(cells["model"], models.names(), at, "model")
    model = known.models.get(cells["model"], (cells["model"], {}, ""))
    device, stack = known.devices[cells["device"]], known.stacks[cells["stack"]]
    missing = next((why for here, _, why in (device, model) if not here), "")
    undrafted = cells["group"] == "speculative" and not cells["draft"]  # how much is drafted is not printed
    point = None if missing or undrafted else _point(cells, model[0], device, stack, at)
    group, why = (UNPRICED, missing) if missing else (cells["group"], cells["why"])
    if group == "judged" and (point is None or not set(judges) <= set(measured)):
        raise SpecError(f"{at}: a judged row states its plan, load, lengths and the figures that it judges")
    if group != "judged" and not why:
        raise SpecError(f"{at}: a row of {group} needs a reason in why")
    return Row(
        cells["id"], source, cells["locator"], cells["model"], cells["device"],
        csv_cells.number(cells["gpus"] or "0", at, "gpus"), cells["stack"], cells["load"], point,
        csv_cells.number(cells["accepted"] or "0", at, "accepted"), measured, judges, group, why,
        tuple(said for _, _, said in (model, device, stack) if said and said != missing), _parts(cells["parts"], at),
    )  # fmt: skip


def _point(
    cells: Mapping[str, str],
    model: str,
    device: Meaning,
    stack: Meaning,
    at: str,
) -> ServingPoint | None:
    """What the row asks; None where it states no plan, no number or no lengths."""
    planned = any(cells[name] for name in ("tp", "pp", "ep"))
    numbered = cells["load"] == "max" or cells["number"]
    long = cells["isl"] and (cells["osl"] or cells["load"] in ("decode", "prefill"))
    if cells["load"] == "production" or not planned or not numbered or not long:
        return None
    _one_of(cells["weights"], FORMATS, at, "weights")
    engine, of_engine, _ = stack
    version = str(of_engine.get("engine.version", ""))
    plan = {
        f"plan.{name}": csv_cells.whole(cells[name], at, name)
        for name in ("tp", "pp", "ep", "dp_attention")
        if cells[name]
    }
    cache = {"plan.kv_dtype": cells["kv"]} if cells["kv"] else {}
    sets = {
        **FORMATS[cells["weights"]], **cache, **plan, **device[1],
        **{path: value for path, value in of_engine.items() if path != "engine.version"}, **_sets(cells["set"], at),
    }  # fmt: skip
    shortest = csv_cells.number(cells["shortest"] or "1", at, "shortest")
    mean = (1.0 + shortest) / 2.0  # of lengths that are uniform from the shortest to the longest
    parts = _parts(cells["parts"], at)
    return ServingPoint(
        model=_config(model),
        hw=device[0],
        engine=engine,
        version=version,
        sets=sets,
        concurrency=math.inf if cells["load"] in ("max", "open") else csv_cells.number(cells["number"], at, "number"),
        rate=csv_cells.number(cells["number"], at, "number") if cells["load"] == "open" else 0.0,
        isl=csv_cells.number(cells["isl"], at, "isl") * mean,
        osl=csv_cells.number(cells["osl"] or "1", at, "osl") * mean,
        shortest=shortest,
        requests=parts.get("requests", 0.0),
        prefix_hit=csv_cells.number(cells["prefix_hit"] or "0", at, "prefix_hit"),
        speculative=int(csv_cells.number(cells["draft"] or "0", at, "draft")),
    )


def _config(model: str) -> str | dict[str, Any]:
    """A name of the zoo, or the config of a file beside the rows."""
    return json.loads(Path(model).read_text(encoding="utf-8")) if model.endswith(".json") else model


def _parts(text: str, at: str) -> dict[str, float]:
    pairs = [part.partition("=") for part in text.split(";")] if text else []
    return {name: csv_cells.number(value, at, f"parts.{name}") for name, _, value in pairs}


def _sets(text: str, at: str) -> dict[str, Any]:
    try:
        return grammar.assignments(text.split())
    except SpecError as fault:
        raise SpecError(f"{at}: {fault}") from None


def _one_of(text: str, known: Iterable[str], at: str, column: str) -> None:
    words = tuple(known)
    if text not in words:
        few = f" ({', '.join(map(repr, words))})" if len(words) < 10 else ""
        raise SpecError(f"{at}: {column} = {text!r} is not known{few}{nearest(text, words)}")
