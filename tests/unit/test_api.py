"""The Python API: names that can be listed, results that read, wrong types in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import simcost
import simcost.api
from simcost.errors import SpecError
from simcost.report.text import as_console

ASK = ("llama-3.1-8b", "h200")


def test_the_functions_are_listed_before_they_are_loaded() -> None:
    probe = "import simcost, sys; print(set(simcost.__all__) <= set(dir(simcost)), 'simcost.api' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_a_result_reads_short_and_prints_as_the_terminal_does() -> None:
    found = simcost.compare(["llama-3.1-8b", "qwen2.5-7b"], "h200")
    assert len(repr(found)) < 300
    assert repr(found).startswith("<simcost compare: all designs fit; ")
    assert "designs (2 rows)" in repr(found)
    assert "llama-3.1-8b / qwen2.5-7b on 1 x h200: batch 1" in str(found)
    assert "\x1b" not in str(found)


def test_repr_begins_as_the_console_does() -> None:
    for found in (
        simcost.decode("llama-3.1-8b", "h200"),
        simcost.decode("deepseek-v3", "h200"),
        simcost.show_memory("llama-3.1-8b", "h200"),
    ):
        assert repr(found).removeprefix("<").startswith(as_console(found, 1000).partition("\n")[0])
    assert repr(simcost.decode("llama-3.1-8b", "h200")).startswith("<simcost decode: TPOT ")


@pytest.mark.parametrize("sets", ["plan.tp=8", ["plan.tp"], 8, {1: 2}, [("plan.tp", 8)]])
def test_settings_of_another_type_are_one_line(sets: Any) -> None:
    for ask in (simcost.decode, simcost.prefill, simcost.explain):
        with pytest.raises(SpecError, match="set must map paths to values"):
            ask(*ASK, set=sets)
    for call in (
        lambda: simcost.compare(["dbrx", "llama-3.1-8b"], "h200", set=sets), lambda: simcost.show_model("dbrx", set=sets),
        lambda: simcost.plans(*ASK, gpus=2, set=sets), lambda: simcost.show_hardware("h200", set=sets),
        lambda: simcost.crossover(*ASK, set=sets),
    ):  # fmt: skip
        with pytest.raises(SpecError, match="set must map paths to values"):
            call()


@pytest.mark.parametrize(("vary", "said"), [
    ("batch=1,8", "vary must map paths"), ({"batch": 8}, "'batch' must be varied over a list"),
    ({"batch": "1,,8"}, "an empty value between commas"), ({"batch": {"a": 1}}, "must be varied over a list"),
    ({"batch": []}, "varied over an empty list"), ({3: [1]}, "vary must map paths"),
])  # fmt: skip
def test_axes_of_another_type_are_one_line(vary: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        simcost.decode(*ASK, vary=vary)


def test_axes_are_any_list_of_numbers() -> None:
    rows = [simcost.decode(*ASK, vary={"batch": v}).rows for v in ([1, 2], (1, 2), range(1, 3), np.arange(1, 3))]
    assert all(row == rows[0] for row in rows)


def test_axes_are_texts_as_the_command_line_writes_them() -> None:
    assert [row["batch"] for row in simcost.decode(*ASK, vary={"batch": "1..8:x2,64"}).rows] == [1, 2, 4, 8, 64]
    assert [row["hw"] for row in simcost.decode("llama-3.1-8b", vary={"hw": "h100,h200"}).rows] == ["h100", "h200"]


def test_sizes_of_the_plan_are_keywords() -> None:
    asked = simcost.decode(*ASK, set={"plan.tp": 2})
    assert simcost.decode(*ASK, tp=2).metrics == asked.metrics  # type: ignore[call-arg]
    both = simcost.train(*ASK, gpus=8, tp=2, pp=2, levers=False)  # type: ignore[call-arg]
    assert both.inputs["plan"]["tp"] == both.inputs["plan"]["pp"] == 2
    with pytest.raises(SpecError, match=r"'plan.tp' is given twice: tp=4, and in set"):
        simcost.decode(*ASK, set={"plan.tp": 2}, tp=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'tpp'"):
        simcost.decode(*ASK, tpp=4)  # type: ignore[call-arg]


def test_one_model_and_one_variant_need_no_list() -> None:
    found = simcost.compare("llama-3.1-8b", "h200", variants="attention=mla")
    assert [row["design"] for row in found.rows if row.get("tpot_s")] == ["llama-3.1-8b", "attention=mla"]


def test_an_engine_is_a_keyword_of_its_own() -> None:
    for ask in (simcost.decode, simcost.prefill, simcost.explain, simcost.crossover):
        assert ask(*ASK, engine="vllm").metrics == ask(*ASK, set={"engine": "vllm"}).metrics
    models = ["llama-3.1-8b", "qwen2.5-7b"]
    both = simcost.compare(models, "h200", engine="vllm"), simcost.compare(models, "h200", set={"engine": "vllm"})
    assert both[0].rows == both[1].rows
    assert simcost.plans(*ASK, gpus=1, engine="vllm").inputs["engine"] == "vllm"
    with pytest.raises(SpecError, match="engine is set twice"):
        simcost.decode(*ASK, set={"engine": "vllm"}, engine="sglang")
    with pytest.raises(SpecError, match="did you mean 'vllm'"):
        simcost.decode(*ASK, engine="vlm")


@pytest.mark.parametrize(("phase", "given"), [
    ("decode", {"isl": 128}), ("decode", {"past": 0}), ("prefill", {"context": 128}),
])  # fmt: skip
def test_a_length_that_only_the_other_phase_reads_is_an_error(phase: str, given: dict[str, int]) -> None:
    (name,) = given
    with pytest.raises(SpecError, match=f"--{name} does not apply to {phase}"):
        simcost.explain(*ASK, phase=phase, **given)
    if name != "past":
        with pytest.raises(SpecError, match=f"--{name} does not apply to {phase}"):
            simcost.plans(*ASK, gpus=1, phase=phase, **given)


def test_lengths_that_are_not_given_have_their_defaults() -> None:
    assert simcost.explain(*ASK).inputs["context"] == 4096
    prompt = simcost.explain(*ASK, phase="prefill").inputs
    assert (prompt["isl"], prompt["past"]) == (4096, 0)
    assert simcost.plans(*ASK, gpus=1, phase="prefill").inputs["isl"] == 4096


def test_a_function_of_the_api_is_loaded_when_it_is_asked_for() -> None:
    probe = "import sys; from simcost import api; api.list_engines; print(sorted(m for m in sys.modules if m.startswith('simcost.api.')))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['simcost.api.arguments', 'simcost.api.catalogue']"
    for name in simcost.api.__all__:
        assert name in dir(simcost.api)
        assert getattr(simcost.api, name) is getattr(simcost, name)
    with pytest.raises(AttributeError, match="no attribute 'decod'"):
        _ = simcost.api.decod
