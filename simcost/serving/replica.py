"""One replica's scheduler as it runs: queue, admission, steps with prompts, decode, ends of answers, preemption.

Steps between two events are alike but for their context, which grows by a token a step; with a step time that is a line
over the mean context c, k of them take k T(c + (k - 1)/2), so a run jumps to the next end of an answer, arrival, limit
of the pool or bend of the line. Most likely to be wrong: KV is counted in tokens, not in blocks; the host's time of a
step hides behind no kernel. Source: docs/theory/serving-events.md.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from heapq import heappop, heappush
from types import ModuleType

import numpy as np

from simcost.num import Array, Ints
from simcost.serving.policy import Policy
from simcost.serving.step_table import StepTable
from simcost.serving.trace import Steps, Trace

_COLUMNS = tuple(Steps.__annotations__)


class Replica:
    """The state of one replica. `steps_done` counts decode steps: a sequence ends at a count that is known when it
    starts to decode, so steps between such counts need no look at sequences."""

    __slots__ = (
        "admitted", "arrival", "batch", "budget", "by_end", "cached", "context", "delay", "done", "early", "ends", "every",
        "first", "free", "front", "grows", "interval", "isl", "last", "line", "link", "linked", "log", "longest_jump", "looked", "made", "most_running",
        "now", "osl", "partial", "paused", "plane", "pool", "preemptions", "print_at", "printed", "prompt_tokens",
        "ready", "recomputed", "running", "shared", "shares", "size", "stalls", "steps_done", "taken", "todo", "used",
        "waiting",
    )  # fmt: skip

    def __init__(
        self,
        table: StepTable,
        module: ModuleType,
        policy: Policy,
        sequences: int,
        pool: float,
        isl: Ints,
        osl: Ints,
        cached: Ints,
        sent: Array,
        delay: float = 0.0,
        shared: Ints | None = None,
        link_token_s: float = 0.0,
    ) -> None:
        """`shared`: tokens of each prompt whose KV other requests hold for it."""
        requests = len(isl)
        self.line, self.plane = table.line, table.plane
        self.prompt_tokens, self.shares = module.prompt_tokens, module.shares_step
        self.budget, self.most_running, self.pool = table.extent.tokens, sequences, pool
        self.grows = policy.admission == "prompt"
        self.interval = math.ceil(min(policy.stream_interval, int(np.max(osl))))
        self.longest_jump = math.inf
        # New requests are received at decode steps so far apart, counted from the last step with prompts.
        self.every, self.looked = int(policy.receive_interval), 0
        self.isl: list[int] = isl.tolist()
        self.osl: list[int] = osl.tolist()
        self.cached: list[int] = cached.tolist()
        self.size: list[int] = (isl + osl - 1).tolist()  # the last token's KV is never written
        self.shared: list[int] = [0] * requests if shared is None else shared.tolist()
        self.todo: list[int] = (isl - cached).tolist()  # prompt tokens to compute
        self.made = [0] * requests  # answer tokens before a preemption
        self.arrival: list[float] = sent.tolist()
        # One process takes requests in turn: HTTP, chat template, tokens.
        self.front: list[float] = (policy.host_request_s + policy.host_token_s * isl).tolist()
        self.free, self.delay = 0.0, delay  # when it has passed on all that came; what all wait besides
        # Then their cached tokens come from the host's memory, if they are there: over a link, in turn too.
        self.link: list[float] = (link_token_s * cached).tolist()
        self.linked = 0.0
        self.ready: list[float] = []
        for at in self.arrival:
            self.pass_on(at)
        self.admitted, self.first, self.last = ([-1.0] * requests for _ in range(3))
        # When the first token is sent: in the step of a prompt, or at the end of a decode step, by its number.
        self.printed, self.print_at = [-1.0] * requests, [0] * requests
        self.now, self.steps_done, self.done, self.taken = 0.0, 0, 0, 0
        self.batch, self.context, self.used = 0, 0, 0  # decoding sequences, their cached tokens, KV tokens taken
        self.waiting: deque[int] = deque()
        self.partial = -1  # whose prompt is computed in part
        self.running: dict[int, int] = {}  # decoding sequence -> its last decode step, oldest first
        self.by_end: dict[int, list[int]] = {}  # decode step -> who ends there
        self.ends: list[int] = []  # its keys, as a heap
        self.early = 0.0
        self.log = array("d")
        self.paused: dict[int, float] = {}  # preempted -> when its last token was made
        self.stalls: list[float] = []
        self.preemptions = self.recomputed = 0

    def run(self, stop: int | None = None) -> None:
        """Until the last answer ends, or the first `stop` have."""
        ready, ends, waiting = self.ready, self.ends, self.waiting
        last = len(self.isl) if stop is None else min(stop, len(self.isl))
        while self.done < last:
            if self.taken < len(ready) and ready[self.taken] <= self.now and self.receives():
                self.take()
            if self.shares and self.grows and self.pool - self.used < self.batch:
                self.preempt()
            if (waiting or self.partial >= 0) and self.step_with_prompts():
                pass
            elif self.batch:
                self.jump()
            else:
                self.now = ready[self.taken]
                continue
            if ends and ends[0] == self.steps_done:
                self.finish()

    def pass_on(self, at: float) -> None:
        """The next request, sent at that time, goes through the front end, and its prefix over the link, to the
        queue."""
        n = len(self.ready)
        self.free = max(self.free, at) + self.front[n]
        self.linked = max(self.linked, self.free) + self.link[n]
        self.ready.append(self.linked + self.delay)

    def receives(self) -> bool:
        """Whether the scheduler looks at new requests after this step: one that idles always does."""
        return not self.batch or (self.steps_done - self.looked) % self.every == 0

    def take(self) -> None:
        """Requests that have come into the queue."""
        ready, now, at = self.ready, self.now, self.taken
        while at < len(ready) and ready[at] <= now:
            self.early += now - ready[at]
            self.waiting.append(at)
            at += 1
        self.taken = at

    def admit(self, running: int) -> int:
        """The first request of the queue where it fits beside `running` others, else -1. There must be KV for the next
        decode step of all, so that nobody is admitted to be preempted."""
        if not self.waiting or running >= self.most_running:
            return -1
        i = self.waiting[0]
        need = (self.isl[i] + self.made[i] if self.grows else self.size[i]) - self.shared[i]
        if running and need + (running if self.grows else 0) > self.pool - self.used:
            return -1
        self.waiting.popleft()
        self.used += need
        if self.admitted[i] < 0.0:
            self.admitted[i] = self.now
        return i

    def step_with_prompts(self) -> bool:
        """One step with as much of the prompts as it takes, in order; False, and no step, where none can start."""
        todo, complete, pairs = self.todo, [], 0.0
        batch = self.batch if self.shares else 0
        left = budget = int(self.prompt_tokens(self.budget, self.batch))
        i = self.partial
        running = self.batch if i < 0 else self.batch + 1
        while left:
            if i < 0:
                i = self.admit(running)
                if i < 0:
                    break
                running += 1
            rest = todo[i]
            part = rest if rest <= left else left
            past = self.isl[i] + self.made[i] - rest
            pairs += part * (past + 0.5 * part)
            left -= part
            if part == rest:
                complete.append(i)
                i = -1
            else:
                todo[i] = rest - part
        self.partial = i
        tokens = budget - left
        if not tokens:
            return False
        base, per_context, per_past = self.plane(batch, tokens)
        # One chunk with the same pairs of tokens: several short prompts see less of each other, a past below 0.
        seconds = base + per_past * (pairs / tokens - 0.5 * tokens)
        if batch:
            seconds += per_context * (self.context / batch)
        self.now += seconds
        made = 1 if batch else 0
        before, growth = self.used, batch if self.grows else 0
        self.steps_done += made
        self.context += batch
        self.used += growth
        self.looked = self.steps_done
        started = self.start(complete)
        self.log.extend((
            self.now, 1.0, made, batch, running, len(self.waiting), before, growth, tokens, seconds, 0.0, started,
            self.early,
        ))  # fmt: skip
        self.early = 0.0
        return True

    def start(self, complete: list[int]) -> int:
        """Prompts that are computed have their first token; how many of them go on to decode."""
        now, at, started = self.now, self.steps_done, 0
        osl, made, by_end = self.osl, self.made, self.by_end
        for i in complete:
            before = made[i]
            tokens = before + 1
            if before:
                self.stalls.append(now - self.paused.pop(i))
            else:
                self.first[i] = now
            due = min(self.interval, osl[i])
            if tokens == due:
                self.printed[i] = now
            elif tokens < due:
                self.print_at[i] = at + due - tokens
            end = at + osl[i] - tokens
            self.running[i] = end
            self.context += self.isl[i] + before
            if end > at:
                started += 1
            if end in by_end:
                by_end[end].append(i)
            else:
                by_end[end] = [i]
                heappush(self.ends, end)
        self.batch += len(complete)
        return started

    def jump(self) -> None:
        """Decode steps up to the next change; requests that still wait cannot be admitted before an answer ends."""
        if self.grows and self.pool - self.used < self.batch:
            self.preempt()
        batch, context = self.batch, self.context
        steps = self.ends[0] - self.steps_done
        if self.grows:
            room = self.pool - self.used
            if room < steps * batch:
                steps = int(room // batch)
        if self.longest_jump < steps:
            steps = int(self.longest_jump)
        whole = context // batch
        bits = whole.bit_length()
        to_bend = (1 << bits) - whole  # the steps before the mean context is a power of two
        if to_bend < steps:
            steps = to_bend
        starts, slopes = self.line(batch)
        slope = slopes[bits]
        first = starts[bits] + slope * (context / batch)
        seconds = steps * (first + 0.5 * slope * (steps - 1))
        # A queue that cannot be admitted hides who comes behind it, unless looks are steps apart.
        if self.taken < len(self.ready) and (self.every > 1 or not self.waiting):
            wait = self.ready[self.taken] - self.now
            if wait < seconds:
                arrived = _steps_in(wait, first, slope, steps)
                late = (self.steps_done + arrived - self.looked) % self.every
                steps = min(arrived + (self.every - late) % self.every, steps)
                seconds = steps * (first + 0.5 * slope * (steps - 1))
        self.now += seconds
        growth = batch if self.grows else 0
        self.log.extend((
            self.now, steps, steps, batch, batch, len(self.waiting), self.used, growth, 0.0, first, slope, 0.0,
            self.early,
        ))  # fmt: skip
        self.early = 0.0
        self.steps_done += steps
        self.context = context + steps * batch
        self.used += steps * growth

    def finish(self) -> None:
        """Answers that end at this step; in a closed loop their users send the next request."""
        over = self.by_end.pop(heappop(self.ends))
        now = self.now
        freed = seen = 0
        for i in over:
            self.last[i] = now
            seen += self.size[i]
            freed += self.size[i] - self.shared[i]
            del self.running[i]
            self.follow(i)
        self.used -= freed
        self.context -= seen
        self.batch -= len(over)
        self.done += len(over)

    def follow(self, i: int) -> None:
        """The answer of request i has ended: in a closed loop its user sends the next one."""
        if len(self.ready) < len(self.isl):
            self.arrival.append(self.now)
            self.pass_on(self.now)

    def preempt(self) -> None:
        """The newest give their KV back and wait in front, until the next step of the others fits."""
        while self.pool - self.used < self.batch:
            if self.partial >= 0:
                i, self.partial = self.partial, -1
                held = self.isl[i] + self.made[i]
                self.recomputed += held - self.cached[i] - self.todo[i]
            else:
                i, end = self.running.popitem()
                self.by_end[end].remove(i)
                left = end - self.steps_done
                held = self.size[i] - left
                self.made[i] = self.osl[i] - left
                self.paused[i] = self.now
                self.context -= held
                self.batch -= 1
                self.recomputed += held - self.cached[i]
            self.used -= held - self.shared[i]
            self.todo[i] = self.isl[i] + self.made[i] - self.cached[i]
            self.waiting.appendleft(i)
            self.preemptions += 1

    def trace(self, isl: Ints, osl: Ints) -> Trace:
        """What the run leaves."""
        columns = np.frombuffer(self.log, np.float64).reshape(-1, len(_COLUMNS)).T.copy()
        # What is taken into the queue before a row came during the one before.
        columns[-1] = np.append(columns[-1][1:], 0.0)
        steps = Steps(**dict(zip(_COLUMNS, columns, strict=True)))
        printed = np.asarray(self.printed)
        printed = np.where(printed >= 0.0, printed, _at_step(steps, np.asarray(self.print_at, np.float64)))
        arrival, queued, admitted, first, last = (
            np.asarray(each) for each in (self.arrival, self.ready, self.admitted, self.first, self.last)
        )
        stalls, pool = np.asarray(self.stalls, np.float64), self.pool
        return Trace(
            arrival, queued, admitted, first, printed, last, isl, osl, steps, stalls, self.preemptions,
            self.recomputed, pool,
        )  # fmt: skip


def _steps_in(wait: float, first: float, slope: float, most: int) -> int:
    """The fewest of at most `most` steps that last `wait` or longer."""
    half = first - 0.5 * slope
    steps = math.ceil(2.0 * wait / (half + math.sqrt(max(half * half + 2.0 * slope * wait, 0.0))))
    if steps > 1 and (steps - 1) * (first + 0.5 * slope * (steps - 2)) >= wait:
        steps -= 1
    elif steps * (first + 0.5 * slope * (steps - 1)) < wait:
        steps += 1
    return min(max(steps, 1), most)


def _at_step(steps: Steps, at: Array) -> Array:
    """When a decode step ended [s], by its number from 1 up."""
    done = np.cumsum(steps.made)
    rows = np.minimum(np.searchsorted(done, at, side="left"), len(done) - 1)
    n = steps.made[rows] - (done[rows] - at)
    start = steps.end[rows] - steps.seconds[rows]
    return start + n * (steps.first[rows] + steps.slope[rows] * (n - 1.0) / 2.0)
