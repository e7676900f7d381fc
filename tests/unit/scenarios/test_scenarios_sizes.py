"""Plans in one option: names with and without their root, and refusals that name the option."""

from __future__ import annotations

import pytest

from simcost.errors import SpecError
from simcost.scenarios import sizes


def test_sizes_stand_without_their_root() -> None:
    assert sizes.read("--train", None) == {}
    assert sizes.read("--train", "tp=8, pp=2 ,global_batch=512") == {"plan.tp": 8, "plan.pp": 2, "global_batch": 512}
    assert sizes.read("--train", "plan.tp=8,engine=vllm") == {"plan.tp": 8, "engine": "vllm"}
    assert sizes.read("--train", "weight_dtype=fp8") == {"plan.weight_dtype": "fp8"}


@pytest.mark.parametrize("text", ["tpp=8", "tp", "tp=8,tp=4", ""])
def test_what_is_no_plan_is_refused_by_the_name_of_its_option(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        sizes.read("--train", text)
    assert str(refused.value).startswith(f"--train {text}: ")
    assert "--set" not in str(refused.value)
