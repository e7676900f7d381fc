"""Compares `workloads/engines/options/<engine>.toml` with a release of the engine: `python -m
tests.oracles.engine_options vllm PATH`, where PATH is its wheel, or a folder of its sources. Prints what the sources
do not name. By hand: a wheel has hundreds of megabytes."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from simcost.hardware import engine_options


def sources(path: Path) -> str:
    """Every Python file of a wheel, or of a folder, in one text."""
    if path.is_dir():
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in path.rglob("*.py"))
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if name.endswith(".py")]
        return "\n".join(wheel.read(name).decode("utf-8", "replace") for name in names)


def missing(engine: str, text: str) -> Iterator[str]:
    """Options, and words of options, that a text of sources does not name: as a string, or as a field of a class."""
    for name, kind in engine_options.load(engine).takes.items():
        option = name.replace("--no-", "--")
        field = option.removeprefix("--").rpartition(".")[2].replace("-", "_")
        if f'"{option}"' not in text and not re.search(rf"^\s+{field}\s*:", text, re.MULTILINE):
            yield name
        for word in () if isinstance(kind, str) else kind:
            if not re.search(rf"""["']{re.escape(word)}["']|^\s+{re.escape(word)}\s*=""", text, re.MULTILINE):
                yield f"{name} {word}"


if __name__ == "__main__":
    found = list(missing(sys.argv[1], sources(Path(sys.argv[2]))))
    print("\n".join(found) or "every option and every word is named")
    sys.exit(bool(found))
