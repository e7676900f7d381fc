"""The algebra of calls: a fold with a toy cost against a small evaluator of its own, and the laws of each kind of node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost import program as algebra
from simcost.cost.cost import Cost
from simcost.ops.fused import Fused
from simcost.program import Call, Choice, Overlap, Priced, Program, Serial, calls, choices, leaves, price


@dataclass(frozen=True)
class Toy:
    """An op that takes so long."""

    seconds: Any
    peak: str = "vector"


def toy(op: Any) -> Cost:
    return Cost(memory_s=op.seconds)


@dataclass(frozen=True)
class Seen:
    """What the evaluator below says of a program: its time, and every call's time with its factor beside others."""

    seconds: float
    calls: tuple[tuple[float, float], ...]

    def times(self, repeat: float) -> Seen:
        return Seen(self.seconds * repeat, tuple((t * repeat, slow) for t, slow in self.calls))


def evaluated(p: Program) -> Seen:
    """One program, number by number."""
    if isinstance(p, Call):
        seconds = float(p.op.seconds * p.repeat)  # type: ignore[attr-defined]
        return Seen(seconds, ((seconds, float(p.slow)),))
    if isinstance(p, Choice):
        found = [evaluated(option) for _, option in p.options]
        return found[-1] if p.settled else min(found, key=lambda one: one.seconds)
    found = [evaluated(part) for part in p.parts]
    if isinstance(p, Serial):
        return Seen(sum(one.seconds for one in found), tuple(c for one in found for c in one.calls)).times(
            float(p.repeat)
        )
    held = list(p.holds) or [0.0] * len(found)
    factor = []
    for i, one in enumerate(found):
        total = sum(t for t, _ in one.calls)
        own = max(sum(t * slow for t, slow in one.calls) / total, 1.0) if total else 1.0
        factor.append(own * 132.0 / max(132.0 - (sum(held) - held[i]), 1.0))
    found = [one.times(beside(found, factor, i)) for i, one in enumerate(found)]
    join = sum if p.competes else max  # of work alone, which adds up where it competes
    return Seen(join(one.seconds for one in found), tuple(c for one in found for c in one.calls))


def beside(found: list[Seen], factor: list[float], i: int) -> float:
    """How much longer part i takes: slow as long as any other runs, then as if alone."""
    alone = found[i].seconds
    others = max(
        (one.seconds * by for j, (one, by) in enumerate(zip(found, factor, strict=True)) if j != i), default=0.0
    )
    if alone == 0.0 or alone * factor[i] <= others:
        return factor[i]
    return (others + (alone - others / factor[i])) / alone


SECONDS = st.integers(1, 9).map(float)
CALLS = st.builds(
    Call, st.builds(Toy, SECONDS), st.just(""), st.sampled_from([1.0, 3.0]), st.sampled_from([1.0, 1.0, 2.0])
)


def nodes(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    named = several.map(lambda parts: tuple((f"option {i}", part) for i, part in enumerate(parts)))
    return st.one_of(
        st.builds(Serial, some, st.just(""), st.sampled_from([1.0, 2.0])),
        st.builds(Overlap, some),
        st.builds(Overlap, some, competes=st.just(True)),
        st.builds(Overlap, several.map(lambda p: p[:2]), st.just(""), st.just((0.0, 20.0))),
        st.builds(Choice, named, st.just("which"), st.booleans()),
    )


PROGRAMS = st.recursive(CALLS, nodes, max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(PROGRAMS)
def test_the_fold_of_any_program_is_what_the_evaluator_says(program: Program) -> None:
    assert price(program, toy).cost.seconds == pytest.approx(evaluated(program).seconds, rel=1e-9)


def settled(program: Program) -> Program:
    """The program without options that nobody runs."""
    if isinstance(program, Call):
        return program
    if isinstance(program, Choice):
        options = program.options[-1:] if np.all(program.settled) else program.options
        return replace(program, options=tuple((name, settled(option)) for name, option in options))
    return replace(program, parts=tuple(settled(part) for part in program.parts))


@settings(max_examples=100, deadline=None)
@given(PROGRAMS)
def test_leaves_are_the_calls_and_their_weighted_times_are_those_that_run(program: Program) -> None:
    found = list(leaves(price(program, toy)))
    assert [call for _, call, _, _ in found] == list(calls(settled(program)))
    assert sum(weight * cost.seconds for _, _, cost, weight in found) == pytest.approx(
        sum(t for t, _ in evaluated(program).calls), rel=1e-9
    )


@settings(max_examples=100, deadline=None)
@given(PROGRAMS)
def test_what_counts_of_the_leaves_adds_up_to_the_time_of_all(program: Program) -> None:
    priced = price(program, toy)
    total = sum(
        share * weight * cost.seconds for (_, _, cost, weight), share in algebra.shared(priced, algebra.leading)
    )
    assert total == pytest.approx(priced.cost.seconds, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(PROGRAMS, SECONDS)
def test_overlap_is_never_longer_than_taking_turns_and_never_shorter_than_a_part(program: Program, more: float) -> None:
    other = Call(Toy(more))
    side, turns = price(Overlap((program, other)), toy).cost.seconds, price(Serial((program, other)), toy).cost.seconds
    alone = price(program, toy).cost.seconds
    slow = max(float(call.slow) for call in calls(program))
    assert max(alone, more) * (1 - 1e-12) <= side
    assert side <= turns * (1 + 1e-12) or slow > 1.0


def test_an_array_of_programs_is_priced_point_by_point() -> None:
    times = np.array([1.0, 5.0, 9.0])

    def program(t: Any) -> Program:
        choice = Choice((("a", Call(Toy(t))), ("b", Call(Toy(6.0)))), "form")
        return Serial((choice, Overlap((Call(Toy(2.0 * t)), Call(Toy(7.0), slow=2.0)))), repeat=3.0)

    found = np.asarray(price(program(times), toy).cost.seconds)
    assert found.tolist() == pytest.approx([evaluated(program(float(t))).seconds for t in times])


@pytest.mark.parametrize(("settled", "cost", "names"), [
    (False, 2.0, {"a": 0.0, "b": 1.0, "c": 0.0}), (True, 5.0, {"c": 1.0}),
])  # fmt: skip
def test_a_choice_names_what_it_took(settled: bool, cost: float, names: dict[str, float]) -> None:
    options = tuple((name, Call(Toy(t))) for name, t in (("a", 3.0), ("b", 2.0), ("c", 5.0)))
    priced = price(Choice(options, "form", settled), toy)
    assert priced.cost.seconds == cost
    assert dict(priced.taken) == names
    assert list(choices(Priced(Cost(), Serial(()), (priced,)))) == [("form", priced.taken)]


def test_of_equal_options_the_first_is_taken() -> None:
    priced = price(Choice((("a", Call(Toy(2.0))), ("b", Call(Toy(2.0)))), "form"), toy)
    assert dict(priced.taken) == {"a": 1.0, "b": 0.0}


class Whole:
    """A cost model that knows a class as a whole, on a machine with so many multiprocessors."""

    multiprocessors = 40.0

    def knows(self, op: Fused) -> bool:
        return op.kernel == "linear"

    def __call__(self, op: Any) -> Cost:
        return Cost(memory_s=0.5 if isinstance(op, Fused) else op.seconds)


@pytest.mark.parametrize(("kernel", "model", "seconds"), [
    ("linear", Whole(), 1.0), ("experts", Whole(), 6.0), ("linear", toy, 6.0), ("", Whole(), 6.0),
])  # fmt: skip
def test_a_class_is_priced_whole_only_where_the_model_knows_it(kernel: str, model: Any, seconds: float) -> None:
    program = Serial((Call(Toy(1.0), "cast"), Call(Toy(2.0), "gemm")), "", 2.0, kernel)
    priced = price(program, model)
    assert priced.cost.seconds == seconds
    assert isinstance(priced.node, Call if seconds == 1.0 else Serial)
    if seconds == 1.0:
        assert isinstance(priced.node, Call)
        assert priced.node.tag == "gemm"


def test_held_multiprocessors_are_those_of_the_machine_that_is_asked() -> None:
    program = Overlap((Call(Toy(1.0)), Call(Toy(100.0))), holds=(0.0, 20.0))
    inner = [part.cost.seconds for part in price(program, Whole()).parts]
    assert inner == pytest.approx([40.0 / 20.0, 100.0])
    assert price(program, toy).parts[0].cost.seconds == pytest.approx(
        algebra.MULTIPROCESSORS / (algebra.MULTIPROCESSORS - 20.0)
    )


def test_competing_parts_add_up_what_they_work_and_hide_only_their_starts() -> None:
    def model(op: Any) -> Cost:
        return Cost(memory_s=op.seconds, overhead_s=1.0)

    found = price(Overlap((Call(Toy(3.0)), Call(Toy(2.0))), competes=True), model).cost
    assert found.seconds == pytest.approx(5.0)  # 3 + 2 of work; the starts hide
    assert price(Overlap((Call(Toy(3.0)), Call(Toy(0.5))), competes=True), model).cost.seconds == pytest.approx(4.0)
    assert price(Overlap((Call(Toy(3.0)), Call(Toy(2.0)))), model).cost.seconds == pytest.approx(4.0)


def test_an_empty_program_has_no_cost() -> None:
    with pytest.raises(ValueError, match="empty"):
        price(Serial(()), toy)


@pytest.mark.parametrize(("rule", "seconds", "want"), [
    (algebra.leading, [1.0, 4.0, 4.0], [0.0, 1.0, 0.0]), (algebra.leading, [2.0], [1.0]), (algebra.leading, [0.0, 0.0], [1.0, 0.0]),
    (algebra.exposed, [1.0, 4.0, 3.0], [0.0, 0.25, 0.0]), (algebra.exposed, [2.0, 2.0], [0.0, 0.0]), (algebra.exposed, [5.0], [1.0]),
    (lambda s: algebra.competing(s, 6.0), [4.0, 3.0, 1.0], [1.0, 0.5, 0.5]), (lambda s: algebra.competing(s, 4.0), [4.0, 3.0], [1.0, 0.0]),
])  # fmt: skip
def test_a_rule_shares_the_time_of_parts_side_by_side(
    rule: Callable[..., Any], seconds: list[float], want: list[float]
) -> None:
    assert rule(seconds) == pytest.approx(want)


@pytest.mark.parametrize(("alone", "others", "slow", "factor"), [
    (10.0, 0.0, 2.0, 1.0), (10.0, 8.0, 2.0, 1.4), (10.0, 20.0, 2.0, 2.0), (10.0, 500.0, 2.0, 2.0), (3.0, 1.0, 1.0, 1.0),
])  # fmt: skip
def test_work_is_slow_only_as_long_as_others_run(alone: float, others: float, slow: float, factor: float) -> None:
    assert algebra.longer(alone, others, slow) == pytest.approx(factor)


def test_the_most_held_is_what_some_part_lacks() -> None:
    inner = Overlap((Call(Toy(1.0)), Call(Toy(1.0))), holds=(0.0, 20.0))
    assert algebra.most_held(inner) == 20.0
    assert algebra.most_held(replace(inner, holds=(5.0, 20.0))) == 20.0
    assert algebra.most_held(Serial((Call(Toy(1.0)), Choice((("a", inner), ("b", Call(Toy(1.0)))))))) == 20.0
    assert algebra.most_held(Overlap((Call(Toy(1.0)),) * 3, holds=(1.0, 2.0, 3.0))) == 5.0
    assert algebra.most_held(Call(Toy(1.0))) == 0.0


def test_paths_hold_the_tags_and_the_option_that_a_leaf_belongs_to() -> None:
    program = Serial((Choice((("short", Call(Toy(1.0), "a")), ("long", Call(Toy(2.0), "b"))), "form"),), "layer", 4.0)
    found = {path: weight for path, _, _, weight in leaves(price(program, toy))}
    assert found == {("layer", "short", "a"): 4.0, ("layer", "long", "b"): 0.0}
