"""Ranks of a job without torchrun, which would say things of its own when one fails. Each is forked from one server that has
loaded torch, so that not every rank loads it again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

RANKS = multiprocessing.get_context("forkserver")
RANKS.set_forkserver_preload(["simcost.measure.session.collectives", "torch.distributed"])


class Rank:
    """One process of a job: what it prints, and its exit code."""

    def __init__(self, number: int, port: int, words: Sequence[str]) -> None:
        out, out_end = RANKS.Pipe(duplex=False)
        err, err_end = RANKS.Pipe(duplex=False)
        self._process = RANKS.Process(target=_run, args=(number, port, list(words), out_end, err_end))
        self._process.start()
        for end in (out_end, err_end):
            end.close()
        self.stdout, self.stderr = _text(out), _text(err)

    def signal(self, what: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, what)

    def ended(self, within_s: float) -> int | None:
        """Its exit code; minus the signal that ended it; None where it still runs."""
        self._process.join(within_s)
        return self._process.exitcode


def ranks(out: Path, *more: str) -> list[Rank]:
    """The two ranks of `simcost.measure.session.collectives`, up to 4 kB unless `more` says otherwise."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Rank(number, port, ["--out", str(out), "--most", "4 kB", *more]) for number in range(2)]


def _text(end: Connection) -> TextIO:
    """The reading end of a pipe as a file of text."""
    file = os.fdopen(os.dup(end.fileno()))
    end.close()
    return file


def _run(number: int, port: int, words: list[str], out: Connection, err: Connection) -> None:
    """The body of a rank, in its own process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C reaches a process of a job in the background too
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.update(RANK=str(number), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from simcost.measure.session import collectives

    sys.exit(collectives.main(words))
