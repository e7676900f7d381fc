"""Every setting of a plan that train takes changes an answer, is named as without effect, or is refused by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from simcost import settings
from simcost.errors import SimcostError
from simcost.provenance import Kind, kind_of
from simcost.result import Result
from simcost.scenarios.train import question
from simcost.scenarios.train.question import asked
from simcost.scenarios.train.result import result

# A value of each key that differs from its default.
VALUES: dict[str, Any] = {
    "tp": 2, "cp": 2, "dp_attention": 8, "pp": 2, "vpp": 2, "dp": 1, "ep": 2, "etp": 2, "gpus": 32, "redundant_experts": 8,
    "capacity_factor": 1.5, "sequence_parallel": "on", "cp_method": "ulysses", "all_to_all": "normal", "overlap": "shared_experts",
    "mla_form": "expanded", "schedule": "zb-h1", "stages": "time", "recompute": "mla_up_proj", "zero_stage": 3, "zero_group": 2,
    "reshard": "off", "precision": "fp8-block", "loss": "cut", "optimizer": "sgd", "frozen": "experts", "frozen_dtype": "nf4", "ema": "device",
    "lora_rank": 16,
}  # fmt: skip
CASES = {
    "dense, one GPU": ("llama-3.2-1b", {"plan.gpus": 1}),
    "dense, all groups": ("llama-3-8b", {"plan.tp": 2, "plan.pp": 2, "plan.cp": 2, "plan.gpus": 16, "plan.sequence_parallel": "on"}),
    "experts, MLA": ("deepseek-v2-lite", {"plan.ep": 4, "plan.gpus": 8, "plan.zero_stage": 1}),
    "FSDP": ("llama-3-8b", {"plan.gpus": 8, "plan.zero_stage": 3}),
}  # fmt: skip


@cache
def answer(case: str, key: str = "") -> Result:
    model, sets = CASES[case]
    own = {f"plan.{key}": VALUES[key]} if key else {}
    q = asked(model, "h200", {"global_batch": 32, "seq": 2048}, {**sets, **own}, None, None)
    return result(q, with_levers=False)[0]


def tried(case: str, key: str) -> Result | str:
    """The answer, or why there is none."""
    try:
        return answer(case, key)
    except SimcostError as refused:
        return str(refused)


def figures(one: Result) -> Any:
    return one.metrics, one.tables["pipeline ranks"]


def test_every_key_has_a_value_here() -> None:
    taken = {one.key for one in (*settings.PLAN, *settings.TRAINING)} - set(question._OF_SERVING)
    assert set(VALUES) == taken


@pytest.mark.parametrize("key", sorted(VALUES))
@pytest.mark.parametrize("case", sorted(CASES))
def test_a_setting_changes_something_or_says_that_it_does_not(case: str, key: str) -> None:
    found = tried(case, key)
    if isinstance(found, str):
        assert "plan" in found
        return
    said = [note for note in found.warnings if kind_of(note) is Kind.NO_EFFECT and f"plan.{key}" in note]
    same = figures(found) == figures(answer(case))
    if found.inputs["plan"].get(key) == answer(case).inputs["plan"].get(key) == VALUES[key]:
        return  # it follows from the case, or is a part of it
    assert bool(said) == same, said
