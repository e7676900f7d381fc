"""Rows that fall together: the groups of a collective that a link let down, the models of experts that ran a kernel nobody tuned.

Where most of a table would go, the table is the fault and is judged as one (`verdicts.py`). Most likely to be wrong: a link that is as slow on
every machine of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simcost.calibration.distinct import hashed
from simcost.calibration.family import Labels
from simcost.calibration.soundness.evidence import Evidence, shared
from simcost.hardware.siblings import siblings
from simcost.num import Bools

# Thresholds of docs/theory/soundness.md.
LINK, LARGE_BYTES = 0.25, 64e6  # share of the link that a collective must reach, from which size
TWICE = 2.0  # how much faster another table of the group must be
FAR = 4.0  # times the light, at large sizes
GROUP_SLOW, GROUP_WIDE = (
    2.5,
    1.2,
)  # times a sound table's time, and that of a wider format, by which a model of experts is untuned
GROUP_SIBLING = 1.75  # times as far from light as the same engine's kernel on a sibling part, at large sizes
GROUP_LIGHT = 10e-6  # s of light from which rows of a model count: the fewer its tokens, the more of a row is its start
GROUP_LEAST = 6  # rows of a model: a median of fewer says nothing


@dataclass(slots=True)
class Tables:
    """All tables of one import, by device, family and kind."""

    every: list[Evidence]
    by_kind: dict[tuple[str, str, str], list[Evidence]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.every:
            self.by_kind.setdefault((table.device.name, table.family, table.kind), []).append(table)

    def rivals(self, table: Evidence) -> list[Evidence]:
        """Other tables of the same device, family and kind."""
        return [one for one in self.of(table.device.name, table.family, table.kind) if one is not table]

    def of(self, device: str, family: str, which: str) -> list[Evidence]:
        """Tables of a kind (`which`) of a family on a device; [] where there are none."""
        return self.by_kind.get((device, family, which), [])


def without_slow_links(table: Evidence, tables: Tables) -> Evidence:
    """A collective without the groups in which it reaches less than a quarter of the link, where another table of the group reaches
    twice as much, or none reaches it: a machine whose peers could not see each other."""
    if table.family != "collective":
        return table
    out = np.zeros(len(table), bool)
    for group in np.unique(table.rows.numbers["group"]):
        best = _reached(table, group)
        others = [found for one in tables.rivals(table) if (found := _reached(one, group)) is not None]
        if (
            best is not None
            and best < LINK
            and (max(others, default=0.0) > TWICE * best or max(others, default=0.0) < LINK)
        ):
            out |= table.rows.numbers["group"] == group
    return table.take(~out, f"groups that reach less than {LINK:.0%} of the link")


def _reached(table: Evidence, group: float) -> float | None:
    """The best share of the link at large sizes, of a group; None without such rows."""
    mask = (table.rows.numbers["group"] == group) & (table.rows.numbers["bytes"] >= LARGE_BYTES)
    return float(np.max(table.memory_s[mask] / table.rows.seconds[mask])) if mask.any() else None


def without_slow_groups(table: Evidence, sound: Tables, fallen: bool) -> Evidence:
    """Experts without the models that ran a kernel nobody tuned for them: far from light, and far above a sound table's time or
    above that of a wider format. Where most of a table would go the table is the fault, and is judged as one."""
    if table.family != "experts" or fallen:
        return table
    numbers = table.rows.numbers
    group = hashed(
        [numbers["hidden"], numbers["width"], numbers["experts"], np.round(numbers["copies"] / numbers["tokens"], 6)]
    )
    out = np.zeros(len(table), bool)
    for each in np.unique(group):
        mask = (group == each) & (table.light_s >= GROUP_LIGHT)
        if int(mask.sum()) < GROUP_LEAST:
            continue
        far = float(np.median(table.ratio[mask])) > FAR
        if (far and _slow_group(table, sound, mask)) or _slow_beside_siblings(table, sound, mask):
            out |= group == each
    return table.take(~out, "models whose kernel was not tuned") if out.sum() < 0.5 * len(table) else table


def _slow_group(table: Evidence, sound: Tables, mask: Bools) -> bool:
    wide = wider(table.family, table.labels)
    rivals = [one for one in sound.of(table.device.name, table.family, table.kind) if one.name != table.name]
    in_wide = [] if wide is None else sound.of(table.device.name, table.family, "-".join(wide.values()))
    for others, limit in ((rivals, GROUP_SLOW), (in_wide, GROUP_WIDE)):
        for other in others:
            mine, theirs = shared(table, other)
            good = mask[mine]
            if int(good.sum()) >= GROUP_LEAST:
                ratio = table.rows.seconds[mine[good]] / other.rows.seconds[theirs[good]]
                if float(np.median(ratio)) > limit:
                    return True
    return False


def _slow_beside_siblings(table: Evidence, sound: Tables, mask: Bools) -> bool:
    """Whether large sizes reach far less of their light than the same engine's kernel does on a sibling part: one of the two ran without
    the configuration that was tuned for it."""
    large = mask & (table.light_s >= np.median(table.light_s[mask]))
    for sibling in siblings(table.device.name):
        for other in sound.of(sibling, table.family, table.kind):
            mine, theirs = shared(table, other)
            good = large[mine]
            if other.engine != table.engine or int(good.sum()) < GROUP_LEAST:
                continue
            if float(np.median(table.ratio[mine[good]] / other.ratio[theirs[good]])) > GROUP_SIBLING:
                return True
    return False


def wider(family: str, labels: Labels) -> dict[str, str] | None:
    """The same kernel in the next wider format that tables hold; None for bf16 and for what has no formats."""
    if family.startswith("attention"):
        return None if labels["kv"] == "bf16" else {**labels, "kv": "bf16", "compute": "bf16"}
    if family not in ("gemm", "experts", "batched_gemm") or labels["w"] == "bf16":
        return None
    return {**labels, "w": "bf16", "compute": "bf16"}
