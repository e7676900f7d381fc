"""Prefill and decode on pools of their own: prompts wait for a prefill replica, their caches are sent, decode is never held up.

Each pool is a fleet of replicas that share the load evenly. Most likely to be wrong: caches are sent when a prompt is done; engines that send layer by layer hide a part of
it. Sources: DistServe (Zhong et al. 2024, arXiv 2401.09670); Sakasegawa 1977 for the wait of many servers; arrivals in a closed loop see one user less (Reiser
and Lavenberg 1980).
"""

from __future__ import annotations

import numpy as np

from simcost.frozen import frozen
from simcost.num import Num
from simcost.serving.loop import in_turn, prompts_alone, root
from simcost.serving.point import HOST_LINK, KV_CACHE, LOAD, PREFILL, SEQUENCES, Load, OperatingPoint, Room
from simcost.serving.policy import Policy
from simcost.serving.step_times import StepTimes


@frozen
class Pool:
    """Replicas of one phase: times of one, its policy, how many there are."""

    times: StepTimes
    policy: Policy
    replicas: Num


@frozen
class Pools:
    """transfer_s: from the end of a prompt's prefill to its cache on a decode replica [s]; room: of a decode replica."""

    prefill: Pool
    decode: Pool
    transfer_s: Num
    room: Room

    def prompts(self, load: Load, together: Num) -> Num:
        """Seconds that so many prompts, taken together, take of a prefill replica. [s]"""
        return prompts_alone(self.prefill.times, self.prefill.policy, load, together)

    def packed(self, load: Load) -> Num:
        """Prompts that one step takes at most: as many as the token budget and the number of sequences allow, at
        least one."""
        policy = self.prefill.policy
        return np.maximum(np.minimum(policy.tokens / load.isl, policy.sequences), 1.0)

    def full(self, load: Load) -> Num:
        """Seconds of a prefill replica for each prompt in steps that are full. [s]"""
        most = self.packed(load)
        return self.prompts(load, most) / most

    def turn(self, load: Load) -> Num:
        """Seconds between two prompts of a prefill replica that is busy, or whose link to the host is. [s]"""
        return np.maximum(self.full(load), load.link_s)

    def first(self, load: Load, rate: Num) -> tuple[Num, Num]:
        """(seconds of the step that takes a prompt, with the load of its prefix; seconds that it waits) at `rate`
        prompts a second that come at random, below capacity. A step takes what came
        during the one before: `came` on average, one at least. A prompt sees longer steps than the average: its own
        has it and `came` others."""
        count, most, full = self.prefill.replicas, self.packed(load), self.full(load)
        each = rate / count

        def step(prompts: Num) -> Num:
            return self.prompts(load, np.clip(prompts, 1.0, most))

        def of_a_step(came: Num) -> Num:
            return np.clip(came + np.exp(-came), 1.0, most)

        came = root(lambda n: n - each * step(of_a_step(n)), most)
        working, seen = np.minimum(each * step(of_a_step(came)) / of_a_step(came), 1.0), step(1.0 + came)
        half = (1.0 + load.isl_cv2) / 2.0  # arrivals at random, prompts that vary so much
        # The rest of the steps at work until one of them ends, and a queue where more come than a step takes.
        rest = seen / count * working ** (np.sqrt(2.0 * (count + 1.0)) - 1.0)
        busy = each * full
        waited = half * (rest + busy**most * wait_s(busy, count, full)) + in_turn(load.link_s, each) - load.link_s
        return load.link_s + (1.0 - working) * step(1.0) + working * seen, waited

    def step(self, load: Load, running: Num) -> Num:
        """Seconds of a decode step at so many sequences of the whole pool. [s]"""
        d = self.decode
        return d.times(np.maximum(running / d.replicas, 1e-9), load.context, 0.0, 0.0) + d.policy.host_step_s

    def most(self) -> Num:
        """Sequences that the decode pool runs at most."""
        return np.maximum(np.minimum(self.room.kv, self.room.sequences), 1e-9) * self.decode.replicas


def closed(p: Pools, load: Load, users: Num) -> OperatingPoint:
    """The operating points of `users` who each send their next request when an answer ends, of all replicas together. Elementwise."""
    steps = _steps(load)
    most = p.most()
    service = load.link_s + p.prompts(load, 1.0) + fixed_s(p, load)
    others = np.maximum(users - 1.0, 0.0) / users

    def first(running: Num, rate: Num) -> Num:
        """Seconds to the first token, with those that stand before the prefill pool."""
        there = np.maximum((users - running - rate * p.transfer_s) * others, 0.0) / p.prefill.replicas
        ahead = np.maximum(there - np.minimum(there, 1.0) / 2.0, 0.0)  # the one at work is half done
        through = p.prompts(load, 1.0 + ahead) + load.link_s
        return np.maximum(through, (1.0 + ahead) * load.link_s + p.prompts(load, 1.0)) + fixed_s(p, load)

    def missing(running: Num) -> Num:
        rate = running / (steps * p.step(load, running))
        return rate * first(running, rate) - (users - running)

    running = root(missing, np.minimum(users, most))
    step = p.step(load, running)
    rate = running / (steps * step)
    full = (running >= most * (1.0 - 1e-6)) & (users > most)
    ttft = np.where(full, np.maximum((users - running) / rate, service), first(running, rate))
    busy = rate * p.turn(load) / p.prefill.replicas
    code = np.where(full, _held_by(p), np.where(busy > _FILLED, _fed_by(p, load), LOAD))
    return _point(p, load, ttft, ttft - service, step, running, users - running, rate, code)


def open_loop(p: Pools, load: Load, rate: Num) -> OperatingPoint:
    """The same at `rate` requests a second that come at random (Poisson). A rate beyond the capacity of a pool has an infinite TTFT. Elementwise."""
    steps, most = _steps(load), p.most()
    fed = p.prefill.replicas / p.turn(load)
    reach = np.minimum(rate, fed)
    running = root(lambda n: n / (steps * p.step(load, n)) - reach, most)
    step = p.step(load, running)
    reached = running / (steps * step)
    over = reached < rate * (1.0 - 1e-7)
    prompt, wait = p.first(load, np.minimum(reached, (1.0 - 1e-9) * fed))
    wait = wait + wait_s(running / most, most, steps * step)
    ttft = np.where(over, np.inf, prompt + fixed_s(p, load) + wait)
    waiting = np.where(over, np.inf, reached * ttft)
    code = np.where(over, np.where(fed < rate, _fed_by(p, load), _held_by(p)), LOAD)
    return _point(p, load, ttft, np.where(over, np.inf, wait), step, running, waiting, reached, code)


_FILLED = 0.9  # part of the time that prefill replicas are busy from which they are said to set the pace


def _steps(load: Load) -> Num:
    return np.maximum((load.osl - 1.0) / load.emitted, 1e-9)


def fixed_s(p: Pools, load: Load) -> Num:
    """What no load changes of the time to the first token. [s]"""
    policy = p.prefill.policy
    front = policy.host_delay_s + policy.host_request_s + policy.host_token_s * (load.isl + load.hit)
    return load.lag_s + p.transfer_s + front


def _held_by(p: Pools) -> Num:
    return np.where(np.asarray(p.room.kv < p.room.sequences), KV_CACHE, SEQUENCES)


def _fed_by(p: Pools, load: Load) -> Num:
    return np.where(load.link_s > p.full(load), HOST_LINK, PREFILL)


def wait_s(busy: Num, servers: Num, service: Num) -> Num:
    """Mean wait for one of many servers of which a part is `busy`, arrivals and services at random (Sakasegawa). [s]"""
    busy = np.minimum(busy, 1.0 - 1e-9)
    return service / servers * busy ** (np.sqrt(2.0 * (servers + 1.0)) - 1.0) / (1.0 - busy)


def _point(
    p: Pools, load: Load, ttft: Num, queueing: Num, step: Num, running: Num, waiting: Num, rate: Num, code: Num
) -> OperatingPoint:
    most, prompt = p.most(), p.turn(load)
    capacity = np.minimum(p.prefill.replicas / prompt, most / (_steps(load) * p.step(load, most)))
    host = p.decode.policy.host_step_s
    return OperatingPoint(
        ttft_s=ttft,
        queueing_s=queueing,
        tpot_s=step / load.emitted,
        running=running,
        waiting=waiting,
        kv_used_fraction=np.minimum(running / (p.room.kv * p.decode.replicas), 1.0),
        utilisation=np.minimum(rate / capacity, 1.0),
        requests_per_s=rate,
        capacity_per_s=np.maximum(capacity, rate),
        limit=np.asarray(code, np.int64),
        decode_s=(step - host) / load.emitted,
        prefill_s=0.0 * step,
        host_s=host / load.emitted,
        prompt_s=prompt,
        chunk=np.minimum(load.isl, p.prefill.policy.tokens),
    )
