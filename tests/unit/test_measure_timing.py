"""Statistics of samples on a synthetic clock."""

from __future__ import annotations

import pytest

from simcost.measure.machine.allocator import steady_allocator
from simcost.measure.timing.cpu import FEWEST, LEAST, MOST, Clock, Timing, merged, summary, timed


class Machine:
    """A clock that calls push forward, and a scheduler that interrupts every n-th call."""

    def __init__(self, seconds: float, every: int = 0, cost: float = 0.0) -> None:
        self.time, self.switches, self.calls = 0.0, 0, 0
        self.seconds, self.every, self.cost = seconds, every, cost

    def call(self) -> None:
        self.calls += 1
        self.time += self.seconds
        if self.every and self.calls % self.every == 0:
            self.switches += 1
            self.time += self.cost

    def timed(self, target: float = 0.05, calls: int = 1) -> Timing:
        return timed([self.call] * calls, target, Clock(lambda: self.time, lambda: self.switches))


def test_quantiles_of_clean_samples_only():
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0, 100.0], [False] * 5 + [True])
    assert found == Timing(3.0, 1.8, 4.2, 5, 1 / 6)


def test_all_dirty_samples_count_when_there_is_no_other():
    found = summary([1.0, 3.0], [True, True])
    assert found.seconds == 2.0
    assert found.samples == 2
    assert found.dirty == 1.0


def test_short_calls_run_in_blocks_of_a_millisecond():
    machine = Machine(1e-5)
    found = machine.timed()
    assert found.seconds == pytest.approx(1e-5)
    assert found.samples == MOST
    assert machine.calls >= 100 * MOST


def test_interrupted_samples_are_dropped_and_counted():
    clean = Machine(1e-3).timed()
    found = Machine(1e-3, every=4, cost=0.05).timed()
    assert found.seconds == pytest.approx(clean.seconds)
    assert 0.1 < found.dirty < 0.5


def test_a_long_call_needs_few_samples_and_one_warm_up():
    machine = Machine(1.0)
    found = machine.timed(0.05)
    assert found.samples == FEWEST
    assert machine.calls == FEWEST + 1
    assert Machine(0.004).timed(0.05).samples >= LEAST
    endless = Machine(5.0, every=1)
    assert endless.timed(0.05).samples == 1
    assert endless.calls == 2  # it was disturbed as well, and is not tried again


def test_a_busy_machine_ends_too():
    found = Machine(0.01, every=1, cost=0.01).timed(0.05)
    assert found.dirty == 1.0
    assert found.samples >= FEWEST


def test_buffers_rotate_in_turn():
    seen = []
    clock = Machine(2e-3)

    def call(i):
        def one():
            seen.append(i)
            clock.call()

        return one

    timed([call(i) for i in range(3)], 0.05, Clock(lambda: clock.time, lambda: 0))
    assert seen[:3] == [0, 1, 2]
    assert seen[3:9] == [0, 1, 2, 0, 1, 2]


def test_visits_join_by_their_medians():
    found = merged([Timing(1.0, 0.5, 2.0, 5, 0.0), Timing(3.0, 2.5, 9.0, 5, 0.5), Timing(2.0, 1.5, 3.0, 5, 0.1)])
    assert found == Timing(2.0, 1.5, 3.0, 15, pytest.approx(0.2))


def test_the_allocator_says_whether_it_holds_memory():
    assert steady_allocator() in (True, False)
