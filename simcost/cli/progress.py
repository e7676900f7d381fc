"""Progress of long work on stderr: a bar where somebody watches, elsewhere (a log, a pipe) a line a note and a line now
and then. Ctrl-C ends it in good order."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

from simcost.errors import line, listeners, plain, prose, watchers
from simcost.pool import quiet

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY_S = 20.0  # between two lines where nobody watches


def listen() -> None:
    """Words about slow work go to stderr, and on a terminal how far it is."""
    listeners[:] = [_once()]
    watchers[:] = [Watcher()] if sys.stderr.isatty() else []


def _once() -> Callable[[str, str], None]:
    """A listener that writes the first line it hears about a thing to stderr: one word about slow work, not one a curve."""
    heard: set[str] = set()

    def tell(text: str, about: str) -> None:
        if about not in heard:
            heard.add(about)
            sys.stderr.write(f"simcost: {line(text)}\n")
            sys.stderr.flush()

    return tell


class Step(Protocol):
    """What a measuring event tells."""

    @property
    def done(self) -> int:
        """Visits that are done."""
        ...

    @property
    def total(self) -> int:
        """All visits."""
        ...

    @property
    def family(self) -> str:
        """Kernel class, or "block" or "host"."""
        ...

    @property
    def what(self) -> str:
        """What was just measured; "" for a note alone."""
        ...

    @property
    def eta_s(self) -> float | None:
        """Seconds that are left; None while nobody can say."""
        ...

    @property
    def note(self) -> str:
        """A note of one line; "" for none."""
        ...


class Spaced:
    """Lines on a stream that nobody watches: one every `EVERY_S`, whatever happens in between."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.now = stream, now
        self._last = now()

    def say(self, text: str, at_once: bool = False) -> None:
        """Writes a line, unless the last one is less than `EVERY_S` old; `at_once`: a note, which is written in any case."""
        if not at_once and self.now() - self._last < EVERY_S:
            return
        if not at_once:
            self._last = self.now()
        self.stream.write(f"simcost: {prose(text)}\n")
        self.stream.flush()


def _words(event: Step) -> str:
    left = "" if event.eta_s is None else f", {event.eta_s:.0f} s left"
    what = " ".join(word for word in (event.family, event.what) if word)
    return f"{event.done}/{event.total} {what}{left}"


def _bar(count: str) -> Progress:
    """A bar on stderr, gone at the end; nothing where nobody watches. `count`: how far it is, in rich's words."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TextColumn(count + "{task.fields[left]}")
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)


@contextmanager
def measured_out(now: Callable[[], float] = time.monotonic) -> Iterator[Callable[[float, float, str], None]]:
    """A context whose function draws progress from (how much is done, how much in all, what it is at); the time left follows from
    these."""
    watchers.clear()  # one bar at a time
    spaced, start = None if sys.stderr.isatty() else Spaced(sys.stderr, now), now()
    with _bar("{task.percentage:.0f} % ") as bar:
        task = bar.add_task("", total=1, left="")

        def tell(done: float, total: float, what: str) -> None:
            left = f"{(now() - start) / done * (total - done):.0f} s left" if done else ""
            bar.update(task, completed=done, total=total or 1.0, description=plain(what)[:60], left=left)
            if spaced is not None:
                spaced.say(f"{done / (total or 1.0):.0%} {what}" + (f", {left}" if left else ""))

        yield tell


@contextmanager
def scheduled(address: str | None, long: bool = False) -> Iterator[Callable[[float, float, str], None]]:
    """The workers of --scheduler for as long as the context lasts, in which they do the work; what they do, and work that may be `long`, is drawn on a terminal alone.
    Raises SpecError where no worker is to be had."""
    if address is None and not long:
        yield quiet
        return
    from simcost.scale.cluster import opened

    with measured_out() if sys.stderr.isatty() else nullcontext(quiet) as tell, opened(address, tell):
        yield tell


def drawn(events: Iterable[Step], now: Callable[[], float] = time.monotonic) -> tuple[str, ...]:
    """Draws every event. Returns the notes among them, and one on an interruption by Ctrl-C, which ends it."""
    watchers.clear()
    notes: list[str] = []
    spaced = None if sys.stderr.isatty() else Spaced(sys.stderr, now)
    with _bar("{task.completed:.0f}/{task.total:.0f} ") as bar:
        task = bar.add_task("", total=1, left="")
        try:
            for event in events:
                left = "" if event.eta_s is None else f"{event.eta_s:.0f} s left"
                words = " ".join(word for word in (event.family, event.what) if word)
                bar.update(
                    task, completed=event.done, total=max(event.total, 1), description=plain(words)[:60], left=left
                )
                if spaced is not None:
                    spaced.say(_words(event))
                note = f"{event.what}: {event.note}" if event.what else event.note
                if event.note and not event.note.endswith("rows") and note not in notes:
                    notes.append(note)
                    if spaced is not None:
                        spaced.say(note, at_once=True)
        except KeyboardInterrupt:
            notes.append("interrupted: every row measured so far is kept; continue with --resume")
    return tuple(dict.fromkeys(notes))


def told(stream: TextIO, now: Callable[[], float] = time.monotonic) -> Callable[[Step], None]:
    """A function that shows an event: on a terminal in one line that is written over, elsewhere in a line now and then."""
    spaced = Spaced(stream, now)

    def tell(event: Step) -> None:
        if stream.isatty():
            stream.write(
                f"\r\033[K{event.done}/{event.total} {plain(event.what)}" if event.done < event.total else "\r\033[K"
            )
            stream.flush()
        else:
            spaced.say(_words(event))

    return tell


class Watcher:
    """Shows how far watched loops are (`errors.watched`): a bar on a terminal once a second has passed, gone at the end; nothing elsewhere."""

    AFTER_S = 1.0

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._start: float | None = None
        self._bar: Progress | None = None

    def __call__(self, done: int, total: int, what: str) -> None:
        self._start = self.now() if self._start is None else self._start
        spent = self.now() - self._start
        if done >= total:
            if self._bar is not None:
                self._bar.stop()
            self._bar = self._start = None
        elif spent >= self.AFTER_S:
            if self._bar is None:
                self._bar = _bar("{task.completed:.0f}/{task.total:.0f} ")
                self._bar.add_task(plain(what)[:60], total=total, completed=done, left="")
                self._bar.start()
            left = f"{spent / done * (total - done):.0f} s left" if done else ""
            self._bar.update(
                self._bar.task_ids[0], completed=done, total=total, description=plain(what)[:60], left=left
            )
