"""The numbers of one step, prefill or decode, on scalars or arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simcost import lower
from simcost.cost import calibrated, memory, price
from simcost.cost.cost import BASES, Cost
from simcost.cost.tiers import link_checks
from simcost.model import count
from simcost.num import Num, exp, floor, is_scalar, maximum, minimum, where
from simcost.plan import COUNTS, Check, busiest, require
from simcost.program import Priced, choices
from simcost.program import price as fold
from simcost.scenarios import alike, stages
from simcost.workload import Workload

Z90 = 1.6448536269514722  # 90 % of a normal distribution lie within so many sigma
SPREAD = 0.42  # sigma of the log of the step overhead: engines differ by a factor of two either way


@dataclass(frozen=True, slots=True)
class Step:
    """A priced step. `cost` includes the engine's overhead per step; `slowest`: of the slowest pipeline stage alone;
    `held`: the rank that holds most; `hops`: what one pass sends from stage to stage; `engine`: what the host costs."""

    workload: Workload
    priced: Priced[Cost]
    hops: Priced[Cost]
    engine: Cost
    cost: Cost
    slowest: Cost
    memory: memory.Memory
    held: stages.Held


def rules_of(w: Workload) -> list[Check]:
    """What must hold for this plan to run: shardings of the blocks, links of the device."""
    chunks = Check(w.plan.vpp == 1.0, "vpp orders the chunks of a training schedule: serving has none, leave it at 1")
    decode = np.asarray(w.phase.q_len) == 1.0
    hops = Check(
        ~(decode & (w.plan.overlap_p2p_comm == "on")),
        "overlap_p2p_comm hides nothing in decode: with pp micro-batches in flight every token waits for its own hops",
    )
    return [*lower.checks(w.model, w.plan), chunks, hops, *link_checks(w.device, w.plan.devices)]


def run(w: Workload) -> Step:
    """Price one step, or a prefill chunk after chunk, and its memory. Infeasible shardings raise SpecError for scalars; a sweep
    checks beforehand."""
    chunk = w.phase.chunk
    if chunk is None:
        return _one(w)
    last: Step | None = None
    for i in range(int(np.max(np.ceil(np.asarray(w.phase.q_len / chunk))))):
        left = w.phase.q_len - i * chunk
        here = 1.0 * (left > 0.0)
        phase = replace(w.phase, q_len=maximum(minimum(chunk, left), 1.0), past=w.phase.past + i * chunk, chunk=None)
        step = _one(replace(w, phase=phase, view=replace(w.view, phase=phase)))
        if last is None:
            last = step
            continue
        mask = np.asarray(here > 0.0)
        # Chunks follow each other through the pipeline: only the last waits for all its stages.
        more = (
            (last.slowest + step.cost).where(mask, last.cost),
            (last.slowest + step.slowest).where(mask, last.slowest),
        )
        largest = memory.footprint(w.device, step.held.weights, where(mask, step.memory.cache, last.memory.cache),
                                   maximum(step.memory.workspace, last.memory.workspace))  # fmt: skip
        last = replace(step, workload=w, cost=more[0], slowest=more[1], memory=largest)
    assert last is not None
    return replace(last, workload=w)


def _one(w: Workload) -> Step:
    rules = rules_of(w)
    if all(value is None or is_scalar(value) for value in (getattr(w.plan, name) for name in COUNTS)):
        require(rules)
    model = calibrated.model(w.device)
    step = alike.folded(w, model)
    priced = step.priced
    hops = fold(stages.between(w), model)
    whole, slowest = stages.times(w, priced, hops, bool(np.all(np.asarray(w.phase.q_len) == 1.0)))
    host = w.device.assumption("step_overhead")
    engine = Cost(overhead_s=host, spread={"step overhead assumed": SPREAD * host})
    if w.plan.cuda_graph == "off":
        # The host launches kernels one by one: what the device does not hide of that is waited for.
        wait = maximum(step.launches * w.device.assumption("eager_launch") - whole.seconds, 0.0)
        engine = engine + Cost(overhead_s=wait, spread={"eager launch assumed": SPREAD * wait})
    sequences = w.view.batch * w.phase.microbatches
    kept = stages.held(w, w.phase.context, sequences)
    space = memory.footprint(w.device, kept.weights, sequences * kept.sequence(w, w.phase.context), step.workspace)
    return Step(w, priced, fold(stages.passed(w), model), engine, whole + engine, slowest + engine, space, kept)


def sequence_bytes(w: Workload, context: Num) -> Num:
    """Cache bytes of one sequence on the rank that holds most. [B]"""
    return stages.held(w, context, w.view.batch * w.phase.microbatches).sequence(w, context)


def max_batch(step: Step) -> Num:
    """The largest batch, over all replicas, that fits at this length; activations grow with the batch."""
    w, held = step.workload, step.memory
    # Every activation is proportional to the tokens of a micro-batch, so a sequence's share is exact.
    each = step.held.sequence(w, w.phase.context) + held.workspace / (w.view.batch * w.phase.microbatches)
    return maximum(floor(held.room / each), 0.0) * w.plan.replicas * w.plan.copies


def max_context(step: Step) -> Num:
    """The longest context at which this batch still fits in decode; inf when the cache does not grow."""
    w, held = step.workload, step.memory
    batch, room = busiest(w.phase.batch, w.plan.replicas * w.plan.copies), held.room - held.workspace

    def fits(context: Num) -> Num:
        return 1.0 * (batch * step.held.sequence(w, context) <= room)

    return memory.largest(fits, room * 0.0 + batch * 0.0)


def flops_per_token(w: Workload) -> Num:
    """Model FLOPs of one new token, all ranks together, un-absorbed attention; the head as often as it runs. [FLOP]"""
    active = count.parameters(w.model)
    body, head = active["params_active_no_embedding_no_head"], active["params_active_no_embedding"]
    logits = w.phase.logits / w.phase.q_len
    core = count.attention_core_flops(w.model, w.phase.q_len, w.phase.past) / w.phase.q_len
    return 2.0 * body + 2.0 * (head - body) * logits + core


def interval(cost: Cost) -> tuple[Num, Num]:
    """The 90 % interval of the seconds: as far below as above in ratio. [s]"""
    width = exp(Z90 * cost.deviation / cost.seconds)
    return cost.seconds / width, cost.seconds * width


def metrics(step: Step, decode: bool, usd_per_hour: Num | None, reach: bool = True) -> dict[str, Num]:
    """Flat numbers, SI, unit in the name; `reach`: how long a context would fit, too."""
    w, cost, held = step.workload, step.cost, step.memory
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
        "weight_bytes_per_gpu": held.weights,
        "kv_bytes_per_gpu": held.cache,
        "workspace_bytes_per_gpu": held.workspace,
        "reserve_bytes_per_gpu": held.reserve,
        "memory_used_bytes_per_gpu": held.used,
        "memory_capacity_bytes_per_gpu": held.capacity,
        "memory_short_bytes_per_gpu": maximum(held.short, 0.0),
        "max_batch": max_batch(step),
    }
    if decode and reach:
        found["max_context"] = max_context(step)
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
