"""A setting that changes nothing is said to, and one that is said to changes nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import simcost
from simcost.errors import SimcostError

PLANS: list[dict[str, Any]] = [
    {}, {"plan.tp": 8}, {"plan.pp": 2}, {"plan.cp": 2}, {"plan.tp": 2, "plan.cp": 2}, {"plan.ep": 8},
    {"plan.tp": 2, "plan.ep": 8}, {"plan.dp_attention": 4, "plan.ep": 1},
]  # fmt: skip
SETTINGS: dict[str, list[Any]] = {
    "plan.overlap": ["two_batch", "shared_experts", "tensor_parallel"],
    "plan.all_to_all": ["normal", "low_latency", "nccl"],
    "plan.capacity_factor": [1.7],
    "plan.redundant_experts": [64],
    "plan.cp_method": ["all_gather", "ulysses"],
    "plan.sequence_parallel": ["on"],
    "plan.overlap_p2p_comm": ["on"],
    "plan.dequantise": ["separate"],
}
CASES = [(path, value) for path, values in SETTINGS.items() for value in values]


@cache
def answered(model: str, decode: bool, stated: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """At a batch and length where every exchange takes time; eager, so that all kernels may be asked for."""
    sets = {"plan.cuda_graph": "off", "hw.measurements": "none", **dict(stated)}
    found = (
        simcost.decode(model, "h200", batch=4096, context=4096, set=sets)
        if decode
        else simcost.prefill(model, "h200", isl=2048, batch=16, set=sets)
    )
    return found.metrics, found.warnings


def metrics(model: str, decode: bool, sets: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The plan alone is asked for beside every setting, and answered once."""
    found, notes = answered(model, decode, tuple(sets.items()))
    return dict(found), notes


@pytest.mark.parametrize("model", ["llama-3.1-70b", "mixtral-8x7b", "deepseek-v3"])
@pytest.mark.parametrize("decode", [True, False], ids=["decode", "prefill"])
@pytest.mark.parametrize(("path", "value"), CASES)
def test_a_note_stands_where_a_setting_changes_nothing(model: str, decode: bool, path: str, value: Any) -> None:
    asked = 0
    for plan in PLANS:
        base = {**plan, "plan.sequence_parallel": "on"} if value == "tensor_parallel" else plan
        try:
            without, _ = metrics(model, decode, base)
            found, notes = metrics(model, decode, {**base, path: value})
        except SimcostError:
            continue
        asked += 1
        numbers = [{k: v for k, v in m.items() if not isinstance(v, str)} for m in (without, found)]
        mine = [note for note in notes if note.startswith(path) and "has no effect" in note]
        if value == "two_batch" and found.get("overlap") == "one batch":  # it would not pay, and the answer says so
            # At the speed of light it might have paid, and no interval ends above that.
            for name in ("speed_of_light_s", "tpot_low_s" if decode else "ttft_low_s"):
                lights = [m.pop(name) for m in numbers]
                assert lights[1] <= lights[0]
            assert numbers[0] == numbers[1]
        elif mine or path != "plan.all_to_all":  # "auto" may have chosen what was asked for
            assert (numbers[0] == numbers[1]) == bool(mine), (plan, mine)
    assert asked or (decode and path == "plan.overlap_p2p_comm")


@pytest.mark.parametrize("model", ["llama-3.1-70b", "mixtral-8x7b"])
def test_forms_of_mla_do_nothing_without_it(model: str) -> None:
    _, notes = metrics(model, True, {"plan.mla_form": "absorbed"})
    assert f"plan.mla_form has no effect: {model} has no MLA" in notes


def test_defaults_are_not_spoken_of() -> None:
    sets = {
        "plan.overlap": "none", "plan.all_to_all": "auto", "plan.cp_method": "ring", "plan.capacity_factor": None,
        "plan.redundant_experts": 0, "plan.mla_form": "auto", "plan.sequence_parallel": False,
    }  # fmt: skip
    _, notes = metrics("llama-3.1-70b", True, sets)
    assert not any(note.startswith("plan.") for note in notes)


def test_every_command_says_so_once_and_a_sweep_only_where_no_point_is_touched() -> None:
    sets = {"plan.capacity_factor": 1.5}
    said = "plan.capacity_factor has no effect: llama-3.1-8b has no experts"
    for found in (
        simcost.decode("llama-3.1-8b", "h200", set=sets, vary={"batch": [1, 2]}),
        simcost.explain("llama-3.1-8b", "h200", set=sets),
        simcost.compare(["llama-3.1-8b", "mixtral-8x7b"], "h200", set=sets),
        simcost.plans("llama-3.1-8b", "h200", gpus=2, batch=[8], set=sets),
    ):
        assert found.warnings.count(said) == 1
    rows = {"plan.sequence_parallel": "on"}
    some = simcost.decode("llama-3.1-8b", "h200", set=rows, vary={"plan.tp": [1, 2]}).warnings
    none = simcost.decode("llama-3.1-8b", "h200", set=rows, vary={"batch": [1, 2]}).warnings
    many = simcost.plans("llama-3.1-8b", "h200", gpus=4, batch=[8], set=rows).warnings
    said = "plan.sequence_parallel has no effect: plan.tp is 1"
    assert [said in notes for notes in (some, none, many)] == [False, True, False]
