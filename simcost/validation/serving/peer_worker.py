"""Asks AIConfigurator, in a Python of its own: questions as JSON on standard input, an answer a line.

A script, run by its path: it imports nothing of simcost. `--version` prints the package's version alone. The database's
version is looked up once a system and engine; the package would do so for every question.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
from functools import cache
from typing import Any


def main() -> None:
    """One line of JSON for each question: ttft_ms and tpot_ms, or error."""
    print(json.dumps({"version": importlib.metadata.version("aiconfigurator")}), flush=True)
    if "--version" in sys.argv:
        return
    logging.disable(logging.CRITICAL)
    from aiconfigurator.cli.api import cli_estimate
    from aiconfigurator.sdk.perf_database import get_latest_database_version

    @cache
    def newest(system: str, backend: str) -> str:
        return str(get_latest_database_version(system=system, backend=backend))

    for asked in json.load(sys.stdin):
        answer: dict[str, Any] = {}
        try:
            version = newest(asked["system_name"], asked["backend_name"])
            found = cli_estimate(**asked, backend_version=version)
            answer = {"ttft_ms": float(found.ttft), "tpot_ms": float(found.tpot)}
        except Exception as fault:
            answer = {"error": f"{type(fault).__name__}: {fault}".split("\n")[0][:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
