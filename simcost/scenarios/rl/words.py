"""Options of a step of reinforcement learning as they are written: pools, modes, rewards, tools, plans of two sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import grammar, units
from simcost.errors import SpecError, nearest
from simcost.learning.reward import Judges
from simcost.learning.turns import TICK, Tools
from simcost.scenarios.serve.question import lengths_of
from simcost.serving.lengths import Lengths
from simcost.serving.lengths_text import parse as lengths_text

OFF, PARTIAL, ONE_STEP, FULL = MODES = ("off", "partial", "one-step", "full")
COLOCATED, DISAGGREGATED = "colocated", "disaggregated"
MOST_ANSWERS, MOST_TURNS, MOST_GPUS = 200_000, 1000, 1_000_000  # each answer is simulated: as many take 20 s


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
            raise SpecError(f"'{path}': rl has two plans: use --rollout {key}={value} or --train {key}={value}")
        if root == "phase" and key != "routing":
            raise SpecError(f"'{path}' does not apply to rl: its batches follow from prompts, samples and lengths")
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
        raise SpecError(f"--placement {said}: no GPU of {gpus:,} is left for the {short}")
    return found


def mode_of(said: str, colocated: bool) -> tuple[str, int]:
    """(how far rollouts run ahead, steps that an answer may be old). Raises SpecError for an unknown word, and where
    both sides would need the same GPUs at once."""
    word, colon, count = str(said).partition(":")
    if word not in MODES or (colon and (word != FULL or not count.isdecimal() or int(count) < 1)):
        raise SpecError(
            f"--async {said}: write off, partial, one-step or full:N, where an answer may be N steps old"
            f"{nearest(word, MODES)}"
        )
    if colocated and word in (ONE_STEP, FULL):
        raise SpecError(
            f"--async {said} runs rollout and training at the same time, so it needs --placement disaggregated:N"
        )
    return word, int(count) if colon else 1 if word in (ONE_STEP, FULL) else 0


def judges_of(said: Any) -> Judges | None:
    """Raises SpecError for what is no time with a number of workers."""
    if said is None:
        return None
    text, colon, count = str(said).partition(":")
    if not colon or not count.strip().isdecimal() or int(count) < 1:
        raise SpecError(f"--reward {said}: write the seconds per answer and the workers, as in 0.5s:64")
    return Judges(units.parse(text, "seconds", "--reward"), int(count))


def tools_of(turns: Any, wait: Any, tokens: Any) -> Tools | None:
    """Raises SpecError for turns that are none, and for tools without turns."""
    count = whole("--turns", turns, 1, MOST_TURNS)
    if count == 1:
        if wait is not None or tokens is not None:
            raise SpecError("--tool-wait and --tool-tokens need --turns 2 or more")
        return None
    if tokens is None:
        raise SpecError(f"--turns {count}: state the tokens that a tool adds, as in --tool-tokens 512")
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
