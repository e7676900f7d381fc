"""The steady state of an engine under load, as a mean field: a closed loop of users who each wait for their answer, or an open loop at a rate.

Unknown is how many sequences run. Their decode takes a step with its share of prompts: every request that ends is replaced by one whose prompt takes part in steps of
the others ("mixed"), or holds them up ("prefill_first"). Little's law closes it: users are running, or before their first token. Prompts that wait are taken together up
to the token budget; cached tokens that are in the host's memory come first, over a link that takes requests in turn.
Most likely to be wrong: requests that start together stay bunched for many answers, which `events` sees and no steady
state does. Sources:
Little 1961; arrivals in a closed loop see one user less (Reiser and Lavenberg 1980); Sakasegawa 1977 for the wait of many servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Num
from simcost.serving.point import HOST_LINK, KV_CACHE, LOAD, PREFILL, SEQUENCES, Load, OperatingPoint, Room
from simcost.serving.policy import Policy
from simcost.serving.step_times import StepTimes

_LEAST, _CLOSE, _TRIES = (
    1e-9,
    1e-10,
    80,
)  # of the search for the sequences that run: start and tolerance, in parts of them
_FILLED = 0.9  # share of the token budget of all steps from which prompts are said to set the pace
_BUSIEST = 0.99  # of a front end: beyond it only the queue of the engine is modelled
_MANY = 1e7  # prompts ahead: a queue that no engine keeps
_TURNS = 60  # of the wait of an open loop, whose slope is below 1


@frozen
class _Replica:
    times: StepTimes
    policy: Policy
    load: Load

    @property
    def mixed(self) -> bool:
        return self.policy.name == "mixed"

    @property
    def steps(self) -> Num:
        """Steps that an answer takes after its first token."""
        return np.maximum((self.load.osl - 1.0) / self.load.emitted, 1e-9)

    def budget(self, running: Num) -> Num:
        """Tokens of prompts that a step may take."""
        rows = running * self.load.emitted if self.mixed else 0.0
        return np.maximum(self.policy.tokens - rows, 1.0)

    def chunk(self, running: Num, prompts: Num) -> tuple[Num, Num]:
        """(steps, tokens of each) that so many prompts take together."""
        tokens = self.load.isl * prompts
        size = np.minimum(self.budget(running), tokens)
        return tokens / size, size

    def with_chunk(self, running: Num, size: Num) -> Num:
        """Seconds of a step that takes a chunk. [s] A part of a prompt stands behind half of the rest on average. Several prompts attend each to
        itself: as many pairs of tokens as one prompt with less before it, less than nothing where they are short."""
        past = self.load.hit + (self.load.isl - size) / 2.0
        rows = running if self.mixed else 0.0 * running
        return self.times(rows, self.load.context, size, past) + self.policy.host_step_s

    def alone(self, running: Num) -> Num:
        """Seconds of a decode step. [s]"""
        return self.times(running, self.load.context, 0.0, 0.0) + self.policy.host_step_s

    def prompt(self, running: Num, alone: Num) -> tuple[Num, Num]:
        """(seconds that one prompt takes of the replica, tokens of the steps that take it). `alone`: of a decode step [s]."""
        together = np.maximum(1.0, running / self.steps)  # prompts that come in a step
        steps, size = self.chunk(running, together)
        extra = self.with_chunk(running, size) - (alone if self.mixed else 0.0)
        return np.maximum(extra, 0.0) * steps / together, size

    def held_up(self, running: Num, others: Num) -> tuple[Num, Num]:
        """(seconds of a decode step, seconds that prompts of others add to it on average). `others`: share of the arrivals that are others'."""
        alone = self.alone(running)
        return alone, others * running / self.steps * self.prompt(running, alone)[0]

    def first_token(self, running: Num, step: Num, ahead: Num) -> tuple[Num, Num]:
        """(TTFT, of which before the prompt is touched, its load from the host apart) behind `ahead` prompts. [s]"""
        steps, size = self.chunk(running, 1.0 + ahead)
        whole = steps * self.with_chunk(running, size)
        own_steps = self.chunk(running, 1.0)[0]
        missed = (0.5 + self.policy.overlap) * step  # the rest of the step that runs, and one that is prepared already
        if self.policy.receive_interval > 1.0:  # and half of the decode steps until new requests are received
            missed = missed + 0.5 * (self.policy.receive_interval - 1.0) * self.alone(running)
        wait = missed + np.maximum(1.0 - np.maximum(own_steps, 1.0) / steps, 0.0) * whole * (steps > 1.0)
        front = self.before(running / (self.steps * step))
        return front + missed + whole + self.load.lag_s, front + wait - self.load.link_s

    def before(self, rate: Num) -> Num:
        """Seconds from a request to the scheduler's queue at so many a second: a delay, through the front end, which is
        one process, and over the link to the host."""
        prompt = self.load.isl + self.load.hit
        front = self.policy.host_request_s + self.policy.host_token_s * prompt
        return self.policy.host_delay_s + in_turn(front, rate) + in_turn(self.load.link_s, rate)


def closed(times: StepTimes, policy: Policy, load: Load, users: Num, room: Room) -> OperatingPoint:
    """The operating points of `users` who each send their next request when an answer ends. Elementwise."""
    r = _Replica(times, policy, load)
    others = np.maximum(users - 1.0, 0.0) / users
    most, limit = _most(r, room, others)

    def first_token(running: Num, step: Num) -> tuple[Num, Num]:
        return r.first_token(running, step, _ahead((users - running) * others, running / r.steps))

    def missing(running: Num) -> Num:
        """Users that stand before their first token by Little's law, less those that do not run."""
        alone, extra = r.held_up(running, others)
        first, _ = first_token(running, alone + extra)
        return running / (r.steps * (alone + extra)) * first - (users - running)

    running = root(missing, np.minimum(users, most))
    alone, extra = r.held_up(running, others)
    step = alone + extra
    rate = running / (r.steps * step)
    full = (running >= most * (1.0 - 1e-6)) & (users > most)
    first, wait = first_token(running, step)
    by_little = (users - running) / np.maximum(rate, 1e-300)
    wait = np.where(full, np.maximum(by_little - (first - wait), 0.0), wait)
    first = np.where(full, by_little, first)
    return _point(r, room, (first, wait), (alone, extra), running, users - running, rate, np.where(full, limit, LOAD))


def open_loop(times: StepTimes, policy: Policy, load: Load, rate: Num, room: Room) -> OperatingPoint:
    """The operating points at `rate` requests a second that come at random (Poisson). A rate beyond the capacity has an infinite TTFT. Elementwise."""
    r = _Replica(times, policy, load)
    seats, _ = _seats(r, room)
    most, limit = _most(r, room, 1.0)

    def spare(running: Num) -> Num:
        alone, extra = r.held_up(running, 1.0)
        return running / (r.steps * (alone + extra)) - rate

    running = root(spare, most)
    alone, extra = r.held_up(running, 1.0)
    step = alone + extra
    reached = running / (r.steps * step)
    over = reached < rate * (1.0 - 1e-9)
    ahead: Num = 0.0 * running
    for _ in range(_TURNS):
        first, wait = r.first_token(running, step, ahead)
        ahead = np.minimum(_ahead(reached * first * (1.0 + load.isl_cv2) / 2.0, running / r.steps), _MANY)
    taken = np.minimum(running / seats, 1.0 - 1e-9)
    queued = r.steps * step / seats * taken ** (np.sqrt(2.0 * (seats + 1.0)) - 1.0) / (1.0 - taken)
    wait, first = wait + queued, first + queued
    wait, first = np.where(over, np.inf, wait), np.where(over, np.inf, first)
    waiting = np.where(over, np.inf, reached * first)
    return _point(r, room, (first, wait), (alone, extra), running, waiting, reached, np.where(over, limit, LOAD))


def _ahead(before: Num, arrivals: Num) -> Num:
    """Prompts that a new one finds before it: of those before their first token, the one at work is half done."""
    return np.maximum(before - np.minimum(arrivals, 1.0) / 2.0, 0.0)


def in_turn(each: Num, rate: Num) -> Num:
    """Seconds of a request at what takes one after the other, `each` [s] of its time, at `rate` a second (M/D/1)."""
    busy = np.minimum(rate * each, _BUSIEST)
    return each * (1.0 + busy / (2.0 * (1.0 - busy)))


def _most(r: _Replica, room: Room, others: Num) -> tuple[Num, Num]:
    """(the most sequences that can run, what sets it): those that have seats, or as many as the link to the host
    feeds. `others`: as `held_up`."""
    seats, limit = _seats(r, room)
    if not np.any(np.asarray(r.load.link_s) > 0.0):
        return seats, limit

    def behind(running: Num) -> Num:
        alone, extra = r.held_up(running, others)
        return running * r.load.link_s / (r.steps * (alone + extra)) - 1.0

    fed = root(behind, seats)
    return fed, np.where(fed < seats * (1.0 - 1e-9), HOST_LINK, limit)


def _seats(r: _Replica, room: Room) -> tuple[Num, Num]:
    """(the most sequences that can run, what sets it): the pool, the engine's setting, or, where prompts share steps with decode, as many as
    the token budget replaces."""
    sequences = np.minimum(room.kv, room.sequences)
    limit = np.where(room.kv < room.sequences, KV_CACHE, SEQUENCES)
    if not r.mixed:
        return np.maximum(sequences, 1e-9), limit
    # running / steps prompts a step of isl tokens, beside `running` rows of decode, fill the budget.
    fed = r.policy.tokens / (r.load.isl / r.steps + r.load.emitted)
    return np.maximum(np.minimum(sequences, fed), 1e-9), np.where(fed < sequences, PREFILL, limit)


def root(rising: Callable[[Num], Num], most: Num) -> Array:
    """Where a rising function of the sequences that run passes 0; `most` where it does not."""
    high = np.asarray(most, np.float64) + 0.0
    low = _LEAST * high
    at_low, at_high = rising(low), rising(high)
    found, side = np.where(at_high <= 0.0, high, low), np.zeros(np.shape(high))
    inside = np.asarray((at_low < 0.0) & (at_high > 0.0))
    for _ in range(_TRIES):  # false position; an end that stays twice weighs half (Illinois)
        if not inside.any():
            break
        across = np.where(inside, at_high * (high - low), 0.0) / np.where(inside, at_high - at_low, 1.0)
        middle = high - across
        value = rising(middle)
        above = value > 0.0
        at_low = np.where(above, np.where(side > 0.0, at_low / 2.0, at_low), value)
        at_high = np.where(above, value, np.where(side < 0.0, at_high / 2.0, at_high))
        low, high = np.where(above, low, middle), np.where(above, middle, high)
        side = np.where(above, 1.0, -1.0)
        close = np.abs(middle - found) <= _CLOSE * middle
        found = np.where(inside, middle, found)
        inside = inside & ~close & (value != 0.0)
    return found


def _point(
    r: _Replica, room: Room, first: tuple[Num, Num], parts: tuple[Num, Num], running: Num, waiting: Num, rate: Num, limit: Num,
) -> OperatingPoint:  # fmt: skip
    most, near = _most(r, room, 1.0)
    alone, extra = r.held_up(most, 1.0)
    capacity = most / (r.steps * (alone + extra))
    if r.mixed:  # a queue of prompts may stand where nearly every step is full of them
        filled = running / r.steps * r.load.isl / r.budget(running)
        limit = np.where((np.asarray(limit) == LOAD) & (filled > _FILLED), PREFILL, limit)
    # More users would find next to nothing left: the next limit is near, or prompts take most of the time.
    full = (np.asarray(limit) == LOAD) & (rate > _FILLED * capacity)
    prompts = np.where(parts[1] > parts[0], PREFILL, limit)
    limit = np.where(full, np.where(running > _FILLED * most, near, prompts), limit)
    host = r.policy.host_step_s
    tokens = r.load.emitted
    prompt, chunk = r.prompt(running, parts[0])
    return OperatingPoint(
        ttft_s=first[0],
        queueing_s=first[1],
        tpot_s=(parts[0] + parts[1]) / tokens,
        running=running,
        waiting=waiting,
        kv_used_fraction=np.minimum(running / room.kv, 1.0),
        utilisation=np.minimum(rate / capacity, 1.0),
        requests_per_s=rate,
        capacity_per_s=np.maximum(capacity, rate),
        limit=np.asarray(limit, np.int64),
        decode_s=(parts[0] - host) / tokens,
        prefill_s=parts[1] / tokens,
        host_s=host / tokens,
        prompt_s=prompt,
        chunk=chunk,
    )


def prompt_seconds(times: StepTimes, policy: Policy, load: Load, running: Num) -> Num:
    """What one prompt takes of a replica that runs so many sequences. [s]"""
    r = _Replica(times, policy, load)
    return r.prompt(running, r.alone(running))[0]


def prompts_alone(times: StepTimes, policy: Policy, load: Load, prompts: Num) -> Num:
    """What so many prompts, taken together up to the token budget, take of a replica that does nothing else. [s]"""
    r = _Replica(times, replace(policy, name="prefill_first"), load)
    steps, size = r.chunk(0.0, prompts)
    return steps * r.with_chunk(0.0, size)
