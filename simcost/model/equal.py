"""`iso`: one width of a changed design that makes it equal to the first one in parameters, active parameters, FLOPs per token or cache.

Each of the four is a straight line over an FFN's or an expert's width, over KV heads and over a latent's rank, so two designs give the line and its solution;
widths and ranks come to a multiple of 64, KV heads to a divisor of the heads, and the residual is said. Most likely to be wrong: what a designer would
hold equal. Source: arithmetic of `model/count.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from simcost.blocks.swap import STEP, Swap, multiple
from simcost.dtypes import dtype
from simcost.errors import SpecError, nearest
from simcost.model import count
from simcost.model.spec import ModelSpec, from_config
from simcost.units import show

GOALS = ("params", "active", "flops", "kv")
BY_LAWS = (
    "loss",
    "optimal",
)  # and after a colon training tokens, or FLOPs: by scaling laws, which are solved for outside
AT_A_LENGTH = ("flops", "kv")  # goals that hold at one length of the context
MEANING = {
    "params": "parameters",
    "active": "active parameters",
    "flops": "FLOPs per token",
    "kv": "cache of a sequence",
}
_UNITS = {"params": "parameters", "active": "parameters", "flops": "flops", "kv": "count"}
_ALMOST = 1e-12  # of a goal: what floats leave over
_BY_ITSELF = "--iso was not given"


class Question(NamedTuple):
    """What of a question `iso` reads: new and cached tokens of a sequence, the ranks that cut a linear layer, and the format of weights (None: the config's)."""

    q_len: Any = 1
    past: Any = 0
    tp: Any = 1
    weight_dtype: str | None = None


class Goal(NamedTuple):
    """What is held equal, the reason, and for "kv" the config key that is solved for, "" where no swap says."""

    name: str
    why: str
    cache_key: str = ""


def goal(asked: Any, swaps: Sequence[tuple[str, Swap, str, str]], stated: Mapping[str, Any]) -> Goal | None:
    """What `iso` asks for; where it asks for nothing, active parameters for an FFN whose width is open. `swaps`: (kind, swap, text, as written); `stated`:
    config keys that the user sets. Raises SpecError for a goal that is none, and for one whose size a swap states."""
    widths = [
        (swap.states_width(text), swap.width_key in stated, written)
        for kind, swap, text, written in swaps
        if kind == "ffn"
    ]
    open_ = [written for by_text, by_key, written in widths if not (by_text or by_key)]
    if asked is None:
        return Goal("active", f"{open_[0]} leaves the width open, and {_BY_ITSELF}") if open_ else None
    if asked not in GOALS and str(asked).partition(":")[0] not in BY_LAWS:
        raise SpecError(
            f"iso must be one of {', '.join(GOALS)}, loss:<training tokens> or optimal:<training FLOPs>, not {asked!r}{nearest(str(asked), (*GOALS, *BY_LAWS))}"
        )
    if asked != "kv":
        fixed = [written for by_text, _, written in widths if by_text]
        if fixed:
            raise SpecError(f"{fixed[0]} states the width, and --iso {asked} solves for it: leave one out")
        return Goal(asked, "asked for")
    if open_:
        raise SpecError(
            f"{open_[0]} leaves the width open, and --iso kv does not solve for it: state the width, or set model.intermediate_size or model.moe_intermediate_size"
        )
    for kind, swap, text, written in swaps:
        if kind == "attention":
            if not swap.cache_key:
                raise SpecError(f"{written}: --iso kv cannot solve for the size of its cache: use gqa or mla")
            if swap.states_cache(text):
                raise SpecError(f"{written} states the size of the cache, and --iso kv solves for it: leave one out")
            return Goal("kv", "asked for", swap.cache_key)
    raise SpecError("--iso kv solves for KV heads or the rank of a latent: it needs model.attention=gqa or mla")


Losses = Callable[
    [str, ModelSpec, Callable[[int], ModelSpec], int], tuple[int, str]
]  # (goal, first design, design of a width, step of widths) -> (width, why)


def solved(
    goal_: Goal, before: ModelSpec, now: Mapping[str, Any], stated: Mapping[str, Any], question: Question, name: str, where: str, by_loss: Losses,
) -> tuple[str, int, str]:  # fmt: skip
    """(config key, value, why with the residual). `by_loss`: solves for equal loss. Raises SpecError where the key is stated too, or no size meets the goal."""
    key = goal_.cache_key or _width_key(now)
    if key in stated:
        raise SpecError(f"model.{key}={stated[key]} is set, and --iso {goal_.name} solves for it: leave one out")

    def built(value: int) -> ModelSpec:
        return from_config({**now, key: value}, name, where)

    heads = key == "num_key_value_heads"
    step = 1 if heads else _step(built(STEP), built(2 * STEP), question)
    if goal_.name.partition(":")[0] in BY_LAWS:
        return key, *by_loss(goal_.name, before, built, step)
    measure = _measure(goal_.name, question)
    wanted = measure(before)

    def at(value: int) -> float:
        return measure(built(value))

    if goal_.name != "kv" and at(STEP) == at(2 * STEP):
        raise SpecError(
            f"{name}: no layer of the new design has an FFN whose width --iso {goal_.name} could solve for: add model.ffn=dense, or use --iso kv"
        )
    value = _divisor(at, wanted, _heads(built(1))) if heads else _multiple(at, wanted, step)
    unit = _UNITS[goal_.name]
    if value is None:
        raise SpecError(
            f"{name}: no {key} from {STEP} on gives equal {MEANING[goal_.name]}: {show(at(STEP), unit)} with {STEP} already, but {show(wanted, unit)} is needed"
        )
    off = at(value) / wanted - 1.0
    rest = "exactly" if abs(off) < _ALMOST else f"to {off:+.2%}" if abs(off) >= 5e-5 else "to less than 0.01%"
    length = f" at {question.past + question.q_len:,.0f} tokens" if goal_.name in AT_A_LENGTH else ""
    why = f"equal {MEANING[goal_.name]}{length} {rest} ({show(at(value), unit)} for {show(wanted, unit)})"
    if step > STEP:
        why += f"; a multiple of {step:,}, of which tp = {int(question.tp)} cuts whole blocks of scales"
        finer = _multiple(at, wanted, STEP)
        if finer not in (None, value):
            why += f" ({finer:,} would be equal to {at(finer) / wanted - 1.0:+.2%})"
    return key, value, why if goal_.why == "asked for" else f"{why}; {goal_.why}"


def is_solved(why: str) -> bool:
    """Whether a value with this reason is one that `iso` solved for."""
    return why.startswith(("equal ", "least loss "))


def is_asked(why: str) -> bool:
    """Whether it did because it was given: whoever states the value has to leave it out."""
    return is_solved(why) and not why.endswith(_BY_ITSELF)


def _measure(name: str, question: Question) -> Callable[[ModelSpec], float]:
    if name == "params":
        return lambda model: float(count.parameters(model)["params_language"])
    if name == "active":
        return lambda model: float(count.parameters(model)["params_active_all"])
    q_len, past = float(question.q_len), float(question.past)
    if name == "flops":
        return lambda model: float(count.flops_per_token(model, q_len, past, 1.0))
    return lambda model: float(count.state_elements(model, past + q_len))


def _width_key(config: Mapping[str, Any]) -> str:
    """The config key of the width of experts, of the dense FFN where there are none."""
    if config.get("n_routed_experts"):
        return "moe_intermediate_size" if config.get("moe_intermediate_size") else "intermediate_size"
    return "intermediate_size_mlp" if config.get("intermediate_size_mlp") else "intermediate_size"


_CUT = {"ffn": "intermediate_size", "shared_experts": "shared_width"}  # widths that tp cuts, by role of the weights


def _step(one: ModelSpec, two: ModelSpec, question: Question) -> int:
    """64, or more where ranks would cut a block of the weights' scales: engines refuse that of a linear layer, and pad routed experts. `one`, `two`: the
    design with the width at 64 and at 128, which tell what grows with it, and how many times as fast: a shared width of two experts twice."""
    step = STEP
    for role, size in _CUT.items():
        kind = one.storage[role] if question.weight_dtype is None else dtype(question.weight_dtype, "plan.weight_dtype")
        rows, ranks = kind.block[0], int(question.tp)
        if rows <= 1 or ranks <= 1:
            continue
        for (_, a), (_, b) in zip(one.blocks(), two.blocks(), strict=True):
            times = int((getattr(b, size, 0.0) - getattr(a, size, 0.0)) / STEP)
            if times:
                step = math.lcm(step, rows * ranks // math.gcd(rows * ranks, times))
    return step


def _multiple(at: Callable[[int], float], wanted: float, step: int) -> int | None:
    """The multiple of the step whose measure is nearest; None where even 64 is too much."""
    one, two = at(STEP), at(2 * STEP)
    if two <= one:
        return None
    exact = STEP * (1.0 + (wanted - one) / (two - one))
    if exact < STEP / 2:
        return None
    return multiple(exact, step)


def _heads(model: ModelSpec) -> int:
    """Query heads of a design whose layers have one kind of attention."""
    return next(int(block.plain_heads[0]) for _, block in model.blocks() if block.plain_heads is not None)


def _divisor(at: Callable[[int], float], wanted: float, heads: int) -> int:
    """The divisor of the heads whose measure is nearest."""
    able = [n for n in range(1, heads + 1) if heads % n == 0]
    return min(able, key=lambda n: abs(at(n) - wanted))
