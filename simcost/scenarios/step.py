"""The numbers of one step, prefill or decode, on scalars or arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simcost import lower
from simcost.blocks.beside import HELD, RING
from simcost.cost import calibrated, price
from simcost.cost.cost import BASES, Cost, ratio_deviation
from simcost.cost.tiers import link_checks
from simcost.model import count
from simcost.num import Bools, Mask, Num, every, exp, is_scalar, maximum, minimum
from simcost.plan import COUNTS, Check, require
from simcost.program import Priced, choices, most_held
from simcost.program import price as fold
from simcost.scenarios import alike, footprint, stages
from simcost.scenarios.footprint import Kept
from simcost.workload import Workload

Z90 = 1.6448536269514722  # 90 % of a normal distribution lie within so many sigma
NOISE = 1e-9  # of a step: less is what floats leave over
LAUNCHES = 0.40  # sigma of the log of the host's time for a kernel: public figures lie between 22 and 71 us (docs/theory/roofline.md)
# Sigma of the log by which kernels in a step differ from kernels timed one by one: neighbours in the L2, clocks under a whole load,
# gaps between them. With what no table knows of a kernel it makes 0.11 (docs/theory/calibration.md, "What no table knows").
TOGETHER = 0.08
_TOGETHER = "kernels in a step"
SPREAD = 0.42  # sigma of the log of the step overhead: engines differ by a factor of two either way


@dataclass(frozen=True, slots=True)
class Step:
    """A priced step. `cost` includes what the engine costs per step; `slowest`: of the slowest pipeline stage alone; `kept`: its
    memory; `hops`: what one pass sends from stage to stage; `idle`: the wait of the other stages for
    the slowest, as uncertain as its kernels; `host`: the engine's own work; `launches`: what kernels wait to be launched. Of a
    prefill in chunks, programs and waits are those of the last."""

    workload: Workload
    priced: Priced[Cost]
    hops: Priced[Cost]
    idle: Cost
    host: Cost
    launches: Cost
    cost: Cost
    slowest: Cost
    kept: Kept

    @property
    def engine(self) -> Cost:
        return self.host + self.launches


def rules_of(w: Workload) -> list[Check]:
    """What must hold for this plan to run: shardings of the blocks, links and multiprocessors of the device."""
    chunks = Check(w.plan.vpp == 1.0, "vpp orders the chunks of a training schedule: serving has none, leave it at 1")
    hops = Check(
        not (w.phase.decode and w.plan.overlap_p2p_comm == "on"),
        "overlap_p2p_comm hides nothing in decode: with pp micro-batches in flight every token waits for its own hops",
    )
    # Whole copies have nothing to say to each other.
    links = link_checks(w.device, w.plan.stage * w.plan.pp)
    return [*lower.checks(w.model, w.plan), chunks, hops, *links, *_multiprocessors(w)]


def _multiprocessors(w: Workload) -> list[Check]:
    """An overlap whose kernels copy with multiprocessors must leave some to compute with."""
    there = w.device.multiprocessors
    if every(there > HELD):  # no kernel holds more, so there is no need to look which ones run
        return []
    apart, staged = w.plan.stage > 1.0, (w.plan.pp > 1.0) & (w.plan.overlap_p2p_comm == "on")
    held = maximum(most_held(lower.step(w.model, w.view)) * apart, RING * staged)
    few = f"{there:g}" if is_scalar(there) else "few"
    reason = (
        f"{w.device.where}: of {few} multiprocessors (compute.sm_count) what the plan overlaps holds all, and leaves none "
        "to compute with: plan.overlap=none takes turns"
    )
    return [Check(there > held, reason)]


def run(w: Workload) -> Step:
    """Price one step, or a prefill chunk after chunk, and its memory. Infeasible shardings raise SpecError for scalars; a sweep
    checks beforehand."""
    chunk = w.phase.chunk
    if chunk is None:
        return _one(w)
    found: Step | None = None
    for i in range(int(np.max(np.ceil(np.asarray(w.phase.q_len / chunk))))):
        left = w.phase.q_len - i * chunk
        phase = replace(w.phase, q_len=maximum(minimum(chunk, left), 1.0), past=w.phase.past + i * chunk, chunk=None)
        step = _one(replace(w, phase=phase, view=replace(w.view, phase=phase)))
        found = step if found is None else _after(found, step, np.asarray(left > 0.0))
    assert found is not None
    return replace(found, workload=w, kept=footprint.kept(w))


def _after(first: Step, then: Step, mask: Bools) -> Step:
    """Chunks up to `then`, which only prompts of `mask` have."""
    whole, slowest = stages.after((first.cost, first.slowest), (then.cost, then.slowest))
    return replace(then, cost=whole.where(mask, first.cost), slowest=slowest.where(mask, first.slowest))


def _one(w: Workload) -> Step:
    if all(value is None or is_scalar(value) for value in (getattr(w.plan, name) for name in COUNTS)):
        # What depends on a varied device is for the sweep to say, point by point.
        require([check for check in rules_of(w) if is_scalar(check.ok)])
    model = calibrated.model(w.device, w.engine)
    step = alike.folded(w, model)
    hops, passed = (fold(program(w), model) for program in (stages.between, stages.passed))
    whole, slowest = (cost.unsure(_TOGETHER, TOGETHER) for cost in stages.times(w, step.priced, hops))
    waits = maximum(whole.seconds - step.priced.cost.seconds - passed.cost.seconds, 0.0)
    host, launches = _engine(w, step.launches, whole.seconds)
    # Every stage has a host of its own, which launches its part of the kernels.
    _, mine = _engine(w, step.launches / w.plan.pp, slowest.seconds)
    idle = slowest * (waits / slowest.seconds)
    return Step(
        w,
        step.priced,
        passed,
        idle,
        host,
        launches,
        whole + host + launches,
        slowest + host + mine,
        footprint.kept(w),
    )


def _engine(w: Workload, kernels: Num, seconds: Num) -> tuple[Cost, Cost]:
    """(the host's own work on a step, what kernels wait to be launched)."""
    host = w.device.assumption("step_overhead")
    busy: Num = 0.0
    wait: Num = 0.0
    if w.plan.cuda_graph == "off":
        # The host launches kernels one by one: what the device does not hide of that is waited for.
        busy = kernels * w.device.assumption("eager_launch")
        wait = maximum(busy - seconds, 0.0)
    return (
        Cost(overhead_s=host, spread={"step overhead assumed": SPREAD * host}),
        Cost(overhead_s=wait, spread={"eager launch assumed": LAUNCHES * busy * (wait > 0.0)}),
    )


def state_bytes(w: Workload, context: Num) -> Num:
    """What the layers of one rank keep of a sequence and read of it, without an engine's pages. [B]"""
    return w.view.kv.tensor_bytes(count.state_elements(w.model, context, w.plan))


def flops_per_token(w: Workload) -> Num:
    """Model FLOPs of one new token, all ranks together, un-absorbed attention; the head as often as it runs. [FLOP]"""
    active = count.parameters(w.model)
    body, head = active["params_active_no_embedding_no_head"], active["params_active_no_embedding"]
    logits = w.phase.logits / w.phase.q_len
    core = count.attention_core_flops(w.model, w.phase.q_len, w.phase.past) / w.phase.q_len
    return 2.0 * body + 2.0 * (head - body) * logits + core


def interval(cost: Cost) -> tuple[Num, Num]:
    """The 90 % interval of the seconds: as far below as above in ratio, and no lower than light. [s]"""
    width = exp(Z90 * cost.deviation / cost.seconds)
    return maximum(cost.seconds / width, minimum(cost.light_s, cost.seconds)), cost.seconds * width


def tied(a: Cost, b: Cost, ratio: Num | None = None) -> Mask:
    """Whether the 90 % interval of the ratio of two times contains 1, their shared errors cancelled. `ratio`: of what is compared,
    where it is another than that of the seconds and as uncertain (tokens a second)."""
    apart = np.abs(np.log(np.asarray(a.seconds / b.seconds if ratio is None else ratio, np.float64)))
    # Equal costs leave what floats leave over.
    found = np.asarray(apart <= Z90 * np.asarray(ratio_deviation(a, b)) + NOISE)
    return found if found.ndim else bool(found)


def metrics(step: Step, decode: bool, usd_per_hour: Num | None, reach: bool = True) -> dict[str, Num]:
    """Flat numbers, SI, unit in the name; `reach`: how long a context would fit, too."""
    w, cost = step.workload, step.cost
    seconds, devices = cost.seconds, w.plan.devices
    tokens = w.phase.batch * (1.0 if decode else w.phase.q_len)
    # A stream of prompts keeps every pipeline stage busy; decode already counts all its micro-batches.
    steady = seconds if decode else step.slowest.seconds
    kind = "output" if decode else "input"
    flops = flops_per_token(w)
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
    if usd_per_hour is not None:
        found[f"usd_per_million_{kind}_tokens"] = price.usd_per_million(steady, tokens, devices, usd_per_hour)
    if w.device.tdp is not None:
        found[f"joules_per_{kind}_token_assumed"] = price.joules_per_token(steady, tokens, devices, w.device.tdp)
    found |= {
        "flops_per_token": flops,
        "mfu": flops * tokens / steady / (devices * peak),
        "gpus": devices,
        **footprint.metrics(step.kept),
    }
    if decode and reach:
        found["max_context"] = footprint.max_context(step.kept)
    for name in ("compute", "memory", "wire", "overhead"):
        found[f"share_{name}"] = getattr(cost, f"{name}_s") / seconds
    for name in BASES:
        found[f"share_{name}"] = getattr(cost, f"{name}_s") / seconds
    return found


def forms(step: Step) -> dict[str, str]:
    """Which option every Choice took; scalars only."""
    taken: dict[str, str] = {}
    for tag, shares in choices(step.priced):
        if all(is_scalar(share) for _, share in shares):
            taken[tag] = next(name for name, share in shares if np.asarray(share) == 1.0)
    return taken


def forms_named(step: Step) -> dict[str, str]:
    """The same under metric names: "mla_form"."""
    return {name.lower().replace(" ", "_"): taken for name, taken in forms(step).items()}
