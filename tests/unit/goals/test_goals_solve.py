"""solve: the answer meets the goal, the next value does not; closed forms, limits, memory, and goals as people write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simcost
from simcost.cost.cost import Cost
from simcost.errors import SpecError
from simcost.scenarios.goals import aim, search
from simcost.scenarios.goals.numbers import CONTINUOUS, STEPS, Number
from simcost.scenarios.goals.variants import Answers

ROOFLINE = {"hw.measurements": "none"}
LLAMA: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "h200"}
DEEPSEEK: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200", "set": {"plan.tp": 8}}


def by_hand(question: dict[str, Any], path: str, value: Any, **phase: Any) -> dict[str, Any]:
    """Metrics of a decode step with a number set."""
    sets = {**question.get("set", {}), path: value}
    return simcost.decode(question["model"], question["hw"], **phase, set=sets).metrics


@pytest.mark.parametrize("sets", [{}, ROOFLINE], ids=["curves", "roofline"])
@pytest.mark.parametrize(("path", "unit", "goal"), [
    ("hw.memory.bandwidth", "B/s", "tpot=5ms"), ("hw.memory.bandwidth", "B/s", "tpot<=9ms"), ("hw.assumed.step_overhead", "s", "tpot<=5.5ms"),
    ("hw.price.usd_per_hour", "USD/h", "usd=12"), ("hw.memory.bandwidth", "B/s", "output_tokens_per_s_per_gpu>=190"),
])  # fmt: skip
def test_a_continuous_answer_meets_the_goal_to_a_millionth(
    sets: dict[str, Any], path: str, unit: str, goal: str
) -> None:
    question = {**LLAMA, "set": sets}
    found = simcost.solve(**question, path=path, goal=goal).metrics
    assert found["reached"]
    wanted = aim.goal(goal, found, True)
    there = by_hand(question, path, f"{found['solved_value']!r} {unit}")[wanted.metric]
    assert there == pytest.approx(wanted.target, rel=1e-6)
    assert there <= wanted.target if wanted.most else there >= wanted.target
    assert found[wanted.metric] == there


def test_a_goal_that_holds_only_between_two_points_of_the_grid_is_found() -> None:
    """The best chunk of a prompt lies between two of those that are tried first: 686.3 ms at 4,160, of every tenth one."""
    question: dict[str, Any] = {"model": "llama-3.1-8b", "hw": "l40s", "isl": 8000}
    swept = simcost.prefill(**question, vary={"chunk": list(range(4000, 4500, 20))}).tables["sweep"]
    least = min(row["ttft_s"] for row in swept)
    found = simcost.solve(**question, phase="prefill", path="chunk", goal=f"ttft={least * 1.0001!r}s").metrics
    assert found["reached"]
    assert found["ttft_s"] <= least * 1.0001
    never = simcost.solve(**question, phase="prefill", path="chunk", goal="ttft=600ms").metrics
    assert not never["reached"]
    assert never["ttft_s"] == pytest.approx(least, rel=1e-3)


def test_bandwidth_of_a_memory_bound_step_in_closed_form() -> None:
    """M / x + O = goal."""
    now = simcost.decode(**LLAMA, set=ROOFLINE).metrics
    memory, rest = (now["tpot_s"] * now[f"share_{name}"] for name in ("memory", "overhead"))
    found = simcost.solve(**LLAMA, set=ROOFLINE, path="hw.memory.bandwidth", goal="tpot=4ms").metrics
    assert found["solved_value"] == pytest.approx(4.8e12 * memory / (4e-3 - rest), rel=1e-9)


def test_the_range_is_where_the_ends_of_the_interval_meet_the_goal() -> None:
    found = simcost.solve(**LLAMA, path="hw.memory.bandwidth", goal="tpot=7ms").metrics
    for end, metric in (("low", "tpot_low_s"), ("high", "tpot_high_s")):
        there = by_hand(LLAMA, "hw.memory.bandwidth", f"{found[f'solved_value_{end}']!r} B/s")
        assert there[metric] == pytest.approx(7e-3, rel=1e-6)
    assert found["solved_value_low"] < found["solved_value"] < found["solved_value_high"]


@pytest.mark.parametrize(("question", "path", "goal", "metric"), [
    (DEEPSEEK, "batch", "tpot=20ms", "tpot_s"), (LLAMA, "context", "tpot<=10ms", "tpot_s"), (LLAMA, "model.num_hidden_layers", "tpot=5ms", "tpot_s"),
    (DEEPSEEK, "prefill_tokens", "tpot=50ms", "tpot_s"),
])  # fmt: skip
def test_the_largest_count_that_meets_the_goal(question: dict[str, Any], path: str, goal: str, metric: str) -> None:
    found = simcost.solve(**question, path=path, goal=goal).metrics
    target, value = aim.goal(goal, found, True).target, found["solved_value"]
    assert isinstance(value, int)

    def at(count: int) -> float:
        if path.startswith("model."):
            return by_hand(question, path, count)[metric]
        return simcost.decode(**question, **{path: count}).metrics[metric]

    assert at(value) <= target < at(value + 1)
    assert at(value) == found[metric]
    assert found["binds"] == "goal"
    assert found["solved_value_low"] <= value <= found["solved_value_high"]


def test_widths_stay_whole_tiles() -> None:
    found = simcost.solve(**DEEPSEEK, batch=64, path="model.hidden_size", goal="tpot=30ms").metrics
    assert found["solved_value"] % 64 == 0
    assert found["tpot_s"] <= 0.03


def test_memory_binds_before_the_goal() -> None:
    result = simcost.solve(**DEEPSEEK, path="batch", goal="tpot=100ms")
    most = simcost.decode(**DEEPSEEK).metrics["max_batch"]
    assert result.metrics["solved_value"] == most
    assert result.metrics["binds"] == "memory"
    assert "memory is the limit" in result.verdict
    assert result.fits
    assert result.metrics["solved_value_low"] is None


def test_the_smallest_count_for_a_rate() -> None:
    found = simcost.solve(**DEEPSEEK, path="batch", goal="tokens_per_s_per_gpu=300 tokens/s").metrics
    rates = [
        simcost.decode(**DEEPSEEK, batch=n).metrics["output_tokens_per_s_per_gpu"]
        for n in (found["solved_value"] - 1, found["solved_value"])
    ]
    assert rates[0] < 300 <= rates[1]


def test_capacity_for_a_batch() -> None:
    found = simcost.solve(**DEEPSEEK, path="hw.memory.capacity", goal="max_batch>=256").metrics
    assert found["max_batch"] == 256
    assert by_hand(DEEPSEEK, "hw.memory.capacity", f"{found['solved_value'] * (1 - 1e-9)!r} B")["max_batch"] == 255


def test_a_count_that_no_array_holds_is_priced_alone() -> None:
    """No shared experts beside some: arrays of both have no number."""
    found = simcost.solve(**DEEPSEEK, batch=64, path="model.n_shared_experts", goal="tpot<=34.5ms").metrics
    assert found["solved_value"] == 0
    assert found["tpot_s"] == by_hand(DEEPSEEK, "model.n_shared_experts", 0, batch=64)["tpot_s"]


def test_the_end_of_a_plateau_is_the_limit() -> None:
    """Peaks beyond what the step needs change nothing: the verdict names the end of the range."""
    result = simcost.solve(**LLAMA, set=ROOFLINE, batch=64, path="hw.peak.bf16", goal="tpot=1ms")
    assert "even at 1000 EFLOP/s" in result.verdict


def test_prefill_is_solved_alike() -> None:
    found = simcost.solve(**LLAMA, phase="prefill", path="isl", goal="ttft=500ms").metrics
    times = [simcost.prefill(**LLAMA, isl=found["solved_value"] + n).metrics["ttft_s"] for n in (0, 1)]
    assert times[0] <= 0.5 < times[1]


def test_what_is_not_set_starts_where_it_changes_nothing() -> None:
    """The chunk of a prompt is the whole prompt; the GPUs of a cluster are those of the plan."""
    sets = {"plan.tp": 4}
    whole = simcost.prefill("llama-3.1-70b", "h100", isl=8192, set=sets).metrics["ttft_s"]
    goal = f"ttft<={1.3 * whole!r}s"
    found = simcost.solve("llama-3.1-70b", "h100", "chunk", goal, phase="prefill", isl=8192, set=sets).metrics
    chunked = [
        simcost.prefill("llama-3.1-70b", "h100", isl=8192, set={**sets, "chunk": found["solved_value"] - n}).metrics[
            "ttft_s"
        ]
        for n in (0, 1)
    ]
    assert chunked[0] <= 1.3 * whole < chunked[1]
    gpus = simcost.solve("llama-3.1-70b", "h100", "plan.gpus", "tpot=25ms", batch=128, set=sets).metrics
    times = [
        simcost.decode("llama-3.1-70b", "h100", batch=128, gpus=n, set=sets).metrics["tpot_s"]
        for n in (gpus["solved_value"] - 4, gpus["solved_value"])
    ]
    assert times[1] <= 0.025 < times[0]


def test_a_limit_is_told_with_what_stays() -> None:
    result = simcost.solve(**LLAMA, set=ROOFLINE, path="hw.memory.bandwidth", goal="tpot=0.5ms")
    end = by_hand({**LLAMA, "set": ROOFLINE}, "hw.memory.bandwidth", "1e18 B/s")
    assert result.metrics["reached"] is False
    assert result.metrics["solved_value"] is None
    assert result.metrics["tpot_s"] == pytest.approx(end["tpot_s"], rel=1e-9)
    assert not result.fits
    assert "at no value" in result.verdict
    assert "starts of kernels and fixed times" in result.verdict
    stays = result.tables["what stays"]
    assert sum(row["time_s"] for row in stays) == pytest.approx(end["tpot_s"], rel=1e-9)
    assert sum(row["share"] for row in stays) == pytest.approx(1.0)


def test_a_limit_inside_the_interval_is_not_sure() -> None:
    """Far from the measured device nothing is ruled out that light allows."""
    result = simcost.solve(**DEEPSEEK, batch=64, path="hw.memory.bandwidth", goal="tpot=20ms")
    assert not result.metrics["reached"]
    assert result.metrics["tpot_low_s"] < 0.02
    assert any("is not ruled out" in note for note in result.warnings)


def test_where_the_goal_turns_again_no_side_is_promised() -> None:
    result = simcost.solve(**DEEPSEEK, batch=64, path="plan.ep", goal="tpot=34.5ms")
    turns = result.tables["turns of the goal"]
    assert "plan.ep = " in result.verdict
    assert len(turns) > 1
    for row in turns:
        assert by_hand(DEEPSEEK, "plan.ep", int(row["turn_value"]), batch=64)["tpot_s"] == pytest.approx(
            row["metric_value"]
        )
        assert row["metric_value"] <= 0.0345
    assert result.metrics["solved_value_low"] is None


def test_a_goal_that_every_value_meets() -> None:
    result = simcost.solve(**LLAMA, path="hw.assumed.step_overhead", goal="tpot>=1ms")
    assert result.metrics["reached"] is True
    assert result.metrics["solved_value"] is None
    assert "every value" in result.verdict


def test_what_does_not_fit_is_no_solution() -> None:
    result = simcost.solve(**DEEPSEEK, path="batch", goal="tokens_per_s_per_gpu>=600")
    assert result.metrics["reached"] is False
    assert "which does not fit" in result.verdict
    assert result.metrics["fits"]


@pytest.mark.parametrize(("given", "said"), [
    ({"path": "plan.tp", "set": {"plan.tp": 8}}, "both set and solved"), ({"path": "plan.tensor_parallel_size", "set": {"plan.tp": 8}}, "both set and solved"),
    ({"path": "batch", "set": {"batch": 4}}, "both set and solved"), ({"path": "hw.peak.fp16"}, "does not depend on hw.peak.fp16"),
    ({"path": "hw.assumed.gemm_efficiency"}, "only kernels without measurements"), ({"path": "hw.memory.bandwith"}, "did you mean 'memory.bandwidth'"),
    ({"path": "plan.etp"}, "no value of plan.etp but 1 can be run"), ({"path": "engine.block"}, "unknown path"), ({"path": "engine"}, "settings of an engine cannot"), ({"path": "isl"}, "does not apply to decode"),
    ({"path": "hw.links.scaleup.reduces"}, "true or false"), ({"path": "model.hidden_act"}, "is not a number of this question"), ({"path": "routing"}, "is not a number of this question"),
    ({"path": "hw.price.usd_per_hour", "price": 3.0}, "both set and solved"), ({"goal": "tpto=20ms"}, "did you mean 'tpot'"),
    ({"goal": "tpot"}, "write metric=value"), ({"goal": "tpot=20"}, "without a unit would be seconds"), ({"goal": "tpot=20GB"}, "unit 'GB'"),
    ({"goal": "memory_used=100"}, "has no unit"), ({"goal": "share_memory=0.5"}, "write <= or >= for share_memory"), ({"goal": "tpot=0"}, "greater than 0"), ({"goal": "ttft=1s"}, "not a metric of decode"),
    ({"hw": "gaudi2", "goal": "usd=1"}, "set one with --price"),
])  # fmt: skip
def test_what_it_refuses(given: dict[str, Any], said: str) -> None:
    question = {**LLAMA, "path": "batch", "goal": "tpot=20ms", **given}
    with pytest.raises(SpecError, match=said):
        simcost.solve(**question)


KNOWN = (
    "tpot_s",
    "usd_per_million_output_tokens",
    "output_tokens_per_s_per_gpu",
    "memory_used_bytes_per_gpu",
    "mfu",
    "max_batch",
    "share_wire",
)


@pytest.mark.parametrize(("text", "metric", "most", "target"), [
    ("tpot=20ms", "tpot_s", True, 0.02), ("tpot_s <= 0.5", "tpot_s", True, 0.5), ("tpot>=3 s", "tpot_s", False, 3.0), ("usd=$0.5", "usd_per_million_output_tokens", True, 0.5),
    ("usd=0.5 USD", "usd_per_million_output_tokens", True, 0.5), ("output_tokens_per_s_per_gpu=100 tokens/s", "output_tokens_per_s_per_gpu", False, 100.0),
    ("tokens_per_s_per_gpu>=1,000", "output_tokens_per_s_per_gpu", False, 1000.0), ("memory_used<=100 GiB", "memory_used_bytes_per_gpu", True, 100 * 2**30),
    ("mfu=40%", "mfu", False, 0.4), ("mfu>=0.4", "mfu", False, 0.4), ("max_batch=64", "max_batch", False, 64.0), ("share_wire=10%", "share_wire", True, 0.1),
])  # fmt: skip
def test_goals_as_people_write_them(text: str, metric: str, most: bool, target: float) -> None:
    found = aim.goal(text, KNOWN, True)
    assert (found.metric, found.most) == (metric, most)
    assert found.target == pytest.approx(target)


def answered(values: np.ndarray, metric: np.ndarray, bad: np.ndarray) -> Answers:
    every = np.ones(len(values), bool)
    return Answers(metric, Cost(metric), {}, every, ~bad, ("",) * len(values))


def test_every_turn_of_a_wave_is_found_and_holds() -> None:
    """sin(3 ln x) falls below 0.5 and rises above it again and again; values between 2 and 3 cannot be run."""
    number = Number("x", 1.5, "", CONTINUOUS, 0.1, 100.0)

    def ask(values: np.ndarray) -> Answers:
        return answered(values, np.sin(3.0 * np.log(values)), (values > 2.0) & (values < 3.0))

    def holds(answers: Answers) -> np.ndarray:
        return answers.metric <= 0.5

    values = search.grid(number, structural=False)
    turns = search.turns(number, values, ask(values), ask, holds)
    angles = np.array(
        [np.pi / 6 + 2 * np.pi * k for k in range(-3, 4)] + [5 * np.pi / 6 + 2 * np.pi * k for k in range(-3, 4)]
    )
    roots = np.exp(angles / 3.0)
    roots = np.sort(roots[(roots > 0.1) & (roots < 100.0)])
    inside = (roots > 2.0) & (roots < 3.0)
    assert inside.any()
    found = np.array([turn.holds for turn in turns])
    outside = ~((found >= 1.9) & (found <= 3.1))
    np.testing.assert_allclose(found[outside], roots[~inside], rtol=1e-9)
    assert all(np.sin(3.0 * np.log(turn.holds)) <= 0.5 < np.sin(3.0 * np.log(turn.fails)) for turn in turns)
    assert not ((found > 2.0) & (found < 3.0)).any()


@pytest.mark.parametrize("edge", [64, 1000, 123_456])
def test_a_count_is_narrowed_to_neighbours(edge: int) -> None:
    number = Number("n", 1.0, "count", STEPS, 1.0, 2.0**24)

    def ask(values: np.ndarray) -> Answers:
        return answered(values, values, values < 0)

    values = search.grid(number, structural=False)
    turns = search.turns(number, values, ask(values), ask, lambda answers: answers.metric <= edge)
    assert [(turn.holds, turn.fails) for turn in turns] == [(edge, edge + 1)]
