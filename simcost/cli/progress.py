"""Progress of long work on stderr: a bar where somebody watches, a line a note elsewhere. Ctrl-C ends it in good order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Protocol, TextIO


class Step(Protocol):
    """What a measuring event tells."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def family(self) -> str: ...

    @property
    def what(self) -> str: ...

    @property
    def eta_s(self) -> float | None: ...

    @property
    def note(self) -> str: ...


def drawn(events: Iterable[Step]) -> tuple[str, ...]:
    """Draw every event; the notes, and a word on an interruption, come back for the result."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    notes: list[str] = []
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[left]}"),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=1, left="")
        try:
            for event in events:
                left = "" if event.eta_s is None else f"{event.eta_s:.0f} s left"
                words = " ".join(word for word in (event.family, event.what) if word)
                bar.update(task, completed=event.done, total=max(event.total, 1), description=words[:60], left=left)
                if event.note and not event.note.endswith("rows") and event.note not in notes:
                    notes.append(f"{event.what}: {event.note}" if event.what else event.note)
        except KeyboardInterrupt:
            notes.append("interrupted: every row measured so far is kept; --resume goes on")
    return tuple(dict.fromkeys(notes))


def told(stream: TextIO) -> Callable[[Step], None]:
    """One line that is written over, where somebody watches."""

    def tell(event: Step) -> None:
        if stream.isatty():
            stream.write(f"\r\033[K{event.done}/{event.total} {event.what}" if event.done < event.total else "\r\033[K")
            stream.flush()

    return tell
