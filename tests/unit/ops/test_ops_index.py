"""What an indexer scores and picks, counted by hand for two sequences of three queries after five keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simcost.dtypes import dtype
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.work import INPUT

BF16, FP8 = dtype("bf16"), dtype("fp8")
PAIRS = 2 * (6 + 7 + 8)  # the first query sees five keys and itself
KEYS = IndexScores(2.0, 3.0, 5.0, 4.0, 16.0, BF16)
BLOCKS = replace(KEYS, block=8.0)
PICKS = IndexTopK(2.0, 3.0, 5.0, 6.0)
PICKED_BLOCKS = replace(PICKS, heads=4.0, block=8.0, top_k=2.0)


def counted(scored: int) -> int:
    """Additions, products, rectifiers and weights of one query against one key, walked head by head."""
    operations = 0
    for _ in range(4):
        for _ in range(16):
            operations += 2  # multiply, add
        operations += scored
    return operations


@pytest.mark.parametrize(("op", "scored"), [(KEYS, 3), (BLOCKS, 1)])  # rectify, weigh, add; or compare
def test_operations_of_every_pair(op: IndexScores, scored: int) -> None:
    assert op.pairs == PAIRS
    assert op.work().flops == PAIRS * counted(scored)


def test_bytes_of_scores_of_keys() -> None:
    """Queries 2 x 3 x 4 heads x 16 in bf16; eight keys of 16 a sequence; an fp32 score a pair, summed over heads."""
    queries, keys, scores = 2 * 3 * 4 * 16 * 2, 2 * 8 * 16 * 2, PAIRS * 4
    work = KEYS.work()
    assert (work.bytes_read, work.bytes_written) == (queries + keys, scores)
    assert KEYS.key_bytes() == keys
    assert KEYS.workspace_bytes() == queries + scores
    assert KEYS.saved_bytes() == queries + keys
    assert KEYS.peak == "bf16"


def test_keys_in_a_narrow_format_have_a_scale_each() -> None:
    assert replace(KEYS, x=FP8).key_bytes() == 2 * 8 * (16 + 4)
    assert replace(KEYS, x=FP8).work().bytes_read == 2 * 3 * 4 * 16 + 2 * 8 * (16 + 4)


def test_blocks_have_a_score_for_each_head() -> None:
    assert BLOCKS.work().bytes_written == PAIRS * 4 / 8 * 4
    assert BLOCKS.work().bytes_read == KEYS.work().bytes_read
    assert (BLOCKS.coords()["op"], BLOCKS.coords()["block"], BLOCKS.coords()["kv"]) == ("block scores", 8.0, 8.0)
    assert KEYS.coords()["op"] == "index scores"
    assert "block" not in KEYS.coords()


def test_the_gradient_of_scores_makes_them_anew_and_two_products_each() -> None:
    (grad,) = KEYS.input_grad()
    assert grad.gradient == INPUT
    forward, work = KEYS.work(), grad.work()
    assert work.flops == 3.0 * forward.flops
    assert work.bytes_read == forward.bytes_read + forward.bytes_written  # and the gradient of the scores
    assert work.bytes_written == forward.bytes_read  # of queries and keys
    assert KEYS.weight_grad() == ()


def test_picks_read_every_score_once_and_write_indices() -> None:
    """A comparison and an exchange a score; six picks of 4 B for each of six queries."""
    work = PICKS.work()
    assert (work.flops, work.bytes_read, work.bytes_written) == (2 * PAIRS, 4 * PAIRS, 4 * 2 * 3 * 6)
    assert PICKS.workspace_bytes() == 4 * PAIRS + 4 * 2 * 3 * 6
    assert PICKS.saved_bytes() == 4 * 2 * 3 * 6
    assert PICKS.input_grad() == PICKS.weight_grad() == ()


def test_picks_of_blocks_are_of_each_head() -> None:
    scores = PAIRS * 4 / 8
    work = PICKED_BLOCKS.work()
    assert (work.flops, work.bytes_read, work.bytes_written) == (2 * scores, 4 * scores, 4 * 2 * 3 * 4 * 2)
    assert PICKED_BLOCKS.coords() == {
        "op": "block top-k", "b": 2.0, "q": 3.0, "kv": 8.0, "h": 4.0, "block": 8.0, "k": 2.0, "dtype": "fp32",
    }  # fmt: skip
    assert PICKS.coords() == {"op": "index top-k", "b": 2.0, "q": 3.0, "kv": 8.0, "k": 6.0, "dtype": "fp32"}
