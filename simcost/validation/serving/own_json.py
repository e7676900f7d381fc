"""Results of `vllm bench serve --save-result` and of SGLang's `bench_serving --output-file`, as cells of `own.COLUMNS`.

Either is one JSON object a run, alone, in a list, or one a line; both use the same names for what counts here. Lengths
are the tokens that ran over the requests that ended. Most likely to be wrong: a release that renames a field, which
reads as a field that is missing. Sources: vllm-project/vllm, vllm/benchmarks/serve.py; sgl-project/sglang,
python/sglang/bench_serving.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.hardware import engines
from simcost.texts import NoJSON, json_value

NEEDED = ("completed", "total_input_tokens", "total_output_tokens")
FIGURES = {"mean_ttft_ms": "ttft_ms", "mean_tpot_ms": "tpot_ms", "output_throughput": "output_tokens_per_s"}
BOTH = "a rate and a limit of concurrency: neither a closed loop nor an open one"


def lines(text: str, file: str) -> list[tuple[str, dict[str, str], str]]:
    """(place, cells, why nothing can be asked) of every run. Raises SpecError naming file, line and field."""
    found = []
    for at, run in _runs(text, file):
        cells = _cells(run, at)
        found.append((at, cells, BOTH if "concurrency" in cells and "rate" in cells else ""))
    return found


def _runs(text: str, file: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = json_value(text, file, finite=False)
    except NoJSON:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"{file}:{number}", json_value(line, f"{file}:{number}", finite=False)
        return
    if isinstance(whole, list):
        yield from ((f"{file}, run {number}", run) for number, run in enumerate(whole, start=1))
    else:
        yield file, whole


def _cells(run: Any, at: str) -> dict[str, str]:
    if not isinstance(run, Mapping):
        raise SpecError(f"{at}: a run must be a JSON object")
    completed, prompts, answers = (_number(run, name, at) for name in NEEDED)
    limit, rate = run.get("max_concurrency"), _rate(run.get("request_rate", "inf"), at)
    backend = str(run.get("backend") or run.get("endpoint_type") or "").partition("-")[0]
    requests = f"{_number(run, 'num_prompts' if 'num_prompts' in run else 'completed', at):.0f}"
    cells = {
        "model": str(run.get("model_id") or ""),
        "engine": backend if backend in engines.names() else "",
        "concurrency": str(limit) if limit is not None else "" if math.isfinite(rate) else requests,
        "rate": f"{rate!r}" if math.isfinite(rate) else "",
        "requests": requests,
        "isl": repr(prompts / completed),
        "osl": repr(answers / completed),
    }
    measured = {column: repr(float(_number(run, name, at))) for name, column in FIGURES.items() if run.get(name)}
    return {name: cell for name, cell in (cells | measured).items() if cell}


def _rate(value: Any, at: str) -> float:
    """Requests a second; "inf", Infinity and null are all at once."""
    try:
        found = math.inf if value is None else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not found > 0.0:
        raise SpecError(f"{at}: request_rate = {value!r} must be a number above 0, or inf")
    return found


def _number(run: Mapping[str, Any], name: str, at: str) -> float:
    value = run.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise SpecError(f"{at}: {name} = {json.dumps(value)} must be a number above 0")
    return float(value)
