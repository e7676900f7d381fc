"""A question again from what its answer says of it, models as mappings, and NumPy's numbers."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
import pytest

import simcost
from simcost.errors import SpecError
from simcost.model import load as models
from simcost.model.given import given
from simcost.report.text import as_json
from simcost.result import Result

SETS: dict[str, Any] = {
    "plan.tp": 8, "plan.kv_dtype": "fp8", "model.num_hidden_layers": 40, "hw.memory.bandwidth": "x1.5", "engine": "vllm",
    "engine.gpu_memory_utilization": 0.8, "routing": "zipf:0.8",
}  # fmt: skip
CONFIG: dict[str, Any] = models.load_config("llama-3.1-8b")[2]
SHORT = {**CONFIG, "num_hidden_layers": 16}
AXES = {"plan.tp": np.array([4, 8, 3]), "batch": [1, np.int64(64)]}
QUESTIONS: dict[str, Any] = {
    "decode": lambda: simcost.decode("deepseek-v3", "h200", 64, 2000, SETS, price=3, prefill_tokens=512, prefill_past=64, gpus=16),
    "prefill": lambda: simcost.prefill("deepseek-v3", "h200", 8000, 2, 100, {**SETS, "chunk": 2048}, nodes=2),
    "sweep": lambda: simcost.decode("deepseek-v3", "h200", set={k: v for k, v in SETS.items() if k != "plan.tp"}, vary=AXES),
    "engines": lambda: simcost.prefill("mixtral-8x7b", "h200", vary={"engine": ["any", "vllm"], "plan.kv_dtype": ["bf16", "fp8"]}),
    "compare": lambda: simcost.compare(
        ["deepseek-v3", "llama-3.1-70b"], "h200", 8, isl=1000, set={"plan.tp": 8, "routing": "balanced"}, nodes=1, engine="sglang", price=2
    ),
    "compare prompts": lambda: simcost.compare(["llama-3.1-8b", "llama-3.1-70b"], "h200", prefill_batch=4),
    "explain decode": lambda: simcost.explain("deepseek-v3", "h200", set=SETS, prefill_tokens=100),
    "explain prefill": lambda: simcost.explain("deepseek-v3", "h200", "prefill", isl=512, past=16, set=SETS, order="execution"),
    "plans": lambda: simcost.plans("mixtral-8x7b", "h200", 8, tpot="50ms", cp=True),
    "plans prefill": lambda: simcost.plans("mixtral-8x7b", "h200", 4, phase="prefill", isl=1000, ttft=2, batch=[1, 8], price=2, metric="ttft_s"),
    "plans serve": lambda: simcost.plans(
        "llama-3.1-8b", ["h100", "h200"], [1, 2], phase="serve", isl="lognormal:1024:0.8", osl=256, slo="ttft=1s,tpot=30ms", prefix_hit=0.3, engine="vllm", price=2,
    ),
    "show memory": lambda: simcost.show_memory("deepseek-v3", "h200", 64, set=SETS),
    "show model": lambda: simcost.show_model("deepseek-v3", {"model.kv_lora_rank": 256}, 1000),
    "show hardware": lambda: simcost.show_hardware("h200", {"hw.memory.bandwidth": "x2"}),
    "crossover": lambda: simcost.crossover("deepseek-v3", engine="vllm"),
    "sensitivity": lambda: simcost.sensitivity("deepseek-v3", "h200", metric="usd", step=0.1, only="hw", batch=64, set=SETS),
    "sensitivity prefill": lambda: simcost.sensitivity("llama-3.1-8b", "h200", "prefill", isl=512, price=2),
    "solve": lambda: simcost.solve("deepseek-v3", "h200", "batch", "tpot=20.123456ms", batch=4, set=SETS),
    "solve a device": lambda: simcost.solve("llama-3.1-8b", "h200", "hw.memory.bandwidth", "ttft<=1s", "prefill", isl=512, price=2),
    "solve a swap": lambda: simcost.solve("llama-3.1-8b", "h200", "batch", "tpot=20ms", set={"model.attention": "mqa"}),
    "train": lambda: simcost.train(
        "deepseek-v2-lite", "h200", gpus=16, micro_batch=2, global_batch=64, seq=2048, tokens="1T", stack="megatron-core-te", engine="vllm", price=3,
        flops_convention="megatron", levers=False,
        set={"plan.ep": 8, "plan.pp": 2, "plan.recompute": "mla_up_proj", "stack.cuda_graphs": "none", "model.num_hidden_layers": 24, "routing": "zipf:0.5"},
    ),
    "train by default": lambda: simcost.train(SHORT, "h100", gpus=8, set={"plan.tp": 2}),
    "serve": lambda: simcost.serve("llama-3.1-8b", "h100", "1k", "exponential:300", concurrency=[4, 16], engine="vllm", prefix_hit=0.3, price=3),
    "serve in pools": lambda: simcost.serve("llama-3.1-8b", "h100", 1024, 512, rate="5/s", engine="sglang", prefill_pool="1:tp=1", decode_pool="2:tp=2"),
    "serve by events": lambda: simcost.serve(
        "deepseek-v3", "h200", 1024, 64, concurrency=16, set={"plan.tp": 8}, drafts=1, acceptance=0.85, events=True, requests=64, seed=3
    ),
    "rl": lambda: simcost.rl(
        "qwen3-30b-a3b", "h100", 32, prompts=16, samples=8, isl="256", osl="lognormal:1000:0.6", max_osl="2k", minibatches=2, reward="0.5s:16", asynchrony="partial",
        rollout="tp=2", train={"ep": 8, "recompute": "full"}, set={"model.num_hidden_layers": 24, "engine": "vllm"}, framework="verl", steps=5, price=3, levers=False,
    ),
    "rl of agents": lambda: simcost.rl(
        SHORT, "h100", nodes=1, prompts=4, samples=2, isl=64, osl=32, turns=2, tool_tokens=16, tool_wait="exponential:1s", kl=False, levers=False
    ),
    "a mapping": lambda: simcost.decode(SHORT, "h200", set={"model.head_dim": 64}),
    "mappings": lambda: simcost.compare([CONFIG, SHORT, "llama-3.1-8b"], "h200"),
}  # fmt: skip
PARTS = ("command", "inputs", "metrics", "rows", "warnings", "references", "verdict", "fits")


@pytest.mark.parametrize("name", QUESTIONS)
def test_inputs_ask_the_same_question_again(name: str) -> None:
    found: Result = QUESTIONS[name]()
    document = json.loads(as_json(found))
    for command, inputs in ((found.command, found.inputs), (document["command"], document["inputs"])):
        again = simcost.ask(command, inputs)
        for part in PARTS:
            assert getattr(again, part) == getattr(found, part), part


def test_each_input_counts() -> None:
    found = QUESTIONS["decode"]()
    for name, other in (
        ("batch", 32),
        ("context", 1000),
        ("prefill_tokens", 256),
        ("usd_per_hour", 4),
        ("engine", "any"),
        ("routing", "balanced"),
    ):
        assert simcost.ask("decode", {**found.inputs, name: other}).metrics != found.metrics, name


@pytest.mark.parametrize(("command", "words"), [
    ("list models", "'list models' cannot be asked again"), ("decoed", "did you mean 'decode'"), ("", "cannot be asked again"),
])  # fmt: skip
def test_what_is_no_question_is_one_line(command: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        simcost.ask(command, {})


def test_a_config_as_a_mapping_answers_as_its_file_does() -> None:
    named, told = simcost.decode("llama-3.1-8b", "h200"), simcost.decode(CONFIG, "h200")
    assert told.metrics == named.metrics
    assert told.inputs["model"] == CONFIG
    assert "config on 1 x h200" in str(told)
    assert simcost.prefill(CONFIG, "h200").metrics == simcost.prefill("llama-3.1-8b", "h200").metrics
    assert simcost.explain(CONFIG, "h200").rows == simcost.explain("llama-3.1-8b", "h200").rows
    rows = [
        [{**row, "model": ""} for row in simcost.plans(model, "h200", 2).rows] for model in (CONFIG, "llama-3.1-8b")
    ]
    assert rows[0] == rows[1]
    assert simcost.show_memory(CONFIG, "h200").metrics == simcost.show_memory("llama-3.1-8b", "h200").metrics
    assert simcost.show_model(CONFIG).metrics == simcost.show_model("llama-3.1-8b").metrics
    assert simcost.crossover(CONFIG).metrics == simcost.crossover("llama-3.1-8b").metrics


def test_mappings_of_one_name_are_told_apart_by_their_content() -> None:
    def layers(config: dict[str, Any]) -> Any:
        return simcost.show_model(config).metrics["params_total"]

    whole, half = layers(CONFIG), layers(SHORT)
    assert (layers(CONFIG), layers(SHORT), layers({**CONFIG})) == (whole, half, whole)
    assert half < whole
    mine = dict(CONFIG)
    layers(mine)
    mine["num_hidden_layers"] = 16  # changed in place after it was asked
    assert layers(mine) == half
    labels = [
        row["design"]
        for row in simcost.compare([CONFIG, SHORT, {**SHORT, "_name_or_path": "me/half"}], "h200").tables["designs"]
    ]
    assert labels == ["config", "config (2)", "me/half"]


@pytest.mark.parametrize(("model", "words"), [
    ({}, "config: missing key"), ({"_name_or_path": "me/toy"}, "me/toy: missing key"), ({1: 2}, "must map names to values"),
    ({"hidden_size": {1, 2}}, "values that JSON can hold"), ({"hidden_size": float("nan")}, "values that JSON can hold"), (3, "a model must be a name or a config"),
    (None, "missing --model"), (["llama-3.1-8b"], "a model must be a name or a config"),
])  # fmt: skip
def test_a_model_that_is_none_is_one_line(model: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        simcost.decode(model, "h200")
    with pytest.raises(SpecError, match=words):
        simcost.compare([model, "llama-3.1-8b"], "h200")


def test_a_mapping_is_kept_as_it_was() -> None:
    made = given({"_name_or_path": "a/b", "x": [1, {"y": None}]})
    assert (str(made), made.config) == ("a/b", {"_name_or_path": "a/b", "x": [1, {"y": None}]})
    assert made == given(made.config)
    assert len({made, given(made.config), given({"x": 1})}) == 2


def test_numbers_of_numpy_are_as_good_as_pythons() -> None:
    sets = {"plan.tp": 8, "model.num_hidden_layers": 40, "engine.gpu_memory_utilization": 0.8, "engine": "vllm"}
    boxed = {
        "plan.tp": np.int64(8),
        "model.num_hidden_layers": np.int32(40),
        "engine.gpu_memory_utilization": np.float64(0.8),
        "engine": np.str_("vllm"),
    }
    one = simcost.decode("deepseek-v3", "h200", batch=64, context=4096, set=sets, price=2.5, gpus=16)
    other = simcost.decode(
        "deepseek-v3", "h200", batch=np.int64(64), context=np.uint16(4096), set=boxed, price=np.float32(2.5), gpus=np.array(16)
    )  # fmt: skip
    assert (one.metrics, one.inputs) == (other.metrics, other.inputs)
    assert as_json(one) == as_json(other)
    swept = simcost.prefill(
        "llama-3.1-8b", "h200", np.int64(512), vary={"batch": np.array([1, 2]), "model.hidden_size": [np.int64(4096)]}
    )
    assert (
        swept.rows
        == simcost.prefill("llama-3.1-8b", "h200", 512, vary={"batch": [1, 2], "model.hidden_size": [4096]}).rows
    )
    assert (
        simcost.plans("llama-3.1-8b", "h200", np.int64(2), batch=np.array([1, 8])).rows
        == simcost.plans("llama-3.1-8b", "h200", 2, batch=[1, 8]).rows
    )
    assert (
        simcost.decode({**CONFIG, "num_hidden_layers": np.int64(16)}, "h200").metrics
        == simcost.decode(SHORT, "h200").metrics
    )
    with pytest.raises(SpecError, match=r"batch must be a whole number, not 1\.5"):
        simcost.decode("llama-3.1-8b", "h200", batch=np.float64(1.5))


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("simcost").joinpath("py.typed").is_file()
