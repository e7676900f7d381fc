"""New weights from the trainer to the engine: bytes that each GPU must receive, by format and by the way they go.

    gather     every GPU gathers every tensor whole and keeps its part. Where a copy of the trainer stands in a node:
               S/(scale-up link). Where stages or experts stand on other nodes a GPU's group has a member a node, and
               each GPU receives all over its own network link: S/(network link). Where ZeRO-3 shards over all GPUs one
               ring takes all links of a node: S/(its network links) + S/(scale-up link)
    broadcast  one trainer rank sends every tensor to all engines: S/(one network link), or S/(scale-up link) in a node
    reshard    every GPU receives its own part alone: W/(network link), W its part of the engine's weights

Most likely to be wrong: how far a framework is from the links' rates; a host that handles tensors one by one adds its
time to gather and broadcast. Sources: verl `per_tensor_generator`, NeMo-RL `refit_policy_generation`, checkpoint-engine
README (broadcast at about one network link: 671 GB in 10 to 12 s on 16 to 256 H20).
"""

from __future__ import annotations

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.profile import Device

GATHER, BROADCAST, RESHARD = WAYS = ("gather", "broadcast", "reshard")
SPREAD = 0.5  # sigma of the log: libraries reach a half to nearly all of a link


@frozen
class Sent:
    """What a transfer moves. `model`: bytes of all weights in the format that is sent; `part`: of an engine rank's own;
    `tensors`: how many one by one; `gpus`: that take part; `copy`: GPUs of one copy of the trainer; `sharded`: whether
    ZeRO-3 shards weights over all of them. [B]"""

    model: float
    part: float
    tensors: float
    gpus: int
    copy: int
    sharded: bool = False


def named(way: str) -> str:
    """A way as it is spelled. Raises SpecError for an unknown one."""
    if way not in WAYS:
        raise SpecError(f"--sync {way}: unknown (one of {', '.join(WAYS)}){nearest(way, WAYS)}")
    return way


def rates(device: Device) -> tuple[float, float, float]:
    """(scale-up link of a GPU, its network link [B/s], GPUs of a node). Raises SpecError without any link."""
    up, out = device.scaleup, device.scaleout
    if up is None and out is None:
        raise SpecError(f"{device.where}: no links: weights cannot be sent between GPUs")
    inside = 0.0 if up is None else float(up.bandwidth) * float(device.assumption("link_efficiency"))
    network = inside if out is None else float(out) * float(device.assumption("scaleout_efficiency"))
    node = 1.0 if up is None else float("inf") if up.domain is None else float(up.domain)
    return inside or network, network, node


def seconds(way: str, sent: Sent, device: Device) -> float:
    """Time on links. [s]"""
    held = sent.part / float(device.bandwidth)  # what stands on the GPU already is copied
    if sent.gpus <= 1 or (way == GATHER and sent.copy <= 1 and not sent.sharded):
        return held
    inside, network, node = rates(device)
    one_node = sent.gpus <= node
    if way == RESHARD:
        return sent.part / (inside if one_node else network)
    if one_node or (way == GATHER and sent.copy <= node and not sent.sharded):
        return sent.model / inside
    if way == GATHER and sent.sharded:
        return sent.model / (network * node) + sent.model / inside
    return sent.model / min(network, inside)
