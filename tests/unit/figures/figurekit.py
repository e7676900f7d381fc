"""Answers as the slow commands give them, with numbers made by hand, and the axes of a figure."""

from __future__ import annotations

from typing import Any

import simcost
from simcost.result import Result


def axes(result: Result, name: str, width: str = "slide") -> list[Any]:
    """Those that hold something: the place of a key does not."""
    return [each for each in simcost.figures.draw(result, name, width).axes if each.axison]


def distilled(rl: bool = True) -> Result:
    """Three ways to distil, one of which cannot be gone, and reinforcement learning."""
    rows: list[dict[str, Any]] = [
        {"variant": "data", "feasible": True, "total_usd": 60.0, "total_usd_price_low": 45.0, "total_usd_price_high": 90.0, "total_gpu_hours": 30.0, "total_gpu_hours_low": 20.0, "total_gpu_hours_high": 45.0, "writing_gpu_hours": 20.0, "rollout_gpu_hours": 0.0, "teacher_gpu_hours": 0.0, "training_gpu_hours": 10.0, "times_cheapest": 2.0},
        {"variant": "logits online", "feasible": True, "total_usd": 30.0, "total_usd_price_low": 20.0, "total_usd_price_high": 50.0, "total_gpu_hours": 15.0, "total_gpu_hours_low": 10.0, "total_gpu_hours_high": 25.0, "writing_gpu_hours": 0.0, "rollout_gpu_hours": 0.0, "teacher_gpu_hours": 5.0, "training_gpu_hours": 10.0, "times_cheapest": 1.0},
        {"variant": "feature", "feasible": False, "total_gpu_hours": 15.0, "reason": "widths differ"},
    ]  # fmt: skip
    if rl:
        rows.append({"variant": "rl", "feasible": True, "total_usd": 300.0, "total_gpu_hours": 150.0, "total_gpu_hours_low": 120.0, "total_gpu_hours_high": 200.0, "times_cheapest": 10.0})  # fmt: skip
    inputs = {"teacher": "a", "student": "b", "hw": "h200"}
    return Result("distill", inputs, {"trained_tokens": 1e9, "cheapest": "logits online"}, {"variants": rows})


def staged() -> Result:
    """Two stages of a recipe, with what one assumes."""
    stages = [
        {"recipe_stage": "pre-training", "command": "train", "gpu_hours": 1e6, "gpu_hours_low": 8e5, "gpu_hours_high": 1.3e6, "share_of_gpu_hours": 0.9995, "usd": 2e6, "stage_s": 1e6, "stage_start_s": 0.0},
        {"recipe_stage": "rl", "command": "rl", "gpu_hours": 500.0, "gpu_hours_low": 200.0, "gpu_hours_high": 2000.0, "share_of_gpu_hours": 0.0005, "usd": 1e3, "stage_s": 1e3, "stage_start_s": 1e6},
    ]  # fmt: skip
    assumed = [{"recipe_stage": "rl", "assumed_key": "steps", "assumed_value": 500, "assumed_least": 200.0, "assumed_most": 2000.0, "hours_at_least": 200.0, "hours_at_most": 2000.0}]  # fmt: skip
    return Result("recipe", {"recipe": "a"}, {"gpu_hours": 1000500.0, "usd": 2001000.0}, {"stages": stages, "assumptions": assumed})  # fmt: skip


def judged() -> Result:
    """Errors of two sources, and four bars: a limit that is missed, a range that holds, a floor that an aim misses, and one of another kind."""
    slices = [
        {"rows_of": "vtrain", "n": 76, "median_abs_error": 0.1, "p90_abs_error": 0.25, "bias": -0.05, "coverage": 0.9},
        {"rows_of": "bloom", "n": 10, "median_abs_error": 0.2, "p90_abs_error": 4.0, "bias": 0.2, "coverage": 0.5},
    ]
    bars = [
        {"rows_of": "bloom", "what": "step", "measure": "coverage", "value": 0.92, "bar": "85% to 95%", "passes": True, "aim": False},
        {"rows_of": "vtrain", "what": "step", "measure": "median_abs_error", "value": 0.1, "bar": "at most 4.0%", "passes": False, "aim": False},
        {"rows_of": "all", "what": "order", "measure": "share", "value": 0.7, "bar": "90%", "passes": False, "aim": True},
        {"rows_of": "vtrain", "what": "bubble", "measure": "off", "value": 0.7, "bar": "0.6 micro-batches", "passes": False, "aim": False},
    ]  # fmt: skip
    return Result("validate training", {"sources": "all"}, {"rows": 86}, {"by source": slices, "bars": bars})
