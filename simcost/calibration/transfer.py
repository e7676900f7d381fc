"""What a stand-in is worth: rows of one device judged by a sibling's curves, rows of one kind by a related kind's.

The spreads in `store.py` and in the profiles are those errors, 90 % quantile over 1.645, joined over the shipped devices;
`simcost calibrate transfer` makes them again. Most likely to be wrong: that the next pair of devices is like those that were measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from simcost.calibration import rows as tables
from simcost.calibration import store
from simcost.calibration.family import Labels, families
from simcost.calibration.score import Score, scored
from simcost.hardware.profile import Device


def by_sibling(device: Device, sibling: Device) -> Iterator[tuple[str, str, Score]]:
    """(family, kind, score) of every kind that both have rows of."""
    for name, path, labels, mine in _kinds(device):
        family, which = families()[name], path.stem
        for home in sibling.measurements:
            other = tables.row_file(Path(home), name, which)
            if other.is_file():
                curve = store.load(other, name, labels, sibling)
                yield name, which, scored(curve, family, mine, labels, device, store.reached(name, sibling, device))
                break


def by_kind(device: Device) -> Iterator[tuple[str, str, Score]]:
    """(family, kind, score) of every kind that has a relative with rows on the same device."""
    for name, path, labels, mine in _kinds(device):
        family, which = families()[name], path.stem
        for relative in (one for one in family.relatives(labels) if dict(one) != labels):
            other = path.with_name("-".join(relative.values()) + ".csv")
            if other.is_file():
                curve = store.load(other, name, relative, device)
                yield name, which, scored(curve, family, mine, labels, device)
                break


def _kinds(device: Device) -> Iterator[tuple[str, Path, Labels, tables.Rows]]:
    for home in device.measurements:
        for name, family in families().items():
            for path in sorted((Path(home) / name).glob("*.csv")):
                labels, found = tables.kernels(path, family)
                if len(found):
                    yield name, path, labels, found
