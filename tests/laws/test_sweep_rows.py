"""A row of a sweep is the answer of its own question, whether its values stand in an array or are asked one by one: for every key of the model that
holds a count, and for sizes of a plan, a step and a device beside windows, experts and a vision tower."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost import settings
from simcost.errors import SimcostError
from simcost.model import load

# Dense with learned positions, windows and a vision tower, MLA with experts, experts with shared ones.
MODELS = ("opt-125m", "gemma-3-27b", "deepseek-v3", "qwen1.5-moe-a2.7b")
KEYS = [one.key for one in settings.MODEL if one.kind in settings.WHOLE]


def values(model: str, key: str) -> list[int]:
    """A key's own value between two others; the least that it may have, and the next ones, where it has none or 0."""
    _, _, config = load.load_config(model)
    now = load.current(config, key)
    if not isinstance(now, int) or isinstance(now, bool) or now < 2:
        least = settings.of("model")[key].least
        return [least, least + 1, least + 2]
    return [now // 2, now, 2 * now]


def answer(decode: bool, model: str, hw: str, sets: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any] | str:
    try:
        return dict((simcost.decode if decode else simcost.prefill)(model, hw, set=sets, **sizes).metrics)
    except SimcostError as error:
        return str(error)


def check(decode: bool, model: str, hw: str, sets: dict[str, Any], sizes: dict[str, Any], path: str, varied: list[Any]) -> None:  # fmt: skip
    alone = [answer(decode, model, hw, {**sets, path: value}, sizes) for value in varied]
    try:
        found = (simcost.decode if decode else simcost.prefill)(model, hw, set=sets, vary={path: varied}, **sizes)
    except SimcostError:
        assert all(isinstance(each, str) for each in alone)
        return
    for value, row, mine in zip(varied, found.tables["sweep"], alone, strict=True):
        assert row["feasible"] == isinstance(mine, dict), (value, row.get("reason"), mine)
        assert row["feasible"] or str(row["reason"]) in mine
        for name, expected in mine.items() if isinstance(mine, dict) else ():
            if isinstance(expected, (int, float)):
                assert row[name] == pytest.approx(expected, rel=1e-12), (value, name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("key", KEYS)
def test_row_of_a_model_key_is_its_question(model: str, key: str) -> None:
    check(False, model, "h200", {}, {"batch": 16, "isl": 2000}, f"model.{key}", values(model, key))


SIZES: dict[str, list[Any]] = {
    "plan.tp": [1, 2, 8], "plan.pp": [1, 2, 7], "plan.ep": [2, 8, 16], "plan.dp_attention": [1, 4, 16], "plan.cp": [1, 2],
    "plan.redundant_experts": [0, 16], "hw.links.scaleup.domain": [4, 8, 72], "hw.memory.bandwidth": ["1 TB/s", "x2"],
    "hw.compute.l2": ["1 MB", "x10"], "hw.links.scaleout.bandwidth": ["x0.1", "x3"],
}  # fmt: skip
STEPS = {
    True: {"batch": [1, 3, 500], "context": [1, 100, 100_000], "prefill_tokens": [1, 3000]},
    False: {"batch": [1, 3, 500], "isl": [1, 100, 20_000], "past": [0, 5000], "chunk": [64, 2000]},
}


@pytest.mark.parametrize(("model", "hw", "sets"), [
    ("gemma-3-27b", "h100", {"plan.tp": 2}), ("gpt-oss-120b", "b200", {"plan.tp": 2, "plan.pp": 2, "plan.etp": 2}),
    ("deepseek-v3", "h200", {"plan.tp": 2, "plan.dp_attention": 8, "plan.ep": 16}),
])  # fmt: skip
@pytest.mark.parametrize("decode", [True, False])
def test_row_of_a_size_is_its_question(model: str, hw: str, sets: dict[str, Any], decode: bool) -> None:
    sizes: dict[str, Any] = {"batch": 32, "context": 16_384} if decode else {"batch": 4, "isl": 3000}
    for path, varied in (SIZES | STEPS[decode]).items():
        rest = {name: size for name, size in sizes.items() if name != path}
        check(decode, model, hw, {name: value for name, value in sets.items() if name != path}, rest, path, varied)


def test_reasons_of_designs_are_those_of_their_questions() -> None:
    """Rules on sizes that are cut, on several axes of a model and one of the plan: of 18 designs those that cannot run say what they say alone."""
    axes = {
        "model.num_attention_heads": [100, 128, 130],
        "plan.ep": [8, 16],
        "model.moe_intermediate_size": [1152, 1536, 2048],
    }
    sets, sizes = {"plan.tp": 8}, {"batch": 64, "context": 4096}
    rows = simcost.decode("deepseek-v3", "h200", set=sets, vary=axes, **sizes).tables["sweep"]
    refused = [row for row in rows if not row["feasible"]]
    assert len(rows) == 18
    assert 10 <= len(refused) < 18
    for row in refused:
        alone = answer(True, "deepseek-v3", "h200", sets | {path: row[path] for path in axes}, sizes)
        assert alone == f"plan: {row['reason']}"
