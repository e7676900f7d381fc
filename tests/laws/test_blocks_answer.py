"""A block answers for itself: variants that the tests write are counted, priced and held as the package's own, by what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

import simcost
from simcost import api
from simcost.blocks.ffn import moe
from simcost.dtypes import Dtype, dtype
from simcost.errors import SpecError
from simcost.model import count, load, spec
from simcost.model import layers as layers_of
from simcost.model.flops import flops_per_token
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.query import question
from simcost.result import Result
from simcost.routing.router import Router, Routing
from simcost.sharding.linear import leave, linear
from simcost.sharding.shard import Block, Plain, View, Weight

MODEL = "qwen3-30b-a3b"
PLAN = {"plan.tp": 2, "plan.ep": 4, "routing": "zipf:0.5"}


@dataclass(frozen=True, slots=True)
class MoE(Plain):
    """Experts whose fields have other names than the package's."""

    crowd: moe.MoE
    kind: ClassVar[str] = "ffn"
    source: ClassVar[str] = moe.MoE.source

    @property
    def router(self) -> Router | None:
        return self.crowd.router

    @property
    def has_shared(self) -> bool:
        return self.crowd.has_shared

    def held_experts(self, plan: Plan) -> Num:
        return self.crowd.held_experts(plan)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        return self.crowd.weights(plan)

    def checks(self, plan: Plan) -> list[Check]:
        return self.crowd.checks(plan)

    def program(self, view: View) -> Program:
        return self.crowd.program(view)

    def peak_elements(self, plan: Plan) -> Num:
        return self.crowd.peak_elements(plan)

    def expert_elements(self, plan: Plan, routing: Routing, tokens: Num) -> tuple[Num, Num]:
        return self.crowd.expert_elements(plan, routing, tokens)

    def exchanged_experts(self, plan: Plan) -> Num:
        return self.crowd.exchanged_experts(plan)


@dataclass(frozen=True, slots=True)
class Recurrent(Plain):
    """A mixer that keeps a matrix a head in fp32 and sees no cached token."""

    hidden_size: Num
    heads: Num
    width: Num
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "a test"

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        inner = self.heads * self.width / plan.tp
        return (
            Weight("in_proj", "attention", 3.0 * inner, self.hidden_size),
            Weight("o_proj", "attention", self.hidden_size, inner),
        )

    def checks(self, plan: Plan) -> list[Check]:
        return []

    def state_elements(self, context: Num, plan: Plan) -> Num:
        return self.heads / plan.tp * self.width * self.width

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        return dtype("fp32").tensor_bytes(self.state_elements(context, plan))

    def core_flops(self, q_len: Num, past: Num) -> Num:
        return 4.0 * q_len * self.heads * self.width * self.width

    def program(self, view: View) -> Program:
        into, out = self.weights(view.plan)
        state = view.batch * self.state_elements(1.0, view.plan)
        core = Call(Stream("residual", state, 1.0, 1.0, 4.0, dtype("fp32"), dtype("fp32")), "state")
        return Serial(
            (linear(view, into, view.tokens), core, linear(view, out, view.tokens), leave(view, self.hidden_size))
        )


def with_blocks(monkeypatch: pytest.MonkeyPatch, change: Callable[[Block], Block]) -> None:
    """Every model that is read has its blocks changed."""

    def changed(config: Any, name: str = "config", where: str = "config") -> ModelSpec:
        model = spec.from_config(config, name, where)
        stacks = tuple((n, tuple(change(block) for block in layer)) for n, layer in model.stacks)
        return replace(model, stacks=stacks)

    monkeypatch.setattr(question, "_built", question._built.__wrapped__)  # no model that was read before
    monkeypatch.setattr(question, "from_config", changed)
    monkeypatch.setattr(load, "from_config", changed)


ASKED: dict[str, Callable[[], Result]] = {
    "decode": lambda: api.decode(MODEL, "h200", batch=64, set=PLAN), "prefill": lambda: api.prefill(MODEL, "h100", isl=2048, set=PLAN),
    "sweep": lambda: api.decode(MODEL, "h200", vary={"batch": [1, 64], "plan.tp": [1, 2]}),
    "explain": lambda: api.explain(MODEL, "h200", batch=64, set=PLAN), "plans": lambda: api.plans(MODEL, "h200", gpus=4, batch=[64]),
    "compare": lambda: api.compare([MODEL, "gpt-oss-20b"], "h200"), "crossover": lambda: api.crossover(MODEL, "h200"),
    "show memory": lambda: api.show_memory(MODEL, "h200", batch=8), "shared": lambda: api.decode("deepseek-v2-lite", "h200", set={"plan.overlap": "shared_experts"}),
    "dense notes": lambda: api.decode("llama-3.1-8b", "h200", set={"plan.overlap": "shared_experts"}),
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_experts_by_other_names_are_the_same_in_every_command(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ASKED[asked]()
    with_blocks(monkeypatch, lambda block: MoE(block) if isinstance(block, moe.MoE) else block)
    other = ASKED[asked]()
    assert other.metrics == own.metrics
    assert other.warnings == own.warnings
    assert {name: [dict(row) for row in rows] for name, rows in other.tables.items()} == {
        name: [dict(row) for row in rows] for name, rows in own.tables.items()
    }


def recurrent(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer = Recurrent(4096.0, 32.0, 128.0)
    with_blocks(monkeypatch, lambda block: mixer if block.kind == "attention" else block)


def test_a_state_of_its_own_format_stays_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recurrent(monkeypatch)
    state = 32 * 32 * 128 * 128 * 4.0
    for kv in ("bf16", "fp8"):
        for context in (1024, 65_536):
            found = simcost.decode("llama-3.1-8b", "h200", batch=16, context=context, set={"plan.kv_dtype": kv}).metrics
            assert found["kv_bytes_per_gpu"] == 16 * state
    halved = simcost.decode("llama-3.1-8b", "h200", batch=16, set={"plan.tp": 2}).metrics
    assert halved["kv_bytes_per_gpu"] == 8 * state
    assert halved["max_context"] is None
    rows = simcost.show_memory("llama-3.1-8b", "h200", batch=16).tables["cache"]
    assert [(row["attention"], row["request_bytes_per_gpu"]) for row in rows] == [("none: a state", state)]


def test_a_core_without_a_mask_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load.load("llama-3.1-8b")
    recurrent(monkeypatch)
    model = load.load("llama-3.1-8b")
    core = 32 * 4.0 * 32 * 128 * 128
    assert count.attention_core_flops(model, 1.0, 4095.0) == core
    body = 2.0 * count.parameters(model)["params_active_no_embedding"]
    found = simcost.decode("llama-3.1-8b", "h200", batch=1).metrics
    assert found["flops_per_token"] == body + core
    assert found["mfu"] == pytest.approx(found["flops_per_token"] / found["tpot_s"] / 989.4e12, rel=1e-3)
    assert flops_per_token(model, 4096.0) == 3.0 * (body + core)
    assert flops_per_token(plain, 4096.0) != 3.0 * (body + core)
    assert api.crossover("llama-3.1-8b", "h200").metrics["prefill_crossover_tokens"] is None
    shares = [row["attention_share"] for row in api.crossover("llama-3.1-8b", "h200").tables["prefill FLOPs by length"]]
    assert shares[0] == shares[-1] > 0.0


# ---- layers of one block -------------------------------------------------------------------------------------------------


class NoFFN:
    """A plug-in that says which layers have no FFN."""

    HANDLES = ("mixer_only_layers",)

    @staticmethod
    def claims(r: Any, layer: int, layers: int) -> int:
        return 5 if layer in (r.items("mixer_only_layers") or []) else 0

    @staticmethod
    def from_hf(r: Any, layer: int, layers: int) -> None:
        return None


def alone(monkeypatch: pytest.MonkeyPatch, layers: list[int]) -> ModelSpec:
    known = layers_of.discover

    def found(package: str) -> dict[str, Any]:
        return known(package) | ({"no_ffn": NoFFN} if package == "simcost.blocks.ffn" else {})

    monkeypatch.setattr(layers_of, "discover", found)
    monkeypatch.setattr(question, "_built", question._built.__wrapped__)
    config = load.load_config("llama-3.1-8b")[2]
    return spec.from_config({**config, "mixer_only_layers": layers}, "alone", "alone")


def test_a_layer_may_have_no_ffn(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Half of the layers mix tokens alone, behind one norm: half of the FFNs and a norm each are gone, from all commands."""
    plain, model = load.load("llama-3.1-8b"), alone(monkeypatch, list(range(0, 32, 2)))
    assert [n for n, _ in model.stacks] == [16, 16]
    assert sorted(len(layer) for _, layer in model.stacks) == [2, 4]
    gone = 16 * (3 * 4096 * 14336 + 4096)
    assert count.parameters(plain)["params_total"] - count.parameters(model)["params_total"] == gone
    path = tmp_path / "alone.json"
    path.write_text(
        json.dumps({**load.load_config("llama-3.1-8b")[2], "mixer_only_layers": list(range(0, 32, 2))}),
        encoding="utf-8",
    )
    whole, half = (
        simcost.decode(name, "h200", batch=16, set={"plan.tp": 2, "plan.pp": 2}).metrics
        for name in ("llama-3.1-8b", str(path))
    )
    assert half["flops_per_token"] == whole["flops_per_token"] - 2.0 * gone
    assert half["kv_bytes_per_gpu"] == whole["kv_bytes_per_gpu"]
    assert half["tpot_s"] < whole["tpot_s"]
    parts = {row["part"] for row in simcost.explain(str(path), "h200").tables["ops"]}
    assert {"GQA x16", "GQA + Dense x16"} <= parts


def test_a_layer_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = layers_of.discover
    monkeypatch.setattr(
        layers_of,
        "discover",
        lambda package: {"none": NoFFN} if package.startswith("simcost.blocks.") else known(package),
    )
    config = {**load.load_config("llama-3.1-8b")[2], "mixer_only_layers": list(range(32))}
    with pytest.raises(SpecError, match="layer 0: the layer has neither attention nor FFN"):
        spec.from_config(config, "none", "none")
