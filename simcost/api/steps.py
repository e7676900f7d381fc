"""One step of a design, several designs side by side, and where its costs cross over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost import grammar, settings
from simcost.api.arguments import (
    DEFAULTS,
    Axes,
    Count,
    Model,
    Quantity,
    Sets,
    cluster,
    decode_query,
    either,
    listed,
    prefill_query,
    quantity,
    sets_of,
    step_query,
    unboxes,
)
from simcost.errors import SpecError
from simcost.model import load as zoo
from simcost.query import make
from simcost.result import Result
from simcost.scenarios import phases


@unboxes
def decode(
    model: Model | None = None,
    hw: str | None = None,
    batch: Count | None = None,
    context: Count | None = None,
    set: Sets | None = None,
    vary: Axes | None = None,
    price: float | str | None = None,
    gpus: Count | None = None,
    nodes: Count | None = None,
    engine: str | None = None,
    prefill_tokens: Count | None = None,
    prefill_past: Count | None = None,
) -> Result:
    """One decode step: `batch` sequences, each attending to `context` tokens with the new one. prefill_tokens: tokens of a prompt that run
    beside them on every attention replica, as engines mix them, after `prefill_past` cached ones."""
    sets = cluster(hw, sets_of(set, engine), gpus, nodes, vary)
    return phases.result(decode_query(model, hw, batch, context, sets, vary, price, prefill_tokens, prefill_past))


@unboxes
def prefill(
    model: Model | None = None, hw: str | None = None, isl: Count | None = None, batch: Count | None = None, past: Count | None = None, set: Sets | None = None, vary: Axes | None = None,
    price: float | str | None = None, gpus: Count | None = None, nodes: Count | None = None, engine: str | None = None, images: Count | None = None,
) -> Result:  # fmt: skip
    """One prefill step: `isl` new tokens of each of `batch` sequences, after `past` cached ones (chunked prefill). images: of each sequence, whose tokens
    are part of `isl` and whose tower runs too."""
    sets = cluster(hw, sets_of(set, engine), gpus, nodes, vary)
    return phases.result(prefill_query(model, hw, batch, isl, past, sets, vary, price, images))


_OF_IMAGES = tuple(
    ("phase", key) for key in ("images", "video_frames", "image_height", "image_width")
)  # of a prompt alone


@unboxes
def compare(
    models: Model | Sequence[Model],
    hw: str,
    batch: Count | None = None,
    context: Count | None = None,
    isl: Count | None = None,
    set: Sets | None = None,
    price: float | str | None = None,
    gpus: Count | None = None,
    nodes: Count | None = None,
    prefill_batch: Count | None = None,
    engine: str | None = None,
    variants: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = (),
    phase: str | None = None,
    micro_batch: Count | None = None,
    global_batch: Count | None = None,
    seq: Count | None = None,
    stack: str | None = None,
    flops_convention: str | None = None,
    images: Count | None = None,
    tokens: Quantity | None = None,
) -> Result:
    """Designs side by side, then the terms that differ, largest first; `models` and `variants` are one or several: of a decode and a prefill step, or with `phase`="train" of a training step of
    `micro_batch`, `global_batch`, `seq` and `stack` as `train` takes them, and with `tokens` of a run of them too. `variants`: of the first model, each a text such as
    "attention=gqa:8,ffn=dense" or a mapping; hw=..., engine=... and plan.tp=... say where it runs, model=... whose variant it is. `prefill_batch`:
    prompts at a time; default: one a replica of the attention and copy of the model. `images`: of each prompt, whose tokens are part of isl; a design without a tower that is
    counted has a row with the reason."""
    from simcost.scenarios import compare as scenario
    from simcost.scenarios.variants import parsed

    models, variants = listed(models), listed(variants)
    several = nodes is not None and any("hw" in parsed(one) for one in variants)
    sets = cluster(None if several else hw, sets_of(set, engine), gpus, nodes)
    serving = {"batch": batch, "context": context, "isl": isl, "prefill-batch": prefill_batch, "images": images}
    training = {"micro-batch": micro_batch, "global-batch": global_batch, "seq": seq, "stack": stack, "flops-convention": flops_convention, "tokens": tokens}  # fmt: skip
    _of_one_phase(phase, serving, training)
    if phase == "train":
        from simcost.scenarios.train import compare as side_by_side

        run = None if tokens is None else quantity("--tokens", tokens, "tokens")
        counts = {"micro_batch": micro_batch, "global_batch": global_batch, "seq": seq}
        asked = side_by_side.Question(hw, counts, sets, stack, price, flops_convention or "reference", run)
        return side_by_side.result([zoo.spelled(name) for name in models], variants, asked)
    prompts = None if prefill_batch is None else settings.count("--prefill-batch", grammar.read("batch", prefill_batch))
    prompt = {"batch": prompts, "isl": either(isl, DEFAULTS["isl"]), "past": 0}
    both = {path: value for path, value in sets.items() if grammar.split(path) == ("phase", "routing")}
    seen = {path: value for path, value in sets.items() if grammar.split(path) in _OF_IMAGES}
    sets = {path: value for path, value in sets.items() if path not in seen}
    if images is not None and any(grammar.split(path) == _OF_IMAGES[0] for path in seen):
        raise SpecError(f"'images' is given twice: images={images!r}, and in set")
    prompt |= {grammar.split(path)[1]: value for path, value in seen.items()} | (
        {} if images is None else {"images": images}
    )
    only = both | {path: value for path, value in sets.items() if grammar.split(path)[0] != "phase"}
    first = models[0] if models else ""
    question = decode_query(first, hw, batch, context, sets, None, price)
    return scenario.result(
        [zoo.spelled(name) for name in models],
        variants,
        question,
        make(first, hw, False, prompt, only, {}, price),
    )


def _of_one_phase(phase: str | None, serving: Mapping[str, Any], training: Mapping[str, Any]) -> None:
    """Raises SpecError for a phase that compare does not know, and for what only the other one reads."""
    if phase not in (None, "train"):
        raise SpecError(f"--phase {phase}: compare prices decode and prefill together; only --phase train can be set")  # fmt: skip
    foreign = serving if phase == "train" else training
    name = next((name for name, value in foreign.items() if value is not None), None)
    if name is not None:
        hint = "leave it out" if phase == "train" else "add --phase train"
        raise SpecError(f"--{name} does not apply to compare {'--phase train' if phase else 'of decode and prefill'}: {hint}")  # fmt: skip


@unboxes
def explain(
    model: Model, hw: str, phase: str = "decode", batch: Count | None = None, context: Count | None = None, isl: Count | None = None,
    past: Count | None = None, set: Sets | None = None, price: float | str | None = None, gpus: Count | None = None,
    nodes: Count | None = None, engine: str | None = None, prefill_tokens: Count | None = None, prefill_past: Count | None = None, order: str = "time", op: str | None = None, top: Count | None = None,
) -> Result:  # fmt: skip
    """Every op of one step of `phase`: "decode" takes `context` (default 4096), and a prompt beside it; "prefill" takes `isl` (4096) and
    `past` (0). `order` of the rows: "time" (longest first) or "execution". `op`: one kernel in full, with its curves, the nearest measured rows and the parts of its
    interval; `top`: only this many of the longest rows."""
    from simcost.scenarios import explain as scenario

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    query = step_query(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(
        query, order, op, None if top is None else int(settings.count("--top", grammar.read("batch", top)))
    )


@unboxes
def crossover(model: Model, hw: str = "h200", set: Sets | None = None, engine: str | None = None) -> Result:
    """The length from which attention costs more than the FFN, and from which cache reads exceed weight reads."""
    from simcost.scenarios import crossover as scenario

    return scenario.result(make(model, hw, True, {"batch": 1, "context": 1}, sets_of(set, engine), {}, None))
