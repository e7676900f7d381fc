"""`@frozen` does what `@dataclass(frozen=True, slots=True)` does: every case is asked of both."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest

from simcost.frozen import frozen, remembered


@frozen
class Ours:
    width: int
    name: str = "x"
    parts: list[int] = field(default_factory=list)
    memo: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError(f"width = {self.width}")

    @property
    def twice(self) -> int:
        return 2 * self.width


@dataclass(frozen=True, slots=True)
class Theirs:
    width: int
    name: str = "x"
    parts: list[int] = field(default_factory=list)
    memo: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError(f"width = {self.width}")

    @property
    def twice(self) -> int:
        return 2 * self.width


@frozen
class Point:
    x: float
    y: float = 0.0


@frozen
class Deep(Point):
    z: float = 1.0


@frozen
class Empty:
    pass


BOTH = pytest.mark.parametrize("made", [Ours, Theirs])


@BOTH
def test_positions_names_defaults_and_factories(made: Callable[..., Any]) -> None:
    plain, full = made(3), made(3, "y", [1], memo=9)
    assert (plain.width, plain.name, plain.parts, plain.memo, plain.twice) == (3, "x", [], 0, 6)
    assert (full.name, full.parts, full.memo) == ("y", [1], 9)
    assert made(3).parts is not plain.parts  # a factory is asked each time


@BOTH
def test_what_is_not_taken(made: Callable[..., Any]) -> None:
    for arguments, named in (((), {}), ((1, "x", [], 0, 5), {}), ((1,), {"depth": 2})):
        with pytest.raises(TypeError):
            made(*arguments, **named)
    with pytest.raises(ValueError, match="width = -1"):
        made(-1)


@BOTH
def test_nothing_is_set_deleted_or_added(made: Callable[..., Any]) -> None:
    value = made(3)
    with pytest.raises(FrozenInstanceError, match="'width'"):
        value.width = 4
    with pytest.raises(FrozenInstanceError, match="'width'"):
        del value.width
    with pytest.raises((FrozenInstanceError, TypeError)):  # the second before CPython 3.12
        value.depth = 1
    assert not hasattr(value, "__dict__")


@BOTH
def test_equality_sees_what_is_compared(made: Callable[..., Any]) -> None:
    assert made(3, memo=1) == made(3, memo=2)
    assert made(3) != made(4)
    assert made(3) != (3, "x", [], 0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(made(3))  # it holds a list


@BOTH
def test_shown_without_what_is_hidden(made: Callable[..., Any]) -> None:
    assert repr(made(3, memo=7)) == f"{made.__name__}(width=3, name='x', parts=[])"  # type: ignore[attr-defined]


@BOTH
def test_copies_pickles_and_replacements(made: Callable[..., Any]) -> None:
    value = made(3, "y", [1, 2], 5)
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert again == value
        assert again.memo == 5
    assert replace(value, width=4) == made(4, "y", [1, 2])
    with pytest.raises(ValueError, match="width = -2"):
        replace(value, width=-2)
    assert asdict(value) == {"width": 3, "name": "y", "parts": [1, 2], "memo": 5}
    assert is_dataclass(value)
    assert [each.name for each in fields(value)] == ["width", "name", "parts", "memo"]


def test_hashes_follow_equality() -> None:
    assert hash(Point(1.0)) == hash(Point(1.0, 0.0))
    assert len({Point(1.0), Point(1.0, 0.0), Point(2.0)}) == 2
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert repr(Empty()) == "Empty()"


def test_a_class_inherits_fields() -> None:
    deep = Deep(1.0, z=3.0)
    assert (deep.x, deep.y, deep.z) == (1.0, 0.0, 3.0)
    assert deep != Point(1.0)
    assert pickle.loads(pickle.dumps(deep)) == deep


def test_a_frozen_dataclass_may_inherit_from_it() -> None:
    @dataclass(frozen=True, slots=True)
    class Outside(Point):
        z: float = 2.0

    made = Outside(1.0)
    assert (made.x, made.y, made.z) == (1.0, 0.0, 2.0)
    assert replace(made, y=5.0) == Outside(1.0, 5.0)
    with pytest.raises(FrozenInstanceError):
        made.z = 1.0  # type: ignore[misc]


def test_patterns_match_by_position() -> None:
    match Point(1.0, 2.0):
        case Point(x, y):
            assert (x, y) == (1.0, 2.0)
        case _:
            pytest.fail("no match")


def test_what_a_class_has_of_its_own_is_kept() -> None:
    @frozen
    class Named:
        name: str

        def __repr__(self) -> str:
            return self.name

        def __hash__(self) -> int:
            return 7

    assert repr(Named("a")) == "a"
    assert hash(Named("b")) == 7
    assert Named("a") == Named("a")


def test_what_belongs_to_the_class_is_no_field() -> None:
    @frozen
    class Op:
        family: ClassVar[str] = "gemm"
        rows: int

    assert [each.name for each in fields(Op)] == ["rows"]
    assert (Op(2).family, Op(2).rows) == ("gemm", 2)


def test_a_default_may_come_from_a_class_above() -> None:
    class Above:
        width = 8

    @frozen
    class Below(Above):
        width: int

    assert Below().width == 8  # type: ignore[call-arg]


def test_classes_that_are_refused() -> None:
    with pytest.raises(TypeError, match="'second' has no default, and stands behind 'first'"):

        @frozen
        class Order:
            first: int = 1
            second: int  # type: ignore[misc]

    with pytest.raises(ValueError, match="the default of 'parts' can be changed"):

        @frozen
        class Shared:
            parts: list[int] = []  # noqa: RUF012 -- what is refused


@frozen
class Table:
    rows: tuple[int, ...]
    asked: list[Any] = field(default_factory=list, compare=False)

    @remembered
    def times(self, factor: Any) -> list[Any]:
        self.asked.append(factor)
        return [row * factor for row in self.rows]


@frozen
class Wider(Table):
    @remembered
    def times(self, factor: Any) -> list[Any]:
        return [*Table.times(self, factor), factor]


def test_what_is_remembered_is_worked_out_once_for_each_value() -> None:
    one, other = Table((1, 2)), Table((3,))
    assert one.times(2) is one.times(2)
    assert (one.times(3), other.times(2), one.asked, other.asked) == ([3, 6], [6], [2, 3], [2])
    assert one == Table((1, 2))
    assert pickle.loads(pickle.dumps(one)) == one
    assert replace(one, rows=(5,)).times(2) == [10]


def test_what_has_no_hash_is_worked_out_each_time() -> None:
    one = Table((1, 2))
    assert one.times([7]) == one.times([7]) == [[7], [7, 7]]
    assert one.asked == [[7], [7]]


def test_a_class_below_remembers_answers_of_its_own() -> None:
    assert Wider((1, 2)).times(2) == [2, 4, 2]


def test_an_instance_keeps_a_bounded_number_of_answers() -> None:
    one = Table((1,))
    for factor in range(5_000):
        assert one.times(factor) == [factor]
    one.times(0)
    assert one.asked.count(0) == 2, "forgotten, and worked out anew"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 2}), ((1,), {"d": 2}), ((), {"b": 2}), ((1,), {}), ((1, 2), {}), ((1,), {"c": [5]}), ((), {"a": 1, "c": []}), ((1,), {"b": -1}),
    ],
)  # fmt: skip
def test_the_first_instance_of_a_class_is_like_every_other(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    def fresh() -> Any:
        @frozen
        class Made:
            a: int
            b: int = 7
            c: list[int] = field(default_factory=list)

            def __post_init__(self) -> None:
                if self.b < 0:
                    raise ValueError("b")

        return Made

    said = []
    for made in (fresh(), fresh()):
        if said:  # one that has its own constructor by now
            made(1)
            made(1)
            assert made.__init__.__code__.co_filename == "<string>"
        try:
            one = made(*values, **named)
            said.append((repr(one).partition("(")[2], one.c is not made(*values, **named).c or "c" in named))
        except (TypeError, ValueError) as error:
            said.append((type(error), str(error)))
    assert said[0] == said[1]
