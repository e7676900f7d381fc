"""One query and a sweep run the same code: scalar and array results are identical to the last bit."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simcost.ops
from simcost.cost.calibrated import Calibrated
from simcost.cost.kernel import Roofline
from simcost.dtypes import dtype
from simcost.errors import SimcostError
from simcost.hardware import load as hardware
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.exchange import MODES
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.recurrent import RULES
from simcost.ops.stream import Stream
from simcost.ops.work import Op
from simcost.query import make
from simcost.registry import discover
from simcost.routing.load import distinct_experts, distinct_ranks
from simcost.routing.router import Router, Routing
from simcost.scenarios import phases, sweep

POINTS = 5
FORMATS = ("bf16", "fp8", "fp8_block", "mxfp4", "int4", "fp32")
COMPUTE = ("bf16", "fp8")


def op_classes() -> list[type]:
    found = []
    for module in discover("simcost.ops").values():
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__ and dataclasses.is_dataclass(value)
            if own and hasattr(value, "family"):
                found.append(value)
    return found


assert simcost.ops
CLASSES = op_classes()


def numbers() -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.integers(1, 1 << 20), min_size=POINTS, max_size=POINTS).map(lambda v: np.asarray(v, np.float64))


def mask() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.just({}), st.just({"causal": False}), st.builds(lambda w: {"window": w}, numbers()),
        st.builds(lambda c: {"chunk": c}, numbers()), st.builds(lambda k: {"picked": k}, numbers()),
    )  # fmt: skip


@st.composite
def arguments(draw: st.DrawFn, cls: type) -> dict[str, Any]:
    """Field values with arrays of POINTS numbers."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        kind = str(field.type)
        if field.name == "mask":
            found["mask"] = draw(mask())
        elif field.name == "parts":
            found["parts"] = tuple((part, draw(arguments(part))) for part in (Stream, Gemm))
        elif field.name == "back":  # of an operator: the kernels of its gradient
            found["back"] = tuple((Stream, draw(arguments(Stream))) for _ in range(2))
        elif field.name == "forward":  # of a gradient: one op
            found["forward"] = ((Fused, draw(arguments(Fused))),)
        elif field.name == "kind":
            found["kind"] = draw(st.sampled_from(["all_reduce", "all_gather", "all_to_all"]))
        elif field.name == "router":
            found["router"] = Router(256.0, 8.0, 8, 4, "top2")
        elif field.name == "routing":
            found["routing"] = draw(st.sampled_from([Routing(), Routing("balanced"), Routing("zipf", 0.5)]))
        elif field.name == "direction":
            found["direction"] = draw(st.sampled_from(["dispatch", "combine"]))
        elif field.name == "shares":
            found["shares"] = draw(st.sampled_from(["width", "sequence"]))
        elif field.name == "mode":
            found["mode"] = draw(st.sampled_from(MODES))
        elif field.name == "gradient":
            found["gradient"] = draw(st.sampled_from(["", "input"]))
        elif field.name == "scoring":
            found["scoring"] = draw(st.sampled_from(["softmax", "sigmoid", "sqrtsoftplus"]))
        elif field.name == "spare":  # slots for copies of experts: as many as 32 ranks of a few each have
            found["spare"] = draw(st.sampled_from([0.0, 32.0]))
        elif kind == "Dtype":
            names = COMPUTE if field.name == "compute" else FORMATS
            found[field.name] = dtype(draw(st.sampled_from(names)))
        elif kind == "bool":
            found[field.name] = draw(st.booleans())
        elif kind == "str":
            found[field.name] = "norm"
        elif kind == "float":
            found[field.name] = draw(st.sampled_from([1.0, 2.0]))
        elif kind == "Num | None" and draw(st.booleans()):
            found[field.name] = None
        else:
            assert kind.startswith("Num"), f"{cls.__name__}.{field.name}: {kind}"
            found[field.name] = draw(numbers())
    if "rule" in found:
        found["rule"] = draw(st.sampled_from(sorted(RULES)))
    elif "d_v" in found:  # whether V is as wide as K is a structure: another kernel
        found["d_v"] = found["d_qk"] * draw(st.sampled_from([1.0, 0.5]))
    return found


def build(cls: type, values: dict[str, Any], at: int | None) -> Op:
    def pick(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(build(part, given, at) for part, given in value)
        if isinstance(value, dict):
            return Mask(**{k: pick(v) for k, v in value.items()})
        if isinstance(value, np.ndarray):
            return value if at is None else float(value[at])
        return value

    picked = {name: pick(value) for name, value in values.items()}
    if "forward" in picked:
        (picked["forward"],) = picked["forward"]
    return cls(**picked)  # type: ignore[no-any-return]


def same(array: Any, at: int, scalar: Any) -> bool:
    return float(np.broadcast_to(np.asarray(array, np.float64), (POINTS,))[at]) == float(scalar)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_an_op_answers_arrays_and_scalars_bit_identically(cls: type, data: st.DataObject) -> None:
    values = data.draw(arguments(cls))
    whole = build(cls, values, None)
    models = [Roofline(hardware.load("b200")), Calibrated(hardware.load("h200"))]
    for at in range(POINTS):
        one = build(cls, values, at)
        pairs = [(whole.work(), one.work())]
        pairs += [(a.work(), b.work()) for a, b in zip(whole.input_grad(), one.input_grad(), strict=True)]
        pairs += [(a.work(), b.work()) for a, b in zip(whole.weight_grad(), one.weight_grad(), strict=True)]
        for many, single in pairs:
            for name in ("flops", "bytes_read", "bytes_written"):
                assert same(getattr(many, name), at, getattr(single, name)), name
        assert same(whole.workspace_bytes(), at, one.workspace_bytes())
        assert same(whole.saved_bytes(), at, one.saved_bytes())
        if whole.peak in ("vector", "wire", "bf16", "fp8"):
            for cost_of in models:
                dear, cheap = cost_of(whole), cost_of(one)
                for f in dataclasses.fields(dear):
                    if f.name != "spread":
                        assert same(getattr(dear, f.name), at, getattr(cheap, f.name)), f.name
                assert same(dear.deviation, at, cheap.deviation)


def test_a_gradient_is_the_rooflines_where_no_rows_answer_for_its_forward_kernel() -> None:
    """Of one query a sequence in fp8 nobody timed the kernel, of two they did."""
    q_len, bf16 = np.array([1.0, 2.0, 1.0]), dtype("bf16")
    cost_of = Calibrated(hardware.load("h200"))

    def seconds(queries: Any) -> Any:
        return cost_of(
            AttentionCore(1.0, queries, 1.0, 1.0, 1.0, 1.0, 0.5, Mask(), bf16, bf16, dtype("fp8"), gradient="input")
        ).seconds

    assert np.asarray(seconds(q_len)).tolist() == [seconds(float(queries)) for queries in q_len]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(experts=st.lists(st.sampled_from([8, 16, 64, 128, 256]), min_size=POINTS, max_size=POINTS), tokens=numbers(),
       k=st.integers(1, 8), ranks=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=POINTS, max_size=POINTS))  # fmt: skip
def test_routing_answers_arrays_and_scalars_bit_identically(
    experts: list[int], tokens: np.ndarray, k: int, ranks: list[int]
) -> None:
    e, r = np.asarray(experts, float), np.asarray(ranks, float)
    touched, visited = distinct_experts(e, float(k), tokens), distinct_ranks(e, k, r)
    for at in range(POINTS):
        assert same(touched, at, distinct_experts(float(e[at]), float(k), float(tokens[at])))
        assert same(visited, at, distinct_ranks(float(e[at]), k, float(r[at])))


SWEEPS: list[tuple[str, str, bool, dict[str, Any], dict[str, list[Any]]]] = [
    ("llama-3.1-8b", "h100", True, {}, {"batch": [1, 7, 64, 1000], "context": [1, 1000, 131072]}),
    ("llama-3.1-70b", "h100", True, {"context": 8192}, {"batch": [1, 33], "plan.tp": [1, 2, 3, 8, 16, 32]}),
    ("deepseek-v3", "h200", True, {"context": 4096},
     {"batch": [1, 64, 1024], "plan.tp": [1, 8], "plan.ep": [1, 4, 8, 12, 64, 320]}),
    ("mixtral-8x7b", "mi300x", True, {"context": 4096}, {"plan.ep": [1, 2, 4, 8], "plan.tp": [1, 2, 8], "batch": [1, 9]}),
    ("gpt-oss-120b", "b200", True, {"batch": 16}, {"context": [1, 64, 128, 129, 4096], "plan.tp": [1, 2, 8]}),
    ("gemma-3-27b", "h100", False, {"isl": 2000}, {"past": [0, 100, 1024, 5000], "batch": [1, 3]}),
    ("llama-4-scout", "b200", False, {"batch": 2}, {"isl": [1, 100, 8192, 10000], "past": [0, 8000]}),
    ("qwen3-235b-a22b", "h200", False, {"batch": 8, "isl": 1024}, {"plan.tp": [1, 2, 4, 8], "plan.ep": [1, 2, 8, 16]}),
    ("deepseek-v3", "h100", False, {"batch": 32, "isl": 4096},
     {"model.kv_lora_rank": [256, 512, 1000], "model.num_attention_heads": [64, 128], "past": [0, 1000]}),
    ("deepseek-v3", "h100", True, {"batch": 32, "context": 4096},
     {"model.n_routed_experts": [256, 512], "model.moe_intermediate_size": [1024, 2048], "batch": [1, 77]}),
    ("qwen2.5-72b", "a100", True, {"batch": 8, "context": 4096},
     {"model.hidden_size": [4096, 8192], "model.intermediate_size": [8192, 29568], "model.vocab_size": [32000, 152064]}),
    ("gpt-oss-20b", "h100", True, {"batch": 4, "context": 4096}, {"model.sliding_window": [1, 128, 9999]}),
    ("llama-3.1-8b", "h100", True, {"context": 4096, "batch": 32},
     {"hw.memory.bandwidth": ["x0.5", "x1", "6 TB/s"], "hw.peak.bf16": ["500 TFLOP/s", "x2"], "batch": [1, 500]}),
    ("llama-3.1-70b", "h100", False, {"isl": 4096, "batch": 4},
     {"hw.links.scaleup.bandwidth": ["x0.5", "900 GB/s"], "hw.assumed.gemm_efficiency": ["0.5", "0.9"], "plan.tp": [1, 8]}),
    ("mixtral-8x22b", "mi300x", False, {"isl": 512, "batch": 64},
     {"hw.links.scaleout.bandwidth": ["x1", "x4"], "plan.ep": [1, 8], "hw.memory.capacity": ["100 GiB", "x2"]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "hw", "decode", "phase", "axes"), SWEEPS, ids=[f"{s[0]}-{i}" for i, s in enumerate(SWEEPS)]
)
def test_every_row_of_a_sweep_is_bit_identical_to_its_own_query(
    model: str, hw: str, decode: bool, phase: dict[str, Any], axes: dict[str, list[Any]]
) -> None:
    rows = phases.result(make(model, hw, decode, phase, {}, axes, None)).rows
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    assert len(rows) == len(points)
    found = 0
    for point in points:
        row = next(r for r in rows if all(r[k] == v for k, v in point.items()))
        try:
            single = phases.result(make(model, hw, decode, phase, point, {}, None))
        except SimcostError:
            assert not row["feasible"], row
            assert row["reason"]
            continue
        assert row["feasible"], row
        found += 1
        for name, value in single.metrics.items():
            if name in row and name not in axes:
                assert row[name] == value, f"{point}: {name}"
        assert row["fits"] == single.fits
    assert found


def test_a_sweep_carries_every_number_of_a_single_query() -> None:
    single = phases.result(make("deepseek-v3", "h200", True, {"batch": 8, "context": 4096}, {"plan.tp": 8}, {}, 2.0))
    sweep = phases.result(make("deepseek-v3", "h200", True, {"context": 4096}, {"plan.tp": 8}, {"batch": [8]}, 2.0))
    numbers = {k for k, v in single.metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    assert numbers <= set(sweep.rows[0])


@pytest.mark.parametrize(
    "axes",
    [
        {"model.hidden_size": ["x2", 4096]},
        {"model.hidden_size": ["x2", 96]},
        {"plan.kv_dtype": ["bf16", "fp8"]},
        {"plan.weight_dtype": ["bf16", "fp8", "int8"]},
        {"model.num_hidden_layers": [1, 32]},
        {"model.tie_word_embeddings": [True, False], "plan.kv_dtype": ["bf16", "fp8"]},
        {"model.num_key_value_heads": [1, 3, 8], "plan.kv_dtype": ["bf16", "fp8"]},
        {"model.num_hidden_layers": [1, 32], "plan.tp": [1, 3, 8]},
    ],
    ids=str,
)
@pytest.mark.parametrize("sets", [{}, {"plan.tp": 3}])
def test_axes_that_change_the_structure_give_one_row_a_value(axes: dict[str, list[Any]], sets: dict[str, Any]) -> None:
    phase = {"batch": 4, "context": 2048}
    given_sets = {k: v for k, v in sets.items() if k not in axes}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    alone = []
    for point in points:
        try:
            alone.append(phases.result(make("llama-3.1-8b", "h100", True, phase, {**given_sets, **point}, {}, None)))
        except SimcostError:
            alone.append(None)
    try:
        rows = phases.result(make("llama-3.1-8b", "h100", True, phase, given_sets, axes, None)).rows
    except SimcostError:
        assert not any(alone)
        return
    assert len(rows) == len(points)
    for row, single in zip(rows, alone, strict=True):
        assert row["feasible"] == (single is not None)
        if single is None:
            assert row["reason"]
            continue
        assert row["tpot_s"] == single.metrics["tpot_s"]


@pytest.mark.parametrize("block", [1, 7, 40])
def test_a_sweep_in_blocks_is_the_same_sweep(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"vary": {"batch": [1, 8, 64], "plan.tp": [1, 3, 8], "context": [100, 4096, 90_000, 131_072, 1_000_000]}}
    whole = simcost.decode("mixtral-8x7b", "h100", **asked).tables["sweep"]
    monkeypatch.setattr(sweep, "_BLOCK", block)
    parts = simcost.decode("mixtral-8x7b", "h100", **asked).tables["sweep"]
    assert len(parts) == len(whole) == 45
    assert [dict(row) for row in parts] == [dict(row) for row in whole]
    assert any(not row["feasible"] for row in whole)


def test_a_swept_width_of_values_is_the_single_question() -> None:
    """At one width V is as wide as K, which is another kernel."""
    asked: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h200", "batch": 8}
    for row in simcost.decode(**asked, vary={"model.v_head_dim": [64, 128, 256]}).tables["sweep"]:
        alone = simcost.decode(**asked, set={"model.v_head_dim": row["model.v_head_dim"]}).metrics
        assert row["tpot_s"] == alone["tpot_s"]
