"""A question on its way to workers: it comes back as it was, long axes as their ends, and what JSON cannot hold is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from simcost.bulk.question import packed, read
from simcost.errors import SpecError
from simcost.query import Query, make


def query(**axes: list[Any]) -> Query:
    sets = {"plan.tp": 2, "hw.memory.bandwidth": "5 TB/s", "engine": "vllm"}
    return make("llama-3.1-8b", "h200", True, {"batch": 8, "context": 4096}, sets, axes, None)


@pytest.mark.parametrize(
    "values",
    [
        list(range(1, 1001)),
        list(range(16, 4097, 16)),
        [1, 2, 4, 8, 16, 32, 64, 128],
        [9, 8, 7, 6, 5, 4, 3, 2],
        [1, 3],
        [7],
    ],
)
def test_a_question_comes_back_as_it_was(values: list[Any]) -> None:
    asked = query(batch=values)
    assert read(packed(asked)) == asked
    assert read(packed(asked)).axes["batch"] == values


def test_equal_steps_travel_as_their_ends() -> None:
    """A million batches are three numbers; unequal steps, and few values, each by itself."""

    def sent(values: list[Any]) -> Any:
        return json.loads(packed(query(batch=values)))["axes"]["batch"]

    assert sent(list(range(1, 1_000_001))) == {"range": [1, 1_000_000, 1]}
    assert sent(list(range(10, 81, 10))) == {"range": [10, 80, 10]}
    assert sent([1, 2, 3, 4, 5, 6, 7]) == [1, 2, 3, 4, 5, 6, 7]
    assert sent([1, 2, 3, 4, 5, 6, 7, 9]) == [1, 2, 3, 4, 5, 6, 7, 9]
    assert sent([8, 7, 6, 5, 4, 3, 2, 1]) == [8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "cannot be sent"),
        (float("inf"), "cannot be sent"),
        ({1, 2}, "cannot be sent"),
        ((1, 2), "JSON cannot hold"),
    ],
)
def test_what_json_does_not_bring_back_is_refused(value: Any, said: str) -> None:
    asked = query()
    odd = replace(asked, overrides=replace(asked.overrides, plan={**asked.overrides.plan, "tp": value}))
    with pytest.raises(SpecError, match=said):
        packed(odd)
