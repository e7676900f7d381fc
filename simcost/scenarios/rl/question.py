"""What is asked of a step of reinforcement learning, as typed values: options of the line or the API, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import grammar, settings, units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.learning import algorithm, memory, weights
from simcost.learning import stack as frameworks
from simcost.learning.reward import Judges
from simcost.model import load as models
from simcost.model.given import Name
from simcost.scenarios.serve.question import MOST_DRAFTS, lengths_of
from simcost.serving.lengths import Lengths
from simcost.serving.lengths_text import parse as lengths_text

OFF, PARTIAL, ONE_STEP, FULL = MODES = ("off", "partial", "one-step", "full")
COLOCATED, DISAGGREGATED = "colocated", "disaggregated"
FRAMEWORK = "plain"
OVERSAMPLED = (
    2  # answers in flight over those of a step, of partial rollouts where nobody says: arXiv 2509.18521 (APRIL)
)
MOST_ANSWERS, MOST_TURNS = 1_000_000, 1000


@frozen
class Tools:
    """Turns of an agent: `turns` answers of a trajectory; between two of them a tool runs for `wait` [s] and its output
    of `tokens` joins the context."""

    turns: int
    wait: Lengths | float
    tokens: Lengths


@frozen
class Asked:
    """A question. `said`: lengths and options as they were stated; `rollout_gpus`: of the pool that answers, 0 where all GPUs do everything; `both`, `serving`,
    `training`: settings by path, of both passes and of one; `rollout`, `train`: sizes and formats of their plans, None:
    found; `answers`: of one rollout; `kept`: share of prompts that a filter keeps."""

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
    framework: str
    usd_per_hour: float | None
    epochs: int
    minibatches: int
    answers: int
    judges: Judges | None
    reward_model: Name | None
    reference: bool
    reference_every: int | None
    replay: bool
    tools: Tools | None
    seed: int
    offload: str
    sync: str | None
    drafts: int
    acceptance: float
    kept: float
    steps: int | None

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


def whole(option: str, value: Any, least: int, most: int) -> int:
    """Raises SpecError for what is no whole number in range."""
    found = grammar.read("plan.gpus", value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise SpecError(f"{option} = {value} must be a whole number from {least:,} to {most:,}")
    return found


def sizes(option: str, said: Any) -> dict[str, Any] | None:
    """Settings of a plan from "tp=8,ep=8,kv_dtype=fp8". Raises SpecError for a text that is none, and for the number of
    GPUs, which the pools say."""
    if said is None:
        return None
    if isinstance(said, Mapping):
        found = {grammar.full(f"plan.{str(key).removeprefix('plan.')}"): value for key, value in said.items()}
    else:
        parts = [part.strip().removeprefix("plan.") for part in str(said).split(",")]
        if not all("=" in part for part in parts):
            raise SpecError(f"{option} {said}: write sizes and formats of its plan, as in tp=8,ep=8,kv_dtype=fp8")
        found = grammar.assignments([f"plan.{part}" for part in parts], None)
    for path in ("plan.gpus", "plan.dp"):
        if path in found:
            raise SpecError(f"{option}: '{path}' follows from --gpus and --placement: leave it out")
    return found


def parted(sets: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(settings of both passes, of the engine, of the trainer). Raises SpecError for what belongs to a plan, or to
    neither."""
    both: dict[str, Any] = {}
    serving: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for path, value in sets.items():
        root, key = grammar.split(path)
        if root == "plan":
            raise SpecError(f"'{path}': two plans run here: say --rollout {key}={value} or --train {key}={value}")
        if root == "phase" and key != "routing":
            raise SpecError(f"'{path}' means nothing to rl: its batches follow from prompts, samples and lengths")
        where = serving if root == "engine" else training if root == "stack" else both
        where[path] = value
    return both, serving, training


def placement_of(said: str, gpus: int) -> int:
    """GPUs of the rollout's pool; 0 where all GPUs do everything. Raises SpecError for a text that is none, and for a
    pool without GPUs."""
    kind, colon, count = str(said).partition(":")
    if kind == COLOCATED and not colon:
        return 0
    how = f"--placement {said}: write colocated, or disaggregated:N with N of the {gpus:,} GPUs for the rollout"
    if kind != DISAGGREGATED or not count.strip().isdecimal():
        raise SpecError(how + nearest(kind, (COLOCATED, DISAGGREGATED)))
    found = int(count)
    if not 0 < found < gpus:
        short = "rollout" if found == 0 else "trainer"
        raise SpecError(f"--placement {said}: no GPU is left for the {short} (of {gpus:,})")
    return found


def mode_of(said: str, colocated: bool) -> tuple[str, int]:
    """(how far rollouts run ahead, steps that an answer may be old). Raises SpecError for an unknown word, and where
    both sides would need the same GPUs at once."""
    word, colon, count = str(said).partition(":")
    if word not in MODES or (colon and (word != FULL or not count.isdecimal() or int(count) < 1)):
        raise SpecError(
            f"--async {said}: write off, partial, one-step or full:N, N the steps that an answer may be old"
            f"{nearest(word, MODES)}"
        )
    if colocated and word in (ONE_STEP, FULL):
        raise SpecError(f"--async {said} runs both at once: it needs pools (--placement disaggregated:N)")
    return word, int(count) if colon else 1 if word in (ONE_STEP, FULL) else 0


def judges_of(said: Any) -> Judges | None:
    """Raises SpecError for what is no time with a number of workers."""
    if said is None:
        return None
    text, colon, count = str(said).partition(":")
    if not colon or not count.strip().isdecimal() or int(count) < 1:
        raise SpecError(f"--reward {said}: write seconds of an answer and workers, as in 0.5s:64")
    return Judges(units.parse(text, "seconds", "--reward"), int(count))


def tools_of(turns: Any, wait: Any, tokens: Any) -> Tools | None:
    """Raises SpecError for turns that are none, and for tools without turns."""
    count = whole("--turns", turns, 1, MOST_TURNS)
    if count == 1:
        if wait is not None or tokens is not None:
            raise SpecError("--tool-wait and --tool-tokens are of turns: say --turns 2 or more")
        return None
    if tokens is None:
        raise SpecError(f"--turns {count}: say what a tool puts out, as in --tool-tokens 512")
    return Tools(count, _seconds(wait), lengths_of("--tool-tokens", str(tokens)))


def _seconds(said: Any) -> Lengths | float:
    """Seconds of a tool: one time ("2s"), or a distribution of whole milliseconds inside."""
    if said is None:
        return 0.0
    text = str(said)
    kind, colon, _ = text.partition(":")
    if not colon:
        return units.parse(text, "seconds", "--tool-wait") if text not in ("0", "0s", "0.0") else 0.0
    parts = text.split(":")
    scaled = [kind]
    for i, part in enumerate(parts[1:], 1):
        is_time = not (kind == "lognormal" and i == 2)
        scaled.append(f"{units.parse(part, 'seconds', '--tool-wait') / TICK:g}" if is_time else part)
    return lengths_text(":".join(scaled), "--tool-wait")


TICK = units.parse("1 ms", "seconds")  # distributions are of whole numbers


def asked(
    model: Any, hw: str, gpus: int, prompts: Any, samples: Any, isl: Any, osl: Any, max_osl: Any, sets: Mapping[str, Any], given: Mapping[str, Any],
) -> Asked:  # fmt: skip
    """A checked question; `given`: the options of `api.rl` by name. Raises SpecError for what cannot be meant."""
    one = algorithm.load(str(given["algorithm"]))
    asked_prompts = whole("--prompts", prompts, 1, MOST_ANSWERS)
    asked_samples = whole("--samples", samples, 1, MOST_ANSWERS)
    if one.SAMPLES is not None and asked_samples != one.SAMPLES:
        raise SpecError(f"--samples {samples}: {one.NAME} takes {one.SAMPLES} answers of a prompt")
    step = asked_prompts * asked_samples
    if step > MOST_ANSWERS:
        raise SpecError(f"--prompts {prompts} x --samples {samples}: at most {MOST_ANSWERS:,} answers")
    prompt, answer = lengths_of("--isl", str(isl)), lengths_of("--osl", str(osl))
    most = None if max_osl is None else int(settings.count("--max-osl", grammar.read("context", max_osl)))
    rollout_gpus = placement_of(given["placement"], gpus)
    mode, staleness = mode_of(given["asynchrony"], rollout_gpus == 0)
    if not one.GENERATES and (mode != OFF or rollout_gpus):
        raise SpecError(f"--algorithm {one.NAME} generates nothing: leave out --async and --placement")
    tools = tools_of(given["turns"], given["tool_wait"], given["tool_tokens"])
    if tools is not None and mode in (PARTIAL, FULL):
        raise SpecError(f"--turns {tools.turns}: trajectories of several turns run whole: --async off or one-step")
    if not one.GENERATES and (tools is not None or given["drafts"] or given["rollout"] is not None):
        raise SpecError(f"--algorithm {one.NAME} generates nothing: leave out --rollout, --turns and --drafts")
    for name in ("reward", "reward_model", "rollout_batch", "sync", "offload"):
        if not one.GENERATES and given[name] is not None:
            raise SpecError(f"--algorithm {one.NAME} generates nothing: leave out --{name.replace('_', '-')}")
    if rollout_gpus and given["offload"] is not None:
        raise SpecError(f"--offload {given['offload']}: nothing moves between pools (it is of --placement colocated)")
    both, serving, training = parted(sets)
    price = given["price"]
    if price is not None and not 0 < price < 1e6:
        raise SpecError(f"--price = {price} must be USD per device and hour, above 0")
    kl = given["kl"]
    if given["reference_every"] is not None and not (bool(one.REFERENCE) if kl is None else kl):
        raise SpecError("--reference-every is of a reference, which is not asked here (--kl)")
    return Asked(
        model=models.spelled(model), hw=hardware.spelled(hw), gpus=gpus, prompts=asked_prompts, samples=asked_samples,
        isl=prompt, osl=answer if most is None else answer.cap(most), uncapped=answer, max_osl=most,
        said={"isl": str(isl), "osl": str(osl), **{name: value for name, value in given.items() if value is not None}},
        algorithm=str(one.NAME), rollout_gpus=rollout_gpus, mode=mode, staleness=staleness,
        rollout=sizes("--rollout", given["rollout"]), train=sizes("--train", given["train"]), both=both, serving=serving,
        training=training, stack=given["stack"], framework=frameworks.load(given["framework"] or FRAMEWORK).name,
        usd_per_hour=price, epochs=whole("--epochs", given["epochs"], 1, 1000),
        minibatches=whole("--minibatches", given["minibatches"], 1, step), answers=_answers(given["rollout_batch"], step, mode),
        judges=judges_of(given["reward"]), reward_model=None if given["reward_model"] is None else models.spelled(given["reward_model"]),
        reference=bool(one.REFERENCE) if kl is None else bool(kl),
        reference_every=None if given["reference_every"] is None else whole("--reference-every", given["reference_every"], 1, MOST_ANSWERS),
        replay=bool(given["routing_replay"]), tools=tools,
        seed=whole("--seed", given["seed"], 0, 2**31), offload=memory.level_named(given["offload"] or memory.AUTO),
        sync=None if given["sync"] is None else weights.named(given["sync"]), **_drafts(given["drafts"], given["acceptance"]),
        kept=_kept(given["kept"], bool(one.FILTERS), str(one.NAME)),
        steps=None if given["steps"] is None else whole("--steps", given["steps"], 1, 10**9),
    )  # fmt: skip


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
        raise SpecError(f"--rollout-batch {said}: one step off has the {step:,} answers of one step in flight")
    return found


def _drafts(drafts: Any, acceptance: Any) -> dict[str, Any]:
    count = whole("--drafts", drafts, 0, MOST_DRAFTS)
    if (count > 0) != (acceptance is not None):
        raise SpecError("--drafts and --acceptance stand together: tokens proposed a step, and the chance of each")
    if acceptance is not None and not 0.0 <= acceptance <= 1.0:
        raise SpecError(f"--acceptance = {acceptance!r} must be a share from 0 to 1")
    return {"drafts": count, "acceptance": 0.0 if acceptance is None else float(acceptance)}


def _kept(said: Any, filters: bool, name: str) -> float:
    if (said is not None) != filters:
        raise SpecError(
            f"--algorithm {name} throws prompts away: say the share that is kept (--kept 0.6)" if filters
            else f"--kept is of algorithms that filter prompts, which {name} does not"
        )  # fmt: skip
    if said is None:
        return 1.0
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0.0 < said <= 1.0:
        raise SpecError(f"--kept = {said!r} must be a share above 0, up to 1")
    return float(said)
