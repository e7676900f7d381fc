"""What a priced step answers: its metrics, and which form of a choice was taken.

Most likely to be wrong: energy, of devices that draw an assumed share of their TDP (`cost/power.py`). Source: docs/glossary.md, "Metrics".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.cost import power, price
from simcost.cost.cost import BASES, interval
from simcost.estimate import memory
from simcost.estimate.step import Step
from simcost.model import count
from simcost.model.images import seeing
from simcost.num import Num, is_scalar
from simcost.program import choices
from simcost.workload import Workload


def metrics(
    step: Step, decode: bool, usd_per_hour: Num | None, reach: bool = True, pools: bool = True
) -> dict[str, Num]:
    """All metrics of a step by name (`simcost.metrics`), in SI. `usd_per_hour`: of one device; `reach`: max_context of decode,
    too; `pools`: what the pools of the cache admit, which no batch changes, too."""
    w, cost = step.workload, step.cost
    seconds, devices = cost.seconds, w.plan.devices
    tokens = w.phase.batch * (1.0 if decode else w.phase.q_len)
    # A stream of prompts keeps every pipeline stage busy; decode already counts all its micro-batches.
    steady = seconds if decode else step.slowest.seconds
    kind = "output" if decode else "input"
    flops = flops_per_token(w)
    whole = flops * tokens
    for group in w.phase.groups[1:]:
        whole = whole + flops_per_token(replace(w, phase=group)) * group.batch * group.q_len
    peak = w.device.peak(w.view.compute["experts"].peak)
    low, high = interval(cost)
    name = "tpot" if decode else "ttft"
    found: dict[str, Num] = {
        f"{name}_s": seconds,
        f"{name}_low_s": low,
        f"{name}_high_s": high,
        "speed_of_light_s": cost.light_s,
        f"{kind}_tokens_per_s": tokens / steady,
        f"{kind}_tokens_per_s_per_gpu": tokens / steady / devices,
    }
    if decode:
        found["output_tokens_per_s_per_user"] = 1.0 / seconds
    if w.phase.beside:
        prompt: Num = sum(group.batch * group.q_len for group in w.phase.beside)
        found["input_tokens_per_s"] = prompt / steady
        found["input_tokens_per_s_per_gpu"] = prompt / steady / devices
    if usd_per_hour is not None:
        found[f"usd_per_million_{kind}_tokens"] = price.usd_per_million(steady, tokens, devices, usd_per_hour)
    watts = power.drawn(w.device, cost if decode else step.slowest)
    if watts is not None:
        found[f"joules_per_{kind}_token_assumed"] = price.joules_per_token(steady, tokens, devices, watts)
    found |= {
        "flops_per_token": flops,
        "mfu": whole / steady / (devices * peak),
        "gpus": devices,
        **memory.metrics(step.kept, pools),
    }
    if decode and reach:
        found["max_context"] = memory.max_context(step.kept)
    for name in ("compute", "memory", "wire", "overhead"):
        found[f"share_{name}"] = getattr(cost, f"{name}_s") / seconds
    for name in BASES:
        found[f"share_{name}"] = getattr(cost, f"{name}_s") / seconds
    return found


def flops_per_token(w: Workload) -> Num:
    """Model FLOPs of one new token on all ranks together, with un-absorbed attention and the head as often as it runs; of
    images their share. [FLOP]"""
    text = count.flops_per_token(w.model, w.phase.q_len, w.phase.past, w.phase.logits)
    tower = seeing(w.model.towers) if w.phase.sees else None
    return text if tower is None else text + tower.flops(w.phase) / w.phase.q_len


def state_bytes(w: Workload, context: Num) -> Num:
    """Bytes that the layers of one rank keep of a sequence of `context` tokens and read of it, without an engine's pages. [B]"""
    return count.state_bytes(w.model, context, w.plan, w.view.kv)


def forms(step: Step) -> dict[str, str]:
    """Tag of every Choice -> the option that it took; choices that differ over a sweep are left out."""
    taken: dict[str, str] = {}
    for tag, shares in choices(step.priced):
        if all(is_scalar(share) for _, share in shares):
            taken[tag] = next(name for name, share in shares if np.asarray(share) == 1.0)
    return taken


def forms_named(step: Step) -> dict[str, str]:
    """As `forms`, by metric names: "mla_form"."""
    return {name.lower().replace(" ", "_"): taken for name, taken in forms(step).items()}
