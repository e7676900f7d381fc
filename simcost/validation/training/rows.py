"""`workloads/validation/training/*.csv`: published training steps, each as a question with what its source measured.

`sources.csv` names the files, what each is from, whose stack and network its rows have, and which rows are fitted
together; `models.csv` says models as changes of a config, with the count of parameters that the source prints.
Groups: `judged` rows count for the bars; `reported` rows are shown with the same figures and have no bar; `simulated`
ones judge nothing; `fine-tuning` trains part of a model or packs samples. Of rows that ask the same question the
newest that is at most `DRIFT` slower than the fastest counts (among those that state memory, where one does); slower
ones are `drift`, a change of software and no error of a model, and the rest `repeat`.

Left out of these sources, with why: 39 rows of Megatron Bridge where neither the row nor its recipe says what is
recomputed; 33 of models without a public config; 20 of BLOOM whose layers are not printed; 18 bars read off a chart,
in FLOPs of no stated convention; 9 that offload activations; 5 without a time, a micro-batch, virtual stages or what
is recomputed. Sources of one or two rows, of secondary citations, and of devices or precisions without a profile are
not carried. Most likely to be wrong: what a source does not print and a framework's default decides, which `why` or
the source's note names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from simcost import grammar
from simcost.errors import SpecError, nearest
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.model import load as models
from simcost.scenarios.schedule import known as schedules
from simcost.texts import csv_dicts, text
from simcost.training import stack as stacks
from simcost.training.question import MEASURES, Question
from simcost.validation import csv_cells

GROUPS = ("judged", "reported", "repeat", "drift", "fine-tuning", "simulated")
DRIFT = 0.10
PRECISIONS = ("bf16", "fp16", "fp8_tensor", "fp8_row", "fp8_block", "mxfp8", "nvfp4")
MODULES = ("core_attn", "layernorm", "mla_up_proj", "mlp", "moe", "moe_act", "op")
TAKEN = ("step", "tokens", "samples", "tflops")
CONVENTIONS = ("causal", "non-causal", "non-causal-HFU")
_WHOLE = ("gpus", "seq", "micro_batch", "global_batch", "tp", "pp", "vpp", "cp", "ep", "etp")
_NEEDED = ("id", "model", "hw", "precision", *_WHOLE, "zero", "recompute", "sp", "group", "locator")
_MORE = (
    "schedule",
    "step_s",
    "memory_bytes",
    "taken",
    "tflops",
    "mfu",
    "flops_convention",
    "date",
    "flags",
    "set",
    "parts",
    "why",
)
_SOURCE = ("name", "title", "reference", "stack", "fit", "flags", "set", "memory", "note")
_MODEL = ("name", "base", "set", "parameters", "source")


@frozen
class Source:
    """A file of rows. stack: of its rows; fit: name of the rows that are fitted together, "" where none are; flags,
    sets: of all its rows; memory: which of `question.MEASURES` its memory is, "" where it prints none."""

    name: str
    title: str
    reference: str
    stack: str
    fit: str
    flags: Mapping[str, str]
    sets: Mapping[str, Any]
    memory: str
    note: str


@frozen
class Model:
    """A model that sources name. base: a name of the zoo, or the path of a config; sets: what differs, by path;
    parameters: as printed, "" where not."""

    name: str
    base: str
    sets: Mapping[str, Any]
    parameters: str
    source: str


@frozen
class Row:
    """A measured step. step_s [s] and memory_bytes [B] are None where the source has none; taken: which printed
    figure the time follows from; parts: other figures of the source by name; model: as the source's file names it."""

    id: str
    source: Source
    model: str
    question: Question
    group: str
    step_s: float | None
    memory_bytes: float | None
    taken: str
    tflops: float | None
    mfu: float | None
    convention: str
    parts: Mapping[str, float]
    date: str
    locator: str
    why: str


def home() -> Path:
    """The folder of the rows that ship."""
    return folder("workloads") / "validation" / "training"


@cache
def every() -> tuple[Row, ...]:
    """All rows that ship, in the order of sources.csv."""
    return tuple(read(home()))


def read(where: Path) -> list[Row]:
    """The rows of a folder with sources.csv and models.csv. Raises SpecError naming file, line and column."""
    known = named_models(where)
    found: list[Row] = []
    ids: dict[str, str] = {}
    for source in sources(where):
        path = where / f"{source.name}.csv"
        for number, cells in _table(path, _NEEDED, _MORE):
            row = _at(cells, source, known, f"{path.name}:{number}")
            if row.id in ids:
                raise SpecError(f"{path.name}:{number}: id '{row.id}' stands in {ids[row.id]} too")
            ids[row.id] = f"{path.name}:{number}"
            found.append(row)
    unknown = {path.stem for path in where.glob("*.csv")} - {"sources", "models"} - {row.source.name for row in found}
    if unknown:
        raise SpecError(f"{where}: {min(unknown)}.csv is not in sources.csv, or has no rows")
    return found


def sources(where: Path) -> list[Source]:
    """The lines of sources.csv. Raises SpecError for an unknown stack, flag or path."""
    found = []
    for number, cells in _table(where / "sources.csv", _SOURCE, ()):
        at = f"sources.csv:{number}"
        flags = _pairs(cells["flags"], ";", at, "flags")
        stacks.load(cells["stack"]).changed(flags, at)
        if cells["memory"] not in ("", *MEASURES):
            raise SpecError(
                f"{at}: memory = {cells['memory']!r} must be one of {', '.join(MEASURES)}{nearest(cells['memory'], MEASURES)}"
            )
        found.append(
            Source(
                cells["name"],
                cells["title"],
                cells["reference"],
                cells["stack"],
                cells["fit"],
                flags,
                _sets(cells["set"], at),
                cells["memory"],
                cells["note"],
            )
        )
    return found


def named_models(where: Path) -> dict[str, Model]:
    """The lines of models.csv by name."""
    found = {}
    for number, cells in _table(where / "models.csv", _MODEL, ()):
        own = where / "models" / f"{cells['base']}.json"
        base = str(own) if own.is_file() else cells["base"]
        sets = _sets(" ".join(f"model.{part}" for part in cells["set"].split()), f"models.csv:{number}")
        if cells["name"] in found:
            raise SpecError(f"models.csv:{number}: name '{cells['name']}' appears twice")
        found[cells["name"]] = Model(cells["name"], base, sets, cells["parameters"], cells["source"])
    return found


def _table(path: Path, needed: tuple[str, ...], more: tuple[str, ...]) -> Iterable[tuple[int, dict[str, str]]]:
    columns, lines = csv_dicts(text(path), str(path))
    for name in columns:
        if name not in (*needed, *more):
            raise SpecError(
                f"{path.name}: unknown column '{name}' (columns: {', '.join((*needed, *more))})"
                f"{nearest(name, (*needed, *more))}"
            )
    missing = [name for name in needed if name not in columns]
    if missing:
        raise SpecError(f"{path.name}: missing columns {', '.join(missing)}")
    for number, line in lines:
        yield number, {**dict.fromkeys((*needed, *more), ""), **line}


def _at(cells: Mapping[str, str], source: Source, known: Mapping[str, Model], at: str) -> Row:
    if not cells["id"]:
        raise SpecError(f"{at}: id is empty")
    step, memory = (_number(cells, name, at) for name in ("step_s", "memory_bytes"))
    if step is None and memory is None:
        raise SpecError(f"{at}: neither step_s nor memory_bytes is stated")
    if memory is not None and not source.memory:
        raise SpecError(
            f"{at}: memory_bytes of source '{source.name}', whose line of sources.csv does not say which memory ({', '.join(MEASURES)})"
        )
    for name, words in (
        ("group", GROUPS),
        ("taken", TAKEN if step is not None else ("",)),
        ("flops_convention", ("", *CONVENTIONS)),
    ):
        _one_of(cells[name], words, at, name)
    return Row(
        cells["id"],
        source,
        cells["model"],
        _question(cells, source, known, at),
        cells["group"],
        step,
        memory,
        cells["taken"],
        _number(cells, "tflops", at),
        _number(cells, "mfu", at),
        cells["flops_convention"],
        {
            key: csv_cells.number(text, at, f"parts.{key}", zero=False)
            for key, text in _pairs(cells["parts"], ";", at, "parts").items()
        },
        cells["date"],
        cells["locator"],
        cells["why"],
    )


def _question(cells: Mapping[str, str], source: Source, known: Mapping[str, Model], at: str) -> Question:
    whole = {name: csv_cells.whole(cells[name], at, name) for name in _WHOLE}
    own = known.get(cells["model"])
    if own is None and models.of_name(cells["model"]) != cells["model"]:
        raise SpecError(
            f"{at}: model '{cells['model']}' is neither in models.csv nor a name of the zoo"
            f"{nearest(cells['model'], known)}"
        )
    _one_of(cells["hw"], hardware.names(), at, "hw")
    _one_of(cells["precision"], PRECISIONS, at, "precision")
    _one_of(cells["zero"], ("0", "1", "2", "3"), at, "zero")
    _one_of(cells["sp"], ("0", "1"), at, "sp")
    _one_of(cells["schedule"], schedules() if whole["pp"] > 1 else ("",), at, "schedule")
    _recompute(cells["recompute"], at)
    flags = {**source.flags, **_pairs(cells["flags"], ";", at, "flags")}
    stacks.load(source.stack).changed(flags, at)
    sets = {**(own.sets if own else {}), **source.sets, **_sets(cells["set"], at)}
    asked = Question(
        model=own.base if own else cells["model"],
        hw=cells["hw"],
        precision=cells["precision"],
        stack=source.stack,
        **whole,
        zero=int(cells["zero"]),
        recompute=cells["recompute"],
        sequence_parallel=cells["sp"] == "1",
        schedule=cells["schedule"],
        flags=flags,
        sets=sets,
    )
    split = asked.tp * asked.pp * asked.cp
    if asked.gpus % split or asked.global_batch % (asked.dp * asked.micro_batch):
        raise SpecError(
            f"{at}: {asked.gpus} GPUs as tp {asked.tp}, pp {asked.pp}, cp {asked.cp} do not divide a batch of "
            f"{asked.global_batch} in micro-batches of {asked.micro_batch}"
        )
    return asked


def _recompute(text: str, at: str) -> None:
    kind, _, rest = text.partition(":")
    if kind == "selective" and rest:
        for module in rest.split("+"):
            _one_of(module, MODULES, at, "recompute")
    elif kind == "full" and rest:
        csv_cells.whole(rest, at, "recompute")
    else:
        _one_of(text, ("none", "full", "full:n", "selective:..."), at, "recompute")


def _sets(text: str, at: str) -> dict[str, Any]:
    try:
        return grammar.assignments(text.split())
    except SpecError as fault:
        raise SpecError(f"{at}: {fault}") from None


def _pairs(text: str, between: str, at: str, column: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(between) if text else ():
        key, equals, value = part.partition("=")
        if not equals or not key or not value or key in found:
            raise SpecError(f"{at}: {column} = {text!r} must be key=value{between}key=value, each key once")
        found[key] = value
    return found


def _one_of(text: str, known: Iterable[str], at: str, column: str) -> None:
    words = tuple(known)
    if text not in words:
        raise SpecError(f"{at}: {column} = {text!r} is not one of {', '.join(map(repr, words))}{nearest(text, words)}")


def _number(cells: Mapping[str, str], column: str, at: str) -> float | None:
    return csv_cells.number(cells[column], at, column, zero=False) if cells[column] else None
