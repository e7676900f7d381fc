"""What is asked of a step of reinforcement learning, as typed values: options of the line or the API, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from simcost import grammar, settings
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.price_use import stated as price_stated
from simcost.learning import algorithm, memory, weights
from simcost.learning import stack as frameworks
from simcost.learning.reward import Judges
from simcost.learning.stack import Framework
from simcost.learning.turns import Tools
from simcost.model import load as models
from simcost.model.given import Name
from simcost.scenarios.rl.words import (
    MOST_ANSWERS,
    MOST_GPUS,
    OFF,
    ONE_STEP,
    PARTIAL,
    judges_of,
    mode_of,
    parted,
    placement_of,
    sizes,
    tools_of,
    whole,
)
from simcost.scenarios.serve.question import MOST_DRAFTS, lengths_of, share
from simcost.scenarios.train.failures import Failures
from simcost.serving.lengths import Lengths

FRAMEWORK = "plain"
# Answers in flight over those of a step, of partial rollouts where nobody says: arXiv 2509.18521 (APRIL).
OVERSAMPLED = 2


@frozen
class Asked:
    """A question. `said`: lengths and options as they were stated; `rollout_gpus`: of the pool that answers, 0
    where all GPUs do everything; `both`, `serving`,
    `training`: settings by path, of both passes and of one; `rollout`, `train`: sizes and formats of their plans, None:
    found; `packing`: whether micro-batches are packed, not padded; `micro_batch`: sequences of one, None: a packed one has room for the longest; `micro_tokens`: tokens that a packed one holds, in its place; `alike`: correlation of the lengths of one prompt's answers; `answers`: of one rollout; `kept`: share of prompts that a filter keeps; `failures`: of the run of `steps`."""

    model: Name
    hw: str
    gpus: int
    prompts: int
    samples: int
    isl: Lengths
    osl: Lengths
    uncapped: Lengths
    max_osl: int | None
    said: Mapping[str, Any]
    algorithm: str
    rollout_gpus: int
    mode: str
    staleness: int
    rollout: Mapping[str, Any] | None
    train: Mapping[str, Any] | None
    both: Mapping[str, Any]
    serving: Mapping[str, Any]
    training: Mapping[str, Any]
    stack: str | None
    framework: Framework
    usd_per_hour: float | str | None
    epochs: int
    minibatches: int
    packing: bool
    micro_batch: int | None
    micro_tokens: int | None
    answers: int
    judges: Judges | None
    reward_model: Name | None
    reference: bool
    reference_every: int | None
    replay: bool
    tools: Tools | None
    alike: float
    seed: int
    offload: str
    sync: str | None
    drafts: int
    acceptance: float
    kept: float
    steps: int | None
    failures: Failures

    @property
    def colocated(self) -> bool:
        """Whether all GPUs do everything in turn."""
        return self.rollout_gpus == 0

    @property
    def trainer_gpus(self) -> int:
        """GPUs that train."""
        return self.gpus - self.rollout_gpus

    @property
    def engine_gpus(self) -> int:
        """GPUs that answer."""
        return self.rollout_gpus or self.gpus

    @property
    def step_answers(self) -> int:
        """Answers that a step trains on."""
        return self.prompts * self.samples

    @property
    def rounds(self) -> int:
        """Steps that share a rollout."""
        return 1 if self.mode != OFF else self.answers // self.step_answers

    @property
    def updates(self) -> int:
        """Updates of the weights in a step."""
        return self.minibatches * self.epochs


def asked(
    model: Any,
    hw: str,
    gpus: int,
    prompts: Any,
    samples: Any,
    isl: Any,
    osl: Any,
    max_osl: Any,
    sets: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Asked:
    """A checked question; `given`: the options of `api.rl` by name. Raises SpecError for what cannot be meant."""
    one = algorithm.load(str(given["algorithm"]))
    if gpus > MOST_GPUS:
        raise SpecError(f"--gpus = {gpus:,}: rl takes at most {MOST_GPUS:,}")
    count, each = whole("--prompts", prompts, 1, MOST_ANSWERS), whole("--samples", samples, 1, MOST_ANSWERS)
    if one.SAMPLES is not None and each != one.SAMPLES:
        raise SpecError(f"--samples {samples}: {one.NAME} takes {one.SAMPLES} answers of a prompt")
    step = count * each
    if step > MOST_ANSWERS:
        raise SpecError(f"--prompts {prompts} x --samples {samples}: at most {MOST_ANSWERS:,} answers")
    answer = lengths_of("--osl", str(osl))
    most = None if max_osl is None else int(settings.count("--max-osl", grammar.read("context", max_osl)))
    rollout_gpus = placement_of(given["placement"], gpus)
    mode, staleness = mode_of(given["asynchrony"], rollout_gpus == 0)
    tools = tools_of(given["turns"], given["tool_wait"], given["tool_tokens"])
    _checked(one, given, mode, rollout_gpus, tools)
    both, serving, training = parted(sets)
    return Asked(
        model=models.spelled(model),
        hw=hardware.spelled(hw),
        gpus=gpus,
        prompts=count,
        samples=each,
        isl=lengths_of("--isl", str(isl)),
        osl=answer if most is None else answer.cap(most),
        uncapped=answer,
        max_osl=most,
        said=_said(isl, osl, given),
        algorithm=str(one.NAME),
        rollout_gpus=rollout_gpus,
        mode=mode,
        staleness=staleness,
        both=both,
        serving=serving,
        training=training,
        stack=given["stack"],
        framework=frameworks.load(str(given["framework"] or FRAMEWORK)),
        usd_per_hour=given["price"],
        minibatches=whole("--minibatches", given["minibatches"], 1, step),
        answers=_answers(given["rollout_batch"], step, mode),
        reference=bool(one.REFERENCE) if given["kl"] is None else bool(given["kl"]),
        tools=tools,
        kept=_kept(given["kept"], bool(one.FILTERS), str(one.NAME)),
        **_options(given),
    )


def _said(isl: Any, osl: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as an answer repeats them."""
    stated = {name: value for name, value in given.items() if value is not None and name != "failures"}
    return {"isl": str(isl), "osl": str(osl), **stated, **given["failures"].stated()}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that depend on no other one. Raises SpecError for values that are none."""

    def count(name: str, most: int) -> int | None:
        value = given[name]
        return None if value is None else whole(f"--{name.replace('_', '-')}", value, 1, most)

    return {
        "rollout": sizes("--rollout", given["rollout"]),
        "train": sizes("--train", given["train"]),
        "epochs": whole("--epochs", given["epochs"], 1, 1000),
        "judges": judges_of(given["reward"]),
        "reward_model": None if given["reward_model"] is None else models.spelled(given["reward_model"]),
        "reference_every": count("reference_every", MOST_ANSWERS),
        "replay": bool(given["routing_replay"]),
        "packing": bool(given["packing"]),
        **_micro(given["micro_batch"], given["micro_batch_tokens"], bool(given["packing"])),
        "alike": share("--length-correlation", given["length_correlation"]),
        "seed": whole("--seed", given["seed"], 0, 2**31),
        "offload": memory.level_named(given["offload"] or memory.AUTO),
        "sync": None if given["sync"] is None else weights.named(given["sync"]),
        "steps": count("steps", 10**9),
        "failures": given["failures"],
        **_drafts(given["drafts"], given["acceptance"]),
    }


def _checked(one: ModuleType, given: Mapping[str, Any], mode: str, rollout_gpus: int, tools: Tools | None) -> None:
    """Raises SpecError for options that do not go together."""
    if not one.GENERATES:
        named = ("reward", "reward_model", "rollout_batch", "sync", "offload", "rollout")
        wrong = [name for name in named if given[name] is not None] + ["drafts"] * bool(given["drafts"])
        wrong += ["turns"] * (tools is not None) + ["async"] * (mode != OFF) + ["placement"] * bool(rollout_gpus)
        if wrong:
            raise SpecError(f"--algorithm {one.NAME} generates no answers: leave out --{wrong[0].replace('_', '-')}")
    if rollout_gpus and given["offload"] is not None:
        raise SpecError(f"--offload {given['offload']}: it applies to --placement colocated only")
    if given["steps"] is None:
        given["failures"].need("--steps")
    kl = given["kl"]
    price_stated(given["price"])
    if given["reference_every"] is not None and not (bool(one.REFERENCE) if kl is None else kl):
        raise SpecError("--reference-every needs a reference model: add --kl")


def _answers(said: Any, step: int, mode: str) -> int:
    """Answers of a rollout, or in flight. Raises SpecError for fewer than a step has, and of whole rollouts for no
    multiple."""
    if said is None:
        return step * (OVERSAMPLED if mode == PARTIAL else 1)
    found = whole("--rollout-batch", said, 1, MOST_ANSWERS)
    if found < step or (mode == OFF and found % step):
        what = f"a whole multiple of prompts x samples = {step:,}" if mode == OFF else f"at least {step:,}"
        raise SpecError(f"--rollout-batch {said}: must be {what} answers")
    if mode == ONE_STEP and found != step:
        raise SpecError(f"--rollout-batch {said}: with --async one-step it must be the {step:,} answers of one step")
    return found


def _micro(sequences: Any, tokens: Any, packing: bool) -> dict[str, int | None]:
    """Raises SpecError for both, and for tokens of a trainer that pads."""
    if tokens is None:
        stated = None if sequences is None else whole("--micro-batch", sequences, 1, MOST_ANSWERS)
        return {"micro_batch": stated if packing else stated or 1, "micro_tokens": None}
    if sequences is not None:
        raise SpecError("--micro-batch and --micro-batch-tokens both size the trainer's micro-batch: state one of them")
    if not packing:
        raise SpecError("--micro-batch-tokens needs a trainer that packs: with --no-packing use --micro-batch")
    found = settings.count("--micro-batch-tokens", grammar.read("context", tokens))
    return {"micro_batch": None, "micro_tokens": int(found)}


def _drafts(drafts: Any, acceptance: Any) -> dict[str, Any]:
    count = whole("--drafts", drafts, 0, MOST_DRAFTS)
    if (count > 0) != (acceptance is not None):
        raise SpecError(
            "--drafts and --acceptance must be given together: tokens proposed per step, and the probability that one is accepted"
        )
    return {"drafts": count, "acceptance": 0.0 if acceptance is None else share("--acceptance", acceptance)}


def _kept(said: Any, filters: bool, name: str) -> float:
    if (said is not None) != filters:
        raise SpecError(
            f"--algorithm {name} filters prompts: state the share that is kept, as in --kept 0.6"
            if filters
            else f"--kept applies to algorithms that filter prompts, but {name} does not"
        )
    if said is None:
        return 1.0
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0.0 < said <= 1.0:
        raise SpecError(f"--kept = {said!r} must be a share above 0, up to 1")
    return float(said)
