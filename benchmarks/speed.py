"""Start-up and sweep speed, as ratios in one run: machines differ, ratios do not. Run by hand: python benchmarks/speed.py

Bars: `simcost --help` <= 1.5x and a decode query <= 3.5x the wall time of `python -c "import numpy"`; 100,000 operating
points of DeepSeek-V3 decode in one call <= 1 s; neither query loads torch, pandas or matplotlib. `plans` of DeepSeek-V3 on 64
H800, 100,000 (plan, batch) points: >= 100,000 a second on a quiet core. As a ratio: array operations (a square root of as many
doubles, which the same machine does beside it) that a point costs, which a busy machine moves less than the rate.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import numpy as np

import simcost

DECODE = ["-m", "simcost", "decode", "--model", "deepseek-v3", "--hw", "h200", "--batch", "64", "--set", "plan.tp=8"]


def seconds(arguments: list[str]) -> float:
    """Wall time of one fresh interpreter, with bytecode kept as an installed program has it."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=kept)
    return time.perf_counter() - start


def ratios(arguments: list[str], rounds: int = 11) -> tuple[float, float]:
    """(median, P90) of the ratio to `import numpy`, pair by pair."""
    found = sorted(seconds(arguments) / seconds(["-c", "import numpy"]) for _ in range(rounds))
    return statistics.median(found), found[int(0.9 * (rounds - 1))]


def plans(rounds: int = 7) -> tuple[int, float, float]:
    """(points, points a second, square roots of as many doubles that fit into its time): medians, pair by pair."""
    few = simcost.plans("deepseek-v3", "h800", gpus=64, batch=[1024])  # curves are loaded once
    batches = [16 * i for i in range(1, 100_000 // few.metrics["plans"] + 2)]
    rates, roots = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        points = simcost.plans("deepseek-v3", "h800", gpus=64, batch=batches).metrics["points"]
        took = time.perf_counter() - start
        rates.append(points / took)
        roots.append(took / root(points))
    return points, statistics.median(rates), statistics.median(roots)


def root(count: int, rounds: int = 100) -> float:
    """Seconds of one square root of `count` doubles."""
    values = np.linspace(1.0, 2.0, count)
    out = np.empty(count)
    start = time.perf_counter()
    for _ in range(rounds):
        np.sqrt(values, out=out)
    return (time.perf_counter() - start) / rounds


def main() -> None:
    for name, arguments, bar in (("--help", ["-m", "simcost", "--help"], 1.5), ("decode", DECODE, 3.5)):
        middle, high = ratios(arguments)
        print(f"simcost {name}: {middle:.2f}x numpy's import (P90 {high:.2f}x, bar {bar}x)")
    points, rate, roots = plans()
    print(
        f"simcost plans: {rate:,.0f} of {points:,} (plan, batch) points of DeepSeek-V3 a second (bar 100,000 on a quiet core),"
        f" {roots:,.0f} square roots a point"
    )
    heavy = "import sys, simcost.cli.app as a; a.run(sys.argv[1:]); print(sorted({'torch','pandas','matplotlib'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", heavy, *DECODE[2:]], capture_output=True, text=True, check=True)
    print("heavy packages loaded by a decode query:", out.stdout.splitlines()[-1])
    vary = {
        "plan.tp": [1, 2, 4, 8, 16],
        "plan.ep": [1, 8, 16, 32, 64],
        "batch": [8 * i for i in range(1, 81)],
        "context": [256 * i for i in range(1, 51)],
    }
    start = time.perf_counter()
    result = simcost.decode("deepseek-v3", "h200", vary=vary)
    print(
        f"{result.metrics['points']:,} operating points of DeepSeek-V3 decode: {time.perf_counter() - start:.2f} s (bar 1 s)"
    )


if __name__ == "__main__":
    main()
