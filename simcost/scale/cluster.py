"""Workers of Dask distributed (extra `scale`): those of a scheduler that the user names, or of one that is started on this machine for one command.

Tasks and answers are plain data; a task of a worker that is lost is done again by another, as Dask does it. Nothing is contacted but the address that is
named; a local cluster listens on 127.0.0.1 alone and has no dashboard. Most likely to be wrong: a worker without the package or with another
one, which is refused when it joins and before each task. Source: Dask distributed's documentation, `Client`, `LocalCluster`, "Resilience".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from simcost import pool, scale
from simcost.errors import SimcostError, SpecError, say
from simcost.pool import Piece, Progress, quiet
from simcost.scale import fingerprint
from simcost.scale.workers import Act

T = TypeVar("T")
MOST_LOCAL = 256  # processes of a local cluster
_AHEAD = 2  # tasks a worker has beside the one that it works on, so that none waits
_CONNECT_S = 10.0
_JOIN_S = 60.0  # that a scheduler may take to have a worker
_QUIET_S = 30.0  # without an answer, after which a line says how many workers there are
_RETRIES = 3  # of a task whose worker failed for another reason than the task
_ADDRESS = re.compile(r"(?:tcp|tls)://(?:\[[0-9A-Fa-f:]+\]|[^\s:/\[\]]+):\d{1,5}\Z")
_LOCAL = re.compile(r"local:(\d{1,4})\Z")
_NEVER = logging.CRITICAL + 1
_AGAIN = "run the same command again; a sweep continues with the points that are not done"
_HOW = "write tcp://host:port, tls://host:port or local:<processes>"


def checked(address: str) -> str:
    """An address as it was written. Raises SpecError for what is none."""
    local = _LOCAL.match(address)
    if local is not None and not 1 <= int(local[1]) <= MOST_LOCAL:
        raise SpecError(f"--scheduler {address}: a local cluster can have 1 to {MOST_LOCAL} processes")
    if local is None and not _ADDRESS.match(address):
        raise SpecError(f"--scheduler {address}: {_HOW}")
    return address


@contextmanager
def opened(address: str | None, progress: Progress = quiet) -> Iterator[Cluster | None]:
    """The workers of an address for as long as the context lasts, in which `simcost.pool.mapped` uses them too, and tells `progress` where
    its caller watches none; None for no address. Raises SpecError where
    none can be reached, and where one is not like this process."""
    if address is None:
        yield None
        return
    checked(address)
    distributed = _package()
    progress(0.0, 1.0, f"waiting for the workers of {address}")
    with _client(distributed, address) as client:
        cluster = Cluster(distributed, client, progress)
        cluster.check()
        pool.elsewhere.append(cluster.mapped)
        scale._open.append(cluster)
        try:
            yield cluster
        finally:
            scale._open.pop()
            pool.elsewhere.pop()


def _package() -> Any:
    try:
        import distributed
    except ImportError:
        raise SpecError("--scheduler needs Dask distributed: pip install 'simcost[scale]'") from None
    for name in ("distributed", "tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(_NEVER)  # what a user must know is said here
    return distributed


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    local = _LOCAL.match(address)
    if local is None:
        try:
            client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise SpecError(f"--scheduler {address}: no scheduler answers there: {_first(error)}") from None
        try:
            yield client
        finally:
            with suppress(Exception):  # a scheduler that is gone cannot be told
                client.close(timeout=_CONNECT_S)
        return
    with _local(distributed, int(local[1])) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _local(distributed: Any, count: int) -> Iterator[Any]:
    """A cluster of this machine: processes with one thread each, no dashboard, no port that another machine can reach."""
    import dask

    settings: dict[str, Any] = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }  # pages for people
    with dask.config.set(settings):
        try:
            cluster = distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                memory_limit=0,
            )  # fmt: skip
        except (OSError, TimeoutError, RuntimeError) as error:
            raise SpecError(f"--scheduler local:{count}: no cluster can be started: {_first(error)}") from None
        try:
            yield cluster
        finally:
            with suppress(Exception):
                cluster.close(timeout=_CONNECT_S)


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Cluster:
    """The workers of a client."""

    def __init__(self, distributed: Any, client: Any, progress: Progress = quiet) -> None:
        self._distributed, self._client, self._progress = distributed, client, progress
        self._expected = fingerprint.here()

    @property
    def count(self) -> int:
        """Processes that take tasks now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def check(self) -> None:
        """Waits for a worker. Raises SpecError where none joins, and where one is not like this process."""
        try:
            self._client.wait_for_workers(1, timeout=_JOIN_S)
        except TimeoutError:
            raise SpecError(
                f"no worker has joined the scheduler in {_JOIN_S:.0f} s: ask again when one runs (jobs may still be queued)"
            ) from None
        with _in_a_line():
            for worker, said in self._client.run(fingerprint.differs, self._expected, on_error="return").items():
                if isinstance(said, BaseException):
                    raise SpecError(f"worker {worker} cannot run simcost: {_first(said)}")
                if said:
                    raise SpecError(f"worker {worker}: {said}")

    def run(self, act: Act, deal: Callable[[], str | None], done: Callable[[bytes], None]) -> None:
        """`act` of every task of `deal` on any worker, so many at a time as keep all busy; `done` is told each answer here, in any order. Raises what an act
        raised, and SpecError where workers are lost over and over."""
        waiting: set[Any] = set()
        try:
            with _in_a_line():
                while True:
                    while len(waiting) < max(self.count, 1) * _AHEAD and (task := deal()) is not None:
                        waiting.add(self._submit(act, task))
                    if not waiting:
                        return
                    for future in self._finished(waiting):
                        waiting.discard(future)
                        done(_answer(future))
        finally:
            for future in waiting:
                future.cancel()

    def mapped(self, act: Callable[..., T], pieces: Sequence[Piece], progress: Progress) -> list[T]:
        """As `simcost.pool.mapped`, on these workers. Raises what the first piece that failed raised."""
        progress = self._progress if progress is quiet else progress
        total, at = sum(piece.weight for piece in pieces), 0.0
        order = sorted(range(len(pieces)), key=lambda i: -pieces[i].weight)
        asked = {self._submit(act, *pieces[i].arguments): i for i in order}
        found: dict[int, Any] = {}
        progress(at, total, "")
        try:
            with _in_a_line():
                while len(found) < len(pieces):
                    for future in self._finished({each for each in asked if asked[each] not in found}):
                        i = asked[future]
                        found[i], at = future, at + pieces[i].weight
                        progress(at, total, f"{pieces[i].what}, {self.count} workers")
                return [_answer(found[i]) for i in range(len(pieces))]
        finally:
            for future in asked:
                future.cancel()

    def _submit(self, act: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(_acted, self._expected, act, arguments, pure=False, retries=_RETRIES)

    def _finished(self, waiting: set[Any]) -> set[Any]:
        """Those that are done, at least one; a line where that takes long."""
        while True:
            try:
                with self._client.as_current():
                    found = self._distributed.wait(waiting, timeout=_QUIET_S, return_when="FIRST_COMPLETED")
            except TimeoutError:
                if not self.count:
                    say("the scheduler has no worker now: waiting for one", "no worker")
                continue
            return set(found.done)


def _acted(expected: dict[str, str], act: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """On a worker: (whether it went well, the answer or the error) of an act, where the worker is like the process that asks. An error of the question is an
    answer, which nothing tries again."""
    wrong = fingerprint.differs(expected)
    try:
        return (False, SpecError(f"a worker differs from this process: {wrong}")) if wrong else (True, act(*arguments))
    except SimcostError as error:
        return False, error


def _answer(future: Any) -> Any:
    """What an act returned. Raises what it raised."""
    good, found = future.result()
    if not good:
        raise found
    return found


@contextmanager
def _in_a_line() -> Iterator[None]:
    """What Dask raises of workers and connections, as one line; errors of the question as they are."""
    try:
        yield
    except SimcostError:
        raise
    except Exception as error:
        kind = type(error)
        lost = isinstance(error, (OSError, TimeoutError)) or kind.__name__.endswith("CancelledError")
        if lost:
            raise SpecError(f"the connection to the cluster is lost: {_AGAIN}") from None
        if kind.__module__.partition(".")[0] == "distributed":
            raise SpecError(f"the cluster failed ({kind.__name__}: {_first(error)}): {_AGAIN}") from None
        raise
