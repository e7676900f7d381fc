"""The same rows give the same bytes with one BLAS thread and with two."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from simcost.calibration.curves.one_thread import _libraries, one_thread

FIT = """
import hashlib
from simcost.calibration import rows
from simcost.calibration.curves.curve import pack
from simcost.calibration.family import families
from simcost.calibration.store import fitted
from simcost.files import folder
from simcost.hardware import load
family = families()["gemm"]
path = folder("hwprofiles") / "l40s" / "tables" / "vllm" / "0.24.0" / "gemm" / "bf16-bf16-bf16.csv"
labels = dict(zip(family.LABELS, path.stem.split("-")))
print(hashlib.blake2b(pack(fitted(family, rows.read(path, family), labels, load.load("l40s"))).tobytes()).hexdigest())
"""


def printed(threads: int) -> str:
    """The digest of a curve that a program with so many threads fits."""
    found = subprocess.run(
        [sys.executable, "-c", FIT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
    )
    return found.stdout.strip()


def test_a_fit_does_not_depend_on_the_number_of_threads() -> None:
    one, two = printed(1), printed(2)
    assert one == two
    assert len(one) == 2 * hashlib.blake2b().digest_size


def test_the_number_of_threads_is_what_it_was() -> None:
    before = [threads() for threads, _ in _libraries()]
    try:
        for _, set_to in _libraries():
            set_to(2)
        with one_thread():
            assert all(threads() == 1 for threads, _ in _libraries())
        assert all(threads() == 2 for threads, _ in _libraries())
    finally:
        for (_, set_to), count in zip(_libraries(), before, strict=True):
            set_to(count)
