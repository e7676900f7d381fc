"""The CUDA paths of timing torch blocks, with clocks that stand in for a device."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from layerkit import SMALL_GQA, SMALL_MLA, spec

from simcost.estimate.layer import listed
from simcost.measure.torch_layers import build, time_cuda


class FakeEvent:
    """A CUDA event on a clock of its own: every stamp is a millisecond later."""

    clock = 0.0

    def __init__(self) -> None:
        FakeEvent.clock += 1.0
        self.at = FakeEvent.clock

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


def test_the_cuda_paths_run_with_a_stand_in_clock(monkeypatch) -> None:
    """Nothing of it has met a device: this only holds the wiring."""
    monkeypatch.setattr(time_cuda, "stamp", FakeEvent)
    monkeypatch.setattr(time_cuda, "warmed", lambda play, board: play())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *a: None)
    one = spec(SMALL_GQA)
    whole = time_cuda._eager(build.build(one, copies=2), 1.0)
    assert whole.seconds == pytest.approx(1e-3)
    ahead, back = time_cuda._training(build.build(replace(one, backward=True), copies=2))
    assert ahead.in_situ_s == pytest.approx(ahead.whole.seconds)
    assert [op.name for op in ahead.ops] == [item.name for item in listed(one)]
    assert back.in_situ_s is not None
    assert 0 < back.in_situ_s <= back.whole.seconds * (1 + 1e-9)


class SleepyEvent(FakeEvent):
    """An event of a device that wakes up, or that is still asleep when it is asked."""

    awake = False

    def query(self) -> bool:
        return SleepyEvent.awake


@pytest.fixture
def asleep(monkeypatch):
    """Seconds that the device was told to sleep."""
    told = []
    monkeypatch.setattr(time_cuda, "stamp", SleepyEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *a: None)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: told.append(cycles / time_cuda._CYCLES))
    monkeypatch.setattr(SleepyEvent, "awake", False)
    return told


BOARD = SimpleNamespace(clock=lambda: None, top=lambda: None)


def test_sections_are_stamped_while_the_device_sleeps(asleep, monkeypatch) -> None:
    block = build.build(spec(SMALL_MLA, q=1.0, past=6.0), copies=2)
    ran = []
    for section in block.sections:  # two milliseconds of kernels in each, wherever they were launched from

        def run(w, s, section=section):
            section.run(w, s)
            ran.append(section.name)
            FakeEvent.clock += 2.0

        object.__setattr__(section, "run", partial(run, section=replace(section)))
    found = time_cuda._sections(block, BOARD)
    assert list(found) == [section.name for section in block.sections]
    assert all(one.seconds == pytest.approx(2e-3) for one in found.values())  # a stamp's own millisecond is taken off
    assert set(asleep) == {time_cuda.SLEEP}


def test_where_the_host_never_gets_ahead_no_section_has_a_time(asleep, monkeypatch) -> None:
    monkeypatch.setattr(SleepyEvent, "awake", True)
    assert time_cuda._sections(build.build(spec(SMALL_GQA), copies=2), BOARD) == {}
    assert max(asleep) == time_cuda._LONGEST  # it was given ever more time
