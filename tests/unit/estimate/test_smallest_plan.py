"""The plan with the fewest GPUs: it fits, no plan of fewer GPUs does, and every way to split them is looked at."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from simcost import api
from simcost.api.arguments import decode_query
from simcost.errors import SimcostError
from simcost.estimate import smallest_plan
from simcost.query import workload
from simcost.scenarios import fitting

Ask = tuple[str, str, int, int, dict[str, Any]]
ASKS: list[Ask] = [
    ("llama-3.1-70b", "h100", 1, 4096, {}), ("llama-3.1-70b", "l40s", 8, 8192, {"plan.weight_dtype": "fp8"}),
    ("mixtral-8x22b", "l40s", 8, 4096, {}), ("gpt-oss-120b", "a100-40gb", 1, 4096, {"plan.compute_dtype": "bf16"}),
    ("llama-3.1-8b", "h100", 64, 32_768, {"engine": "sglang"}), ("qwen3-30b-a3b", "rtx-4090", 4, 4096, {}),
]  # fmt: skip


def found(ask: Ask) -> tuple[int, dict[str, int]] | None:
    """(GPUs, sizes) that the verdict names."""
    model, hw, batch, context, sets = ask
    query = decode_query(model, hw, batch, context, sets, None, None)
    said = fitting.smallest(query, workload(query))
    match = re.fullmatch(r"the smallest plan that fits has ([\d,]+) GPUs?: (.*)", said)
    if match is None:
        assert said == "none of the plans tried, up to 1,024 GPUs, fits"
        return None
    return int(match[1].replace(",", "")), {name: int(size) for name, size in re.findall(r"(\w+)=(\d+)", match[2])}


def fits(ask: Ask, sizes: dict[str, int]) -> bool:
    model, hw, batch, context, sets = ask
    plan = {f"plan.{name}": size for name, size in sizes.items()}
    try:
        return bool(api.show_memory(model, hw, batch, context, {**sets, **plan}).fits)
    except SimcostError:
        return False


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: f"{ask[0]} on {ask[1]}")
def test_it_fits_and_no_plan_of_fewer_gpus_does(ask: Ask) -> None:
    answer = found(ask)
    assert answer is not None
    count, sizes = answer
    assert count > 1
    assert fits(ask, sizes)
    for fewer in range(1, min(count, 9)):  # one by one, as a user would ask
        for tp in range(1, fewer + 1):
            for pp in range(1, fewer + 1):
                for dp in range(1, fewer + 1):
                    for ep in range(1, fewer + 1):
                        if max(tp, ep) * pp * dp == fewer:
                            assert not fits(ask, {"tp": tp, "pp": pp, "dp": dp, "ep": ep})


@pytest.mark.parametrize("experts", [False, True])
@pytest.mark.parametrize("contexts", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 6, 8, 12, 36])
def test_splits_are_all_there_are_and_each_once(devices: int, contexts: bool, experts: bool) -> None:
    rows = list(smallest_plan.splits(devices, experts, contexts))
    numbers = range(1, devices + 1)
    want = {
        (tp, pp, dp, cp, ep)
        for tp in numbers for cp in (numbers if contexts else [1]) if devices % (tp * cp) == 0
        for ep in (numbers if experts else [1]) if devices % ep == 0 and (ep % (tp * cp) == 0 or (tp * cp) % ep == 0)
        for pp in numbers if pp <= 16 and devices % (max(tp * cp, ep) * pp) == 0
        for dp in [devices // (max(tp * cp, ep) * pp)]
    }  # fmt: skip
    assert len(rows) == len(set(rows))
    assert set(rows) == want


def test_what_no_number_of_gpus_holds_has_none() -> None:
    assert found(("llama-3.1-8b", "h100", 1, 200_000_000, {})) is None


def test_many_gpus_come_by_eights() -> None:
    answer = found(("llama-3.1-8b", "h100", 1000, 131_072, {}))
    assert answer is not None
    assert answer[0] % 8 == 0
    assert answer[0] == math.prod(answer[1].values())


def test_sizes_that_were_asked_for_are_not_kept() -> None:
    plan = found(("llama-3.1-70b", "h100", 1, 4096, {"plan.tp": 1, "plan.gpus": 1}))
    assert plan == found(ASKS[0])
