"""Counts as people write them: 64k tokens are 65,536, 4Ki of anything 4,096, and what may mean two numbers is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simcost
from simcost import grammar, settings
from simcost.errors import SpecError, UnitError
from simcost.units import whole

ASK = ("llama-3.1-8b", "h200")


@pytest.mark.parametrize(("text", "want"), [
    ("64k", 65_536), ("64K", 65_536), ("64Ki", 65_536), ("64ki", 65_536), ("128K", 131_072), ("1.5k", 1536), ("0.5 Ki", 512),
    ("1M", 1_048_576), ("1Mi", 1_048_576), ("10m", 10_485_760), ("4096", 4096), ("65_536", 65_536), ("1e3", 1000), ("-4", -4),
    ("0.3k", 307.2), ("1.5", 1.5), ("9" * 30, int("9" * 30)),
])  # fmt: skip
def test_a_length_reads_to_its_tokens(text: str, want: float) -> None:
    assert whole(text, "context", True) == want


@pytest.mark.parametrize("text", ["many", "", "k", "64kk", "64 k b", "64kB", "0x10", "1,024", "--4", "4T", "1e999"])
def test_what_is_no_number_stays_and_is_refused_as_a_count(text: str) -> None:
    assert whole(text, "context", True) == text
    with pytest.raises(SpecError, match="context must be a whole number"):
        settings.count("context", whole(text, "context", True))


@pytest.mark.parametrize(("text", "said"), [
    ("64k", "write 64Ki for 65,536, or 64000"), ("2K", "write 2Ki for 2,048, or 2000"), ("1M", "write 1Mi for 1,048,576, or 1000000"),
])  # fmt: skip
def test_a_suffix_that_may_mean_two_numbers_is_refused(text: str, said: str) -> None:
    with pytest.raises(UnitError) as error:
        whole(text, "batch", False)
    assert str(error.value).startswith("batch: ")
    assert str(error.value).endswith(said)
    assert whole(f"{text}i", "batch", False) == whole(text, "context", True)


@given(st.integers(0, 10**12))
def test_digits_are_their_number(value: int) -> None:
    assert whole(str(value), "x", True) == whole(str(value), "x", False) == value


@given(st.text(max_size=12))
def test_any_text_is_a_number_or_stays(text: str) -> None:
    found = whole(text, "x", True)
    assert found == text or isinstance(found, (int, float))


@pytest.mark.parametrize("path", [
    "context", "isl", "past", "chunk", "prefill_tokens", "prefill_past", "phase.context_length", "model.sliding_window", "model.max_position_embeddings",
    "model.attention_chunk_size", "engine.max_num_batched_tokens", "engine.chunked_prefill_size",
])  # fmt: skip
def test_lengths_take_a_k(path: str) -> None:
    assert grammar.read(path, "8k") == 8192


@pytest.mark.parametrize("path", [
    "batch", "plan.tp", "plan.tensor_parallel_size", "plan.gpus", "model.hidden_size", "model.n_embd", "model.vocab_size", "engine.max_num_seqs", "engine.block_size",
])  # fmt: skip
def test_other_counts_take_a_ki_alone(path: str) -> None:
    assert grammar.read(path, "8Ki") == 8192
    with pytest.raises(UnitError, match="write 8Ki for 8,192, or 8000"):
        grammar.read(path, "8k")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.hidden_size", "x2"),
        ("context", 4096),
        ("model.q_lora_rank", None),
        ("routing", "zipf:1"),
        ("model.foo", "8k"),
    ],
)
def test_what_is_no_count_stays(path: str, value: object) -> None:
    assert grammar.read(path, value) == value


def test_words_are_read_in_any_case() -> None:
    assert grammar.read("plan.overlap", "Two_Batch") == "two_batch"
    assert grammar.read("plan.kv_dtype", "FP8_E4M3") == "fp8"
    assert grammar.read("plan.kv_dtype", "fp9") == "fp9"  # refused where the plan is made, in a sweep as its row
    assert grammar.read("engine", "TensorRT-LLM") == "trtllm"


def test_the_api_takes_them_and_says_how_they_were_read() -> None:
    found = simcost.decode(*ASK, context="64k", set={"hw.memory.bandwidth": "6 tb/s", "plan.kv_dtype": "BFloat16"})
    same = simcost.decode(*ASK, context=65_536, set={"hw.memory.bandwidth": "6 TB/s", "plan.kv_dtype": "bf16"})
    assert found.metrics == same.metrics
    assert found.inputs == same.inputs
    assert found.warnings[:2] == ("context=64k is read as 65,536", "hw.memory.bandwidth=6 tb/s is read as 6 TB/s")
    assert set(found.warnings) - set(same.warnings) == set(found.warnings[:2])


def test_an_axis_takes_them() -> None:
    rows = simcost.decode(*ASK, vary={"context": ["4k", 8192]}).rows
    assert [row["context"] for row in rows] == [4096, 8192]
    assert simcost.plans(*ASK, gpus="2", batch=["1Ki"], context="8k").inputs["batches"] == [1024]
    assert simcost.show_model("llama-3.1-8b", isl="8k").metrics == simcost.show_model("llama-3.1-8b", isl=8192).metrics
    assert simcost.decode(*ASK, gpus="2").inputs["plan"]["dp"] == 2


@pytest.mark.parametrize(("given", "path"), [
    ({"batch": 64, "set": {"batch": 2}}, "batch"), ({"batch": 64, "vary": {"batch": [1, 2]}}, "batch"), ({"context": 9, "set": {"phase.context": 8}}, "context"),
    ({"context": 4096, "set": {"context_length": 8}}, "context"), ({"price": 2.0, "set": {"hw.price.usd_per_hour": "3 USD/h"}}, "hw.price.usd_per_hour"),
    ({"prefill_tokens": 64, "vary": {"prefill_tokens": [1]}}, "prefill_tokens"), ({"set": {"plan.tp": 2, "plan.tp_size": 4}}, "plan.tp"),
])  # fmt: skip
def test_an_argument_and_a_setting_of_one_thing_are_one_too_many(given: dict[str, object], path: str) -> None:
    with pytest.raises(SpecError, match=f"'{path}' is given twice"):
        simcost.decode(*ASK, **given)  # type: ignore[arg-type]


def test_a_default_counts_for_nothing() -> None:
    assert simcost.decode(*ASK, set={"batch": 8}).metrics == simcost.decode(*ASK, batch=8).metrics
    assert len(simcost.prefill(*ASK, vary={"isl": [128, 256], "batch": [1, 2]}).rows) == 4
    assert simcost.show_memory(*ASK, set={"context": 64}).metrics == simcost.show_memory(*ASK, context=64).metrics
    assert simcost.explain(*ASK, set={"context": 64}).inputs["context"] == 64
