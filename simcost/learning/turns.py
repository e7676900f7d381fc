"""Trajectories of an agent: an answer, a tool, its output in the context, the next answer, until the last turn. An
answer without tools is a trajectory of one turn.

A turn comes when its tool has run. What the turns before left in the cache is a hit as long as nobody needed its room:
the oldest caches of trajectories that wait go first. Most likely to be wrong: trajectories that end early, and tools
whose time depends on load. Source: docs/theory/rl-step.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

import numpy as np

from simcost import units
from simcost.frozen import frozen
from simcost.learning.rollout import Answers, Engine, checked, shares, with_prefixes
from simcost.num import Array, Ints
from simcost.serving.events import plug_in
from simcost.serving.lengths import Lengths, constant
from simcost.serving.replica import Replica
from simcost.serving.step_table import StepTable
from simcost.serving.trace import Trace

TICK = units.parse("1 ms", "seconds")  # distributions of waits are of whole numbers


@frozen
class Tools:
    """Turns of an agent: `turns` answers of a trajectory; between two of them a tool runs for `wait` (seconds, or a
    distribution of TICKs) and its output of `tokens` joins the context."""

    turns: int
    wait: Lengths | float
    tokens: Lengths

    def waits(self, u: Array) -> Array:
        """The seconds that a share u of tools does not exceed, elementwise."""
        return np.full(u.shape, self.wait) if isinstance(self.wait, float) else self.wait.quantile(u) * TICK


NO_TOOLS = Tools(1, 0.0, constant(1))


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

    def joined(self, others: Trajectories) -> Trajectories:
        """With others behind."""
        names = ("isl", "made", "tools", "waits", "prompt")
        return Trajectories(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in names))

    @property
    def turns(self) -> int:
        """Answers of each."""
        return int(self.made.shape[1])

    @property
    def osl(self) -> Ints:
        """Tokens that are made of each."""
        return np.asarray(np.sum(self.made, axis=1))

    @property
    def lengths(self) -> Ints:
        """Tokens of each at its end."""
        return np.asarray(self.isl + self.osl + np.sum(self.tools, axis=1))

    def run(self, engine: Engine, times: StepTable, stop: int | None = None) -> Trace:
        """Through one replica, from the start. Raises SpecError for a trajectory that the pool cannot hold."""
        none = np.zeros(len(self), np.int64)
        run = self.sent(engine, times, none, none, np.zeros(len(self)), len(self))
        run.run(len(self) if stop is None else stop)
        return run.trace(run.prompts, run.answers)

    def sent(self, engine: Engine, times: StepTable, turn: Ints, begun: Ints, wait: Array, places: int) -> Agents:
        """A replica that goes on with turn `turn` of each, of which `begun` tokens are there, `wait` [s] from now; all
        of [n]. Nothing is in its cache. `places`: of them that may be under way at a time, in their order. Raises
        SpecError for a trajectory that the pool cannot hold."""
        n, each = len(self), np.arange(len(self))
        grown = np.cumsum(self.made[:, :-1] + self.tools, axis=1)
        isl = np.concatenate([self.isl[:, None], self.isl[:, None] + grown], axis=1)
        left = self.made.copy()
        isl[each, turn] += begun
        left[each, turn] = np.maximum(left[each, turn] - begun, 1)
        steps = engine.steps(left)
        first, shared = with_prefixes(Answers(isl[each, turn], steps[each, turn], np.zeros_like(begun), self.prompt))
        # The last token of an answer has no KV yet.
        cached = np.concatenate([np.zeros((n, 1), np.int64), isl[:, 1:] - self.tools - 1], axis=1)
        cached[each, turn] = first.cached
        checked(int(np.max(isl[:, -1] + steps[:, -1])) - 1, engine)
        prompts, answers, hits = (each.T.ravel() for each in (isl, steps, cached))  # turn by turn
        return Agents(
            times, engine, prompts, answers, hits, np.tile(shared, self.turns), self.waits.T.ravel(),
            turn * n + each, wait, places,
        )  # fmt: skip


class Agents(Replica):
    """A replica whose answers are turns: request t·n + i is turn t of trajectory i of n. `at`: the request that each
    trajectory stands at, and when it comes (`comes`); `ended`: trajectories, which `done` counts too."""

    __slots__ = ("answers", "at", "comes", "ended", "held", "idle", "kept", "n", "order", "prompts", "waits")

    def __init__(
        self, times: StepTable, engine: Engine, isl: Ints, osl: Ints, cached: Ints, shared: Ints, waits: Array,
        at: Ints, wait: Array, places: int,
    ) -> None:  # fmt: skip
        """`at` [n]: requests that come first, `wait` [n] from now [s]; those beyond `places` when another trajectory
        ends."""
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
            np.zeros(0),
            shared=shared,
        )
        self.n, self.waits, self.prompts, self.answers = len(at), waits.tolist(), isl, osl
        self.at: list[int] = at.tolist()
        self.comes: dict[int, float] = {}
        self.ended = 0
        self.order: list[int] = []  # requests by the time at which they come
        self.idle: dict[int, int] = {}  # next turn -> tokens that wait for it in the cache, oldest first
        self.kept = 0  # their sum
        for i in np.argsort(wait[:places], kind="stable").tolist():
            self.come(self.at[i], float(wait[i]))
        self.held = deque(self.at[places:])

    def come(self, i: int, at: float) -> None:
        """Request i is sent at that time, to the front end: no earlier than those that were sent before."""
        self.free = max(self.free, at) + self.front[i]
        self.insert(i, at, self.free)

    def insert(self, i: int, at: float, ready: float) -> None:
        """Request i, sent at `at`, comes into the queue at `ready`."""
        place = bisect_right(self.ready, ready, self.taken)
        self.ready.insert(place, ready)
        self.order.insert(place, i)
        self.arrival.insert(place, at)
        self.comes[i] = at

    def follow(self, i: int) -> None:
        """The next turn of a trajectory comes when its tool has run; its cache waits. After the last turn another
        trajectory may start."""
        following = i + self.n
        if following >= len(self.isl):
            self.ended += 1
            if self.held:
                self.come(self.held.popleft(), self.now)
            return
        at = self.now + self.waits[i]
        self.at[i % self.n] = following
        self.insert(following, at, at + self.front[following])
        self.idle[following] = self.size[i] - self.shared[i]
        self.kept += self.idle[following]

    def standing(self) -> tuple[Ints, Ints, Array]:
        """(turn, its steps that are made in this run, seconds until it comes) of each trajectory that has not ended."""
        made = [
            self.osl[i] - (self.running[i] - self.steps_done) if i in self.running else self.made[i] for i in self.at
        ]
        wait = [max(self.comes.get(i, 0.0) - self.now, 0.0) for i in self.at]
        return np.asarray(self.at) // self.n, np.asarray(made, np.int64), np.asarray(wait)

    def trim(self) -> None:
        """Caches that wait give way to those in use, the oldest first."""
        while self.idle and self.kept > self.pool - self.used:
            oldest = next(iter(self.idle))
            self.kept -= self.idle.pop(oldest)

    def finish(self) -> None:
        """As of any replica, after the most was in use; trajectories count, not turns."""
        self.trim()
        super().finish()
        self.done = self.ended

    def take(self) -> None:
        """Turns that come: what their trajectory left is a hit, or all is computed."""
        self.trim()
        ready, now, at = self.ready, self.now, self.taken
        while at < len(ready) and ready[at] <= now:
            self.early += now - ready[at]
            i = self.order[at]
            if i in self.idle:
                self.kept -= self.idle.pop(i)
            elif i >= self.n:
                self.todo[i] = self.isl[i]
            self.waiting.append(i)
            at += 1
        self.taken = at


def drawn(
    isl: Lengths, osl: Lengths, tools: Tools, prompts: int, samples: int, seed: int, alike: float = 0.0
) -> Trajectories:
    """Trajectories of every prompt; `alike`: correlation of the lengths of the turns of one prompt, as
    `rollout.shares`."""
    rng = np.random.default_rng([seed, 5])
    n, turns = prompts * samples, tools.turns
    of = np.repeat(np.arange(prompts), samples)
    asked = np.floor(isl.quantile(rng.random(prompts)) + rng.random(prompts)).astype(np.int64)[of]
    made = np.floor(osl.quantile(shares(rng, of, turns, alike)) + rng.random((n, turns))).astype(np.int64)
    put = np.floor(tools.tokens.quantile(rng.random((n, turns - 1))) + rng.random((n, turns - 1))).astype(np.int64)
    return Trajectories(asked, made, put, tools.waits(rng.random((n, turns - 1))), of)
