"""A key that nobody knows is named and changes nothing; one that is needed and missing is an error that names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from simcost.cost.kernel import Roofline
from simcost.errors import SimcostError
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.hardware import load as hardware
from simcost.hf import ALIASES, canonical
from simcost.model import count, load
from simcost.model.classes.family import families, inside
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Phase, Plan
from simcost.workload import build

MODELS = [
    "llama-3.1-8b", "qwen2.5-7b", "qwen3-30b-a3b", "mixtral-8x7b", "deepseek-v3", "deepseek-v2", "deepseek-v2-lite",
    "deepseek-moe-16b", "kimi-k2", "gpt-oss-120b", "glm-4.5", "minimax-m2", "llama-4-scout", "llama-4-maverick",
    "gemma-2-9b", "gemma-3-27b", "bloom-176b", "opt-13b", "falcon-40b", "dbrx", "grok-1", "mimo-7b", "mimo-v2-flash",
    "ernie-4.5-21b-a3b", "ling-1t", "phi-3.5-moe", "mistral-7b-v0.1",
]  # fmt: skip


DEVICE = hardware.load("b200")


def fingerprint(spec: ModelSpec) -> tuple[Any, ...]:
    """Parameters, caches, weight bytes, and the metrics of a decode and a prefill step, alone and spread out."""
    found: list[Any] = [*count.parameters(spec).values(), *count.kv_elements(spec).values(), count.weight_bytes(spec)]
    found.append(count.state_elements(spec, 3000.0))
    for phase, decode in ((Phase(8.0, 1.0, 40000.0), True), (Phase(2.0, 3000.0, 0.0), False)):
        w = build(spec, DEVICE, Plan(), phase)
        step = steps.run(w)
        found += answer.metrics(step, decode, 1.0).values()
    moe = any(hasattr(b, "n_routed_experts") for _, b in spec.blocks())
    if moe:
        found += _spread(spec)
    found.append(len(spec.mtp))
    return tuple(float(v) for v in found)


def _spread(spec: ModelSpec) -> list[Any]:
    """Experts over eight ranks: what a group limit changes."""
    from simcost.cost.cost import Cost
    from simcost.lower import step
    from simcost.program import price

    w = build(spec, DEVICE, Plan(ep=8.0, mla_form="absorbed"), Phase(8.0, 64.0, 0.0))
    cost: Cost = price(step(spec, w.view), Roofline(DEVICE)).cost
    return [cost.compute_s, cost.memory_s, cost.wire_s]


def named(key: str, texts: tuple[str, ...]) -> bool:
    spellings = {key, canonical(key), *ALIASES.get(canonical(key), ())}
    return any(re.search(rf"\b{re.escape(spelling)}\b", text) for spelling in spellings for text in texts)


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_key_is_named_and_changes_nothing(name: str) -> None:
    _, where, config = load.load_config(name)
    table = config.get("text_config", config)
    spec = from_config({**config, "num_frobnications": 7}, name, where)
    assert named("num_frobnications", spec.notes)
    assert fingerprint(spec) == fingerprint(from_config(config, name, where))
    assert table


def said(config: Mapping, name: str, where: str) -> tuple[str, ...]:
    """The notes of a model, or the error in their place."""
    try:
        return from_config(config, name, where).notes
    except SimcostError as error:
        return (str(error),)


def table_of(config: Mapping) -> Mapping:
    return config.get("text_config", config)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_required_key_is_an_error_that_names_it(name: str, key: str) -> None:
    _, where, config = load.load_config(name)
    bare = {k: v for k, v in load.overridden(config, {key: 1}, where).items() if k != key}
    if isinstance(bare.get("text_config"), Mapping):
        bare["text_config"] = {k: v for k, v in bare["text_config"].items() if k != key}
    family = table_of(config).get("model_type", "")
    nested = "text_config" in bare  # files leave out of it what its class has
    if key in families().get(family, {}).get("defaults", {}) or (nested and key in inside(str(family))):
        assert named(
            key, said(bare, name, where)
        )  # a class default is taken, and said; or it does not fit, and that is
        return
    with pytest.raises(SimcostError) as error:
        from_config(bare, name, where)
    assert key in str(error.value)
    assert where in str(error.value)
