"""Laws of links on every device that ships: a group over several domains does what one of them does and more; nothing outruns a
link; more ranks than anybody measured are no faster than those."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost.cost import calibrated
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.ops.collective import Collective, Kind
from simcost.ops.traffic import Traffic

KINDS: tuple[Kind, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
SIZES = 10.0 ** np.arange(3.0, 9.6, 0.5)
TOKENS = {
    "normal": 2.0 ** np.arange(0.0, 14.0),
    "low_latency": 2.0 ** np.arange(0.0, 11.0),
}  # the latter's kernels serve decode
EVEN = 1 - 1e-9


def _clusters() -> list[str]:
    found = [hardware.load(name) for name in hardware.names()]
    return [d.name for d in found if d.scaleup is not None and d.scaleup.domain is not None and d.scaleout is not None]


def _domain(device: Device) -> float:
    assert device.scaleup is not None
    assert device.scaleup.domain is not None
    return float(np.max(device.scaleup.domain))


@pytest.mark.parametrize("name", _clusters())
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_a_collective_over_more_domains_is_no_faster(name: str, kind: Kind) -> None:
    device = hardware.load(name)
    model, domain = calibrated.model(device), _domain(hardware.load(name))
    times = [model(Collective(kind, SIZES, n * domain)).seconds for n in (1.0, 2.0, 4.0, 8.0)]
    for fewer, more in itertools.pairwise(times):
        assert np.all(more >= fewer * EVEN)


@pytest.mark.parametrize("name", _clusters())
@pytest.mark.parametrize("kind", KINDS)
def test_a_collective_takes_at_least_what_its_links_ask(name: str, kind: Kind) -> None:
    device = hardware.load(name)
    model, domain = calibrated.model(device), _domain(device)
    for group in (2.0, domain, 4.0 * domain):
        cost = model(Collective(kind, SIZES, group))
        assert np.all(cost.seconds >= cost.light_s * EVEN)


@pytest.mark.parametrize("name", [name for name in _clusters() if _domain(hardware.load(name)) > 16])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter"])
def test_ranks_that_nobody_measured_are_no_faster(name: str, kind: Kind) -> None:
    """Rows end at 2 to 16 ranks where a domain has 72."""
    model = calibrated.model(hardware.load(name))
    times = [model(Collective(kind, SIZES, group)).seconds for group in (4.0, 32.0, 64.0)]
    assert np.all(times[1] >= times[0] * EVEN)
    assert np.all(times[2] >= times[0] * EVEN)


@pytest.mark.parametrize("name", _clusters())
@pytest.mark.parametrize("mode", ["normal", "low_latency", "nccl"])
@pytest.mark.parametrize("direction", ["dispatch", "combine"])
def test_an_exchange_takes_at_least_what_its_links_ask_and_what_stays_inside(
    name: str, mode: str, direction: str
) -> None:
    device = hardware.load(name)
    model, domain = calibrated.model(device), _domain(device)
    tokens = TOKENS.get(mode, TOKENS["normal"])
    inside = Traffic(tokens, 7392.0, 7.0, 0.0, domain, 1.0, 20.0, mode, direction)
    over = replace(inside, near=1.75, far=6.0, group=4.0 * domain, nodes=4.0)
    for op in (inside, over):
        cost = model(op)
        assert np.all(cost.seconds >= cost.light_s * EVEN)
    part = replace(over, far=0.0, group=domain, nodes=1.0)
    assert np.all(model(over).seconds >= model(part).seconds * EVEN)


def test_a_domain_in_a_sweep_is_the_domain_alone() -> None:
    """Which kernels exchange tokens follows from the domain, point by point."""
    import simcost

    sets = {"plan.ep": 64}
    domains = [8, 16, 32, 64, 72]
    swept: Any = simcost.decode("deepseek-v3", "gb200", batch=1024, set=sets, vary={"hw.links.scaleup.domain": domains})
    alone = [
        simcost.decode("deepseek-v3", "gb200", batch=1024, set={**sets, "hw.links.scaleup.domain": d}).metrics["tpot_s"]
        for d in domains
    ]
    assert [row["tpot_s"] for row in swept.tables["sweep"]] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("name", ["h200", "gb200", "mi300x"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_faster_link_is_no_slower(name: str, kind: Kind) -> None:
    device = hardware.load(name)
    domain = _domain(device)
    assert device.scaleup is not None
    times = []
    for factor in (0.5, 1.0, 2.0, 4.0, 16.0):
        link = replace(device.scaleup, bandwidth=device.scaleup.bandwidth * factor)
        model = calibrated.model(replace(device, scaleup=link, base=device))
        times.append(model(Collective(kind, SIZES, 2.0 * domain)).seconds)
    for slower, faster in itertools.pairwise(times):
        assert np.all(faster <= slower * (1 + 1e-9))
