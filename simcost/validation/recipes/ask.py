"""A published row as a question to `rl`: what it prints, and where it prints nothing what rules assume.

Answers are log-normal, cut at the cap, with the printed mean after the cut. Most likely to be wrong: the spread of
lengths, which no source prints, and plans of a recipe file that is not the run's. Source: `rules.toml`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from simcost import grammar
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.scenarios.rl.question import Asked, asked
from simcost.scenarios.rl.words import COLOCATED, DISAGGREGATED, OFF
from simcost.scenarios.train.failures import Failures
from simcost.serving.lengths_text import parse
from simcost.validation.recipes.rows import Row
from simcost.validation.recipes.rules import Rules

# Options of `asked` that no row states.
_DEFAULTS: Mapping[str, Any] = {
    "algorithm": "grpo", "price": None, "stack": None, "epochs": 1, "rollout_batch": None, "reward": None,
    "reward_model": None, "reference_every": None, "routing_replay": False, "turns": 1, "tool_wait": None,
    "tool_tokens": None, "drafts": 0, "acceptance": None, "kept": None, "steps": None, "offload": None, "sync": None,
    "seed": 1, "packing": True, "length_correlation": 0.0, "failures": Failures(),
}  # fmt: skip
_PLANS = {"rollout": ("gen", ("tp", "pp")), "train": ("train", ("tp", "cp", "ep", "pp"))}


@frozen
class Question:
    """`asked`: of rl; `rules`: names of those that filled it; `holds`: by printed column phases of rl's that it holds
    too."""

    asked: Asked
    rules: tuple[str, ...]
    holds: Mapping[str, tuple[str, ...]]


def question(row: Row, rules: Rules) -> Question:
    """The question of a row. Raises SpecError where neither the row nor a rule says what is needed."""
    found = rules.assumed(row)
    used: list[str] = []

    def said(key: str, default: Any = None) -> Any:
        value, rule = found.get(key, (default, None))
        if rule is not None and rule.name not in used:
            used.append(rule.name)
        return value

    def printed(column: str) -> Any:
        return row.numbers[column] if column in row.numbers else said(column)

    prompts, samples = (_needed(row, name, printed(name)) for name in ("prompts", "samples"))
    isl = round(float(_needed(row, "prompt_len", printed("prompt_len"))))
    cap, mean = lengths(row, isl, said)
    placement, gpus = _placement(row, said), int(row.numbers["gpus"])
    batch, part = row.count("rollout_batch"), row.count("train_batch")
    given = {
        **_DEFAULTS,
        "framework": said("framework"),
        "kl": said("kl", "reference_s" in row.numbers),
        "placement": placement,
        "asynchrony": said("asynchrony", row.cells["asynchrony"] or OFF) if placement != COLOCATED else OFF,
        "packing": said("packing", True),
        "stack": said("stack"),
        "micro_batch": said("micro_batch"),
        "micro_batch_tokens": said("micro_batch_tokens"),
        "minibatches": batch // part if batch and part else said("minibatches", 1),
        **{side: plan(row, side, said(side), said("drop")) for side in _PLANS},
    }
    version = said("engine_version")
    sets = grammar.assignments([said("set")] if "set" in found else [])
    sets |= {"engine.version": version} if version else {}
    osl = spread(mean, float(said("osl_sigma")), cap)
    one = asked(row.cells["model"], row.cells["hw"], gpus, int(prompts), int(samples), isl, osl, cap, sets, given)
    columns = ("gen", "old_logprob", "sync")
    holds = {f"{name}_s": tuple(filter(None, str(said(f"{name}_holds", "")).split(", "))) for name in columns}
    return Question(one, tuple(used), holds)


def lengths(row: Row, isl: int, said: Any) -> tuple[int, float]:
    """(longest answer, mean answer) of a row [tokens]."""
    total, cap = row.count("max_total"), row.count("max_osl")
    if cap is None and total is not None:
        cap = total - isl
    if cap is None:
        raise SpecError(f"{row.id}: neither the row nor a rule says how long an answer may be")
    if "mean_osl" in row.numbers:
        return cap, row.numbers["mean_osl"]
    if "mean_total" in row.numbers:
        return cap, row.numbers["mean_total"] - isl
    return cap, float(said("mean_osl") or cap * _needed(row, "mean_osl", said("mean_share_of_cap")))


def spread(mean: float, sigma: float, cap: int) -> str:
    """The log-normal whose mean is `mean` once it is cut at `cap`, as rl takes it. Raises SpecError where none is."""
    if mean >= cap:
        raise SpecError(f"a mean of {mean:,.0f} tokens is not below the cap of {cap:,}")
    low, high = math.log(mean), math.log(mean) + 7.0
    for _ in range(40):
        middle = (low + high) / 2.0
        short = parse(f"lognormal:{math.exp(middle):.6g}:{sigma:g}", "osl").cap(cap).mean < mean
        low, high = (middle, high) if short else (low, middle)
    return f"lognormal:{math.exp(high):.6g}:{sigma:g}"


def _placement(row: Row, said: Any) -> str:
    """As printed; pools of which the split is not, by a rule."""
    kind = row.cells["placement"] or said("placement")
    if kind != DISAGGREGATED:
        return str(_needed(row, "placement", kind))
    gpus = row.count("rollout_gpus") or said("rollout_gpus")
    if gpus is None:
        gpus = int(row.numbers["gpus"] * _needed(row, "rollout_gpus", said("rollout_share")))
    return f"{DISAGGREGATED}:{gpus}"


def plan(row: Row, side: str, assumed: Mapping[str, Any] | None, drop: str | None) -> dict[str, Any] | None:
    """Sizes of a plan: those of a rule, over which printed ones go; None: rl's own. `drop`: a cell that does not
    hold."""
    prefix, sizes = _PLANS[side]
    found = dict(assumed or {})
    for size in sizes:
        count = row.count(f"{prefix}_{size}")
        if count is not None and f"{prefix}_{size}" != drop:
            found[size] = count
    if not found:
        return None
    if side == "train" and found.get("tp", 1) > 1:
        found["sequence_parallel"] = "on"  # Megatron's experts need it, and its other layers take it
    return found


def _needed(row: Row, name: str, value: Any) -> Any:
    if value is None:
        raise SpecError(f"{row.id}: neither the row nor a rule says '{name}'")
    return value
