"""Linear algebra of a fit on one thread: the same rows give the same bytes whatever number of threads a program gives its BLAS.

OpenBLAS splits sums between threads, so the last bits of a product depend on how many there are; one thread is also faster on matrices of a
fit's size. A BLAS other than the OpenBLAS that NumPy's wheels bring is left as it is. Source: OpenBLAS `interface/`, NumPy's wheels
(`numpy.libs`, `.dylibs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

_NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which OpenBLAS runs on one thread; its number of threads is restored at the end."""
    libraries = _libraries()
    before = [threads() for threads, _ in libraries]
    for _, set_to in libraries:
        set_to(1)
    try:
        yield
    finally:
        for (_, set_to), count in zip(libraries, before, strict=True):
            set_to(count)


@cache
def _libraries() -> tuple[tuple[Callable[[], int], Callable[[int], None]], ...]:
    """(how many threads, set them) of every OpenBLAS beside NumPy."""
    import ctypes

    home = Path(np.__file__).parent
    found = []
    for path in sorted([*(home.parent / "numpy.libs").glob("*openblas*"), *(home / ".dylibs").glob("*openblas*")]):
        library = ctypes.CDLL(str(path))
        for name in _NAMES:
            threads, set_to = (
                getattr(library, name.format(what), None) for what in ("get_num_threads", "set_num_threads")
            )
            if threads is not None and set_to is not None:
                found.append((threads, set_to))
                break
    return tuple(found)
