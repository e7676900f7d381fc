"""The rl command: a step of reinforcement learning, and the run that it is one of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit


def algorithms(incomplete: str) -> list[str]:
    """Algorithms for shell completion."""
    from simcost.learning.algorithm import known

    return [name for name in known() if name.startswith(incomplete)]


def rl(
    model: o.Model, hw: o.Hw,
    prompts: Annotated[str, Option("--prompts", metavar="<count>", help="Prompts per step.")],
    samples: Annotated[str, Option("--samples", metavar="<count>", help="Answers per prompt.")],
    isl: Annotated[str, Option("--isl", metavar="<lengths>", help="Tokens of a prompt: 1024, 8k (8,192), lognormal:1024:0.8 (mean, sigma of the log), uniform:256:4096, exponential:1024, file:lengths.csv.")],
    osl: Annotated[str, Option("--osl", metavar="<lengths>", help="Tokens of an answer, written as --isl; with --turns, of each turn.")],
    gpus: o.Gpus = None, nodes: o.Nodes = None,
    max_osl: Annotated[str | None, Option("--max-osl", metavar="<count>", help="Longest answer: longer ones are cut to it.")] = None,
    algorithm: Annotated[str, Option("--algorithm", help="grpo, ppo, dpo, rloo or dapo.", autocompletion=algorithms)] = "grpo",
    placement: Annotated[str, Option("--placement", help="colocated, or disaggregated:N with N of the GPUs for the rollout.", autocompletion=o.starting(("colocated", "disaggregated:")))] = "colocated",
    asynchrony: Annotated[str, Option("--async", help="off, partial (unfinished answers continue in the next step), one-step, or full:N, where an answer may be N steps old.", autocompletion=o.starting(("off", "partial", "one-step", "full:")))] = "off",
    rollout: Annotated[str | None, Option("--rollout", metavar="<sizes>", help="Plan of the engine: tp=8,ep=8,weight_dtype=fp8; default the smallest that fits.")] = None,
    train: Annotated[str | None, Option("--train", metavar="<sizes>", help="Plan of the trainer: ep=8,pp=4,recompute=full; default the smallest that fits.")] = None,
    epochs: Annotated[str, Option("--epochs", metavar="<count>", help="Number of times that the answers are trained on.")] = "1",
    minibatches: Annotated[str, Option("--minibatches", metavar="<count>", help="Updates per epoch.")] = "1",
    rollout_batch: Annotated[str | None, Option("--rollout-batch", metavar="<count>", help="Answers of one rollout that several steps train on; with --async partial or full answers in flight.")] = None,
    reward: Annotated[str | None, Option("--reward", metavar="<time:workers>", help="Rules or a sandbox on CPUs: 0.5s:64 is half a second per answer on each of 64 workers.")] = None,
    reward_model: Annotated[str | None, Option("--reward-model", help="Model that scores every answer in a prefill pass.", autocompletion=o.model_names)] = None,
    kl: Annotated[bool | None, Option("--kl/--no-kl", help="Whether a reference model runs; default by the algorithm.")] = None,
    reference_every: Annotated[str | None, Option("--reference-every", metavar="<count>", help="Steps after which the policy becomes the reference.")] = None,
    routing_replay: Annotated[bool, Option("--routing-replay/--no-routing-replay", help="The trainer uses the expert choices of the engine: bytes stored and sent.")] = False,
    turns: Annotated[str, Option("--turns", metavar="<count>", help="Answers of an agent's trajectory, with a tool call between two of them.")] = "1",
    tool_wait: Annotated[str | None, Option("--tool-wait", metavar="<time>", help="Time of a tool: 2s, exponential:2s, lognormal:2s:1, uniform:1s:4s.")] = None,
    tool_tokens: Annotated[str | None, Option("--tool-tokens", metavar="<lengths>", help="Tokens that a tool adds to the context, as --isl.")] = None,
    drafts: Annotated[int, Option("--drafts", help="Speculative decoding of the rollout by the design's MTP module: tokens proposed per step.")] = 0,
    acceptance: o.Acceptance = None,
    kept: Annotated[float | None, Option("--kept", help="dapo: share of prompts that its filter keeps.")] = None,
    offload: Annotated[str | None, Option("--offload", help="Colocated: what leaves the GPUs between phases: auto, none, engine, optimizer, all.", autocompletion=o.starting(("auto", "none", "engine", "optimizer", "all")))] = None,
    sync: Annotated[str | None, Option("--sync", help="How weights go to the engine: gather, broadcast, reshard.", autocompletion=o.starting(("gather", "broadcast", "reshard")))] = None,
    packing: Annotated[bool, Option("--packing/--no-packing", help="Whether the trainer packs sequences into micro-batches; else it pads each to the longest of the step.")] = True,
    micro_batch: Annotated[str | None, Option("--micro-batch", metavar="<count>", help="Sequences of the trainer's micro-batch per data-parallel rank, each as long as it is, or padded with --no-packing. Default with padding 1.")] = None,
    micro_batch_tokens: Annotated[str | None, Option("--micro-batch-tokens", metavar="<count>", help="Tokens that a packed micro-batch of a data-parallel rank holds, instead of --micro-batch: 32k. Default: the longest sequence.")] = None,
    length_correlation: Annotated[float, Option("--length-correlation", metavar="<share>", help="How far the lengths of one prompt's answers go together, 0 (apart) to 1; no source prints a value.")] = 0.0,
    steps: Annotated[str | None, Option("--steps", metavar="<count>", help="Also price a run of this many steps, with its failures and checkpoints.")] = None,
    mtbf: o.Mtbf = None, restart: o.Restart = None, checkpoint_rate: o.CheckpointRate = None, checkpoint_interval: o.CheckpointInterval = None,
    stack: o.Stack = None,
    framework: Annotated[str | None, Option("--framework", help="Host times of a framework (workloads/rl-stacks), or a file; default plain.")] = None,
    seed: Annotated[int, Option("--seed", help="Seed of the random lengths.")] = 1,
    timeline: Annotated[Path | None, Option("--timeline", help="Draw the step: .png, .svg, .pdf, a page as .html (extra 'plot'), or .trace.json for Perfetto.")] = None,
    levers: Annotated[bool, Option("--levers/--no-levers", help="Also show what single changes would do to the step.")] = True,
    engine: o.Engine = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A step of reinforcement learning, phase by phase: rollout, rewards, log-probs, update, weight transfer; which GPUs wait, and what single changes would do."""
    from simcost import api, grammar

    check(format, output)
    result = api.rl(
        model, hw, gpus, nodes, prompts=prompts, samples=samples, isl=isl, osl=osl, max_osl=max_osl, algorithm=algorithm, placement=placement,
        asynchrony=asynchrony, rollout=rollout, train=train, set=grammar.assignments(set or [], engine), stack=stack, framework=framework, price=price,
        steps=steps, epochs=epochs, minibatches=minibatches, rollout_batch=rollout_batch, reward=reward, reward_model=reward_model,
        reference_every=reference_every, kl=kl, routing_replay=routing_replay, turns=turns, tool_wait=tool_wait, tool_tokens=tool_tokens, drafts=drafts,
        acceptance=acceptance, kept=kept, offload=offload, sync=sync, seed=seed, packing=packing, micro_batch=micro_batch, micro_batch_tokens=micro_batch_tokens,
        length_correlation=length_correlation,
        mtbf=mtbf, restart=restart, checkpoint_rate=checkpoint_rate, checkpoint_interval=checkpoint_interval, levers=levers, timeline=timeline,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
