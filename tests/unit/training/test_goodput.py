"""Goodput: Llama 3's published run, Young's and Daly's intervals and their limits, and failures drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.training import goodput


def test_llama_3_trains_more_than_nine_tenths_of_its_time() -> None:
    """arXiv 2407.21783 §3.3.4: 419 unexpected interruptions in 54 days on 16,384 GPUs, an effective training time above
    90 %. 14 B of 405 B parameters at 2 TB/s (§3.3.1); a restart of 10 minutes is taken, the paper prints none."""
    write = goodput.write_seconds(405e9 * 14.0, 2e12)
    found = goodput.goodput(16384.0, write, 600.0)
    assert found.mtbf_s == pytest.approx(54.0 * 86400.0 / 419.0)
    assert found.mtbf_s / 3600.0 == pytest.approx(3.09, rel=1e-3)
    assert 0.9 < found.share < found.availability < 0.95
    assert pytest.approx(50.7e3, rel=1e-3) == goodput.LLAMA3_GPU_MTBF_S / 3600.0


def test_daly_is_young_where_writes_are_short() -> None:
    mtbf = 1e6
    write = np.array([1e-3, 1e-2, 1e-1])
    assert goodput.daly(write, mtbf) == pytest.approx(goodput.young(write, mtbf), rel=1e-3)
    assert goodput.young(50.0, 10000.0) == 1000.0
    # At a write of two MTBF and more the interval is the MTBF.
    assert goodput.daly(np.array([2e6, 3e6]), 1e6) == pytest.approx([1e6, 1e6])


@pytest.mark.parametrize("write", [1.0, 30.0, 600.0, 3000.0])
@pytest.mark.parametrize("mtbf", [3600.0, 11135.0, 1e6])
def test_dalys_interval_is_the_best_of_the_complete_model(write: float, mtbf: float) -> None:
    intervals = np.geomspace(1.0, 20.0 * mtbf, 20001)
    best = float(np.max(goodput.share(intervals, write, mtbf, 300.0)))
    assert goodput.share(goodput.daly(write, mtbf), write, mtbf, 300.0) == pytest.approx(best, rel=2e-3)


def test_without_failures_only_writing_costs() -> None:
    assert goodput.share(1000.0, 10.0, 1e12, 300.0) == pytest.approx(1000.0 / 1010.0, rel=1e-6)
    assert goodput.lost_seconds(1000.0, 10.0, 1e9) == pytest.approx(505.0, rel=1e-3)
    assert goodput.availability(3600.0, 400.0) == 0.9


def test_more_gpus_longer_writes_and_restarts_cost_goodput() -> None:
    gpus = np.array([1024.0, 4096.0, 16384.0, 65536.0])
    assert np.all(np.diff(goodput.goodput(gpus, 30.0, 600.0).share) < 0.0)
    assert np.all(np.diff(goodput.goodput(16384.0, np.array([1.0, 10.0, 100.0]), 600.0).share) < 0.0)
    assert np.all(np.diff(goodput.goodput(16384.0, 10.0, np.array([0.0, 60.0, 600.0])).share) < 0.0)


def drawn(interval: float, write: float, mtbf: float, restart: float, segments: int) -> tuple[float, float]:
    """(share of the time that trains, work lost a failure) of segments run one by one, with failures drawn."""
    rng = np.random.default_rng(7)
    clock, lost, failures = 0.0, 0.0, 0
    for _ in range(segments):
        while (at := rng.exponential(mtbf)) < interval + write:
            clock, lost, failures = clock + at, lost + at, failures + 1
            while (again := rng.exponential(mtbf)) < restart:  # a failure during the restart
                clock += again
            clock += restart
        clock += interval + write
    return segments * interval / clock, lost / failures


def test_the_model_is_what_drawn_failures_give() -> None:
    found = goodput.goodput(1.0, 60.0, 400.0, gpu_mtbf_s=5000.0, interval_s=1500.0)
    share, lost = drawn(1500.0, 60.0, 5000.0, 400.0, 60000)
    assert found.share == pytest.approx(share, rel=5e-3)
    assert found.lost_s == pytest.approx(lost, rel=1e-2)


@pytest.mark.parametrize("bad", [{"write_s": 0.0}, {"restart_s": -1.0}, {"gpus": 0.0}, {"interval_s": float("nan")}])
def test_a_time_that_is_none_is_refused(bad: dict[str, float]) -> None:
    given = {"gpus": 8.0, "write_s": 10.0, "restart_s": 60.0} | bad
    with pytest.raises(SpecError, match=next(iter(bad))):
        goodput.goodput(**given)
