"""A small algebra of calls. Structure says what runs after what, side by side, or instead of what; a fold prices it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Generic, Protocol, TypeAlias, TypeVar

from simcost.frozen import frozen
from simcost.num import Mask, Num, every, maximum, minimum
from simcost.ops.fused import Fused
from simcost.ops.work import Op


@frozen
class Call:
    """One kernel. `tag` is for people: no number may depend on it. `slow`: how much longer it takes while something else runs
    beside it. `module`: the name by which a training plan recomputes it."""

    op: Op
    tag: str = ""
    repeat: Num = 1.0
    slow: Num = 1.0
    module: str = ""


@frozen
class Serial:
    """Parts that run one after the other. `kernel` names a class that is measured as a whole ("linear", "experts"): a
    cost model that knows the class prices it so, another one adds up the parts. `branch`: a part of a block, by the name by which a training plan recomputes it, that reads what
    entered the block in place of what ran before."""

    parts: tuple[Program, ...]
    tag: str = ""
    repeat: Num = 1.0
    kernel: str = ""
    branch: str = ""


@frozen
class Overlap:
    """Parts that run side by side: the longest sets the time. `holds`: multiprocessors that each takes from the others, which are
    slower for it while it runs, besides their calls' own `slow`; empty: none. What outlasts the others runs on as if alone.
    `competes`: all parts compute, on the same multiprocessors and memory, so that only their starts hide behind each other."""

    parts: tuple[Program, ...]
    tag: str = ""
    holds: tuple[Num, ...] = ()
    competes: bool = False


@frozen
class Choice:
    """Alternatives of equal meaning; the cheapest is taken, elementwise, and named. `settled`: where it is no choice, since engines
    run the last option whatever it costs."""

    options: tuple[tuple[str, Program], ...]
    tag: str = ""
    settled: Mask = False


Program: TypeAlias = Call | Serial | Overlap | Choice


class Monoid(Protocol):
    """What a cost must offer to be folded."""

    @property
    def seconds(self) -> Num:
        """Time that it takes. [s]"""
        ...

    def __add__(self: C, other: C) -> C: ...

    def __mul__(self: C, factor: Num) -> C: ...

    def slowed(self: C, factor: Num) -> C:
        """What takes so many times longer because of what runs beside it."""
        ...

    def beside(self: C, other: C) -> C:
        """Both at once, on other hardware each."""
        ...

    def among(self: C, other: C) -> C:
        """Both at once on the same hardware."""
        ...

    def cheapest(self: C, other: C, settled: Mask = False) -> tuple[C, Num]:
        """The elementwise cheaper of the two, or `other` where that is settled, and where `other` won (1.0 or 0.0)."""
        ...


C = TypeVar("C", bound=Monoid)


@frozen
class Priced(Generic[C]):
    """A program with its cost at every node. `weight` is how often the node runs (0 for an option not taken)."""

    cost: C
    node: Program
    parts: tuple[Priced[C], ...] = ()
    taken: tuple[tuple[str, Num], ...] = field(default=())


def price(program: Program, cost_of: Callable[[Op], C]) -> Priced[C]:
    """Fold a program with a cost model. Pure; elementwise on arrays."""
    if isinstance(program, Call):
        return Priced(cost_of(program.op) * program.repeat, program)
    if isinstance(program, Choice):
        return _priced_choice(program, cost_of)
    if isinstance(program, Serial) and program.kernel:
        whole = Fused(program.kernel, tuple(call.op for call in calls(program)))
        knows = getattr(cost_of, "knows", None)
        if knows is not None and knows(whole):
            tag = program.tag or list(calls(program))[-1].tag
            return Priced(cost_of(whole) * program.repeat, Call(whole, tag, program.repeat))
    parts = tuple(price(part, cost_of) for part in program.parts)
    if not parts:
        raise ValueError("an empty program has no cost")
    if isinstance(program, Overlap):
        parts = _contending(parts, program.holds, getattr(cost_of, "multiprocessors", MULTIPROCESSORS))
    total = parts[0].cost
    for part in parts[1:]:
        if isinstance(program, Serial):
            total = total + part.cost
        else:
            total = total.among(part.cost) if program.competes else total.beside(part.cost)
    if isinstance(program, Serial):
        total = total * program.repeat
    return Priced(total, program, parts)


def after(parts: Sequence[Priced[C]], tag: str = "") -> Priced[C]:
    """Priced programs one after the other."""
    total = parts[0].cost
    for part in parts[1:]:
        total = total + part.cost
    return Priced(total, Serial(tuple(part.node for part in parts), tag), tuple(parts))


# Of the machine that the held ones were counted on (H800, H100: NVIDIA's Hopper whitepaper): a machine that states no number is
# slowed by the same share.
MULTIPROCESSORS = 132.0


def _contending(parts: tuple[Priced[C], ...], holds: tuple[Num, ...], all_: Num) -> tuple[Priced[C], ...]:
    """Parts as long as they take beside each other."""
    held = holds or (0.0,) * len(parts)
    lost = [sum(h for j, h in enumerate(held) if j != i) for i in range(len(parts))]
    slow = [_slowed(part) * without(less, all_) for part, less in zip(parts, lost, strict=True)]
    if len(parts) < 2 or all(every(by == 1.0) for by in slow):
        return parts
    alone = [part.cost.seconds for part in parts]
    found = []
    for i, part in enumerate(parts):
        others = functools.reduce(maximum, (alone[j] * slow[j] for j in range(len(parts)) if j != i))
        found.append(_stretched(part, longer(alone[i], others, slow[i])))
    return tuple(found)


def without(held: Num, all_: Num) -> Num:
    """How much longer kernels take that lack `held` multiprocessors, of which one is left: a rule of the step refuses less."""
    return all_ / maximum(all_ - held, 1.0)


def most_held(program: Program) -> Num:
    """The most multiprocessors that parts of an overlap take from one beside them."""
    if isinstance(program, Call):
        return 0.0
    if isinstance(program, Choice):
        return functools.reduce(maximum, (most_held(option) for _, option in program.options))
    most: Num = functools.reduce(maximum, (most_held(part) for part in program.parts))
    held = program.holds if isinstance(program, Overlap) else ()
    return functools.reduce(maximum, (sum(held) - own for own in held), most)


def longer(alone: Num, others: Num, slow: Num) -> Num:
    """Factor of the time of something that takes `alone` seconds, `slow` times more while `others` run: work is done at 1/slow
    of the speed as long as they do, at full speed thereafter."""
    return minimum(slow, 1.0 + others / maximum(alone, 1e-30) * (1.0 - 1.0 / slow))


def _slowed(priced: Priced[C]) -> Num:
    """How much longer all of it takes beside others: its calls' factors, by their time."""
    if all(every(call.slow == 1.0) for call in calls(priced.node)):
        return 1.0
    seconds: Num = 0.0
    longer: Num = 0.0
    for _, call, cost, weight in leaves(priced):
        seconds = seconds + weight * cost.seconds
        longer = longer + weight * cost.seconds * call.slow
    return maximum(longer / maximum(seconds, 1e-30), 1.0)  # nothing to slow where nothing takes time


def _stretched(priced: Priced[C], factor: Num) -> Priced[C]:
    """The same with every cost below it longer."""
    return Priced(
        priced.cost.slowed(factor), priced.node, tuple(_stretched(part, factor) for part in priced.parts), priced.taken
    )


def _priced_choice(choice: Choice, cost_of: Callable[[Op], C]) -> Priced[C]:
    if every(choice.settled):  # what nobody runs needs no price
        name, option = choice.options[-1]
        part = price(option, cost_of)
        return Priced(part.cost, choice, (part,), ((name, 1.0),))
    parts = tuple(price(option, cost_of) for _, option in choice.options)
    best = parts[0].cost
    weights: list[Num] = [1.0]
    for i, part in enumerate(parts[1:], 2):
        best, won = best.cheapest(part.cost, choice.settled if i == len(parts) else False)
        weights = [weight * (1.0 - won) for weight in weights] + [won]
    names = tuple(name for name, _ in choice.options)
    return Priced(best, choice, parts, tuple(zip(names, weights, strict=True)))


Leaf: TypeAlias = tuple[tuple[str, ...], Call, C, Num]


def leaves(priced: Priced[C]) -> Iterator[Leaf[C]]:
    """Every call with its path of tags, its own cost and how often it runs (options not taken have weight 0)."""
    return (leaf for leaf, _ in shared(priced, lambda seconds: (1.0,) * len(seconds)))


Sharing: TypeAlias = Callable[[list[Num]], Sequence[Num]]


def shared(priced: Priced[C], rule: Sharing) -> list[tuple[Leaf[C], Num]]:
    """Every leaf with the share of its time that counts where parts run side by side, by a rule on their seconds."""
    found: list[tuple[Leaf[C], Num]] = []
    _walk(priced, rule, found, 1.0, (), 1.0)
    return found


def _walk(
    priced: Priced[C], rule: Sharing, found: list[tuple[Leaf[C], Num]], weight: Num, path: tuple[str, ...], share: Num
) -> None:
    node = priced.node
    here = (*path, node.tag) if node.tag else path
    if isinstance(node, Call):
        found.append(((here, node, priced.cost, weight), share))
    elif isinstance(node, Choice):
        for part, (name, taken) in zip(priced.parts, priced.taken, strict=True):
            _walk(part, rule, found, weight * taken, (*path, name), share)
    elif isinstance(node, Overlap):
        seconds = [part.cost.seconds for part in priced.parts]
        split = competing(seconds, priced.cost.seconds) if node.competes else rule(seconds)
        for part, counts in zip(priced.parts, split, strict=True):
            _walk(part, rule, found, weight, here, share * counts)
    else:
        for part in priced.parts:
            _walk(part, rule, found, weight * node.repeat, here, share)


def leading(seconds: list[Num]) -> list[Num]:
    """All of the longest part and nothing of the others: what counts adds up to the time of all."""
    most, found, left = functools.reduce(maximum, seconds), [], 1.0 + 0.0 * sum(seconds)
    for own in seconds:  # of equal parts the first
        found.append(left * (own >= most))
        left = left - found[-1]
    return found


def competing(seconds: list[Num], total: Num) -> list[Num]:
    """All of the longest part, and of the others in proportion what makes up the `total`: a part's own time has no other owner."""
    first, most = leading(seconds), functools.reduce(maximum, seconds)
    rest = (total - most) / maximum(sum(seconds) - most, 1e-30)
    return [one + (1.0 - one) * rest for one in first]


def exposed(seconds: list[Num]) -> list[Num]:
    """What outlasts all other parts: what their end cannot hide."""
    found = []
    for i, own in enumerate(seconds):
        rest = functools.reduce(maximum, (other for j, other in enumerate(seconds) if j != i), 0.0 * own)
        found.append(maximum(own - rest, 0.0) / maximum(own, 1e-30))
    return found


def choices(priced: Priced[C]) -> Iterator[tuple[str, tuple[tuple[str, Num], ...]]]:
    """Every decision that the fold took: tag and the share of each option."""
    if isinstance(priced.node, Choice):
        yield priced.node.tag, priced.taken
    for part in priced.parts:
        yield from choices(part)


def calls(program: Program) -> Iterator[Call]:
    """Every call of the program, options included."""
    if isinstance(program, Call):
        yield program
    elif isinstance(program, Choice):
        for _, option in program.options:
            yield from calls(option)
    else:
        for part in program.parts:
            yield from calls(part)


def runs(program: Program, repeat: Num = 1.0) -> Iterator[tuple[Call, Num]]:
    """Every call with how often it runs in all; of a choice the calls of its last option."""
    if isinstance(program, Call):
        yield program, repeat * program.repeat
    elif isinstance(program, Choice):
        yield from runs(program.options[-1][1], repeat)
    else:
        times = repeat * program.repeat if isinstance(program, Serial) else repeat
        for part in program.parts:
            yield from runs(part, times)
