"""How well a run went, over all its sessions: a resumed run is as disturbed as all of its visits, not as the last ones.

Most likely to be wrong: two sessions on a machine whose clocks differ from day to day look like drift, which they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simcost.errors import SpecError

if TYPE_CHECKING:
    from simcost.measure.sampling.probe import Sentinel

NOISY_DIRTY, POOR_DIRTY = 0.3, 0.6
NOISY_DRIFT = {False: 0.15, True: 0.03}  # of a CPU between minutes, of a GPU whose clocks hold
POOR_DRIFT = {False: 0.5, True: 0.1}


def quality(cuda: bool, dirty: float, drift: float) -> str:
    """How well a run went: "good", "noisy" (usable, with wider errors) or "poor". `dirty`: share of disturbed samples; `drift`:
    of the sentinel, relative."""
    if dirty > POOR_DIRTY or drift > POOR_DRIFT[cuda]:
        return "poor"
    return "noisy" if dirty > NOISY_DIRTY or drift > NOISY_DRIFT[cuda] else "good"


def sound(before: Mapping[str, Any], where: str = "run.toml") -> None:
    """Raises SpecError for a record that no run of ours wrote: what is read of it later must be there as it was written."""
    looks(before, where)
    for key, good, what in (
        ("visits", _whole, "a count"), ("dirty_share", _share, "a number from 0 to 1"),
        ("environment", _table, "a table"),
        ("kinds", _kinds, "tables with 'rows' and 'kernels'"),
        ("left_out", _lines, "a list of lines"), ("disturbed", _lines, "a list of lines"),
    ):  # fmt: skip
        if key in before and not good(before[key]):
            raise SpecError(f"{where}: {key} must be {what}; a record that was edited cannot be added to")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= 1.0


def _lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _kinds(value: Any) -> bool:
    return _table(value) and all(
        _table(kind) and _whole(kind.get("rows", 0)) and _lines(kind.get("kernels", [])) for kind in value.values()
    )


def looks(before: Mapping[str, Any], where: str = "run.toml") -> tuple[list[float], list[float]]:
    """What the sentinel saw in earlier sessions: (products, copies). [s] Raises SpecError for times that are no positive numbers."""
    product, copy = (before.get(f"sentinel_{what}_s", []) for what in ("product", "copy"))
    try:
        found = [float(t) for t in product], [float(t) for t in copy]
    except (TypeError, ValueError):
        found = [-1.0], []
    if not all(0.0 < t < math.inf for times in found for t in times):
        raise SpecError(f"{where}: sentinel_product_s and sentinel_copy_s must be lists of numbers")
    return found


def together(before: Mapping[str, Any], dirty: Sequence[float]) -> tuple[int, float]:
    """(visits, mean share of disturbed samples) of the earlier sessions and this one. A record without a count of visits counts
    as its rows. Raises SpecError as `sound`."""
    sound(before)
    rows = sum(int(kind.get("rows", 0)) for kind in before.get("kinds", {}).values())
    earlier = int(before.get("visits", rows if "dirty_share" in before else 0))
    total = earlier + len(dirty)
    share = earlier * float(before.get("dirty_share", 0.0)) + sum(dirty)
    return total, share / total if total else 0.0


def judged(cuda: bool, visits: int, dirty: float, sentinel: Sentinel) -> dict[str, Any]:
    """What run.toml says of the quality of a run. `dirty`: mean share of disturbed samples of all `visits`."""
    return {
        "quality": quality(cuda, dirty, sentinel.drift),
        "visits": visits,
        "dirty_share": round(dirty, 4),
        "sentinel_drift": round(sentinel.drift, 4),
        "sentinel_worst": round(sentinel.moved(1.0), 4),
        "sentinel_product_s": [f"{t:.5g}" for t in sentinel.product],
        "sentinel_copy_s": [f"{t:.5g}" for t in sentinel.copy],
    }
