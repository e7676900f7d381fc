"""The measured rows nearest to a kernel, of the tables and runs behind a curve.

Distance is that of the family's features, logs of what the time depends on smoothly: `factor` is the largest ratio between a dimension of the row and
of the kernel. Rows are shown as they were measured; of a sibling's table that is on the sibling.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from simcost.calibration import rows as files
from simcost.calibration.family import families
from simcost.calibration.store import Found, Voice
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware.profile import Device
from simcost.ops.work import Op


@frozen
class Neighbour:
    """A measured row. `table`: whose; `factor`: 1 where all dimensions are equal; `seconds` as measured. [s]"""

    table: str
    numbers: Mapping[str, float]
    seconds: float
    factor: float


def neighbours(op: Op, name: str, found: Found, voice: Voice, most: int = 3) -> list[Neighbour]:
    """The nearest rows of one voice, the nearest first. Raises SpecError for a row file that cannot be read."""
    family = families()[name]
    asked = np.array([float(np.asarray(value)) for value in family.features(op)])
    every: list[tuple[float, Neighbour]] = []
    for table, path in _files(voice, name, found):
        labels, rows = files.kernels(path, family)
        features = family.features(family.op(rows.numbers, labels))
        apart = np.abs(np.stack([np.broadcast_to(np.asarray(value), (len(rows),)) for value in features], 1) - asked)
        distance = np.sqrt(np.square(apart).sum(1))
        for at in np.argsort(distance, kind="stable")[:most]:
            numbers = {column: float(values[at]) for column, values in rows.numbers.items()}
            row = Neighbour(table, numbers, float(rows.seconds[at]), float(np.exp(apart[at].max())))
            every.append((float(distance[at]), row))
    return [row for _, row in sorted(every, key=lambda each: each[0])[:most]]


def _files(voice: Voice, name: str, found: Found) -> list[tuple[str, Path]]:
    """(table or run, its row file) of every one behind a voice."""
    homes = [(each, _home(each, found.device)) for each in voice.name.split(" + ")]
    return [(each, path) for each, home in homes if (path := files.row_file(home, name, found.kind)).is_file()]


def _home(named: str, device: Device) -> Path:
    """The folder of a table ("h200/vllm/0.24.0") or of a run ("h200/2026-08")."""
    whose, _, rest = named.partition("/")
    run = next((Path(home) for home in device.measurements if Path(home).name == rest and whose == device.name), None)
    if run is not None:
        return run
    tables = Path(device.tables) if whose == device.name and device.tables else folder("hwprofiles") / whose / "tables"
    return tables / rest
