"""Where attention overtakes the FFN and the cache the weights, from published shapes; where the forms of MLA turn, by search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost import query
from simcost.cost.cost import Cost
from simcost.errors import SpecError
from simcost.query import workload
from simcost.result import Result
from simcost.scenarios import crossover

EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True)
READS, LENGTHS = "decode reads by batch", "prefill FLOPs by length"


def asked(model: str, **sets: Any) -> query.Query:
    changes = {"hw.measurements": "none", **{f"plan.{name}": value for name, value in sets.items()}}
    return query.make(model, "h200", True, {"batch": 1, "context": 1024}, changes, {}, None)


def found(model: str, **sets: Any) -> Result:
    return crossover.result(asked(model, **sets))


def first(holds: Any) -> int:
    """The smallest count from 1 for which it holds: doubling, then halving."""
    high = 1
    while not holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def test_attention_overtakes_the_ffn_of_llama_by_hand() -> None:
    """32 layers alike: a pair costs 32 heads of 2 x 128, a token 3 x 4,096 x 14,336 multiply-adds."""
    metrics = found("llama-3.1-8b").metrics
    ffn, pair = 3 * 4096 * 14336, 32 * 256
    assert metrics["ffn_flops_per_token"] == 32 * 2 * ffn
    assert metrics["prefill_crossover_tokens"] == first(lambda n: pair * n * (n + 1) // 2 > ffn * n)
    assert metrics["token_crossover_context"] == first(lambda n: pair * n > ffn)
    assert "token_crossover_context_absorbed" not in metrics


def test_windows_put_the_crossover_off() -> None:
    """gpt-oss-120b: half of 36 layers see 128 tokens; four experts of 2,880 and a router of 128 a token."""
    metrics = found("gpt-oss-120b").metrics
    ffn, pair = 36 * (4 * 3 * 2880 * 2880 + 128 * 2880), 64 * 128

    def pairs(n: int) -> int:
        full, inside = n * (n + 1) // 2, min(n, 128)
        return 18 * full + 18 * (inside * (inside + 1) // 2 + (n - inside) * 128)

    assert metrics["prefill_crossover_tokens"] == first(lambda n: pair * pairs(n) > ffn * n)
    assert metrics["token_crossover_context"] == first(lambda n: pair * 18 * (n + min(n, 128)) > ffn)


def test_absorbed_attention_overtakes_sooner() -> None:
    """DeepSeek-V3: a pair costs 128 heads of 192 + 128 expanded, of 576 + 512 absorbed."""
    metrics = found("deepseek-v3").metrics
    ffn = 3 * 3 * 7168 * 18432 + 58 * (9 * 3 * 7168 * 2048 + 256 * 7168)
    assert metrics["ffn_flops_per_token"] == 2 * ffn
    assert metrics["token_crossover_context"] == first(lambda n: 61 * 128 * 320 * n > ffn)
    absorbed = metrics["token_crossover_context_absorbed"]
    assert 61 * 128 * 1088 * (absorbed - 1) < ffn <= 61 * 128 * 1088 * absorbed


def test_shares_of_a_long_prompt_by_hand() -> None:
    for row in found("llama-3.1-8b").tables[LENGTHS]:
        core = 32 * 2 * 32 * 256 * (row["length"] + 1) / 2
        assert row["attention_core_flops_per_token"] == pytest.approx(core)
        assert row["attention_share"] == pytest.approx(core / (core + 32 * 2 * 3 * 4096 * 14336))


def reads(model: str, **sets: Any) -> dict[int, tuple[float, int]]:
    """Weight bytes and context by batch."""
    return {
        row["batch"]: (row["weight_bytes_read_per_gpu"], row["context"]) for row in found(model, **sets).tables[READS]
    }


@pytest.mark.parametrize("tp", [1, 8])
def test_a_cache_is_read_beside_all_weights_but_the_table_of_tokens(tp: int) -> None:
    """Llama-3.1-8B: of the table only the rows of the batch; norms are whole on every rank."""
    layer = ((4096 + 2048 + 4096) * 4096 + 3 * 4096 * 14336) // tp
    weights = 2 * (32 * layer + 32 * 2 * 4096 + 4096 + 128256 * 4096 // tp)
    for batch, (read, context) in reads("llama-3.1-8b", tp=tp).items():
        mine = weights + batch * 4096 * 2
        assert read == mine
        assert context == first(lambda n, b=batch, w=mine: b * n * 32 * (8 // tp) * 256 * 2 > w)


def test_a_tied_head_reads_the_table_all_the_same() -> None:
    """Llama-3.2-1B: 16 layers, 2,048 wide, 8,192 inside, 32 heads on 8 of 64."""
    layer = (2048 + 2 * 512 + 2048) * 2048 + 3 * 2048 * 8192 + 2 * 2048
    wanted = 2 * (16 * layer + 2048 + 128256 * 2048 + 2048)  # and one row of the table
    assert reads("llama-3.2-1b")[1][0] == wanted


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
def test_a_batch_reads_the_experts_that_it_touches(batch: int) -> None:
    """Mixtral: of eight experts a token misses each with a chance of 3/4."""
    rest = 32 * ((4096 + 2048 + 4096) * 4096 + 8 * 4096 + 2 * 4096) + 4096 + 32000 * 4096 + batch * 4096
    touched = 8 * (1 - 0.75**batch)
    wanted = 2 * (rest + 32 * touched * 3 * 4096 * 14336)
    assert reads("mixtral-8x7b")[batch][0] == pytest.approx(wanted, rel=1e-12)


def test_copies_share_the_batch_and_so_touch_fewer_experts() -> None:
    one, two = reads("mixtral-8x7b"), reads("mixtral-8x7b", dp=2)
    experts = 32 * 3 * 4096 * 14336 * 2.0
    assert two[16][0] == pytest.approx(one[16][0] - 8 * 4096 * 2 - experts * 8 * (0.75**8 - 0.75**16), rel=1e-12)


def test_a_stage_reads_its_part_of_the_weights() -> None:
    one, two = reads("llama-3.1-8b"), reads("llama-3.1-8b", pp=2)
    for batch, (read, context) in one.items():
        assert two[batch] == (read / 2, context)


def test_axes_are_refused() -> None:
    one = query.make("llama-3.1-8b", "h200", True, {"context": 1024}, {}, {"phase.batch": [1, 2]}, None)
    with pytest.raises(SpecError, match="crossover takes one design"):
        crossover.result(one)


# ---- forms of MLA ----------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_from_where_on_something_holds_to_the_end(holds: list[bool]) -> None:
    wanted = next((i for i in range(len(holds)) if all(holds[i:])), None)
    assert crossover._from(np.array(holds)) == wanted


@EXAMPLES
@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=10), st.sampled_from([0.0, 0.1, 0.3]))
def test_a_turn_is_where_the_sign_changes_for_good_and_surely(ratios: list[float], sigma: float) -> None:
    """`ratios`: absorbed over expanded. Each form's own error counts twice in its part that kernels do not share."""
    count = len(ratios)
    queries, ones = np.arange(1.0, count + 1.0), np.ones(count)
    absorbed, expanded = Cost(memory_s=np.array(ratios)), Cost(memory_s=ones, spread={"gemm": sigma * ones})
    row = crossover._turn(queries, absorbed, expanded)
    margin = 1.6448536269514722 * sigma
    gains = [float(np.log(ratio)) for ratio in ratios]
    wins = next((i for i in range(count) if all(g > 0 for g in gains[i:])), None)
    sure = next((i for i in range(count) if all(g > margin for g in gains[i:])), None)
    last = max((i for i in range(count) if -gains[i] > margin), default=None)
    assert row["absorbed_surely_to"] == (None if last is None else last + 1)
    assert row["expanded_surely_from"] == (None if sure is None else sure + 1)
    turns = wins is not None and sure is not None and (sure == 0 or (last is not None and last < wins))
    assert row["queries"] == (wins + 1 if turns and wins is not None else None)


def test_only_mla_has_forms_to_turn() -> None:
    assert crossover._forms(workload(asked("llama-3.1-8b"))) == []
    assert [row["past"] for row in crossover._forms(workload(asked("deepseek-v2-lite")))] == list(crossover.PASTS)


@pytest.mark.parametrize(("model", "sets"), [
    ("mixtral-8x7b", {"ep": 8}), ("deepseek-v2-lite", {"ep": 8, "mla_form": "expanded"}),
])  # fmt: skip
def test_a_choice_of_exchanges_is_no_form_of_mla(model: str, sets: dict[str, Any]) -> None:
    assert crossover._forms(workload(asked(model, cuda_graph="off", **sets))) == []


@pytest.mark.parametrize(("rows", "named"), [
    ([{"past": 0, "queries": 5}], None), ([{"past": 4096, "queries": None}, {"past": 32768, "queries": None}], "4,096, 32,768"),
])  # fmt: skip
def test_rows_without_a_turn_are_said(rows: list[dict[str, Any]], named: str | None) -> None:
    notes = crossover._unknown(workload(asked("llama-3.1-8b")).device, rows)
    assert len(notes) == (named is not None)
    assert all(f"after {named} cached tokens" in note for note in notes)
