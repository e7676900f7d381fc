"""A training question resolved: defaults that are said, and refusals of a line that name a way round."""

from __future__ import annotations

import re
from typing import Any

import pytest
from trainkit import job

from simcost.errors import Infeasible, SimcostError, SpecError
from simcost.plan import Plan
from simcost.scenarios.train.question import filled
from simcost.training.batch import FILL
from simcost.training.job import STACK, VPP, Job, known_schedules

PIPELINE = Plan(pp=4.0)


def said(one: Job) -> str:
    return " | ".join(one.notes)


def test_defaults_are_said() -> None:
    one = job("llama-3-8b", PIPELINE)
    for word in (
        "precision bf16",
        "optimizer adamw",
        "zero_stage 1",
        "recompute none",
        "schedule 1f1b",
        f"stack {STACK}",
    ):
        assert word in said(one)
    assert one.global_batch == FILL * 4
    assert f"global_batch = {FILL * 4}: {FILL * 4} micro-batches" in said(one)


@pytest.mark.parametrize("name", sorted(known_schedules()))
def test_the_default_batch_keeps_every_schedules_rules(name: str) -> None:
    one = job("llama-3-8b", PIPELINE, schedule=name)
    assert one.microbatches >= FILL * 4
    assert all(rule.holds for rule in one.schedule.rules(4, one.microbatches, one.vpp))
    assert one.tokens == one.global_batch * 4096


def test_virtual_stages_where_a_schedule_needs_some() -> None:
    assert job("llama-3-8b", PIPELINE, schedule="interleaved").vpp == VPP
    assert "plan.vpp sets it" in said(job("llama-3-8b", PIPELINE, schedule="interleaved"))
    assert job("llama-3-8b", Plan(pp=4.0, vpp=4.0)).schedule.NAME == "interleaved"
    assert job("llama-3-8b", PIPELINE).vpp == 1
    assert job("llama-3-8b", PIPELINE, schedule="zb-v").placed.stages == 8


def test_training_runs_mla_expanded() -> None:
    assert job("deepseek-v3").plan.mla_form == "expanded"


def test_unfused_attention_keeps_scores() -> None:
    one = job("gpt3-175b", flags={"attention": "unfused"})
    assert one.how.keeping.scores == 2.0
    assert job("gpt3-175b", flags={"attention": "unfused", "dropout": "on"}).how.keeping.scores == 5.0
    assert job("gpt3-175b").how.keeping.scores == 0.0


@pytest.mark.parametrize(
    ("plan", "recipe", "kind", "says"),
    [
        (Plan(), {"precision": "fp9"}, SpecError, "bf16"),
        (Plan(), {"optimizer": "adamz"}, SpecError, "did you mean 'adamw'"),
        (Plan(), {"stack": "megatron"}, SpecError, "megatron-core-te"),
        (PIPELINE, {"schedule": "1f1c"}, SpecError, "did you mean '1f1b'"),
        (Plan(), {"flags": {"atention": "flash"}}, SpecError, "did you mean 'attention'"),
        (Plan(), {"flags": {"attention": "slow"}}, SpecError, "unfused"),
        (Plan(), {"recompute": "everything"}, SpecError, "core_attn"),
        (Plan(dp=8.0), {"global_batch": 100, "micro_batch": 2}, Infeasible, "nearest 96 or 112"),
        (Plan(dp=8.0), {"global_batch": 3}, Infeasible, "nearest 8"),
        (Plan(pp=4.0), {"schedule": "dualpipe", "global_batch": 9}, Infeasible, "micro-batches of a replica"),
        (Plan(pp=4.0, vpp=2.0), {"global_batch": 9}, Infeasible, "nearest 8 or 12"),
        (Plan(pp=4.0, vpp=2.0), {"schedule": "zb-v"}, Infeasible, "plan.schedule=interleaved"),
        (Plan(mla_form="absorbed"), {}, Infeasible, "training runs MLA expanded"),
        (Plan(overlap="two_batch"), {}, Infeasible, "plan.schedule=dualpipe"),
        (Plan(tp=3.0), {}, Infeasible, "num_attention_heads = 32"),
        (Plan(pp=64.0), {}, Infeasible, "pp"),
        (Plan(), {"zero_stage": 4}, SpecError, "zero_stage"),
    ],
)  # fmt: skip
def test_refusals_are_a_line_with_a_way_round(
    plan: Plan, recipe: dict[str, Any], kind: type[SimcostError], says: str
) -> None:
    with pytest.raises(kind) as refused:
        job("llama-3-8b", plan, **recipe)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_device_without_a_format_says_what_it_has() -> None:
    with pytest.raises(SpecError, match=re.escape("has no rate for fp8")) as refused:
        job("llama-3-8b", hw="a100", precision="fp8-block")
    assert "bf16" in str(refused.value).rpartition(":")[2]


@pytest.mark.parametrize(("gpus", "says"), [(12.0, "nearest 8 or 16"), (4.0, "nearest 8")])
def test_gpus_that_copies_do_not_fill(gpus: float, says: str) -> None:
    with pytest.raises(Infeasible, match=says):
        filled(Plan(tp=2.0, pp=4.0, gpus=gpus))
    assert filled(Plan(tp=2.0, pp=4.0, gpus=16.0)).copies == 2.0


def test_copies_over_several_nodes_need_a_network() -> None:
    """A profile without one used to give a step without a time."""
    assert job("llama-3.2-1b", Plan(gpus=8.0), hw="rtx-4090").plan.devices == 8.0
    with pytest.raises(Infeasible, match=r"no 'links\.scaleout\.bandwidth', and the plan spans more than one"):
        job("llama-3.2-1b", Plan(gpus=16.0), hw="rtx-4090")
