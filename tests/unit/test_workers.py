"""Work in pieces: the same from one process and from several, told as it goes, and one error for all that fail."""

from __future__ import annotations

import math
import os

import pytest

from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.pool import Piece, mapped


def pieces(count: int) -> list[Piece]:
    return [Piece((float(i),), f"piece {i}", 1000.0 * (i + 1)) for i in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_pieces_and_progress_to_its_end(workers: int) -> None:
    told: list[tuple[float, float, str]] = []
    found = mapped(math.sqrt, pieces(6), workers, lambda *said: told.append(said))
    assert found == [math.sqrt(i) for i in range(6)]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (21_000.0, 21_000.0)


def test_workers_are_other_processes_with_one_thread_and_leave_no_trace() -> None:
    before = dict(os.environ)
    assert mapped(os.getenv, [Piece(("OPENBLAS_NUM_THREADS",), "", 9e3)], 2) == ["1"]
    assert os.getpid() not in mapped(os.getpid, [Piece((), "", 9e3)] * 3, 2)
    assert os.getpid() == mapped(os.getpid, [Piece((), "", 9.0)], 2)[0]  # little work needs no help
    assert dict(os.environ) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_user_comes_through(workers: int) -> None:
    with pytest.raises(SpecError, match="unknown hardware 'nosuch'"):
        mapped(hardware.load, [Piece(("nosuch",), "", 9e3)] * 2, workers)
