"""Reinforcement learning: one step, and the run that it is one of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simcost.api.arguments import Count, Model, Quantity, Sets, cluster, sets_of, unboxes
from simcost.api.training import failures_of
from simcost.errors import SpecError
from simcost.result import Result

_OPTION = "--timeline"
_GPUS = "plan.gpus"


@unboxes
def rl(
    model: Model, hw: str, gpus: Count | None = None, nodes: Count | None = None, *, prompts: Count, samples: Count, isl: Count, osl: Count,
    max_osl: Count | None = None, algorithm: str = "grpo", placement: str = "colocated", asynchrony: str = "off", rollout: str | Sets | None = None,
    train: str | Sets | None = None, set: Sets | None = None, engine: str | None = None, stack: str | None = None, framework: str | None = None,
    price: float | str | None = None, steps: Count | None = None, epochs: Count = 1, minibatches: Count = 1, rollout_batch: Count | None = None,
    reward: str | None = None, reward_model: Model | None = None, reference_every: Count | None = None, kl: bool | None = None,
    routing_replay: bool = False, turns: Count = 1, tool_wait: str | None = None, tool_tokens: Count | None = None, drafts: int = 0,
    acceptance: float | None = None, kept: float | None = None, offload: str | None = None, sync: str | None = None, seed: int = 1,
    packing: bool = True, micro_batch: Count | None = None, micro_batch_tokens: Count | None = None, length_correlation: float = 0.0,
    mtbf: Quantity | None = None, restart: Quantity | None = None, checkpoint_rate: Quantity | None = None, checkpoint_interval: Quantity | None = None, levers: bool = True, timeline: str | Path | None = None,
) -> Result:  # fmt: skip
    """One step of reinforcement learning on `gpus`: `samples` answers of each of `prompts`, trained on. `isl`, `osl`: tokens of prompts and answers, or
    distributions ("lognormal:8192:0.8"), answers cut at `max_osl`. `algorithm`: grpo, ppo, dpo, rloo, dapo (`kept`: share of prompts that its filter keeps).
    `placement`: "colocated", or "disaggregated:N" with N GPUs for the rollout; `asynchrony`: "off", "partial", "one-step" or "full:N" (steps that an answer may be
    old). `rollout`, `train`: sizes and formats of the two plans ("tp=8,ep=8"), None: the smallest that fit. `rollout_batch`: answers of one rollout, a multiple
    of those of a step; in flight, of partial and asynchronous ones. `packing`: False where the trainer pads each sequence to the longest. `micro_batch`: sequences of the trainer's micro-batch, a packed one with the room of as many of the longest, None: 1; `micro_batch_tokens`: tokens of a packed one instead. `length_correlation`: how far lengths of one prompt's answers go together, 0 to 1. `reward`: seconds of an answer and CPU workers ("0.5s:64"); `reward_model`: a design that
    scores answers; `kl`: whether a reference is asked, None: as the algorithm does. `turns`, `tool_wait`, `tool_tokens`: of agents. `offload`: auto, none, engine, optimizer,
    all; `sync`: gather, broadcast, reshard. `steps`: of a run, with its failures and checkpoints (`mtbf`, `restart`, `checkpoint_rate`, `checkpoint_interval` as `train` takes them). `levers`: what single changes would do. `timeline`: a picture or a trace to write. Raises SpecError for wrong
    input, Infeasible for a plan that breaks a rule or does not fit."""
    from simcost.scenarios.rl.question import asked
    from simcost.scenarios.rl.result import result

    if timeline is not None:
        from simcost.report import timeline as draw

        draw.checked(Path(timeline), _OPTION)
    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    if _GPUS not in sets:
        raise SpecError("state how many devices there are with --gpus or --nodes")
    count = int(sets.pop(_GPUS))
    given: dict[str, Any] = {
        "algorithm": algorithm, "placement": placement, "asynchrony": asynchrony, "rollout": rollout, "train": train, "price": price, "kl": kl, "stack": stack,
        "framework": framework, "epochs": epochs, "minibatches": minibatches, "rollout_batch": rollout_batch, "reward": reward, "reward_model": reward_model,
        "reference_every": reference_every, "routing_replay": routing_replay, "turns": turns, "tool_wait": tool_wait, "tool_tokens": tool_tokens, "seed": seed,
        "offload": offload, "sync": sync, "drafts": drafts, "acceptance": acceptance, "kept": kept, "steps": steps, "packing": packing,
        "micro_batch": micro_batch, "micro_batch_tokens": micro_batch_tokens, "length_correlation": length_correlation, "failures": failures_of(mtbf, restart, checkpoint_rate, checkpoint_interval),
    }  # fmt: skip
    found, step = result(asked(model, hw, count, prompts, samples, isl, osl, max_osl, sets, given), levers)
    if timeline is not None:
        from simcost.report.learning.timeline import charts

        draw.write(Path(timeline), charts(step), found, _OPTION)
    return found
