"""Settings that change nothing for a design or its groups: a note with the reason, and the same numbers without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toykit import workload

from simcost.estimate import step
from simcost.estimate.unused_settings import notes

MOE = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


@pytest.mark.parametrize(("sets", "config", "said"), [
    ({"ep": 1}, {}, ""), ({"mla_form": "absorbed"}, {}, "plan.mla_form has no effect: m has no MLA"), ({"mla_form": "auto"}, {}, ""),
    ({"cp_method": "all_gather"}, {}, "plan.cp_method"), ({"cp_method": "ulysses", "cp": 2}, {}, ""),
    ({"cp_method": "all_gather", "cp": 2}, {}, "in decode ranks send queries, while ring sends keys"),
    ({"sequence_parallel": "on"}, {}, "plan.sequence_parallel has no effect: plan.tp is 1"), ({"sequence_parallel": "on", "tp": 2}, {}, ""),
    ({"dequantise": "separate"}, {}, "no weights are stored in a narrower format than they are computed in"),
    ({"dequantise": "separate", "weight_dtype": "int4"}, {}, ""), ({"redundant_experts": 8}, {}, "m has no experts"),
    ({"redundant_experts": 8, "ep": 8}, MOE, ""), ({"all_to_all": "nccl"}, MOE, "no token is sent"), ({"all_to_all": "nccl", "ep": 8}, MOE, ""),
    ({"overlap": "shared_experts"}, MOE, "m has no shared experts"), ({"overlap": "two_batch", "ep": 8}, MOE, ""),
])  # fmt: skip
def test_a_setting_that_changes_nothing_says_why(
    tmp_path: Path, sets: dict[str, Any], config: dict[str, Any], said: str
) -> None:
    w = workload(tmp_path, sets={f"plan.{name}": value for name, value in sets.items()}, config=config)
    found = notes(w, set(sets))
    assert len(found) == bool(said)
    assert all(said in note for note in found)
    assert notes(w, set()) == []


@pytest.mark.parametrize(("sets", "config"), [
    ({"sequence_parallel": "on"}, {}), ({"dequantise": "separate"}, {}), ({"cp_method": "ulysses"}, {}), ({"all_to_all": "nccl"}, MOE),
    ({"mla_form": "expanded"}, {}), ({"overlap": "shared_experts"}, MOE), ({"redundant_experts": 8}, {}),
])  # fmt: skip
def test_what_is_said_to_have_no_effect_has_none(tmp_path: Path, sets: dict[str, Any], config: dict[str, Any]) -> None:
    with_, without = (
        workload(tmp_path, sets={f"plan.{k}": v for k, v in (sets if on else {}).items()}, config=config)
        for on in (True, False)
    )
    assert notes(with_, set(sets))
    assert step.run(with_).cost.seconds == pytest.approx(float(step.run(without).cost.seconds), rel=1e-12)
    assert step.run(with_).kept.memory.short == step.run(without).kept.memory.short
