"""The silicon sample of aiconfigurator-core: measured serving, each measurement once, as a point with what was
measured.

`systems/silicon_sample.csv` of the package (ai-dynamo/aiconfigurator, Apache-2.0) joins dumps of InferenceX and
runs of its own. The same measurement stands in up to four of them: rows with one TTFT and TPOT (to 0.01 ms, to
which some files round), lengths, system and mode are copies. What columns mean, what they leave out, and which
rows contradict themselves is data: `rules.toml`. Nothing is dropped: a row is judged, apart with a reason, or
left without a point with a reason. Most likely to be wrong: launch flags that a script of another month states.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from simcost.calibration.importers import aiconfigurator as importer
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.validation.serving import rules as rule_files
from simcost.validation.serving.lines import MILLISECOND, POOLS, lines
from simcost.validation.serving.point import Launch, Pool, ServingPoint
from simcost.validation.serving.rules import UNSTATED, Facts, Rules, found

SAMPLE = "silicon_sample.csv"
AGGREGATED, DISAGGREGATED = "aggregated", "disaggregated"
_MODES = {"agg": AGGREGATED, "disagg": DISAGGREGATED}
_SAME = ("engine", "precision", "concurrency", "gemm")  # what copies of one measurement agree on
_STATED = (
    "path", "engine", "version", "image", "day", "config", "source", "system", "precision", "gemm", "mode", "isl",
    "osl", "concurrency",
)  # fmt: skip
_RELEASE = re.compile(r"\d")


@frozen
class Row:
    """One measurement. id: of its first copy; ids: of all copies; point: None where no question can be made of
    it, and `why` says why; family, format: as the rules name them; apart: kind of a row that is not judged, ""
    of the others; why: the reason; ttft_apart: why its TTFT is not judged; used: names of the rules that
    decided, by section; facts: what the file states and the rules found, for further rules."""

    id: str
    ids: tuple[str, ...]
    point: ServingPoint | None
    mode: str
    family: str
    model: str
    engine: str
    version: str
    hw: str
    format: str
    ttft_s: float
    tpot_s: float
    isl: float
    osl: float
    concurrency: float
    image: str
    day: str
    sources: tuple[str, ...]
    apart: str
    why: str
    ttft_apart: str
    used: Mapping[str, tuple[str, ...]]
    facts: Facts

    @property
    def speculative(self) -> bool:
        """Whether it ran speculative decoding."""
        return self.point is not None and self.point.speculative > 0

    @property
    def judged(self) -> bool:
        """Whether the bars count it: aggregated, a plan that is known, no speculative decoding, not apart."""
        return self.point is not None and self.mode == AGGREGATED and not self.speculative and not self.apart


@frozen
class Sample:
    """lines: rows of the file; rows: distinct measurements."""

    path: Path
    lines: int
    rows: tuple[Row, ...]

    def decided(self, section: str, name: str) -> int:
        """Measurements that a rule decided."""
        return sum(name in row.used.get(section, ()) for row in self.rows)


def shipped_path() -> Path:
    """The file in the installed package. Raises SpecError where there is none."""
    path = importer.home("validate").parent / SAMPLE
    if not path.is_file():
        raise SpecError(f"{importer.PACKAGE} {importer.version()} has no {SAMPLE}")
    return path


@cache
def shipped() -> Sample:
    """The installed sample, by the rules that ship."""
    return read(shipped_path(), rule_files.shipped())


def read(path: Path, rules: Rules) -> Sample:
    """All measurements of a file. Raises SpecError naming file, line and column."""
    every = list(lines(path))
    if not every:
        raise SpecError(f"{path}: holds no row")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in every:
        key = (round(line["ttft"], 2), round(line["tpot"], 2), line["isl"], line["osl"], line["system"], line["mode"])
        groups.setdefault(key, []).append(line)
    return Sample(path, len(every), tuple(_row(copies, rules, path.name) for copies in groups.values()))


def _row(copies: Sequence[Mapping[str, Any]], rules: Rules, file: str) -> Row:
    first, facts = copies[0], _facts(copies, file)
    used: dict[str, tuple[str, ...]] = {}

    def decided(section: str) -> Mapping[str, Any]:
        rule = found(rules, section, facts)
        if rule is None:
            if section in ("model", "checkpoint", "cache", "lengths"):
                raise SpecError(f"{file}: {first['id']} ({first['path']}) has no rule of [[{section}]]")
            return {}
        used[section] = (rule.name,)
        return rule.gives

    model = decided("model")
    facts |= {"model": (model["model"],), "family": (model["family"],)}
    checkpoint = decided("checkpoint")
    facts["format"] = (checkpoint["format"],)
    sets = {**checkpoint.get("set", {}), "plan.kv_dtype": decided("cache")["kv_dtype"]}
    plans, missing = _plans(copies, facts, rules, used)
    missing = missing or ("the load is not stated" if first["concurrency"] == "" else "")
    if len(plans) == 1:
        facts |= {key: (value,) for key, value in plans[0].items()}
    version = decided("version").get("version", _release(facts["version"]))
    lengths, tokens = decided("lengths"), decided("speculative").get("tokens", 0)
    launch = _launch(decided("launch"), decided("receive"), first)
    apart, ttft = (found(rules, section, facts) for section in ("apart", "ttft"))
    used |= {rule.section: (rule.name,) for rule in (apart, ttft) if rule}
    kind, why = (apart.gives["kind"], apart.why) if apart else (UNSTATED if missing else "", missing)
    point = None
    if kind != UNSTATED and not missing:
        point = _point(first, model["model"], version, sets, plans, lengths, tokens, launch)
    return Row(
        id=first["id"], ids=tuple(each["id"] for each in copies), point=point, mode=_MODES[first["mode"]],
        family=model["family"], model=model["model"], engine=first["engine"], version=version,
        hw=importer.SYSTEMS[first["system"]], format=checkpoint["format"], ttft_s=first["ttft"] * MILLISECOND,
        tpot_s=first["tpot"] * MILLISECOND, isl=first["isl"], osl=first["osl"], concurrency=first["concurrency"] or 0.0,
        image=max(facts["image"]), day=max(facts["day"]), sources=tuple(facts["source"]), apart=kind, why=why,
        ttft_apart=ttft.why if ttft else "", used=used, facts=facts,
    )  # fmt: skip


def _facts(copies: Sequence[Mapping[str, Any]], file: str) -> dict[str, tuple[Any, ...]]:
    """What copies state, by key of a match: all their values, without the empty ones where another has one."""
    for key in _SAME:
        if len({each[key] for each in copies}) > 1:
            raise SpecError(
                f"{file}: copies of one measurement differ in {key}: {', '.join(each['id'] for each in copies)}"
            )
    facts: dict[str, tuple[Any, ...]] = {}
    for key in _STATED:
        values = tuple(dict.fromkeys(each[key] for each in copies))
        facts[key] = tuple(value for value in values if value != "") or ("",)
    stated = any(None not in pool[1:2] for each in copies for pool in each["pools"])
    facts["pools"] = ("stated" if stated else UNSTATED,)
    return facts


def _release(versions: Sequence[str]) -> str:
    """The engine's release where the file states a number; a nightly build or a branch is none."""
    return next((one for one in versions if _RELEASE.match(one)), "")


def _plans(
    copies: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Sequence[Any]],
    rules: Rules,
    used: dict[str, tuple[str, ...]],
) -> tuple[list[dict[str, int]], str]:
    """(plans of one instance, of prefill and decode where they are apart; "" or why there are none)."""
    aggregated = copies[0]["mode"] == "agg"
    if not aggregated and facts["pools"][0] == UNSTATED:
        return [], "the pools' plans are not stated"
    plans = []
    for part in (None,) if aggregated else range(len(POOLS)):
        spelled = dict.fromkeys(
            each["plan"] if part is None else each["pools"][part][2:]
            for each in copies
            if part is None or each["pools"][part][1] is not None
        )
        of_pool = facts if part is None else {**facts, "pool": (POOLS[part],)}
        read = [_plan(columns, of_pool, rules, used) for columns in spelled]
        if any(isinstance(each, str) for each in read):
            return [], next(each for each in read if isinstance(each, str))
        if any(each != read[0] for each in read):
            return [], "copies of one measurement state different plans"
        plans += [each for each in read[:1] if isinstance(each, dict)]
    return plans, ""


def _plan(
    columns: Sequence[float | None], facts: Mapping[str, Sequence[Any]], rules: Rules, used: dict[str, tuple[str, ...]]
) -> dict[str, int] | str:
    """tp, ep, dp_attention and pp of five columns; or why there is none."""
    tp, pp, dp, moe_tp, moe_ep = (int(value) if value else 0 for value in columns)
    spelled = f"{tp},{dp},{moe_tp},{moe_ep}"
    if rule := found(rules, "plan", {**facts, "columns": (spelled,)}):
        used["plan"] = tuple(dict.fromkeys((*used.get("plan", ()), rule.name)))
        sizes = {key: tp if size == rule_files.COLUMN else size for key, size in rule.gives.items()}
        return {**sizes, "pp": max(pp, 1)}
    moe = max(moe_tp, 1) * max(moe_ep, 1)
    dp = dp or max(moe // max(tp, 1), 1)  # some files leave it empty, and MoE columns then say it
    if not tp:
        return "tp_size is empty"
    if moe not in (1, tp * dp):
        return f"plan columns {spelled} do not agree: experts on {moe} GPUs, attention on {tp * dp}"
    return {"tp": tp, "ep": max(moe_ep, 1), "dp_attention": dp, "pp": max(pp, 1)}


def _launch(flags: Mapping[str, Any], receive: Mapping[str, Any], first: Mapping[str, Any]) -> Launch:
    """Flags of a rule as numbers of a row, whose nominal lengths the scripts take."""
    of = {key: first[key] or 0.0 for key in ("isl", "osl", "concurrency")}
    tokens, sequences = (rule_files.size(flags.get(key, {}), of) for key in ("tokens", "sequences"))
    share, stream, steps = (
        float(rule.get(key, 0)) for rule, key in ((flags, "share"), (flags, "stream"), (receive, "steps"))
    )
    return Launch(tokens, sequences, share, stream, steps)


def _point(
    first: Mapping[str, Any], model: str, version: str, sets: Mapping[str, Any], plans: Sequence[Mapping[str, int]],
    lengths: Mapping[str, Any], tokens: int, launch: Launch,
) -> ServingPoint:  # fmt: skip
    mean = (1.0 + lengths["shortest"]) / 2.0
    made = [{f"plan.{key}": value for key, value in plan.items() if value > 1 or key == "tp"} for plan in plans]
    pools: list[Pool | None] = [None, None]
    if len(made) > 1:
        pools = [Pool(pool[1], each, pool[0] or 0.0) for pool, each in zip(first["pools"], made, strict=True)]
    return ServingPoint(
        model=model, hw=importer.SYSTEMS[first["system"]], engine=first["engine"], version=version,
        sets={**sets, **(made[0] if len(made) == 1 else {})}, concurrency=first["concurrency"], isl=first["isl"] * mean,
        osl=first["osl"] * mean, shortest=lengths["shortest"], requests=lengths["per_request"] * first["concurrency"],
        speculative=tokens, prefill=pools[0], decode=pools[1], launch=launch,
    )  # fmt: skip


def counted(sample: Sample) -> list[tuple[str, int]]:
    """What became of the file's rows, in words, with counts."""
    rows = sample.rows
    kinds = Counter((row.mode, row.apart) for row in rows)
    found = [("rows of the file", sample.lines), ("distinct measurements", len(rows))]
    for mode in (AGGREGATED, DISAGGREGATED):
        found.append((f"{mode}", sum(row.mode == mode for row in rows)))
        found += [(f"{mode}, {kind}", kinds[mode, kind]) for kind in rule_files.KINDS if kinds[mode, kind]]
        found.append(
            (f"{mode}, speculative", sum(row.mode == mode and row.speculative and not row.apart for row in rows))
        )
    return [*found, ("judged", sum(row.judged for row in rows))]
