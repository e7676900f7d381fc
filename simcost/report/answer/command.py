"""The command line that asks the question of an answer again, from what the answer says of it.

Most likely to be wrong: an option that reads its text otherwise than what was asked; settings, axes and variants are read back here, and what does not come back the same has no command.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from simcost import grammar, settings
from simcost.errors import SpecError
from simcost.hardware.engines import ANY
from simcost.result import Result
from simcost.scenarios.inputs import arguments

_PROMPT = ("isl", "past", "prefill_tokens", "prefill_past")
_RUN = ("engine", "price", "gpus")
_TRAINING = ("micro_batch", "global_batch", "seq", "stack", "flops_convention")
_LOAD = ("isl", "osl", "concurrency", "rate", "prefix_hit", "prefix_from")
_FAILURES = ("mtbf", "restart", "checkpoint_rate", "checkpoint_interval")
_SERVING = ("drafts", "acceptance", "draft_model", "prefill_pool", "decode_pool")
# Options of each command: model and device stand in front of them, --set and --vary after them.
_OPTIONS = {
    "decode": ("batch", "context", "prefill_tokens", "prefill_past", *_RUN),
    "prefill": ("isl", "batch", "past", "images", "video_frames", *_RUN),
    "explain": ("phase", "batch", "context", *_PROMPT, "op", "top", "order", *_RUN),
    "compare": ("phase", "batch", "context", "isl", "prefill_batch", "images", *_TRAINING, *_RUN),
    "sweep": ("phase", "batch", "context", *_PROMPT, "pareto", *_RUN),
    "plans": ("phase", "batch", "context", *_LOAD, "metric", "tpot", "ttft", "cp", *_TRAINING, *_RUN),
    "train": (*_TRAINING, "tokens", "days", "usd", "rampup", "scaling", *_FAILURES, "levers", *_RUN),
    "serve": (*_LOAD, *_SERVING, "events", "requests", "seed", "warmup", *_RUN),
    "rl": (
        "gpus", "prompts", "samples", "isl", "osl", "max_osl", "algorithm", "placement", "asynchrony", "rollout", "train", "epochs", "minibatches", "rollout_batch", "reward",
        "reward_model", "kl", "reference_every", "routing_replay", "turns", "tool_wait", "tool_tokens", "drafts", "acceptance", "kept", "offload", "sync", "packing", "micro_batch",
        "micro_batch_tokens", "length_correlation", "steps", *_FAILURES, "stack", "framework", "seed", "levers", "price",
    ),
    "think": (
        "isl", "osl", "levels", "lengths_of", "benchmark", "sigma", "budget", "max_osl", "answer", "concurrency", "rate", "usd_per_million", "parallel", "accuracy", *_SERVING,
        "versus", "versus_osl", "versus_lengths_of", "versus_plan", "versus_usd_per_million", "versus_accuracy", *(f"versus_{name}" for name in _SERVING),
        "pretrain_tokens", "versus_tokens", "train", "law", "law_range", "prefix_hit", "events", "requests", "seed", *_RUN,
    ),
    "distill": (
        "teacher", "student", "isl", "osl", "samples", "tokens", "epochs", "kept", "texts", "student_osl", "top_k", "layers", "cross_tokenizer", "seq", "global_batch", "micro_batch",
        "teacher_hw", "teacher_plan", "rollout_plan", "storage_price", "storage_months", "network_price", "teacher_price", "rl", "stack", *_RUN,
    ),
    "recipe": ("gpus", "price", "ranges", *_FAILURES),
    "sensitivity": ("phase", "metric", "step", "only", "batch", "context", *_PROMPT, *_RUN),
    "crossover": ("engine",),
    "loss": ("tokens", "training_flops", "isl", "step"),
    "show model": ("isl",),
    "show hardware": (),
    "show memory": ("batch", "context", "engine", "gpus"),
    "show scaling-law": (),
}  # fmt: skip
# What stands behind the words of a command, without an option.
_ARGUMENTS = {
    "compare": "models", "recipe": "recipe", "show model": "model", "show hardware": "hw", "show memory": "model", "show scaling-law": "scaling_law",
}  # fmt: skip
_NAMES = ("model", "draft_model", "reward_model", "versus", "versus_draft_model", "teacher", "student")
_SPELLED = {"asynchrony": "async", "step": "range"}  # options by another word than the argument
_ON = ("levers", "packing", "ranges")  # flags that are on unless the line says --no-...
_SAID = ("kl",)  # flags that follow from something else unless the line says them
_BETWEEN = {"usd_per_million": ":", "versus_usd_per_million": ":"}  # several numbers of one option; a comma else
_BY_SET = ("crossover", "show model", "show hardware", "loss")  # commands without options for sizes of a plan


def words(result: Result) -> list[str]:
    """Words after `simcost`, defaults of counts included; [] where no command line says the same: another command, a config that was handed over, a value that a command line cannot hold."""
    if result.command not in _OPTIONS:
        return []
    try:
        found = [word for piece in _pieces(result) for word in piece]
    except SpecError:
        return []
    return found if all(word.isprintable() for word in found) else []


def lines(result: Result, width: int = 100) -> list[str]:
    """The same for a shell, quoted, over several lines, each but the last ending in a backslash; []: as `words`."""
    if not words(result):
        return []
    return folded(["simcost", *(shlex.join(piece) for piece in _pieces(result))], width)


def folded(pieces: list[str], width: int, indent: str = "") -> list[str]:
    """Pieces of a command in lines that a shell reads as one."""
    found = [f"{indent}{pieces[0]}"]
    for piece in pieces[1:]:
        if len(found[-1]) + len(piece) + 3 > width:
            found.append(f"{indent}    {piece}")
        else:
            found[-1] += f" {piece}"
    return [f"{line} \\" if at < len(found) - 1 else line for at, line in enumerate(found)]


def _pieces(result: Result) -> Iterator[list[str]]:
    """The command, then an option with its value each. Raises SpecError for what a command line cannot hold."""
    stated = result.inputs.get("solve", result.inputs)
    command, first = result.command, _ARGUMENTS.get(result.command, "")
    takes = ("model", "models", "variants", "hw", "path", "goal", first, *_OPTIONS[command])
    given = arguments(stated, takes)
    named = given.get(first, ())
    yield [*command.split(), *map(_name, named if isinstance(named, (list, tuple)) else [named])]
    for variant in given.get("variants", ()):
        yield ["--variant", _variant(variant)]
    for key in ("model", "hw", *_OPTIONS[command]):
        value, option = given.get(key), f"--{_SPELLED.get(key, key).replace('_', '-')}"
        if key in (first, given.get("path")) or (
            key == "engine" and value == ANY
        ):  # said already, what is solved for, and the default
            continue
        if isinstance(value, bool):
            if value != (key in _ON) or key in _SAID:
                yield [option if value else f"--no-{option.removeprefix('--')}"]
        elif value is not None:
            yield [option, _name(value) if key in _NAMES else _several(value, _BETWEEN.get(key, ","))]
    for path, value in given["set"].items():
        yield _of_stage(path, value) if command == "recipe" else _setting(path, value, command not in _BY_SET)
    for path, values in stated.get("vary", {}).items():
        yield ["--vary", _axis(path, values)]
    if "path" in given:
        yield from (["--solve", given["path"]], ["--for", given["goal"]])


def _name(model: Any) -> str:
    """Raises SpecError for a config that was handed over: it has no name that a command could read."""
    if not isinstance(model, str):
        raise SpecError("a config that was handed over has no command line")
    return model


def _several(value: Any, between: str) -> str:
    """A number or a text, or several with a sign between them."""
    if not isinstance(value, (list, tuple)):
        return said(value)
    found = [said(each) for each in value]
    if any(between in each for each in found):
        raise SpecError(f"a value with {between!r} among several has no command line")
    return between.join(found)


def said(value: Any) -> str:
    """A number that reads back to the same, or a text as it is."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def _of_stage(path: str, value: Any) -> list[str]:
    """A value of a recipe's stage."""
    from simcost.scenarios.recipe import change  # only a recipe asks for it

    text = f"{path}={said(value)}"
    _same(path, change.stated([text]), {path: value})
    return ["--set", text]


def _setting(path: str, value: Any, sizes: bool) -> list[str]:
    """`sizes`: whether those of a plan have options of their own."""
    root, key = grammar.split(path)
    text = _text(path, value)
    _same(path, grammar.parsed(path, text.strip()), value)
    of_plan = sizes and root == "plan" and key in (*settings.SIZES, "gpus")
    return [f"--{key.replace('_', '-')}", text] if of_plan else ["--set", f"{path}={text}"]


def _text(path: str, value: Any) -> str:
    """A value as --set reads it: a text that JSON would read as something else stands in quotes."""
    text = said(value)
    if isinstance(value, str) and grammar.parsed(path, text) != value:
        return json.dumps(value)
    return text


def _axis(path: str, values: list[Any]) -> str:
    """ "path=1,8,64", or a range where the numbers are one of at least four."""
    text = f"{path}={_range(values) or ','.join(_text(path, _name_of(path, value)) for value in values)}"
    _same(path, grammar.axes([text]), {grammar.full(path): values})
    return text


def _name_of(path: str, value: Any) -> Any:
    return _name(value) if path == "model" else value


def _range(values: list[Any]) -> str:
    if len(values) < 4 or any(isinstance(each, bool) or not isinstance(each, int) for each in values):
        return ""
    step = values[1] - values[0]
    if step > 0 and values == list(range(values[0], values[-1] + 1, step)):
        return f"{values[0]}..{values[-1]}:{step}"
    return ""


def _variant(variant: str | Mapping[str, Any]) -> str:
    if isinstance(variant, str):
        return variant
    from simcost.scenarios import variants  # only a comparison asks for it

    pairs = []
    for path, value in variants.parsed(variant).items():
        pairs.append(f"{path}={_name(value) if path == 'model' else _text(path, value)}")
    text = ",".join(pairs)
    _same("variant", variants.parsed(text), variants.parsed(variant))
    return text


def _same(path: str, read: Any, value: Any) -> None:
    """Raises SpecError where a text does not read back to what was asked."""
    if read != value:
        raise SpecError(f"{path}: {value!r} has no command line")
