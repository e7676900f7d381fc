"""Blocks cover every point once, in order, each one rectangle; their size follows what the last ones took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simcost.bulk import plan
from simcost.bulk.cells import numbers, text_of
from simcost.bulk.dealer import Dealer
from simcost.report.text import as_csv
from simcost.result import Columns, Result


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (1, 6, 1), (4, 1, 3, 2), ()])
@pytest.mark.parametrize("most", [1, 2, 5, 12, 100])
def test_cuts_cover_the_points_in_their_order(shape: tuple[int, ...], most: int) -> None:
    size = int(np.prod(shape, dtype=int))
    points = np.arange(size).reshape(shape)
    for start in range(size):
        for stop in (size, min(start + 3, size)):
            found = list(plan.cuts(shape, start, stop, most))
            taken = [points[cut].ravel() for cut, _ in found]
            assert np.concatenate(taken).tolist() == list(range(start, stop))
            assert [len(each) for each in taken] == [count for _, count in found]
            assert max(len(each) for each in taken) <= most


def _plan(inner: int, structures: int) -> Any:
    return SimpleNamespace(inner=inner, size=inner * structures, shape=(inner,))


def test_a_block_takes_as_long_as_asked_and_no_part_is_dealt_again() -> None:
    dealer = Dealer(_plan(100_000, 3), [(1000, 5000)], 32_768, aim_s=1.0)
    rows = np.zeros(300_000, int)
    rows[1000:5000] += 1
    sizes = []
    while rectangles := dealer.deal():
        starts = [i * 100_000 + start for i, start, _ in rectangles]
        stops = [i * 100_000 + stop for i, _, stop in rectangles]
        assert starts[1:] == stops[:-1]  # one run of rows
        rows[starts[0] : stops[-1]] += 1
        count = stops[-1] - starts[0]
        sizes.append(count)
        dealer.told(SimpleNamespace(start=starts[0], stop=stops[-1], seconds=count / 20_000))  # type: ignore[arg-type]
    assert set(rows.tolist()) == {1}
    assert sizes[0] == 1000  # up to the part that is there
    assert 15_000 <= np.median(sizes) <= 20_000  # 20,000 points a second


def test_cells_are_those_of_the_csv_writer() -> None:
    values = [
        0.0,
        -0.0,
        1.0,
        0.1,
        1e300,
        2.0**53,
        2.0**53 - 1,
        -7.0,
        1 / 3,
        float("nan"),
        float("inf"),
        5e-324,
        123456789.5,
    ]
    columns = Columns(
        {"a": list(range(len(values)))},
        [True] * len(values),
        [""] * len(values),
        {"fits": [True] * len(values), "x": np.array(values)},
    )
    expected = [line.split(",")[-1] for line in as_csv(Result("other", {}, {}, {"t": columns})).splitlines()[1:]]
    assert numbers(np.array(values)).tolist() == expected
    assert numbers(np.array([[True], [False]])).tolist() == [["True"], ["False"]]
    assert [text_of(each) for each in ('a,"b', "=1+1", "-3", None, 1.0, 2, True)] == [
        '"a,""b"',
        "'=1+1",
        "-3",
        "",
        "1.0",
        "2",
        "True",
    ]
