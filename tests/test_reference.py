"""Published and hand-counted numbers: every row of reference/*.csv names its source, quantity, unit and tolerance."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from simcost.dtypes import dtype
from simcost.model import count, flops, load
from simcost.plan import Plan
from simcost.routing.load import distinct_ranks

HOME = Path(__file__).parent / "reference"
COLUMNS = ["source", "locator", "quantity", "model", "unit", "value", "rtol"]


def rows(name: str) -> list[dict[str, str]]:
    with (HOME / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cases(name: str) -> list:
    return [pytest.param(row, id=f"{row['model']}-{row['quantity']}-{i}") for i, row in enumerate(rows(name))]


def agree(got: float, row: dict[str, str]) -> None:
    want, rtol = float(row["value"]), float(row["rtol"])
    said = f"{row['model']} {row['quantity']}: {got!r}, {row['source']} ({row['locator']}) says {want!r}"
    assert got == want if rtol == 0 else math.isclose(got, want, rel_tol=rtol), said


@pytest.mark.parametrize("name", ["parameters.csv", "kv.csv", "training_flops.csv", "routing.csv"])
def test_every_reference_row_is_complete(name: str) -> None:
    for row in rows(name):
        assert list(row) == COLUMNS
        assert all(row[key].strip() for key in COLUMNS), row


@pytest.mark.parametrize("row", cases("parameters.csv"))
def test_parameters_equal_the_reference(row: dict[str, str]) -> None:
    model = load.load(row["model"])
    found = count.parameters(model)
    ends = float(model.embedding.weights(Plan())[0].count) * (1.0 if model.head.tied else 2.0)
    found["params_total_no_embedding_no_head"] = found["params_total"] - ends
    agree(float(found[row["quantity"]]), row)


@pytest.mark.parametrize("row", cases("kv.csv"))
def test_cache_of_a_token_equals_the_reference(row: dict[str, str]) -> None:
    elements = count.kv_elements(load.load(row["model"]))["kv_elements_per_token"]
    bytes_each = row["quantity"] == "kv_bytes_per_token_bf16"
    agree(float(dtype("bf16").tensor_bytes(elements) if bytes_each else elements), row)


@pytest.mark.parametrize("row", cases("training_flops.csv"))
def test_training_flops_equal_each_published_convention(row: dict[str, str]) -> None:
    seq = float(row["locator"].removeprefix("seq="))
    agree(float(flops.flops_per_token(load.load(row["model"]), seq, row["quantity"])), row)


@pytest.mark.parametrize("row", cases("routing.csv"))
def test_distinct_ranks_equal_the_reference(row: dict[str, str]) -> None:
    given = dict(part.split("=") for part in row["locator"].split())
    agree(distinct_ranks(256.0, 8, float(given["ranks"]), int(given.get("groups", 1)), int(given.get("limit", 1))), row)


def test_every_zoo_model_has_a_parameter_and_a_cache_reference() -> None:
    named = {row["model"] for row in rows("parameters.csv")}
    cached = {row["model"] for row in rows("kv.csv")}
    assert set(load.names()) <= named
    assert set(load.names()) <= cached
