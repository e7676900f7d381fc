"""Every way to split a number of devices over the groups of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from simcost import settings
from simcost.errors import SpecError
from simcost.num import Array, divisors
from simcost.query import Query

SIZES = ("tp", "cp", "dp_attention", "pp", "dp", "ep", "etp")
MOST = 20_000  # plans
_LOOKED = 50 * MOST  # splits that are looked at, a second or two


def splits(devices: int, experts: bool, cp: bool) -> Iterator[tuple[int, ...]]:
    """(tp, cp, dp_attention, pp, dp, ep, etp) that use all of `devices`; without experts ep and dp_attention are 1."""
    for tp in divisors(devices):
        for c in divisors(devices // tp) if cp else [1]:
            for replicas in divisors(devices // (tp * c)) if experts else [1]:
                stage = tp * c * replicas
                for pp in divisors(devices // stage):
                    for ep in divisors(stage) if experts else [1]:
                        yield tp, c, replicas, pp, devices // (stage * pp), ep, stage // ep


def few(
    every: Iterable[tuple[int, ...]], where: str, way: str, keeps: Callable[[tuple[int, ...]], bool] = lambda _: True
) -> list[tuple[int, ...]]:
    """The splits that `keeps` takes. Raises SpecError for more than `MOST`, with the `way` to fewer, without a look at the rest."""
    found: list[tuple[int, ...]] = []
    for at, split in enumerate(every):
        found += [split] if keeps(split) else []
        if len(found) > MOST or at > _LOOKED:
            raise SpecError(f"{where}: more than {MOST:,} ways to split them ({way})")
    return found


def table(query: Query, gpus: Sequence[int], experts: bool, cp: bool) -> Array:
    """The splits of every number of devices that have the sizes which --set states. [plans, sizes] Raises SpecError for none, and for
    too many."""
    said = ",".join(map(str, gpus))
    every = (split for devices in gpus for split in splits(devices, experts, cp))
    found = np.array(few(every, f"--gpus {said}", "leave out --cp, or ask for fewer"), np.float64)
    keep = np.ones(len(found), bool)
    for j, name in enumerate(SIZES):
        stated = query.overrides.plan.get(name)
        if stated is not None:
            keep &= found[:, j] == settings.count(f"plan.{name}", stated)
    if not keep.any():
        raise SpecError(f"--gpus {said}: no plan with the values of --set uses all of them")
    return found[keep]


def devices(found: Array) -> Array:
    """GPUs of every split. [plans]"""
    return np.asarray(found[:, :5].prod(axis=1), np.float64)


def replicas(found: Array) -> Array:
    """Replicas of the attention over all copies, which have to be served alike: batches are whole multiples of them. [plans]"""
    at = {name: found[:, j] for j, name in enumerate(SIZES)}
    return np.asarray(at["dp_attention"] * at["dp"], np.float64)
