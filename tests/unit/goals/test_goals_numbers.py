"""Numbers that may be varied, and their neighbours: grains of widths, factors of sizes, steps of counts."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.query import Query, make, workload
from simcost.scenarios.goals import neighbours, numbers
from simcost.scenarios.goals.numbers import CONTINUOUS, FACTORS, STEPS, Number


def question(model: str = "llama-3.1-8b", decode: bool = True, **phase: Any) -> Query:
    return make(
        model,
        "h200",
        decode,
        phase or ({"batch": 8, "context": 4096} if decode else {"isl": 4096}),
        {"plan.tp": 2},
        {},
        None,
    )


def known(query: Query, unset: bool = False) -> dict[str, Number]:
    return dict(numbers.by_path(numbers.every(query, workload(query), unset)))


@pytest.mark.parametrize(
    ("key", "value", "grain"),
    [
        ("hidden_size", 4096, 64.0),  # a tile, though 4,096 has a larger power of two
        ("intermediate_size", 14336, 64.0),
        ("intermediate_size", 11008, 64.0),
        ("head_dim", 96, 16.0),  # 32 would be more than a quarter of it
        ("head_dim", 128, 32.0),
        ("kv_lora_rank", 100, 4.0),
        ("hidden_size", 4097, 1.0),
        ("qk_rope_head_dim", 2, 1.0),
        ("num_hidden_layers", 64, 1.0),  # no width
    ],
)
def test_the_step_of_a_width_is_the_power_of_two_in_it(key: str, value: int, grain: float) -> None:
    assert numbers._grain(key, value) == grain


def test_numbers_of_a_question_have_the_values_of_its_model_plan_and_step() -> None:
    found = known(question())
    assert {path: found[path].value for path in ("batch", "context", "plan.tp", "model.hidden_size", "model.num_hidden_layers")} == {
        "batch": 8.0, "context": 4096.0, "plan.tp": 2.0, "model.hidden_size": 4096.0, "model.num_hidden_layers": 32.0,
    }  # fmt: skip
    assert [found[path].grid for path in ("hw.memory.bandwidth", "plan.tp", "model.hidden_size", "batch")] == [
        CONTINUOUS, FACTORS, STEPS, STEPS,
    ]  # fmt: skip
    assert (found["model.hidden_size"].grain, found["model.hidden_size"].most) == (64.0, 16.0 * 4096.0)
    assert "chunk" not in found  # a decode step has none
    assert "plan.gpus" not in found


def test_what_nobody_set_is_a_number_where_it_is_asked_for() -> None:
    plain, all_ = known(question(decode=False)), known(question(decode=False), unset=True)
    assert set(plain) < set(all_)
    chunk, gpus = all_["chunk"], all_["plan.gpus"]
    assert (chunk.value, chunk.least, chunk.most) == (4096.0, 128.0, 4096.0)  # the whole prompt, at most 32 steps
    assert (gpus.value, gpus.grid, gpus.alone) == (2.0, FACTORS, True)
    assert known(question(decode=False, isl=4096, chunk=512))["chunk"].value == 512.0


def test_a_count_of_experts_cannot_stand_beside_other_numbers() -> None:
    found = known(question("deepseek-v3"))
    assert found["model.n_routed_experts"].alone
    assert not found["model.num_experts_per_tok"].alone


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("engine.max_num_seqs", "settings of an engine cannot be solved for"),
        ("isl", "'isl' does not apply to decode"),
        ("hw.links.scaleup.reduces", "is true or false, not a number"),
        ("model.hidden_sizes", "did you mean 'model.hidden_size'"),
    ],
)
def test_what_is_no_number_of_a_question_is_refused(path: str, said: str) -> None:
    query = question()
    with pytest.raises(SpecError, match=said):
        numbers.one(query, workload(query), path)


def test_a_number_is_found_by_another_of_its_spellings() -> None:
    query = question()
    for path in ("model.hidden_size", "model.n_embd", "model.d_model"):
        assert numbers.one(query, workload(query), path).path == "model.hidden_size"


def test_values_are_stated_to_the_last_bit_and_shown_to_people() -> None:
    rate = Number("hw.memory.bandwidth", 4.8e12, "bytes_per_s", CONTINUOUS, 1.0, 1e15)
    assert rate.stated(4.8e12 / 3.0) == f"{4.8e12 / 3.0!r} B/s"
    share = Number("hw.assumed.memory_efficiency", 0.9, "fraction", CONTINUOUS, 0.0, 1.0)
    assert share.stated(0.1 + 0.2) == "0.30000000000000004"
    domain = Number("hw.links.scaleup.domain", 8.0, "count", FACTORS, 1.0, 4096.0)
    assert (domain.stated(16.0), domain.show(4096.0), domain.whole) == ("16", "4,096", True)
    width = Number("model.hidden_size", 4096.0, "count", STEPS, 1.0, 65536.0, 64.0)
    assert (width.stated(4160.0), width.show(4160.0)) == (4160, "4,160")
    assert (rate.whole, rate.show(4.8e12)) == (False, "4.8 TB/s")


# ---- neighbours ------------------------------------------------------------------------------------------------------------


def tried(number: Number, step: float, up: bool, most: int = 6) -> list[float]:
    return list(islice(neighbours.candidates(number, step, up), most))


def test_a_continuous_number_has_one_neighbour_a_step_away_within_its_range() -> None:
    share = Number("hw.assumed.memory_efficiency", 0.95, "fraction", CONTINUOUS, 0.0, 1.0)
    assert tried(share, 0.1, False) == [pytest.approx(0.855)]
    assert tried(share, 0.1, True) == []  # 1.045 is above all


def test_sizes_are_multiplied_and_divided_as_engines_take_them() -> None:
    tp = Number("plan.tp", 12.0, "count", FACTORS, 1.0, 64.0)
    assert tried(tp, 0.1, True) == [24.0, 36.0, 48.0, 60.0]  # up to 64
    assert tried(tp, 0.1, False) == [6.0, 4.0, 3.0, 2.0, 1.0]  # 12 / 5 is no whole number
    assert tried(Number("plan.dp", 4.0, "count", FACTORS, 2.0, 64.0), 0.1, False) == [2.0]


def test_counts_step_first_to_what_is_nearest_to_the_wanted_value() -> None:
    """A tenth of 4,096 are 6.4 steps of 64: six, then five and seven, then four and eight."""
    width = Number("model.hidden_size", 4096.0, "count", STEPS, 1.0, 65536.0, 64.0)
    steps = [(value - 4096.0) / 64.0 for value in tried(width, 0.1, True, 5)]
    assert steps[0] == 6.0
    assert [set(steps[1:3]), set(steps[3:5])] == [{5.0, 7.0}, {4.0, 8.0}]
    assert [(4096.0 - value) / 64.0 for value in tried(width, 0.1, False, 1)] == [6.0]
    few = Number("model.num_hidden_layers", 2.0, "count", STEPS, 1.0, 32.0)
    assert tried(few, 0.1, False) == [1.0]  # one step at least, and never 0
    assert tried(few, 0.1, True)[0] == 3.0


class Refusing:
    """A question that refuses what is no multiple of 16."""

    def refused(self, values: dict[str, float]) -> str:
        (value,) = values.values()
        return "" if value % 16.0 == 0.0 else f"{value:g} is no multiple of 16"


def test_the_first_value_that_runs_is_taken_and_a_side_without_one_says_why() -> None:
    count = Number("model.num_attention_heads", 32.0, "count", STEPS, 1.0, 47.0)
    found = neighbours.around(Refusing(), count, 0.1)  # type: ignore[arg-type]
    assert (found.less, found.more) == (16.0, None)
    assert found.why == "none above: 35: 35 is no multiple of 16"
    end = Number("plan.tp", 1.0, "count", FACTORS, 1.0, 1.0)
    alone = neighbours.around(Refusing(), end, 0.1)  # type: ignore[arg-type]
    assert (alone.less, alone.more, alone.why) == (None, None, "none below: 1 is the least; none above: 1 is the most")
