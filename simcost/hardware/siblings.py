"""Parts of one architecture, which run the same kernels at other clocks, with other memory and links.

Most likely to be wrong: a kernel that was tuned for one of them alone.
"""

from __future__ import annotations

HOPPER = ("h100", "h200")
BLACKWELL = ("b200", "gb200", "b300", "gb300")


def siblings(device: str) -> tuple[str, ...]:
    """The other parts of its architecture; () for one that has none."""
    line = next((line for line in (HOPPER, BLACKWELL) if device in line), ())
    return tuple(one for one in line if one != device)
