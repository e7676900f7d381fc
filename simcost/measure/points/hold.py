"""A run's folder has one writer at a time, and what belongs together at a run's end is written together.

Two writers would lose rows: one replaces a file by its merged rows while the other adds to the old one. Most likely to be wrong: a network disk
without locks, where nobody is refused.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from simcost.errors import SpecError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Hold:
    """The right of this process to write to a folder, until nobody has the object any longer. Raises BlockingIOError where another process has it."""

    def __init__(self, home: Path) -> None:
        self._handle = os.open(home, os.O_RDONLY)
        try:
            import fcntl

            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except (ImportError, OSError):  # a system or a disk without locks
            return

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self._handle)


_HELD: WeakValueDictionary[tuple[int, int], Hold] = WeakValueDictionary()


def hold(home: Path) -> Hold:
    """The right to write to a folder that is there; within a process all share it. Raises SpecError while another process has it."""
    try:
        there = os.stat(home)
        found = _HELD.get((there.st_dev, there.st_ino)) or Hold(home)
    except BlockingIOError:
        raise SpecError(f"{home}: another run is writing to it: wait until it ends, or choose another folder") from None
    except OSError as error:
        raise SpecError(f"{home}: {error.strerror or error}") from None
    _HELD[there.st_dev, there.st_ino] = found
    return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """A context that Ctrl-C and SIGTERM do not end: they take effect behind it. Outside of the main thread, which alone hears them, it does nothing."""
    late: list[int] = []
    try:
        before = {number: signal.signal(number, lambda got, _: late.append(got)) for number in _SIGNALS}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if late:
            os.kill(os.getpid(), late[0])
