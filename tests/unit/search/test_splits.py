"""Every way to split devices over the groups of a plan: counted by hand, each once, none lost."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.query import Query, make
from simcost.search import splits
from simcost.search.splits import MOST, SIZES


def query(**sets: int) -> Query:
    return make(
        "llama-3.1-8b",
        "h100",
        True,
        {"batch": 1, "context": 64},
        {f"plan.{name}": size for name, size in sets.items()},
        {},
        None,
    )


@pytest.mark.parametrize("devices", [1, 6, 8, 12])
def test_dense_splits_are_all_factorisations(devices: int) -> None:
    """tp x pp x dp = devices, by trying all triples; with cp all fours."""
    sizes = range(1, devices + 1)
    triples = {
        (tp, 1, 1, pp, dp, 1, tp) for tp, pp, dp in itertools.product(sizes, repeat=3) if tp * pp * dp == devices
    }
    found = list(splits.splits(devices, False, False))
    assert set(found) == triples
    assert len(found) == len(triples)
    fours = {(tp, cp, pp, dp) for tp, cp, pp, dp in itertools.product(sizes, repeat=4) if tp * cp * pp * dp == devices}
    with_cp = list(splits.splits(devices, False, True))
    assert {(tp, cp, pp, dp) for tp, cp, _, pp, dp, _, _ in with_cp} == fours
    assert len(with_cp) == len(fours)


@pytest.mark.parametrize("devices", [8, 12])
def test_experts_share_the_ranks_of_a_stage(devices: int) -> None:
    """ep x etp = tp x cp x dp_attention, for each divisor of a stage one."""
    found = list(splits.splits(devices, True, True))
    assert len(set(found)) == len(found)
    for tp, cp, replicas, pp, dp, ep, etp in found:
        assert tp * cp * replicas * pp * dp == devices
        assert ep * etp == tp * cp * replicas
    stages = {split[:5] for split in found}
    for stage in stages:
        size = math.prod(stage[:3])
        divisors = [n for n in range(1, size + 1) if size % n == 0]
        assert sorted(split[5] for split in found if split[:5] == stage) == divisors


def test_devices_and_replicas_of_a_table() -> None:
    found = splits.table(query(), [8, 12], True, False)
    assert set(splits.devices(found)) == {8.0, 12.0}
    at = {name: found[:, j] for j, name in enumerate(SIZES)}
    assert np.all(splits.replicas(found) == at["dp_attention"] * at["dp"])
    assert len(found) == sum(len(list(splits.splits(n, True, False))) for n in (8, 12))


def test_what_is_stated_is_kept() -> None:
    found = splits.table(query(tp=4), [8, 16], False, False)
    assert set(found[:, 0]) == {4.0}
    assert {tuple(row[[3, 4]]) for row in found} == {(1.0, 2.0), (2.0, 1.0), (1.0, 4.0), (2.0, 2.0), (4.0, 1.0)}
    with pytest.raises(SpecError, match="--gpus 8: no plan with the values of --set uses all of them"):
        splits.table(query(tp=3), [8], False, False)


def test_too_many_ways_are_refused_without_a_look_at_the_rest() -> None:
    endless = ((n,) for n in itertools.count())
    with pytest.raises(SpecError, match=rf"--gpus x: more than {MOST:,} ways to split them \(ask for fewer\)"):
        splits.few(endless, "--gpus x", "ask for fewer")
    with pytest.raises(SpecError, match="more than"):  # nor where nothing that is looked at is kept
        splits.few(endless, "--gpus x", "ask for fewer", lambda split: False)
    assert next(endless)[0] <= MOST + 51 * MOST
    assert splits.few(((n,) for n in range(MOST)), "", "", lambda split: split[0] % 2 == 0) == [
        (n,) for n in range(0, MOST, 2)
    ]
