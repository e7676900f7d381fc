"""Trajectories of an agent: an answer, a tool, its output in the context, the next answer, until the last turn.

A turn comes when its tool has run. What the turns before left in the cache is a hit as long as nobody needed its room:
the oldest caches of trajectories that wait go first. Most likely to be wrong: trajectories that end early, and tools
whose time depends on load. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from simcost.frozen import frozen
from simcost.learning.rollout import Answers, Engine, checked, with_prefixes
from simcost.num import Array, Ints
from simcost.serving.events import plug_in
from simcost.serving.lengths import Lengths
from simcost.serving.replica import Replica
from simcost.serving.step_table import StepTable
from simcost.serving.trace import Trace


@frozen
class Trajectories:
    """`isl` [n]: tokens of prompts; `made` [n, turns]: of answers; `tools` [n, turns - 1]: of tools' outputs, and their
    `waits` [s]; `prompt` [n]: whose trajectory it is."""

    isl: Ints
    made: Ints
    tools: Ints
    waits: Array
    prompt: Ints

    def __len__(self) -> int:
        return len(self.isl)

    def of(self, chosen: Ints) -> Trajectories:
        """Some of them."""
        return Trajectories(*(getattr(self, name)[chosen] for name in ("isl", "made", "tools", "waits", "prompt")))

    @property
    def osl(self) -> Ints:
        """Tokens that are made of each."""
        return np.asarray(np.sum(self.made, axis=1))

    @property
    def lengths(self) -> Ints:
        """Tokens of each at its end."""
        return np.asarray(self.isl + self.osl + np.sum(self.tools, axis=1))

    def run(self, engine: Engine, times: StepTable, stop: int | None = None) -> Trace:
        """Through one replica. Raises SpecError for a trajectory that the pool cannot hold."""
        turns = self.made.shape[1]
        steps = np.ceil(self.made / engine.emitted).astype(np.int64)
        grown = np.cumsum(self.made[:, :-1] + self.tools, axis=1)
        isl = np.concatenate([self.isl[:, None], self.isl[:, None] + grown], axis=1)
        zeros = np.zeros_like(self.isl)
        first, shared = with_prefixes(Answers(self.isl, steps[:, 0], zeros, self.prompt))
        known = isl[:, 1:] - self.tools - 1  # the last token of an answer has no KV yet
        cached = np.concatenate([first.cached[:, None], known], axis=1)
        checked(int(np.max(isl[:, -1] + steps[:, -1])) - 1, engine)
        prompts, answers, hits = (
            each.T.ravel() for each in (isl, steps, cached)
        )  # turn by turn: the first are sent at the start
        run = Agents(times, engine, prompts, answers, hits, np.tile(shared, turns), self.waits.T.ravel(), len(self))
        run.run(stop)
        return run.trace(run.prompts, run.answers)


class Agents(Replica):
    """A replica whose answers are turns: request t·n + i is turn t of trajectory i of n."""

    __slots__ = ("answers", "idle", "kept", "n", "order", "prompts", "waits")

    def __init__(
        self, times: StepTable, engine: Engine, isl: Ints, osl: Ints, cached: Ints, shared: Ints, waits: Array, n: int
    ) -> None:
        policy = engine.policy
        super().__init__(
            times,
            plug_in(policy),
            policy,
            times.extent.batch,
            engine.pool_tokens,
            isl,
            osl,
            cached,
            np.zeros(n),
            shared=shared,
        )
        self.n, self.waits, self.prompts, self.answers = n, waits.tolist(), isl, osl
        self.order = list(range(n))  # requests by the time at which they come
        self.idle: dict[int, int] = {}  # next turn -> tokens that wait for it in the cache, oldest first
        self.kept = 0  # their sum

    def follow(self, i: int) -> None:
        """The next turn of a trajectory comes when its tool has run; its cache waits."""
        following = i + self.n
        if following >= len(self.isl):
            return
        at = self.now + self.waits[i] + self.front[following]
        place = bisect_right(self.ready, at, self.taken)
        self.ready.insert(place, at)
        self.order.insert(place, following)
        self.arrival.insert(place, self.now + self.waits[i])
        self.idle[following] = self.size[i] - self.shared[i]
        self.kept += self.idle[following]

    def trim(self) -> None:
        """Caches that wait give way to those in use, the oldest first."""
        while self.idle and self.kept > self.pool - self.used:
            oldest = next(iter(self.idle))
            self.kept -= self.idle.pop(oldest)

    def finish(self) -> None:
        """As of any replica, after the most was in use."""
        self.trim()
        super().finish()

    def take(self) -> None:
        """Turns that come: what their trajectory left is a hit, or all is computed."""
        self.trim()
        ready, now, at = self.ready, self.now, self.taken
        while at < len(ready) and ready[at] <= now:
            self.early += now - ready[at]
            i = self.order[at]
            if i >= self.n:
                if i in self.idle:
                    self.kept -= self.idle.pop(i)
                else:
                    self.todo[i] = self.isl[i]
            self.waiting.append(i)
            at += 1
        self.taken = at


def drawn(
    isl: Lengths,
    osl: Lengths,
    tools: Lengths,
    waits: Callable[[Array], Array],
    turns: int,
    prompts: int,
    samples: int,
    seed: int,
) -> Trajectories:
    """Trajectories of every prompt, each length and wait drawn alone; `waits`: seconds of a share u of tools."""
    rng = np.random.default_rng([seed, 5])
    n = prompts * samples

    def lengths(of: Lengths, shape: tuple[int, ...]) -> Ints:
        return np.floor(of.quantile(rng.random(shape)) + rng.random(shape)).astype(np.int64)

    asked = np.repeat(lengths(isl, (prompts,)), samples)
    made, put = lengths(osl, (n, turns)), lengths(tools, (n, turns - 1))
    return Trajectories(asked, made, put, waits(rng.random((n, turns - 1))), np.repeat(np.arange(prompts), samples))
