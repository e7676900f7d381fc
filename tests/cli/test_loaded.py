"""What a question on the command line loads: the time of a small one is that of its imports."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "torch",
    "pandas",
    "matplotlib",
    "scipy",
    "pydantic",
    "multiprocessing",
    "concurrent.futures",
    "socket",
    "logging",
    "asyncio",
)


def test_a_decode_loads_nothing_that_it_does_not_need() -> None:
    """A process that has not loaded multiprocessing also ends at once, without taking its modules apart."""
    asked = ["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--batch", "4"]
    code = f"import sys, simcost.cli.app as a; a.run({asked!r}); print(sorted({{*{HEAVY!r}}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"
