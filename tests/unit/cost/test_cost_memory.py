"""Memory of a rank: each engine's way to share a GPU out, worked out by hand; and the largest number that fits, by trying all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import engine

from simcost.cost.memory import LIMIT, Memory, largest, shared_out
from simcost.num import Num


def memory(cache: Num = 10.0, capacity: float = 100.0, **terms: Any) -> Memory:
    """Weights 40, activations 7, an exchange of 1, graphs 5."""
    return shared_out(capacity, 40.0, 7.0, 1.0, 5.0, cache, engine(**terms))


@pytest.mark.parametrize(("terms", "pool"), [
    ({"share_of": "all"}, 0.9 * 100 - 40 - 7 - (2 + 1) - 5),
    ({"share_of": "all", "graphs_inside": False}, 0.9 * 100 - 40 - 7 - (2 + 1)),
    ({"share_of": "free before load"}, 0.9 * (100 - 3) - 40 - 2),
    ({"share_of": "free after load"}, 0.9 * (100 - 3 - 40 - (2 + 1))),
    ({"share_of": "free after peak"}, 0.9 * (100 - 3 - 40 - (2 + 1) - 7)),
])  # fmt: skip
def test_the_pool_is_what_the_engines_share_leaves(terms: dict[str, Any], pool: float) -> None:
    found = memory(**terms)
    assert found.pool == pytest.approx(pool)
    assert found.short == pytest.approx(10.0 - pool)


@pytest.mark.parametrize("share_of", ["all", "free before load", "free after load", "free after peak"])
@given(cache=st.floats(0.0, 200.0), capacity=st.floats(10.0, 500.0))
def test_the_parts_of_a_gpu_add_up_to_all_of_it(share_of: str, cache: float, capacity: float) -> None:
    found = memory(cache, capacity, share_of=share_of)
    parts = found.weights + found.activations + found.non_torch + found.graphs + found.pool + found.reserve
    assert parts == pytest.approx(capacity)
    assert found.capacity - found.used == pytest.approx(found.pool - cache)


def test_what_is_missing_before_any_pool_is_missing_in_full() -> None:
    found = memory(capacity=30.0, share_of="free after load", share=0.5)
    assert found.pool == pytest.approx(30 - 3 - 40 - 3)
    many = shared_out(
        np.array([30.0, 100.0]),
        40.0,
        7.0,
        1.0,
        5.0,
        0.0,
        engine(share_of="free after load", share=0.5),
    )
    assert np.asarray(many.pool).tolist() == pytest.approx([-16.0, 0.5 * (100 - 3 - 40 - 3)])


@given(most=st.integers(0, 300), bound=st.integers(1, 250))
def test_the_largest_that_fits_is_found_as_if_all_were_tried(most: int, bound: int) -> None:
    found = largest(lambda n: 1.0 * (n <= most), 0.0, float(bound))
    assert found == max([n for n in range(1, bound + 1) if n <= most], default=0)


@given(limits=st.lists(st.integers(0, 5000), min_size=1, max_size=12))
def test_points_are_searched_side_by_side_and_each_by_itself(limits: list[int]) -> None:
    most = np.array(limits, float)
    found = largest(lambda n: 1.0 * (n <= most), 0.0 * most)
    assert np.asarray(found).tolist() == limits


@pytest.mark.parametrize(("size", "want"), [(0.0, np.inf), (1e-3, 1e5), (101.0, 0.0), (100.0, 1.0), (33.0, 3.0)])
def test_what_takes_nothing_fits_without_end(size: float, want: float) -> None:
    assert largest(lambda n: 1.0 * (n * size <= 100.0), 0.0) == want


def test_the_search_needs_about_as_many_questions_as_the_limit_has_bits() -> None:
    asked: list[float] = []

    def fits(n: Num) -> Num:
        asked.append(float(n))
        return 1.0 * (n <= 12345)

    assert largest(fits, 0.0) == 12345
    assert len(asked) <= np.log2(LIMIT) + 2
    assert min(asked) >= 1.0
