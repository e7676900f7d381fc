"""Plans that read as SGLang and TensorRT-LLM write them are said to take more GPUs here."""

from __future__ import annotations

import pytest

from simcost import api


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"tp": 8, "dp_attention": 8, "ep": 8}, "takes 64 GPUs: here tp counts the GPUs of one replica"),
        ({"tp": 8, "dp_attention": 2}, "--tp 8 --dp 2 --enable-dp-attention, on 8 GPUs, is tp=4 with dp_attention=2"),
        ({"tp": 8, "dp_attention": 8, "ep": 64}, ""),  # whoever spreads experts over 64 GPUs counts them so
        ({"tp": 2, "dp_attention": 4, "ep": 8}, ""),
        ({"dp_attention": 8, "ep": 8}, ""),
    ],
)
def test_tp_that_counts_all_gpus_elsewhere(sizes: dict[str, int], said: str) -> None:
    sets = {f"plan.{name}": size for name, size in sizes.items()}
    notes = " ".join(api.decode("deepseek-v3", "h200", batch=64, set=sets).warnings)
    assert (said in notes) if said else ("here tp counts" not in notes)
