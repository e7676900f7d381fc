"""Where the prefix cache keeps what it hits, and what that takes: in the GPUs' own pool, or in the memory of the
host, from which it is loaded; or dropped, and computed again.

Most likely to be wrong: GPUs that share their way to the host (a PCIe switch with two of them under it), which have a
part of the link each. Source: docs/theory/serving.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simcost import units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Num, floor, maximum
from simcost.provenance import Kind, Note
from simcost.scenarios.serve.answer import Answer
from simcost.scenarios.serve.replica import Replica
from simcost.serving.loop import prompts_alone
from simcost.units import show

POOL, HOST, RECOMPUTE = TIERS = ("pool", "host", "recompute")


@frozen
class Prefix:
    """tier: one of TIERS; bytes: of the host's memory for the caches of each GPU, None where nobody says it."""

    tier: str = POOL
    bytes: float | None = None


def parse(said: Any, hit: float) -> Prefix:
    """ "pool", "host", "host:512GB" or "recompute". Raises SpecError for anything else, and without hits."""
    if said is None:
        return Prefix()
    option = f"--prefix-from {said}"
    tier, colon, size = str(said).partition(":")
    if tier not in TIERS:
        raise SpecError(f"{option}: '{tier}' is not one of pool, host, host:512GB, recompute{nearest(tier, TIERS)}")
    if colon and tier != HOST:
        raise SpecError(f"{option}: only host takes a size: host:512GB")
    if not hit:
        raise SpecError(f"{option} needs --prefix-hit: it sets where cached prefixes are kept")
    found = units.parse(size, "bytes", option) if colon else None
    if found is not None and not 0.0 < found < np.inf:
        raise SpecError(f"{option}: the size must be above 0")
    return Prefix(tier, found)


def columns(p: Prefix, r: Replica, a: Answer) -> dict[str, Num]:
    """Metrics of hits by name; r: the replica that computes prompts. Of a host whose size nobody says no tokens."""
    hit = a.load.hit
    found = {"prefix_recompute_s": recompute_s(r, a)}
    if p.tier == POOL:
        return found | {"prefix_tier_tokens": floor(a.spare)}
    found["prefix_load_s"] = a.load.link_s
    if p.bytes is not None:
        each = r.rank_bytes(hit) / hit
        found["prefix_tier_tokens"] = floor(p.bytes / each) * a.prompt_replicas
    return found


def recompute_s(r: Replica, a: Answer) -> Num:
    """What a replica that does nothing else takes to compute the cached tokens of a prompt again. [s]"""
    whole = replace(a.load, isl=a.load.isl + a.load.hit, hit=0.0)
    return maximum(prompts_alone(r, r.policy, whole, 1.0) - prompts_alone(r, r.policy, a.load, 1.0), 0.0)


def notes(p: Prefix, r: Replica, a: Answer) -> list[Note]:
    """What an answer with hits rests on."""
    alone = (
        "every request is counted with a copy of its cached prefix in the pool; shared prefixes would take less memory"
    )
    found = [Note(alone, Kind.ASSUMED)]
    if p.tier == HOST:
        d, load, again = r.workload.device, float(np.ravel(a.load.link_s)[0]), float(np.ravel(recompute_s(r, a))[0])
        rate, part = float(np.asarray(d.host)), float(np.asarray(d.assumption("host_efficiency")))
        cheaper, ratio = ("loading", again / load) if load <= again else ("computing", load / again)
        found += [
            Note(
                f"{float(np.ravel(a.load.hit)[0]):,.0f} cached tokens come from the host's memory in {show(load, 'seconds')}, computing them again takes a replica "
                f"{show(again, 'seconds')}: {cheaper} is {ratio:,.3g} times as quick",
                Kind.SAID,
            ),
            Note(f"{d.name}: the link to the host reaches {part:.0%} of {show(rate, 'bytes_per_s')} (hw.assumed.host_efficiency), for all GPUs at once", Kind.ASSUMED),
        ]  # fmt: skip
    return found
