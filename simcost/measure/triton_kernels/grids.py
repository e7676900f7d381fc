"""Grids of our kernels: which axis counts what, so that CUDA's limits hold. Without Triton, so that tests need none.

CUDA launches 2^31 - 1 programs along x and 65,535 along y and z: what grows with the tokens stands on x. Most likely to be
wrong: nothing. Source: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
"""

from __future__ import annotations

LIMITS = (2**31 - 1, 65535, 65535)
Grid = tuple[int, ...]


def parts(rows: int, block: int, batch: int, splits: int) -> Grid:
    """Grid (blocks of (query, head) rows, sequences, parts of the keys). Raises ValueError beyond CUDA's limits."""
    return _checked((-(-rows // block), batch, splits))


def join(rows: int, batch: int) -> Grid:
    """Grid ((query, head) rows, sequences). Raises ValueError beyond CUDA's limits."""
    return _checked((rows, batch))


def tiles(rows: int, height: int, experts: int, columns: int, width: int) -> Grid:
    """Grid (tiles of columns, tiles of rows with one to spare for each expert): neighbours share their rows. Raises ValueError
    beyond CUDA's limits."""
    return _checked((-(-columns // width), -(-rows // height) + experts))


def _checked(grid: Grid) -> Grid:
    """Raises ValueError: the launch itself would say no more than "invalid argument"."""
    if any(count > most for count, most in zip(grid, LIMITS, strict=False)):
        raise ValueError(f"a grid of {' x '.join(str(count) for count in grid)} is more than CUDA launches")
    return grid
