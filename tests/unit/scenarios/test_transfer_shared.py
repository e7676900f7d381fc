"""What errors of a stand-in's kernels of different classes have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcost.scenarios.calibrate.transfer import Apart, Own, shared


def apart(family: str, errors: list[float], tokens: list[float] | None, engine: str = "vllm") -> Apart:
    counts = None if tokens is None else np.array(tokens)
    return Apart(Own(family, {}, engine, Path("rows.csv")), np.array(errors), counts)


@pytest.mark.parametrize(("other", "share"), [([0.3, 0.3], 1.0), ([-0.3, -0.3], -1.0), ([0.3, -0.3], 0.0)])
def test_the_share_is_the_mean_product_of_two_families_over_the_mean_square(other: list[float], share: float) -> None:
    found = [apart("gemm", [0.3, 0.3], [16.0, 64.0]), apart("experts", other, [16.0, 64.0])]
    assert shared(found) == pytest.approx(share)


def test_rows_of_one_family_and_token_count_count_by_their_mean() -> None:
    found = [apart("gemm", [0.1, 0.5], [60.0, 70.0]), apart("gemm", [0.6], [64.0]), apart("experts", [0.2], [64.0])]
    assert shared(found) == pytest.approx(0.4 * 0.2 / np.mean([0.01, 0.25, 0.36, 0.04]))


def test_engines_token_counts_and_links_do_not_meet() -> None:
    one = apart("gemm", [0.3], [16.0])
    assert shared([one, apart("experts", [0.3], [16.0], "trtllm")]) is None
    assert shared([one, apart("experts", [0.3], [64.0])]) is None
    assert shared([one, apart("gemm", [0.3], [16.0])]) is None
    assert shared([one, apart("collective", [0.3], None)]) is None
