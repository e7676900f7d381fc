"""The command that asks about the best plan alone: what `plans` found goes on into `train`, `serve`, `decode` or `prefill` without typing it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from simcost.hardware.engines import ANY
from simcost.report.answer.command import folded, said
from simcost.result import Result, Row

_SIZES = ("tp", "cp", "dp_attention", "pp", "ep")
_PLAIN = {"overlap": "none", "sequence_parallel": "off"}  # what goes without saying
_DEFAULTS = {"stack": "megatron-core-te", "flops_convention": "reference", "engine": ANY}
_NEXT = {
    "train": "the best plan alone; --tokens 15T prices a run:",
    "serve": "the best fleet alone; --emit vllm prints how to start it:",
    "aggregated": "the best fleet alone, request by request; --emit vllm prints how to start it:",
}


def lines(result: Result, width: int) -> list[str]:
    """A heading and a command over several lines, each but the last ending in a backslash; [] where no command says
    the same: a model that was handed over, a device from a file among several, a load that nobody stated."""
    best = next(iter(result.tables.get("plans", ())), None)
    if best is None or not best.get("feasible"):
        return []
    words = list(_words(result.inputs, best))
    if not words:
        return []
    phase = str(result.inputs.get("phase"))
    plain = "the best plan alone:"
    head = plain if "tokens" in result.inputs else _NEXT.get(str(best.get("mode")), _NEXT.get(phase, plain))
    return [head, *folded(["simcost", phase, *words], width, "  ")]


def command(result: Result) -> list[str]:
    """The same as words of a command line; [] where there is none."""
    found = lines(result, 10**6)
    return shlex.split(found[1])[1:] if found else []


def _words(given: Mapping[str, Any], row: Row) -> Iterator[str]:
    phase, hw = given.get("phase"), given.get("hw")
    device = hw if isinstance(hw, str) else row["hw"] if row["hw"] in list(hw or ()) else ""
    if not isinstance(given.get("model"), str) or not device or (phase == "serve" and not given.get("rate")):
        return
    yield from (*_option("model", given["model"]), *_option("hw", device))
    if phase == "train":
        yield from _option("gpus", row["gpus"])
    if row.get("mode", "aggregated") == "aggregated":
        for name in _SIZES:
            if row.get(name, 1) not in (0, 1) and f"plan.{name}" not in given["set"]:
                yield from _option(name, row[name])
        copies = row.get("instances", row.get("dp", 1) if phase != "train" else 1)
        yield from _option("dp", copies) if copies != 1 else ()
    else:
        yield from (*_option("prefill-pool", row["prefill_pool"]), *_option("decode-pool", row["decode_pool"]))
    yield from _phase(given, row)
    yield from _option("set", *(f"{key}={value}" for key, value in {**_chosen(given, row), **given["set"]}.items()))
    for name, plain in _DEFAULTS.items():
        yield from _option(name, given[name]) if given.get(name, plain) != plain else ()
    yield from _option("price", given["usd_per_hour"]) if "usd_per_hour" in given else ()
    yield from ["--events"] if row.get("mode") == "aggregated" else []


def _phase(given: Mapping[str, Any], row: Row) -> Iterator[str]:
    """Sizes of the step, or the load."""
    names = {
        "train": ("seq", "micro_batch", "global_batch", "tokens"),
        "serve": ("isl", "osl", "rate", "prefix_hit"),
    }.get(str(given.get("phase")), ("batch", "context", "isl"))
    for name in names:
        value = row.get(name) if name in ("micro_batch", "batch", "global_batch") else given.get(name)
        if value is not None:
            yield from _option(name, f"{value:g}/s" if name == "rate" else value)


def _chosen(given: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """What the search chose besides sizes."""
    if given.get("phase") != "train":
        return {f"plan.{name}": row[name] for name, plain in _PLAIN.items() if row.get(name, plain) != plain}
    found = {"recompute": row["recompute"], "zero_stage": row["zero_stage"]}
    if row["pp"] > 1:
        found["schedule"] = row["schedule"]
    if row["vpp"] > 1:
        found["vpp"] = row["vpp"]
    if row["tp"] > 1:
        found["sequence_parallel"] = "on"
    return {f"plan.{name}": value for name, value in found.items()}


def _option(name: str, *values: Any) -> list[str]:
    return [f"--{name.replace('_', '-')} {shlex.quote(said(value))}" for value in values]
