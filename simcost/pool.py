"""Long work in pieces: on every core that is there, in the order in which it was asked for, telling how far it is.

A piece is a function of picklable arguments and does not know the others, so that one worker and many give the same
answer. Most likely to be wrong: `weight`, a guess of how long a piece takes, from which the time left is told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from simcost.errors import SimcostError, watched
from simcost.frozen import frozen

if TYPE_CHECKING:  # what few questions need takes as long to import as a tenth of the others
    from concurrent.futures import Future, ProcessPoolExecutor

T = TypeVar("T")
Progress = Callable[[float, float, str], None]
_SMALL = 3000.0  # rows in all below which workers take longer to start than to work
_MOST = 8
# Who else works on pieces, such as a cluster that the user named (`simcost.scale.cluster`); nobody does by default.
elsewhere: list[Callable[[Callable[..., Any], Sequence[Piece], Progress], list[Any]]] = []
_ALONE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def quiet(done: float, total: float, what: str) -> None:
    """Nobody watches."""


@frozen
class Piece:
    """Arguments of one call, what it is in a few words, and how many rows it looks at."""

    arguments: tuple[Any, ...]
    what: str
    weight: float


def allowed() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def cores() -> int:
    """Workers worth having."""
    return min(allowed(), _MOST)


def mapped(act: Callable[..., T], pieces: Sequence[Piece], workers: int = 1, progress: Progress = quiet) -> list[T]:
    """`act` of every piece, in their order. `workers` above 1 only for a program whose main module may be imported again; then
    a single piece too has a process of its own, with one thread: where others work, threads of one product wait for each other.

    Raises what the first of the pieces that failed raised."""
    if elsewhere:
        return elsewhere[-1](act, pieces, progress)
    total = sum(piece.weight for piece in pieces)
    if workers < 2 or total < _SMALL:
        return list(_alone(act, pieces, total, progress))
    return _together(act, pieces, min(workers, len(pieces)), total, progress)


def _alone(act: Callable[..., T], pieces: Sequence[Piece], total: float, progress: Progress) -> Iterator[T]:
    done = 0.0
    for piece in watched(pieces, "parts of the question"):
        progress(done, total, piece.what)
        yield act(*piece.arguments)
        done += piece.weight
        progress(done, total, piece.what)


def _together(
    act: Callable[..., T], pieces: Sequence[Piece], workers: int, total: float, progress: Progress
) -> list[T]:
    """The longest first, so that none is left over at the end."""
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    order = sorted(range(len(pieces)), key=lambda i: -pieces[i].weight)
    with _one_thread_each(), _pool(workers) as pool:
        asked = {pool.submit(act, *pieces[i].arguments): i for i in order}
        progress(0.0, total, "")
        done = 0.0
        found: dict[int, Future[T]] = {}
        for future in as_completed(asked):
            i = asked[future]
            found[i], done = future, done + pieces[i].weight
            progress(done, total, pieces[i].what)
        try:
            return [found[i].result() for i in range(len(pieces))]
        except BrokenProcessPool:
            raise SimcostError(
                "a worker process ended before its work was done, perhaps because memory ran out"
            ) from None


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh (a copy of a process with threads may hang); an interruption does not wait for them."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_deaf)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _deaf() -> None:
    """Ctrl-C is for the parent, which ends its workers."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers inherit it; here it changes nothing, numpy has started."""
    before = {name: os.environ.get(name) for name in _ALONE}
    os.environ.update(_ALONE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
