"""Engines as facts: names in any case, titles, the order of their versions; and limits of a device by its datasheet."""

from __future__ import annotations

import random

import numpy as np
import pytest
from toykit import device

from simcost.errors import SpecError
from simcost.hardware import engines
from simcost.hardware.limits import compute_seconds, memory_seconds
from simcost.ops.work import Work

VERSIONS = ["0.8", "0.8.1", "0.10.1.1", "0.19.0", "0.19.1", "0.20.0rc1", "0.20.0rc2", "0.27.0", "1.3.0rc9", "1.3.0rc20"]


def test_versions_are_sorted_as_releases_came_out() -> None:
    mixed = VERSIONS[:]
    random.Random(4).shuffle(mixed)
    assert sorted(mixed, key=engines.version_order) == VERSIONS


def test_a_word_comes_before_every_number() -> None:
    assert engines.version_order("main") < engines.version_order("0")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("VLLM", "vllm"),
        ("Any", "any"),
        ("sglang", "sglang"),
        ("TORCH", "torch"),
        ("SGLang", "sglang"),
        ("TensorRT-LLM", "trtllm"),
        ("tensorrt_llm", "trtllm"),
        ("TRT-LLM", "trtllm"),
        ("PyTorch", "torch"),
    ],
)
def test_an_engine_is_known_in_any_case_and_as_people_call_it(name: str, found: str) -> None:
    assert engines.checked(name) == found


@pytest.mark.parametrize(("name", "near"), [("vlm", "vllm"), ("sglan", "sglang"), (None, ""), (7, "")])
def test_what_is_no_engine_is_one_line_with_the_nearest(name: object, near: str) -> None:
    with pytest.raises(SpecError) as error:
        engines.checked(name)
    assert str(error.value).startswith("engine must be one of any, ")
    assert str(error.value).endswith(f"did you mean '{near}'?" if near else repr(name))


def test_stand_ins_are_other_engines_and_each_once() -> None:
    for name, others in engines.substitutes().items():
        assert name not in others
        assert len(set(others)) == len(others)
        assert set(others) <= set(engines.names())


def test_an_engine_has_a_title_and_another_word_is_its_own() -> None:
    assert engines.title("vllm") == "vLLM"
    assert engines.title("nccl") == "nccl"


@pytest.mark.parametrize(("peak", "seconds"), [("bf16", 1e-3), ("fp8", 5e-4), ("vector", 1e-2)])
def test_arithmetic_takes_flops_over_the_dense_rate(peak: str, seconds: float) -> None:
    assert compute_seconds(Work(1e12), peak, device()) == pytest.approx(seconds)


def test_without_a_vector_rate_vector_work_is_free_and_matrix_work_is_an_error() -> None:
    lacking = device(peaks={"bf16": 1e15})
    assert compute_seconds(Work(1e12), "vector", lacking) == 0.0
    assert np.asarray(compute_seconds(Work(np.ones(3)), "vector", lacking)).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(SpecError, match=r"no 'peak.fp8'"):
        compute_seconds(Work(1e12), "fp8", lacking)


def test_bytes_in_and_out_share_the_bandwidth() -> None:
    assert memory_seconds(Work(5.0, 3e9, 1e9), device()) == pytest.approx(4e-3)
