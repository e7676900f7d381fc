"""The Result of a recipe: what it costs in all, stage by stage, beside what its sources print, and what its assumptions are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.cost.price import HIGH, LOW, with_range
from simcost.hardware import load as hardware
from simcost.hardware.price_use import USE
from simcost.hardware.price_use import stated as price_stated
from simcost.hardware.prices import Price
from simcost.provenance import Kind, Note, kind_of
from simcost.result import Result, Row, number
from simcost.scenarios import price_notes
from simcost.scenarios.recipe.change import changed
from simcost.scenarios.recipe.file import Published, Recipe, load
from simcost.scenarios.recipe.price import Commands, Effect, Priced, priced
from simcost.units import show


def result(
    name: str,
    hw: str | None,
    gpus: Any,
    sets: Mapping[str, Any],
    price: float | str | None,
    ranges: bool,
    commands: Commands,
    runs: Mapping[str, Any],
) -> tuple[Result, tuple[Priced, ...]]:
    """The answer, and the priced stages that pictures draw. `commands`: functions of the API by name; `runs`: failures and checkpoints of all stages that train, as `train` takes them. Raises SpecError and Infeasible."""
    shipped = load(name)
    recipe = changed(shipped, {"hw": hw, "gpus": gpus}, sets, runs)
    stages = priced(recipe, commands, ranges)
    prices = {stage.stage.name: _price(recipe, shipped, stage, price) for stage in stages}
    rows = [_row(stage, stages, prices[stage.stage.name]) for stage in stages]
    values = _metrics(stages, prices)
    tables: dict[str, Sequence[Row]] = {"stages": rows}
    own = {stage.name: stage.ask["hw"].value for stage in shipped.stages if "hw" in stage.ask}
    if published := [_published(one, stages, own) for one in recipe.published]:
        tables["beside what is published"] = published
    if assumed := _assumptions(stages):
        tables["assumptions"] = sorted(assumed, key=lambda row: -abs(row["hours_at_most"] - row["hours_at_least"]))
    inputs = {
        "recipe": name, **({} if hw is None else {"hw": hw}), **({} if gpus is None else {"gpus": gpus}), "set": dict(sets),
        **({} if price is None else {"usd_per_hour": price}), "ranges": ranges, **{key: value for key, value in runs.items() if value is not None},
    }  # fmt: skip
    answer = Result(
        "recipe", inputs, values, tables, tuple(_notes(recipe, stages, prices)), (recipe.source,), _verdict(recipe, values, stages), bool(values["fits"])
    )  # fmt: skip
    return answer, stages


def _price(recipe: Recipe, shipped: Recipe, stage: Priced, price: float | str | None) -> Price | None:
    """Of a GPU hour: as asked, else the recipe's own on the device of the recipe, else the profile's. None: unknown."""
    usd, chosen = price_stated(price)
    if usd is not None:
        return Price(usd)
    if chosen:
        return hardware.load(stage.hw, {USE: chosen[f"hw.{USE}"]}).price
    own = {one.name: str(one.ask["hw"].value) for one in shipped.stages if "hw" in one.ask}
    if recipe.usd_per_hour is not None and own.get(stage.stage.name) == stage.hw:
        return Price(float(recipe.usd_per_hour.value), said="of the recipe")
    return hardware.load(stage.hw, {}).price


def _row(stage: Priced, stages: Sequence[Priced], price: Price | None) -> Row:
    whole = sum(each.cost.gpu_hours for each in stages)
    hours, scale = stage.cost.gpu_hours, stage.cost.gpus / 3600.0
    row: Row = {
        "recipe_stage": stage.stage.name, "command": stage.stage.command, "hw": stage.hw, "gpus": number(stage.cost.gpus),
        "gpu_hours": number(hours), "gpu_hours_low": number(stage.low_s * scale), "gpu_hours_high": number(stage.high_s * scale),
        "share_of_gpu_hours": number(hours / whole), "stage_s": number(stage.cost.seconds), "stage_start_s": number(stage.start_s), "fits": stage.cost.fits, "says": stage.cost.said,
    }  # fmt: skip
    return row if price is None else with_range({**row, "usd": number(hours * float(price.usd))}, price)


def _metrics(stages: Sequence[Priced], prices: Mapping[str, Price | None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {name: price for name, price in prices.items() if price is not None}
    for end in ("", "_low", "_high"):
        hours = {
            each.stage.name: getattr(each, f"{end[1:]}_s") * each.cost.gpus / 3600.0 if end else each.cost.gpu_hours
            for each in stages
        }
        found[f"gpu_hours{end}"] = number(sum(hours.values()))
        if len(known) == len(stages):
            usd = [with_range({"usd": each * float(known[name].usd)}, known[name]) for name, each in hours.items()]
            found[f"usd{end}"] = number(sum(one["usd"] for one in usd))
            if not end and any(len(one) > 1 for one in usd):
                found |= {f"usd{of}": number(sum(one.get(f"usd{of}", one["usd"]) for one in usd)) for of in (LOW, HIGH)}
    found["wall_s"] = number(max(each.end_s for each in stages))
    found["stages"] = len(stages)
    found["fits"] = all(each.cost.fits for each in stages)
    return found


def _published(one: Published, stages: Sequence[Priced], own: Mapping[str, Any]) -> Row:
    """A printed figure beside ours. `own`: device of each stage in the recipe; on another one nothing is judged."""
    mine = [each for each in stages if each.stage.name in one.stages]
    hours = sum(each.cost.gpu_hours for each in mine)
    low, high = (sum(getattr(each, f"{end}_s") * each.cost.gpus / 3600.0 for each in mine) for end in ("low", "high"))
    row: Row = {
        "published_what": one.title, "published_gpu_hours": number(one.gpu_hours), "gpu_hours": number(hours), "gpu_hours_low": number(low), "gpu_hours_high": number(high),
    }  # fmt: skip
    if all(each.hw == own.get(each.stage.name) for each in mine):
        row |= {"error": number(hours / one.gpu_hours - 1.0), "covered": bool(low <= one.gpu_hours <= high)}
    return {**row, "source": one.source}


def _assumptions(stages: Sequence[Priced]) -> list[Row]:
    """A row an assumption with a range; what several stages take from the defaults is one, with the GPU hours of them together."""
    found: dict[Any, list[tuple[str, Effect]]] = {}
    for stage in stages:
        for effect in stage.effects:
            found.setdefault((effect.key, effect.value), []).append((stage.stage.name, effect))
    return [
        {
            "recipe_stage": _of([name for name, _ in of], stages), "assumed_key": key, "assumed_value": value.value,
            "assumed_least": value.low, "assumed_most": value.high, "hours_at_least": number(sum(one.low for _, one in of)),
            "hours_at_most": number(sum(one.high for _, one in of)), "assumed_because": "; ".join([value.reason, *(one.why for _, one in of if one.why)]),
        }
        for (key, value), of in found.items()
    ]  # fmt: skip


def _of(names: Sequence[str], stages: Sequence[Priced]) -> str:
    return "all" if len(names) == len(stages) > 1 else ", ".join(names)


def _notes(recipe: Recipe, stages: Sequence[Priced], prices: Mapping[str, Price | None]) -> list[Note]:
    """Notes of all stages, those that several have once."""
    fixed: dict[str, list[str]] = {}
    said: dict[tuple[str, Kind], list[str]] = {}
    for each in stages:
        for key, value in each.stage.ask.items():
            if value.assumed and value.low is None:
                fixed.setdefault(f"{key} = {value.value} ({value.reason})", []).append(each.stage.name)
        for note in each.answer.warnings:
            said.setdefault((str(note), kind_of(note)), []).append(each.stage.name)
    found = [Note(f"{_whose(names, stages)}{text}", Kind.ASSUMED) for text, names in fixed.items()]
    of_device = {each.hw: prices[each.stage.name] for each in stages}
    for hw, price in of_device.items():
        found += price_notes.of(hw, price, price is not None and not price.source)
    if not any(each.effects for each in stages) and any(
        value.low is not None for each in stages for value in each.stage.ask.values()
    ):
        found.append(Note("ranges of assumptions are left out: intervals are those of the cost model only", Kind.SCOPE))
    return found + [Note(f"{_whose(names, stages)}{text}", kind) for (text, kind), names in said.items()]


def _whose(names: Sequence[str], stages: Sequence[Priced]) -> str:
    """The stages that a note is of, where they are not all."""
    return "" if len(names) == len(stages) else f"{', '.join(names)}: "


def _verdict(recipe: Recipe, values: Mapping[str, Any], stages: Sequence[Priced]) -> str:
    low, middle, high = (f"{float(values[f'gpu_hours{end}']):,.0f}" for end in ("_low", "", "_high"))
    most = max(stages, key=lambda each: each.cost.gpu_hours)
    money = f", {show(float(values['usd']), 'usd')}" if "usd" in values else ""
    tight = [each.stage.name for each in stages if not each.cost.fits]
    short = f"; does not fit: {', '.join(tight)}" if tight else ""
    share = most.cost.gpu_hours / sum(each.cost.gpu_hours for each in stages)
    return f"{recipe.title}: {middle} GPU hours ({low} to {high}){money}, {show(float(values['wall_s']), 'duration')}; {share:.0%} of it is {most.stage.name}{short}"
