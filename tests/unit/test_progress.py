"""Progress where nobody watches: a line now and then, notes at once, and an interruption that is said."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

from simcost import errors
from simcost.cli.progress import Watcher, drawn, listen, measured_out, told
from simcost.measure.session.event import Event


class Clock:
    """Seven seconds a look."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        self.at += 7.0
        return self.at


def events(count: int) -> Iterator[Event]:
    yield Event(0, count, "", "", None, f"{count} points")
    for done in range(1, count + 1):
        yield Event(done, count, "gemm", f"m={done}", 10.0 * (count - done))


def test_a_log_gets_a_line_now_and_then_and_every_note_at_once(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert drawn(events(20), Clock()) == ("20 points",)
    lines = sys.stderr.getvalue().splitlines()
    assert lines[0] == "simcost: 20 points"
    assert 3 <= len(lines) <= 10
    assert all("/20 gemm m=" in line and line.endswith("s left") for line in lines[1:])


def test_short_work_says_nothing_of_its_progress(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    drawn(events(20), lambda: 0.0)
    assert sys.stderr.getvalue() == "simcost: 20 points\n"


def test_an_interruption_is_said(monkeypatch) -> None:
    def stopped() -> Iterator[Event]:
        yield Event(1, 2, "gemm", "m=1")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert drawn(stopped())[-1].startswith("interrupted: every row")


def test_other_work_does_the_same() -> None:
    stream = io.StringIO()
    tell = told(stream, Clock())
    for event in events(20):
        tell(event)
    _few_lines(stream)


def test_work_in_pieces_tells_the_time_that_is_left(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with measured_out(Clock()) as tell:
        for done in range(21):
            tell(5.0 * done, 100.0, f"gemm m={done}")
    _few_lines(sys.stderr)
    last = sys.stderr.getvalue().splitlines()[-1]
    assert last.startswith("simcost: ")
    assert "% gemm m=" in last
    assert last.endswith(" s left")


def _few_lines(stream: io.StringIO) -> None:
    lines = stream.getvalue().splitlines()
    assert 3 <= len(lines) <= 12
    assert all(line.startswith("simcost: ") and "m=" in line for line in lines)
    assert "\033" not in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_watched_loop_draws_a_bar_on_a_terminal_after_a_second_and_clears_it(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    monkeypatch.setattr(errors, "watchers", [Watcher(Clock())])
    assert list(errors.watched([1, 2, 3], "stages")) == [1, 2, 3]
    assert "stages" in stream.getvalue()
    assert "/3" in stream.getvalue()
    monkeypatch.setattr(sys, "stderr", quick := Terminal())
    monkeypatch.setattr(errors, "watchers", [Watcher(lambda: 0.0)])
    assert list(errors.watched(range(5), "stages")) == [0, 1, 2, 3, 4]
    assert quick.getvalue() == ""


def test_nobody_watches_where_stderr_is_no_terminal(monkeypatch) -> None:
    kept = list(errors.listeners)
    try:
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        listen()
        assert errors.watchers == []
        monkeypatch.setattr(sys, "stderr", Terminal())
        listen()
        assert len(errors.watchers) == 1
        with measured_out():  # a bar of its own
            assert errors.watchers == []
    finally:
        errors.watchers.clear()
        errors.listeners[:] = kept


def test_of_loops_inside_each_other_the_outermost_tells_and_an_error_ends_it(monkeypatch) -> None:
    heard: list[tuple[int, int, str]] = []
    monkeypatch.setattr(errors, "watchers", [lambda *told: heard.append(told)])
    for _ in errors.watched(["only"], "one"):
        for each in errors.watched([1, 2], "outer"):
            assert list(errors.watched([3, 4, 5], "inner")) == [3, 4, 5]
            if each == 2:
                break
    assert heard == [(0, 2, "outer"), (1, 2, "outer"), (2, 2, "outer")]
    heard.clear()
    assert list(errors.watched([1, 2], "next")) == [1, 2]
    assert heard[-1] == (2, 2, "next")


def test_a_watched_run_of_requests_gives_the_same_bytes() -> None:
    import simcost

    asked = {"model": "llama-3.1-8b", "hw": "h200", "isl": "lognormal:256:0.5", "osl": "lognormal:64:0.5", "concurrency": 8, "events": True, "requests": 120}  # fmt: skip
    plain = simcost.serve(**asked)
    heard: list[tuple[int, int, str]] = []
    errors.watchers.append(lambda *told: heard.append(told))
    try:
        assert simcost.serve(**asked).to_dict() == plain.to_dict()
    finally:
        errors.watchers.clear()
    assert len({done for done, _, _ in heard}) > 10
