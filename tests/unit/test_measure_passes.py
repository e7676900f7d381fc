"""In which order a run visits its points, what its time goes to, and what it says of what ran."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from simcost.calibration import rows as tables
from simcost.errors import SpecError
from simcost.measure.machine import environment
from simcost.measure.points import kinds
from simcost.measure.sampling.probe import Sentinel
from simcost.measure.sampling.visit import Visits
from simcost.measure.session import kernels
from simcost.measure.session.kernels import measure, question
from simcost.measure.timing import deadline


def done(home, families=("gather",), **more):
    given = {"budget_s": None, "resume": False, "out": home}
    asked = question("cpu", "standard", [], families, formats=["fp32"])
    return list(measure(asked, **{**given, **more}))


@pytest.fixture
def short(monkeypatch):
    """A standard run of six points and three passes."""
    monkeypatch.setitem(kinds.SIZES, "standard", kinds.Mode(6, 6, 6, 6, 3, 0.005, 0.1))


def test_every_point_has_its_first_visit_before_any_has_its_second(tmp_path, monkeypatch, short):
    real, seen = Visits.time, []

    def noted(self, point):
        seen.append(point.key)
        return real(self, point)

    monkeypatch.setattr(Visits, "time", noted)
    done(tmp_path / "run", families=["gather", "router"])
    count = len(set(seen))
    assert len(seen) == 3 * count
    for number in range(3):
        assert set(seen[number * count : (number + 1) * count]) == set(seen)


def test_proofs_take_no_more_than_their_share_of_the_budget(tmp_path, monkeypatch):
    monkeypatch.setitem(kinds.SIZES, "standard", kinds.Mode(1, 1, 1, 1, 1, 0.005, 0.1))
    proved, clock = [], [0.0]

    def slow(self, point):
        proved.append(point)
        clock[0] += 5.0
        return ""

    monkeypatch.setattr(kernels.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(Visits, "prove", slow)
    events = done(tmp_path / "run", families=["stream"], budget_s=30.0)
    assert len(proved) == 2  # 30 % of 30 s hold two of 5 s, the second over the edge
    assert any("2 of 9 kinds checked before the first row" in event.note for event in events)
    # Whoever watches is told what goes on before the first row.
    what = [event.what for event in events if event.what and not event.family]
    assert what[:2] == ["rates that choose the points", "points"]
    assert [line.startswith("check of stream ") for line in what[2:]] == [True, True]
    assert [(event.done, event.total) for event in events if event.what.startswith("check of")] == [(0, 9), (1, 9)]


def test_the_record_counts_the_visits_of_what_ran_over_all_sessions(tmp_path, short):
    home = tmp_path / "run"
    done(home)
    first = tables.load_run(home).record["kinds"]["gather/fp32-fp32"]
    assert first == {"kernels": ["embedding"], "visits": [18], "rows": 6}
    done(home, families=["gather", "router"], resume=True)
    assert tables.load_run(home).record["kinds"]["gather/fp32-fp32"] == first
    assert kernels._ran({"kernels": ["a", "b"], "visits": [3, 4]}) == Counter(a=3, b=4)
    assert kernels._ran({"kernels": ["a"]}) == Counter(a=1)  # of a run before visits were counted


def test_a_run_says_that_nobody_reads_the_clock(tmp_path, monkeypatch, short):
    real = kernels.environment
    monkeypatch.setattr(kernels, "environment", lambda target: {**real(target), "clock_source": environment.NOT_READ})
    events = done(tmp_path / "run")
    assert events[0].note.startswith("clock not read: neither nvidia-ml-py nor nvidia-smi answers")
    assert tables.load_run(tmp_path / "run").record["environment"]["clock_source"] == environment.NOT_READ


def test_a_sentinel_that_cannot_be_timed_is_a_note_and_the_rows_go_on(tmp_path, monkeypatch, short):
    monkeypatch.setattr(Sentinel, "look", lambda self: "no memory for the sentinel")
    events = done(tmp_path / "run")
    assert any(event.note == "no memory for the sentinel" for event in events)
    assert tables.load_run(tmp_path / "run").record["state"] == "complete"


def test_a_deadline_is_the_earlier_of_two_and_may_be_never(monkeypatch):
    clock = [10.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: clock[0])
    until = deadline.after(5.0)
    assert (until.left_s, until.over, until.holds(5.0), until.holds(5.1)) == (5.0, False, True, False)
    assert until.part(2.0).left_s == 2.0
    assert until.part(9.0).left_s == 5.0
    clock[0] = 16.0
    assert (until.left_s, until.over) == (0.0, True)
    assert deadline.after(None).holds(1e12)
    assert not deadline.NEVER.over


def test_blocks_without_any_time_are_not_begun(tmp_path):
    from simcost.estimate.layer import random_blocks
    from simcost.measure.session.layers import measure_block, measure_in_situ

    events = list(measure_in_situ("cpu", random_blocks(2), tmp_path, budget_s=0.0))
    assert [event.note for event in events] == ["budget spent after 0 of 2 blocks"]
    with pytest.raises(SpecError, match="0 s are left: choose a longer budget or a smaller layer"):
        measure_block(random_blocks(1)[0], until=deadline.after(0.0))


def test_a_resumed_run_chooses_its_points_as_it_did_before(tmp_path, monkeypatch, short):
    """On a machine that is ten thousand times slower today no call would be short enough."""
    from simcost.measure.points.design import Rates
    from simcost.measure.sampling import probe

    home = tmp_path / "run"
    done(home)
    first = tables.load_run(home).record["rates"]
    monkeypatch.setattr(
        probe, "rates", lambda bench: Rates({"fp32": first["fp32_flops_per_s"] / 1e4}, first["bytes_per_s"] / 1e4)
    )
    events = done(home, resume=True)
    assert not [event for event in events if event.family]
    record = tables.load_run(home).record
    assert record["rates"] == first
    assert record["left_out"] == []
