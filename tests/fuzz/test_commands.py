"""Mutated inputs of every command: an answer of sound numbers, or one line and exit code 2; nothing silent, nothing slow, nothing large.

1,000 cases in this process and 20 as processes; `SIMCOST_FUZZ=10000 pytest tests/fuzz/test_commands.py` runs so many in this process.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from simcost.cli.app import run
from tests.fuzz.corpus import PLANTED, Case, case, written

COUNT, PARTS, PROCESSES = int(os.environ.get("SIMCOST_FUZZ", "1000")), 4, 20
LONGEST, LARGEST = 20.0, 2 << 30  # s, B
CODES = (0, 2, 3)
MAY_BE_NEGATIVE = ("kv_pool_bytes_per_gpu",)  # what weights leave over: below 0 where they leave nothing


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in what runs for longer."""

    def stop(_: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def wrong(one: Case, code: int, out: str, err: str) -> str:
    """What is wrong with an answer; "" for nothing."""
    if code not in CODES:
        return f"exit code {code}"
    if "Traceback" in err:
        return "a traceback"
    if code == 2:
        lines = [line for line in err.splitlines() if line.startswith("simcost: ")]
        return "" if lines and not out.strip() else "no line that says why, or an answer beside it"
    try:
        document = json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} in an answer: {one.argv}"))
    except json.JSONDecodeError:
        return ""  # a list of keys, a command file: no answer of numbers
    unsound = [name for name, value in document.get("metrics", {}).items() if not sound(name, value)]
    if unsound:
        return f"unsound: {', '.join(unsound)}"
    if one.planted and PLANTED not in out and PLANTED not in err:
        return f"'{PLANTED}' is passed over in silence"
    return ""


def sound(name: str, value: Any) -> bool:
    """Whether a metric is finite and not below 0; what is no number is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    return math.isfinite(value) and (value >= 0 or name in MAY_BE_NEGATIVE)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_case_is_answered_or_refused_in_one_line(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before, found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for number in range(part, COUNT, PARTS):
        one = case(number)
        written(one, tmp_path)
        try:
            with in_time(LONGEST * 5):  # of a machine that others use: processes are held to their own time
                code = run([*one.argv, "--format", "json"])
            said = capsys.readouterr()
            fault = wrong(one, code, said.out, said.err)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            found.append(f"case {number}: {fault[:300]}: {one.argv}")
    assert not found, "\n".join(found[:20])
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < LARGEST


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(LONGEST), int(LONGEST) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (LARGEST, LARGEST))


def test_a_process_keeps_to_its_time_and_memory(tmp_path: Path) -> None:
    """Of its own time on a core, whoever else uses the machine."""
    for number in range(0, 40 * PROCESSES, 40):
        one = case(number)
        written(one, tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "simcost", *one.argv, "--format", "json"], cwd=tmp_path, capture_output=True, preexec_fn=_limited,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        fault = wrong(one, done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace"))
        assert not fault, f"case {number}: {fault}: {one.argv}: {done.stderr.decode('utf-8', 'replace')[-600:]}"
