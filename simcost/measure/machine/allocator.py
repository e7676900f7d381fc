"""Keeps freed memory in the process, so that no timed call pays for page faults of its own output.

glibc hands blocks above 32 MB back to the system and faults them in again at the next call: six times the time of a 64 MB
add. `mallopt` turns that off from inside; no restart with an environment is needed. Most likely to be wrong: systems whose
C library has no mallopt keep their own ways, and the record says so. Source: mallopt(3).
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST = 2**31 - 1


def steady_allocator() -> bool:
    """Makes freed blocks stay in the process for the rest of its life; false where the C library has no mallopt."""
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, _MOST))
    except (AttributeError, OSError, TypeError):
        return False
