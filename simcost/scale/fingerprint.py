"""What must be the same on every machine that works on one question: the version, the files of the package, the numbers of its arithmetic.

Most likely to be wrong: a processor whose matrix products differ where those tried here do not; a sweep compares a priced point too
(`simcost.bulk.block`). Source: NumPy, "CPU/SIMD optimizations": which instructions run is chosen by the processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from simcost import files
from simcost.provenance import VERSION

_DATA = ("hwprofiles", "workloads")
_CODE = (".py", ".toml")
_SIZE = 257  # odd, so that the last lanes of a vector unit are part of it


@cache
def here() -> dict[str, str]:
    """This process: version of simcost, digest of its code and data, version of NumPy, digest of its arithmetic. One value a process."""
    return {"simcost": VERSION, "files": _files(), "numpy": np.__version__, "digits": _digits()}


def differs(expected: dict[str, str]) -> str:
    """In what this process is not as `expected`, as words for an error; "" where it is."""
    found = here()
    words = {
        "simcost": f"simcost {found['simcost']} is installed on the worker, {expected.get('simcost')} here",
        "files": "simcost's files on the worker differ from those here: install the same package on both",
        "numpy": f"NumPy {found['numpy']} is installed on the worker, {expected.get('numpy')} here",
        "digits": f"results on its processor ({platform.machine()}) differ in the last digits: NPY_DISABLE_CPU_FEATURES makes them equal (docs/howto/run-on-many-machines.md)",
    }
    return next((said for key, said in words.items() if found[key] != expected.get(key)), "")


def _files() -> str:
    """Digest of the package's code and of all that it reads of its own."""
    found = hashlib.blake2b(digest_size=16)
    package = Path(files.__file__).parent
    for home, suffixes in ((package, _CODE), *((files.folder(name), None) for name in _DATA)):
        for name, path in sorted(_under(home)):
            if suffixes is None or path.suffix in suffixes:
                found.update(f"{home.name}/{name}\0".encode("utf-8", "surrogateescape"))
                found.update(path.read_bytes())
    return found.hexdigest()


def _under(home: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(home):
        folders[:] = [each for each in folders if not each.startswith((".", "__pycache__", "_data"))]
        for name in names:
            if not name.startswith("."):
                path = Path(folder) / name
                yield path.relative_to(home).as_posix(), path


def _digits() -> str:
    """Digest of functions whose last digits depend on the instructions that a processor has, at fixed numbers."""
    x = (np.arange(_SIZE, dtype=np.float64) + 1.0) / 7.0
    square = np.outer(np.sin(x[:31]), np.sqrt(x[:31])) + np.eye(31)
    with np.errstate(all="ignore"):
        parts = [
            np.exp(-x), np.log(x), np.log1p(x), np.expm1(x / 40.0), np.log2(x), np.power(x, 0.37), np.sqrt(x), np.cbrt(x), np.tanh(x),
            np.sum(x, keepdims=True), x.astype(np.float32) ** np.float32(0.37), square @ square, np.linalg.lstsq(square, x[:31], rcond=None)[0],
        ]  # fmt: skip
    return hashlib.blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).hexdigest()
