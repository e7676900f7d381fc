"""Devices without bf16: a question in bf16 is refused in one line that names fp16, which then answers."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost.errors import SpecError

WITHOUT = ("v100", "v100-16gb", "t4")


@pytest.mark.parametrize("hw", WITHOUT)
def test_bf16_is_refused_and_fp16_is_the_way_round(hw: str) -> None:
    ask: dict[str, Any] = {"model": "llama-3.2-1b", "hw": hw, "batch": 4, "context": 2048}
    with pytest.raises(
        SpecError, match=r"cannot compute in bf16 .*: run it in fp16: --set plan.activation_dtype=fp16"
    ) as error:
        simcost.decode(**ask)
    assert "\n" not in str(error.value)
    found = simcost.decode(**ask, set={"plan.activation_dtype": "fp16"})
    assert 0.0 < found.metrics["speed_of_light_s"] < found.metrics["tpot_s"]


def test_training_names_fp16_too_and_a_device_without_fp16_names_bf16() -> None:
    with pytest.raises(
        SpecError, match=r"v100/profile.toml has no rate for bf16: use one of fp16.*--set plan.precision"
    ):
        simcost.train("llama-3.2-1b", "v100", gpus=8, levers=False)
    with pytest.raises(SpecError, match=r"run it in bf16: --set plan.activation_dtype=bf16"):
        simcost.decode("opt-30b", "tpu-v5e", batch=1, context=4096)
