"""Which tables may not speak where another can, and why: from times at equal shapes, never from a served measurement.

A table falls when physics or its neighbours contradict it *and* another table shows that the kernel can be fast. A kernel that is slow by
all engines is kept. The reasons, each with its threshold, stand below in the order in which they are asked. Most likely to be wrong: an
untuned kernel that engines do run (corroboration keeps what two engines agree on). docs/theory/soundness.md has examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from simcost.calibration.soundness import row_filters
from simcost.calibration.soundness.evidence import CLASSES, LEAST, Evidence, median_ratio, shared
from simcost.calibration.soundness.groups import FAR, Tables, wider, without_slow_groups, without_slow_links
from simcost.calibration.speed_of_light import on_wire
from simcost.frozen import frozen
from simcost.hardware.engines import version_order
from simcost.hardware.siblings import siblings
from simcost.num import Bools

# Thresholds of docs/theory/soundness.md.
BETTER = {"narrower": 1.5, "far": 2.0, "newer": 1.5}  # how much faster another table must be
START, START_LEAST = 3.0, 20e-6  # a start-up so many times the best table's, and above so many seconds
# How many times another table's time small calls may take. A product is one kernel: the rest of a small call is a wrapper.
SMALL, SMALL_OTHER = {"gemm": 1.5}, 2.2
COPY = 0.02  # |log ratio|: times of a narrow cache so near to the wide one's are the wide one's
BELOW = 0.2  # of a table's rows faster than light: of an L2 that held what the terms count as memory, tables lose up to 0.11
_CHAINED = (
    "attention_prefill",
    "recurrent_prefill",
)  # keys or chunks that follow each other: bytes of their light are few
_PREDECESSOR_SAID = "times the time of the {}"
_US = 1e-6  # s, for words
NEWER_SLOWER, NEWER_ROOF = (
    1.05,
    0.95,
)  # times the predecessor's time, at shapes whose light is at most so much of its light
AGREE, AGREE_P75 = 0.15, 0.3  # |log ratio| of two engines that corroborate each other: its median, its third quartile
ROWS = {
    "gemm": 2000,
    "attention_prefill": 300,
    "attention_decode": 300,
    "experts": 150,
    "batched_gemm": 100,
}  # a table's least
ROWS_OTHER = 20
# A part and the one it follows; where its rates for the format are not lower it is not slower.
PREDECESSOR = {"h100": "a100", "h200": "h100", "b200": "h200", "b300": "b200", "gb200": "h200", "gb300": "gb200"}


@frozen
class Verdict:
    """A table and why it may not speak ("" when it may)."""

    table: Evidence
    why: str


def judged(tables: Sequence[Evidence]) -> list[Verdict]:
    """Rows filtered, then tables judged, then model groups of experts, then tables again without those."""
    clean = [row_filters.filtered(table) for table in tables]
    every = Tables(clean)
    clean = [without_slow_links(table, every) for table in clean]
    first = _verdicts(Tables(clean))
    sound = Tables([verdict.table for verdict in first if not verdict.why])
    without = [without_slow_groups(verdict.table, sound, bool(verdict.why)) for verdict in first]
    return _verdicts(Tables(without))


def _verdicts(tables: Tables) -> list[Verdict]:
    reasons: dict[int, list[str]] = {}
    for table in tables.every:
        reasons[id(table)] = [why for judge in _JUDGES for why in judge(table, tables)]
    by_others = {id(table): _contagion(table, tables, reasons) for table in tables.every}
    return [Verdict(table, "; ".join([*reasons[id(table)], *by_others[id(table)]])) for table in tables.every]


def _narrower_slower(table: Evidence, tables: Tables) -> Iterable[str]:
    wide = wider(table.family, table.labels)
    if wide is None:
        return
    found = [
        one for one in tables.of(table.device.name, table.family, "-".join(wide.values())) if one.engine == table.engine
    ]
    same = [one for one in found if one.version == table.version] or found[:1]
    for name in _classes(table):
        mask = table.of(name) & table.large
        for other in same:
            slower = median_ratio(table, other, mask)
            if slower is not None and slower > 1.0:
                better = _beaten(table, tables, mask, BETTER["narrower"])
                if better and not _corroborated(table, tables, mask):
                    yield f"{name}-bound: {slower:.2f} times the time of its {other.kind}, {better}"


def _far_from_light(table: Evidence, tables: Tables) -> Iterable[str]:
    for name in CLASSES:
        if (name == "compute" and _weight_only(table)) or (name == "memory" and table.family in _CHAINED):
            continue
        mask = table.of(name) & table.large
        if int(mask.sum()) < LEAST:
            continue
        ratio = float(np.median(table.ratio[mask]))
        if ratio > FAR:
            better = _beaten(table, tables, mask, BETTER["far"])
            if better and not _corroborated(table, tables, mask):
                yield f"{name}-bound: {ratio:.1f} times its light, {better}"


def _below_light(table: Evidence, tables: Tables) -> Iterable[str]:
    """So many rows faster than light that the kernel had less to do than the table's columns say."""
    lost = table.dropped.get(row_filters.TOO_FAST, 0)
    read = len(table) + sum(table.dropped.values())
    if read and lost > BELOW * read:
        yield f"{lost} of {read} rows are faster than light: it ran less than its columns say"


def _no_gain(table: Evidence, tables: Tables) -> Iterable[str]:
    """A narrow format that nobody else timed, at twice the time of the wide one: who meets it runs the wide one."""
    wide = wider(table.family, table.labels)
    if wide is None or tables.rivals(table):
        return
    every = np.ones(len(table), bool)
    found = [
        r
        for one in tables.of(table.device.name, table.family, "-".join(wide.values()))
        if (r := median_ratio(table, one, every)) is not None
    ]
    if found and min(found) > BETTER["far"]:
        yield f"{min(found):.1f} times the time of its {'-'.join(wide.values())}, and no other table of it"


def _slow_start(table: Evidence, tables: Tables) -> Iterable[str]:
    if on_wire(table.family) or not len(table):
        return
    start = _start(table)
    others = [_start(one) for one in tables.rivals(table) if len(one)]
    if others and start > START * min(others) and start > START_LEAST:
        yield f"starts at {start / _US:.0f} us, another table at {min(others) / _US:.0f}"


def _copied(table: Evidence, tables: Tables) -> Iterable[str]:
    """A narrow cache that takes the time of the wide one where its bytes are half."""
    wide = wider(table.family, table.labels)
    if wide is None or not table.family.startswith("attention"):
        return
    for other in tables.of(table.device.name, table.family, "-".join(wide.values())):
        if (other.engine, other.version) != (table.engine, table.version):
            continue
        mine, theirs = shared(table, other)
        good = table.of("memory")[mine]
        if int(good.sum()) >= LEAST:
            apart = np.abs(np.log(table.rows.seconds[mine[good]] / other.rows.seconds[theirs[good]]))
            if float(np.median(apart)) < COPY:
                yield f"the times of {other.kind} at half the bytes"


def _slower_than_predecessor(table: Evidence, tables: Tables) -> Iterable[str]:
    before = PREDECESSOR.get(table.device.name)
    if before is None:
        return
    for name, mask, limit in _sizes(table):
        for other in tables.of(before, table.family, table.kind):
            if other.engine != table.engine:
                continue
            mine, theirs = shared(table, other)
            good = mask[mine] & (table.light_s[mine] < NEWER_ROOF * other.light_s[theirs])
            if int(good.sum()) < LEAST:
                continue
            slower = float(np.median(table.rows.seconds[mine[good]] / other.rows.seconds[theirs[good]]))
            better = _beaten(table, tables, mask, BETTER["newer"]) if slower > limit else ""
            if better:
                yield f"{name}-bound: {slower:.2f} {_PREDECESSOR_SAID.format(before)}, {better}"
                break


def _sizes(table: Evidence) -> Iterable[tuple[str, Bools, float]]:
    """(class, rows, times the predecessor's time) of all large rows of a class, then of the largest third of them: a machine may let down only those."""
    for name in CLASSES:
        mask = table.of(name) & table.large
        yield name, mask, NEWER_SLOWER
        if mask.any():
            yield name, mask & (table.light_s >= np.quantile(table.light_s[mask], 2.0 / 3.0)), row_filters.SPIKE


def _slow_small(table: Evidence, tables: Tables) -> Iterable[str]:
    if table.family not in ("gemm", "experts", "attention_prefill", "attention_decode", "batched_gemm"):
        return
    latent = table.labels.get("layout") in ("mla", "latent")
    if table.family.startswith("attention") and not latent:
        return
    limit = SMALL.get(table.family, SMALL_OTHER)
    slower = [r for one in tables.rivals(table) if (r := median_ratio(table, one, table.tiny)) is not None]
    if slower and max(slower) > limit:
        yield f"small calls take {max(slower):.1f} times another table's"


_JUDGES = (
    _below_light,
    _narrower_slower,
    _far_from_light,
    _no_gain,
    _slow_start,
    _copied,
    _slower_than_predecessor,
    _slow_small,
)


def _contagion(table: Evidence, tables: Tables, reasons: Mapping[int, list[str]]) -> list[str]:
    """The same code on a sibling, or an older version with the same times, is no better."""
    if reasons[id(table)] or table.family == "collective":
        return []
    for sibling in siblings(table.device.name):
        for other in tables.of(sibling, table.family, table.kind):
            found = reasons[id(other)]
            beside = (
                found and _PREDECESSOR_SAID.format(table.device.name) in found[0]
            )  # it was this one that showed how fast it can be
            if (other.engine, other.version) == (table.engine, table.version) and found and not beside:
                return [f"as on the {sibling}: {found[0]}"]
    for other in tables.rivals(table):
        newer = version_order(other.version) > version_order(table.version)
        if other.engine == table.engine and newer and reasons[id(other)]:
            same = median_ratio(table, other, np.ones(len(table), bool))
            if same is not None and abs(np.log(same)) < AGREE:
                return [f"as {other.version}: {reasons[id(other)][0]}"]
    return []


def _beaten(table: Evidence, tables: Tables, mask: Bools, by: float) -> str:
    """Another table that is so much faster there, in words."""
    found = [(r, one) for one in tables.rivals(table) if (r := median_ratio(table, one, mask)) is not None and r > by]
    if not found:
        return ""
    ratio, best = max(found, key=lambda pair: pair[0])
    return f"{ratio:.1f} times {best.name}"


def _corroborated(table: Evidence, tables: Tables, mask: Bools) -> bool:
    """Another engine's table says the same."""
    for other in tables.rivals(table):
        if other.engine == table.engine:
            continue
        mine, theirs = shared(table, other)
        good = mask[mine]
        if int(good.sum()) < LEAST:
            continue
        apart = np.log(table.rows.seconds[mine[good]] / other.rows.seconds[theirs[good]])
        if abs(float(np.median(apart))) < AGREE and float(np.quantile(np.abs(apart), 0.75)) < AGREE_P75:
            return True
    return False


def _classes(table: Evidence) -> tuple[str, ...]:
    """Where a narrower format must win: prefill of attention by arithmetic, weight-only formats by bytes."""
    if table.family == "attention_prefill":
        return ("compute",)
    return ("memory",) if _weight_only(table) else CLASSES


def _weight_only(table: Evidence) -> bool:
    return table.labels.get("w", "") in ("int4", "int8", "mxfp4") and table.labels.get("compute") == "bf16"


def _start(table: Evidence) -> float:
    return float(np.quantile(table.rows.seconds, 0.01))


def remark(table: Evidence) -> str:
    """Why a table may speak that lies far above its light at large sizes: no other shows that the kernel can be faster."""
    found = []
    for name in CLASSES:
        mask = table.of(name) & table.large
        if int(mask.sum()) >= LEAST and (ratio := float(np.median(table.ratio[mask]))) > FAR:
            found.append(
                f"{name}-bound: {ratio:.1f} times its light; other engines' tables are as far, or none is {BETTER['far']:g} times as fast"
            )
    return "; ".join(found)


def enough(table: Evidence) -> bool:
    """Whether a table holds enough rows to speak."""
    return len(table) >= ROWS.get(table.family, ROWS_OTHER)
