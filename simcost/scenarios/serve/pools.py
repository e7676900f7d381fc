"""A design served by two pools: prefill and decode on instances of their own, caches sent between.

Most likely to be wrong: the way of a cache, which is timed as the bytes of a rank over a device's network link. Source: docs/theory/serving-disaggregated.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.errors import SpecError
from simcost.estimate.step import SPREAD
from simcost.frozen import frozen
from simcost.num import Num, maximum, sqrt, where
from simcost.scenarios.serve.answer import FIRST, Answer, Traffic, brought_to, load_of
from simcost.scenarios.serve.replica import Replica
from simcost.serving import disaggregated
from simcost.serving.disaggregated import Pool, Pools
from simcost.serving.point import Load

_SENT = 0.5  # sigma of the log of the time to send a cache: libraries reach a half to nearly all of a link


@frozen
class Fleet:
    """Instances of both phases: a replica of each, and how many instances."""

    prefill: Replica
    decode: Replica
    prefills: Num
    decodes: Num

    @property
    def devices(self) -> Num:
        """GPUs of both pools."""
        return self.prefill.workload.plan.devices * self.prefills + self.decode.workload.plan.devices * self.decodes


def joined(f: Fleet, t: Traffic) -> tuple[Pools, Load]:
    """(the pools of a fleet, what a request brings to them). Raises SpecError for devices without a network."""
    load, held = load_of(t, f.decode.policy.admission)
    load = brought_to(f.prefill, load, t)
    room = f.decode.room(np.ceil(held))
    sent = transfer_s(f, t.isl)
    p = Pools(
        Pool(f.prefill, f.prefill.policy, replicas(f.prefill) * f.prefills),
        Pool(f.decode, f.decode.policy, replicas(f.decode) * f.decodes),
        sent,
        replace(room, kv=maximum(room.kv, 1e-6)),
    )
    return p, load


def answer(f: Fleet, t: Traffic) -> Answer:
    """The operating points of a fleet of pools. Elementwise. Raises SpecError for devices without a network."""
    p, load = joined(f, t)
    room, sent = p.room, p.transfer_s
    if t.users is not None:
        point = disaggregated.closed(p, load, t.users)
    else:
        assert t.rate is not None
        point = disaggregated.open_loop(p, load, t.rate)
    each = point.running / p.decode.replicas
    decode, _ = f.decode.table.deviation(each, load.context, 1.0, 0.0)
    _, chunk = f.prefill.table.deviation(1.0, 1.0, point.chunk, load.hit)
    of_step = (point.decode_s * decode + point.host_s * SPREAD) / point.tpot_s
    first = sqrt(chunk**2 + FIRST**2 + (_SENT * sent / maximum(point.ttft_s, 1e-30)) ** 2)
    spent = _shares(f)
    _, held = load_of(t)
    prompts = replicas(f.prefill) * f.prefills
    spare = f.prefill.room(np.ceil(held)).kv * held * prompts
    return Answer(
        t, load, point, 1.0, 1.0, f.devices, of_step, first, (spent, 0.0 * spent, 1.0 - spent), room.kv >= 1.0, spare, prompts
    )  # fmt: skip


def replicas(r: Replica) -> Num:
    """Attention replicas of an instance."""
    return r.workload.plan.replicas * r.workload.plan.copies


def _shares(f: Fleet) -> Num:
    """Part of the fleet that the prefill pool is: what prompts cost."""
    return f.prefill.workload.plan.devices * f.prefills / f.devices


def transfer_s(f: Fleet, tokens: Num) -> Num:
    """Seconds from the end of a prefill to the cache of a prompt on its decode ranks: every rank sends what it holds, and receives what it keeps. [s]"""
    times = []
    for r in (f.prefill, f.decode):
        w = r.workload
        scaleup, out = w.device.scaleup, w.device.scaleout
        if out is None and (scaleup is None or not np.all(scaleup.rack)):
            raise SpecError(f"{w.device.where}: no network (links.scaleout): caches cannot be sent between pools")
        wire = out if scaleup is None else where(scaleup.rack, scaleup.bandwidth, 0.0 if out is None else out)
        assert wire is not None
        times.append(r.rank_bytes(tokens) / wire)
    return maximum(*times)
