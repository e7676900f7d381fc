"""How fast simcost is, as ratios in one run where there is something to divide by: machines differ, ratios do not. Run by hand on a quiet machine:
python benchmarks/speed.py

Aims: `simcost --help` <= 1.5x and a decode query <= 2.2x the wall time of `python -c "import numpy"`, and neither loads torch, pandas or matplotlib;
a decode of DeepSeek-V3 in process <= 5 ms; its first use on a cold cache <= 1 s; a million operating points at >= 300,000 a second (decode) and
>= 100,000 (prefill) in <= 300 MB; `plans` of DeepSeek-V3 on 2,048 GPUs >= 50,000 (plan, batch) points a second. As a ratio beside the last: array
operations (a square root of as many doubles, which the same machine does beside it) that a point costs, which a busy machine moves less than the rate.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import simcost

DECODE = ["-m", "simcost", "decode", "--model", "deepseek-v3", "--hw", "h200", "--batch", "64", "--set", "plan.tp=8"]


def seconds(arguments: list[str]) -> tuple[float, float]:
    """(wall, CPU) time of one fresh interpreter, with bytecode kept as an installed program has it, and without a second thread of the BLAS,
    which spins beside an import."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = cpu(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env={**kept, "OPENBLAS_NUM_THREADS": "1"})  # fmt: skip
    return time.perf_counter() - start, cpu() - before


def cpu() -> float:
    """CPU time of all processes that were waited for. [s]"""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ratios(arguments: list[str], rounds: int = 11) -> tuple[float, float, float]:
    """Ratio to `import numpy`, pair by pair: (median, P90) of wall time, median of CPU time."""
    pairs = [(seconds(arguments), seconds(["-c", "import numpy"])) for _ in range(rounds)]
    wall, used = (sorted(mine[at] / base[at] for mine, base in pairs) for at in (0, 1))
    return statistics.median(wall), wall[int(0.9 * (rounds - 1))], statistics.median(used)


def plans(rounds: int = 5) -> tuple[int, float, float]:
    """(points, points a second, square roots of as many doubles that fit into its time): medians, pair by pair."""
    few = simcost.plans("deepseek-v3", "h800", gpus=2048, batch=[4096])  # curves are loaded once
    batches = [2048 * i for i in range(1, 100_000 // few.metrics["plans"] + 2)]
    rates, roots = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        points = simcost.plans("deepseek-v3", "h800", gpus=2048, batch=batches).metrics["points"]
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


def in_process(rounds: int = 40) -> tuple[float, float]:
    """Seconds of one decode of DeepSeek-V3: asked again, and with numbers that nobody asked before. Medians."""
    found = []
    for shift in (0, 1):
        times = []
        for i in range(rounds):
            start = time.perf_counter()
            simcost.decode("deepseek-v3", "h200", batch=32 + shift * i, context=3000 + shift * i, set={"plan.tp": 8})
            times.append(time.perf_counter() - start)
        found.append(statistics.median(times))
    return found[0], found[1]


def cold(engine: str) -> float:
    """Seconds of the first question about DeepSeek-V3 on H200, imports and fits included."""
    asked = f"import simcost; simcost.decode('deepseek-v3', 'h200', batch=64, set={{'plan.tp': 8}}, engine={engine!r})"
    with tempfile.TemporaryDirectory() as folder:
        kept = {**os.environ, "SIMCOST_CACHE": folder}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, env=kept)
        return time.perf_counter() - start


MILLION = """
import resource, sys, time, simcost
steps = {"batch": 1.0, "context": 16.0, "isl": 16.0, "past": 16.0}
vary = {axis: [steps[axis] * i for i in range(1, 1001)] for axis in sys.argv[2:]}
ask = getattr(simcost, sys.argv[1])
ask("deepseek-v3", "h200", set={"plan.tp": 8})
start = time.perf_counter()
points = ask("deepseek-v3", "h200", set={"plan.tp": 8}, vary=vary).metrics["points"]
print(points / (time.perf_counter() - start), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def million(command: str, *axes: str) -> tuple[float, float]:
    """(points a second, peak memory of the process [MB]) of a sweep over a million points."""
    out = subprocess.run([sys.executable, "-c", MILLION, command, *axes], capture_output=True, text=True, check=True)
    rate, megabytes = out.stdout.split()
    return float(rate), float(megabytes)


def designs(rounds: int = 3) -> tuple[int, float]:
    """(designs, designs a second) of a map of DeepSeek-V3: heads by rank by experts by width; best of some rounds, curves at hand."""
    import simcost

    axes = {
        "model.num_attention_heads": [64, 96, 128, 160], "model.kv_lora_rank": list(range(256, 1792, 64)),
        "model.n_routed_experts": [64, 128, 256, 512], "model.moe_intermediate_size": list(range(1024, 4096, 128)),
    }  # fmt: skip
    best, count = 0.0, 0
    for _ in range(rounds):
        start = time.perf_counter()
        count = int(
            simcost.sweep("deepseek-v3", "h200", batch=64, set={"plan.tp": 8, "plan.ep": 8}, vary=axes).metrics[
                "points"
            ]
        )
        best = max(best, count / (time.perf_counter() - start))
    return count, best


def main() -> None:
    json = [*DECODE, "--format", "json"]
    for name, arguments, aim in (
        ("--help", ["-m", "simcost", "--help"], 1.5),
        ("decode", DECODE, 2.2),
        ("decode as JSON", json, 2.2),
    ):
        middle, high, used = ratios(arguments)
        print(f"simcost {name}: {middle:.2f}x numpy's import (P90 {high:.2f}x, {used:.2f}x in CPU time, aim {aim}x)")
    heavy = "import sys, simcost.cli.app as a; a.run(sys.argv[1:]); print(sorted({'torch','pandas','matplotlib'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", heavy, *DECODE[2:]], capture_output=True, text=True, check=True)
    print("heavy packages loaded by a decode query:", out.stdout.splitlines()[-1])
    again, new = in_process()
    print(f"decode in process: {1e3 * again:.1f} ms asked again, {1e3 * new:.1f} ms with new numbers (aim 5 ms)")
    print(
        f"first use on a cold cache: {cold('vllm'):.2f} s with engine=vllm, {cold('any'):.2f} s with engine=any (aim 1 s)"
    )
    sweeps = (
        ("decode", "batch", "context", "300,000"),
        ("prefill", "isl", "past", "100,000"),
        ("prefill", "batch", "isl", "100,000"),
    )
    for command, one, other, aim in sweeps:
        rate, megabytes = million(command, one, other)
        print(
            f"a million points of {command}, {one} by {other}: {rate:,.0f} a second in {megabytes:,.0f} MB (aim {aim} in 300 MB)"
        )
    count, rate = designs()
    print(f"a map of {count:,} designs: {rate:,.0f} a second (aim 10,000)")
    points, rate, roots = plans()
    print(
        f"plans on 2,048 GPUs: {rate:,.0f} of {points:,} points a second (aim 50,000), {roots:,.0f} square roots a point"
    )


if __name__ == "__main__":
    main()
