"""What a block shares with blocks of other layers, and what it needs of a hop between pipeline stages: the questions, and the answers of one that shares nothing."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from simcost.num import Num

B = TypeVar("B", covariant=True)


class Sharing(Protocol[B]):
    """What every variant answers; B is a block."""

    @property
    def reads_cache(self) -> bool:
        """Whether it reads the keys and values of an earlier layer in place of its own."""
        ...

    @property
    def lent(self) -> B | None:
        """The weights here that other layers use too, as a block: what a pipeline stage of such a layer copies; None where there are none."""
        ...

    @property
    def borrows(self) -> bool:
        """Whether an earlier layer holds weights that it uses."""
        ...

    @property
    def carried_elements(self) -> Num:
        """Elements of a token that it reads beside one residual stream, made by layers before its own: what a hop between pipeline stages carries for it."""
        ...

    @property
    def unstaged(self) -> str:
        """What no engine runs over pipeline stages, and what is taken here all the same; "" where engines do."""
        ...


class Unshared:
    """Answers of a block that shares nothing."""

    __slots__ = ()

    @property
    def reads_cache(self) -> bool:
        """What it keeps is its own."""
        return False

    @property
    def lent(self) -> Any:
        """No other layer uses its weights."""
        return None

    @property
    def borrows(self) -> bool:
        """Its weights are its own."""
        return False

    @property
    def carried_elements(self) -> Num:
        """The residual stream is enough."""
        return 0.0

    @property
    def unstaged(self) -> str:
        """Engines run it."""
        return ""
