"""One override grammar: four roots, no silent typo, whole numbers stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.errors import SimcostError, SpecError
from simcost.grammar import Overrides, assignments, axes, plan_of, split
from simcost.plan import Plan
from simcost.query import make, workload
from simcost.settings import count


@pytest.mark.parametrize(("path", "want"), [
    ("plan.tp", ("plan", "tp")), ("batch", ("phase", "batch")), ("phase.context", ("phase", "context")),
    ("model.kv_lora_rank", ("model", "kv_lora_rank")), ("hw.memory.bandwidth", ("hw", "memory.bandwidth")),
])  # fmt: skip
def test_a_path_splits_at_its_root(path: str, want: tuple[str, str]) -> None:
    assert split(path) == want


@pytest.mark.parametrize(
    "path", ["tp", "plan", "plan.", "plan.pt", "phase.batchs", "hws", "model.", "", ".", "plans.tp", "Batch"]
)
def test_an_unknown_path_is_an_error_that_names_it(path: str) -> None:
    with pytest.raises(SpecError, match="path") as error:
        split(path)
    assert f"'{path}'" in str(error.value)


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(SpecError, match="did you mean 'tp'"):
        split("plan.tpp")


@pytest.mark.parametrize(("path", "meant"), [
    ("tp", "'plan.tp'"), ("hidden_size", "'model.hidden_size'"), ("tdp", "'hw.power.tdp'"), ("kv_dtype", "'plan.kv_dtype'"),
    ("bandwidth", "'hw.memory.bandwidth' or 'hw.links.scaleup.bandwidth' or 'hw.links.scaleout.bandwidth' or 'hw.links.host.bandwidth'"),
    ("memory.bandwidth", "'hw.memory.bandwidth'"), ("batchs", "'batch'"),
])  # fmt: skip
def test_a_path_without_its_root_is_told_it(path: str, meant: str) -> None:
    with pytest.raises(SpecError) as error:
        split(path)
    assert str(error.value).endswith(f"; did you mean {meant}?")


def test_assignments_keep_types() -> None:
    found = assignments(["plan.tp=8", "batch=4", "model.tie_word_embeddings=true", "plan.kv_dtype=fp8",
                         'hw.memory.bandwidth="6 TB/s"', "model.q_lora_rank=null"])  # fmt: skip
    assert found == {
        "plan.tp": 8, "batch": 4, "model.tie_word_embeddings": True, "plan.kv_dtype": "fp8",
        "hw.memory.bandwidth": "6 TB/s", "model.q_lora_rank": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["plan.tp", "plan.tp=", "=8", "plan.tp =", "batch", "model.x=NaN", "model.x=Infinity"])
def test_a_malformed_assignment_is_one_line(text: str) -> None:
    with pytest.raises(SpecError) as error:
        assignments([text])
    assert "\n" not in str(error.value)


def test_axes_hold_every_value_in_order() -> None:
    assert axes(["batch=1,8,64", "plan.kv_dtype=bf16, fp8"]) == {"batch": [1, 8, 64], "plan.kv_dtype": ["bf16", "fp8"]}


@pytest.mark.parametrize(
    "texts", [["batch=1,,2"], ["batch=1,"], ["batch="], ["batch"], ["batch=1", "batch=2"], ["nope=1,2"]]
)
def test_a_malformed_axis_is_an_error(texts: list[str]) -> None:
    with pytest.raises(SpecError):
        axes(texts)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8", None, float("nan"), float("inf"), 10**13, [1]])
def test_a_count_is_a_whole_number_within_bounds(value: object) -> None:
    with pytest.raises(SpecError, match=r"plan\.tp"):
        count("plan.tp", value)


def test_a_count_may_be_written_as_a_float() -> None:
    assert count("batch", 8.0) == 8.0
    assert count("past", 0, 0) == 0.0


def test_a_plan_takes_counts_and_names_only() -> None:
    assert plan_of({"tp": 8, "ep": 2, "kv_dtype": "fp8"}) == Plan(8.0, 2.0, kv_dtype="fp8")
    with pytest.raises(SpecError, match=r"plan\.kv_dtype"):
        plan_of({"kv_dtype": 8})


def test_merging_never_changes_the_original() -> None:
    first = Overrides(phase={"batch": 1})
    assert first.merged({"batch": 2, "plan.tp": 4}).phase == {"batch": 2}
    assert first == Overrides(phase={"batch": 1})


@pytest.mark.parametrize(("sets", "word"), [
    ({"plan.tp": 3}, "num_attention_heads"), ({"plan.tp": 0}, "plan.tp"), ({"plan.ep": 2}, "ep"),
    ({"plan.kv_dtype": "fp9"}, "fp9"), ({"plan.mla_form": "absorb"}, "absorbed"), ({"batch": 0}, "batch"),
    ({"context": 2.5}, "context"), ({"isl": 5}, "isl"), ({"model.hiden_size": 5}, "hidden_size"),
    ({"hw.memory.bandwith": "1 TB/s"}, "memory.bandwidth"), ({"plan.compute_dtype": "mxfp4"}, "mxfp4"),
    ({"plan.weight_dtype": "fp32", "plan.compute_dtype": "bf16"}, "compute_dtype"),
    ({"plan.dequantise": "later"}, "fused"), ({"model.hidden_size": "x"}, "hidden_size"),
    ({"model.hidden_size": -4096}, "hidden_size"), ({"model.hidden_size": None}, "hidden_size"),
])  # fmt: skip
def test_a_query_that_cannot_be_asked_is_one_line_with_the_offending_word(sets: dict[str, object], word: str) -> None:
    from simcost.estimate.step import run

    with pytest.raises(SimcostError, match=word) as error:
        run(workload(make("llama-3.1-8b", "h100", True, {"batch": 1, "context": 100}, sets, {}, None)))
    assert "\n" not in str(error.value)


def test_one_path_takes_one_value() -> None:
    with pytest.raises(SimcostError, match="set twice"):
        assignments(["batch=1", "phase.batch=2"])
    with pytest.raises(SimcostError, match="varied twice"):
        axes(["plan.tp=1", "plan.tp=2"])
    with pytest.raises(SimcostError, match="both set and varied"):
        make("llama-3.1-8b", "h100", True, {"context": 9}, {"batch": 1}, {"batch": [1, 2]}, None)


@pytest.mark.parametrize("value", ["x1e300", "6e30 TB/s", "1 B/s"])
def test_a_bandwidth_that_no_device_has_is_a_slip(value: str) -> None:
    with pytest.raises(SimcostError, match="must be in"):
        workload(make("llama-3.1-8b", "h100", True, {"context": 9}, {"hw.memory.bandwidth": value}, {}, None))


@given(st.text(max_size=30))
def test_any_text_is_an_assignment_or_one_line(text: str) -> None:
    for read in (assignments, axes):
        try:
            read([text])
        except SimcostError:
            continue


@given(st.sampled_from(["model.a", "plan.tp", "batch", "hw.peak.bf16"]), st.integers(-(10**6), 10**6))
def test_whole_numbers_stay_exact(path: str, value: int) -> None:
    found = assignments([f"{path}={value}"])[path]
    assert found == (str(value) if path.startswith("hw.") else value)


@pytest.mark.parametrize("path", ["plan.engine", "plan.batch", "plan.isl"])
def test_a_setting_that_is_none_of_the_plan_is_found_where_it_is(path: str) -> None:
    with pytest.raises(SpecError, match=f"did you mean '{path[5:]}'"):
        split(path)


def test_the_option_and_the_setting_of_an_engine_are_one() -> None:
    assert assignments([], "VLLM") == {"engine": "VLLM"}
    assert assignments(["engine=vllm"]) == {"engine": "vllm"}
    with pytest.raises(SpecError) as error:
        assignments(["engine=vllm"], "sglang")
    assert str(error.value) == "engine is set twice: --engine sglang and --set engine=vllm"


@pytest.mark.parametrize("sets", [{"engine": "VLLM"}, {"engine": "vLLM"}])
def test_an_engine_may_be_typed_in_any_case(sets: dict[str, object]) -> None:
    query = make("llama-3.1-8b", "h200", True, {"batch": 1, "context": 100}, sets, {}, None)
    assert workload(query).engine == "vllm"
    varied = make("llama-3.1-8b", "h200", True, {"batch": 1, "context": 100}, {}, {"engine": ["ANY", "Sglang"]}, None)
    assert varied.axes["engine"] == ["any", "sglang"]
