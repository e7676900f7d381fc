"""Curves of a device by kernel class, kind and engine: from its tables and runs, from a sibling's, or none.

A curve is fitted when it is first asked for and kept in the user's cache folder under a hash of its rows and of the
fitting code's version; a hash that does not match is fitted again. The ladder of architecture §4: tables or rows of this kind, or of
the other 16-bit format -> those of a related kind -> a sibling device's (both `transferred`) -> nothing, and the roofline answers.
Where no engine is named every distinct table that engines would pick has a voice, and their geometric mean answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from simcost.calibration import rows as files
from simcost.calibration import tables
from simcost.calibration.curves import curve as curves
from simcost.calibration.curves.curve import Curve
from simcost.calibration.curves.one_thread import one_thread
from simcost.calibration.family import At, Family, Labels, at, families, kind
from simcost.calibration.form import Terms
from simcost.calibration.ladders import Ladder, ladders
from simcost.calibration.rows import Rows
from simcost.calibration.speed_of_light import on_wire
from simcost.errors import SpecError, say
from simcost.files import blake2b, kept
from simcost.frozen import frozen
from simcost.hardware import runs
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.hardware.siblings import same_vendor
from simcost.num import Num
from simcost.provenance import Basis

_VERSION = b"34"  # of the fitting code: raise it when the same rows give another curve
# Sigma of the log of a related kind of the same device is a family's STAND_IN: P90 of |log error| over 1.645, tables of all devices together
# (docs/validation/stand-ins.md); collectives have too few. Families without a related kind among the shipped rows: as bad as their middle.
OTHER = 0.5
LEAST = 10  # rows: fewer make no curve, and leave the kind to the next run
# Share of the variance of a stand-in's error that all kernels of a device have in common, whatever their family: the median of 42 pairs of parts
# with HBM, and of the 14 of such a part and a card with GDDR (`simcost calibrate transfer`). Vendors, of which no pair is measured, as those.
SHARED, SHARED_ACROSS = 0.06, 0.41


@frozen
class Voice:
    """A curve with a say in a kernel's time. `name`: whose rows; `engines`: for whom it speaks; `how`: by
    which rule it was chosen. Of every table behind the curve, `lent`: whether it is a sibling's, `others`: whether it is of an engine
    that was not asked for."""

    curve: Curve
    name: str
    engines: tuple[str, ...] = ()
    how: str = ""
    lent: tuple[bool, ...] = (False,)
    others: tuple[bool, ...] = (False,)

    @property
    def one(self) -> bool:
        """Whether all of it is of one table."""
        return len(self.lent) == 1


@frozen
class Found:
    """Curves that answer together, what their answer rests on, the kind of their rows. `device`: at whose datasheet rates the
    curves hold. `between`: sigma of the log by which engines differ, of small and of large kernels; `asked`: whether one engine was asked
    for, whose own rows do not differ; `sibling`: sigma of the log that a sibling's rows among them add.
    `extra`: sigma of the log that standing in for another kind or device adds; `common`: what it adds to all kernels of the device alike; `compute`, `memory`: how much better the curves' device
    reaches its rates than the one that asks, as their profiles state it; `drift`: sigma of the log by which the measured machine changes
    from hour to hour. `whole`: the kind of the rows, where what is asked is a part of what was timed (a core without the write of the
    cache, a product whose input is narrow already); `like`: the kind of the rows, where another format or layout stands in."""

    voices: tuple[Voice, ...]
    basis: Basis
    kind: str
    device: Device
    between: tuple[float, float] = (0.0, 0.0)
    asked: bool = False
    sibling: float = 0.0
    extra: float = 0.0
    common: float = 0.0
    compute: float = 1.0
    memory: Num = 1.0
    drift: float = 0.0
    whole: Labels | None = None
    like: Labels | None = None

    def highest(self, feature: int) -> float:
        """The largest value of a feature that a row of any voice has."""
        return max(voice.curve.highest(feature) for voice in self.voices)


def kind_spread(name: str) -> float:
    """Sigma of the log that another kind of a family adds where it stands in."""
    return float(getattr(families()[name], "STAND_IN", OTHER))


def reached(name: str, theirs: Device, mine: Device) -> tuple[float, float]:
    """(compute, memory): the efficiencies that one profile states over those of another, for a family of kernels. What is
    known of a device before any row says how far another's utilisation carries. Links: 1, their rows are too few."""
    if on_wire(name):
        return 1.0, 1.0

    def ratio(key: str) -> float:
        return float(np.max(np.asarray(theirs.assumption(key)))) / float(np.max(np.asarray(mine.assumption(key))))

    key = getattr(families()[name], "EFFICIENCY", "")
    return ratio(key) if key else 1.0, ratio("memory_efficiency")


class Store:
    """Curves of one device. `sibling`: the store to borrow from."""

    def __init__(self, device: Device, sibling: Store | None = None) -> None:
        self.device, self.sibling = device, sibling
        self._runs = tuple(Path(home) for home in device.measurements)  # in the order in which they answer
        self._found: dict[tuple[str, str, str], Found | None] = {}
        self._drift: dict[Path, float] = {}

    def find(self, name: str, labels: Labels, engine: str = ANY) -> Found | None:
        """The best curves for a kind of kernel and an engine ("any": all that differ); None when nothing measured is near. Raises
        SpecError for a row file that cannot be read."""
        key = (name, kind(labels), engine)
        if key not in self._found:
            self._found[key] = self._search(name, labels, engine)
        return self._found[key]

    def _search(self, name: str, labels: Labels, engine: str) -> Found | None:
        family = families()[name]
        own = self._own(name, family, labels, engine)
        if own is not None:
            return own
        for other in family.relatives(labels):
            found = self._own(name, family, other, engine)
            if found is not None:
                if _twins(labels, other):
                    return found
                if _part(labels, other):
                    return replace(found, basis=Basis.TRANSFERRED, whole=other)
                extra = float(np.hypot(found.extra, kind_spread(name)))
                return replace(found, basis=Basis.TRANSFERRED, extra=extra, like=other)
        borrowed = None if self.sibling is None else self.sibling.find(name, labels, engine)
        if borrowed is None:
            return None
        shared = SHARED if same_vendor(borrowed.device, self.device) else SHARED_ACROSS
        spread = self.device.sibling_spread
        extra = float(np.hypot(borrowed.extra, spread * np.sqrt(1.0 - shared)))
        common = float(np.hypot(borrowed.common, spread * np.sqrt(shared)))
        compute, memory = reached(name, borrowed.device, self.device)
        return replace(
            borrowed, basis=Basis.TRANSFERRED, extra=extra, common=common, compute=compute, memory=memory
        )  # fmt: skip

    def _own(self, name: str, family: Family, labels: Labels, engine: str) -> Found | None:
        """Rows that somebody put beside the profile, then engines' tables, then our own measurements. For the engine "torch" our own
        measurements alone."""
        measured = self._run(name, family, labels, "measured")
        if engine == TORCH:
            return measured
        return self._run(name, family, labels, "imported") or self._tables(name, labels, engine) or measured

    def _tables(self, name: str, labels: Labels, engine: str) -> Found | None:
        """The tables that speak for an engine; of "any", all that differ."""
        picks = tables.chosen(self.device.tables, name, kind(labels), engine)
        if not picks:
            return None
        voices = tuple(self._voice(name, labels, pick) for pick in picks)
        far = tables.apart(name, kind(labels))
        library = all(pick.engine == ANY for pick in picks)  # the same whoever calls it
        own = any(pick.own for pick in picks)
        return Found(
            voices, Basis.FITTED if own else Basis.TRANSFERRED, kind(labels), self.device,
            (0.0, 0.0) if library else far.engine, engine != ANY, max(far.sibling),
        )  # fmt: skip

    def _voice(self, name: str, labels: Labels, pick: tables.PickedTables) -> Voice:
        found = tables.paths(self.device.tables, name, kind(labels), pick)
        sources = [(None if device == "" else self.device.shipped(device), path) for device, path in found]
        named = " + ".join(
            table.replace(":", "/") if ":" in table else f"{self.device.name}/{table}" for table in pick.tables
        )
        return Voice(_curve(name, labels, self.device, sources), named, pick.engines, pick.how, pick.lent, pick.others)

    def _run(self, name: str, family: Family, labels: Labels, which: str) -> Found | None:
        """The first run of a kind ("measured" or "imported") with enough rows."""
        every = [run for run in self._runs if runs.kind(run) == which]
        paths = [path for run in every if (path := files.row_file(run, name, kind(labels))).is_file()]
        for path in paths:
            run = path.parent.parent
            if files.enough(path, family, LEAST):
                voice = Voice(load(path, name, labels, self.device), f"{self.device.name}/{run.name}", how="own")
                return Found((voice,), Basis.FITTED, kind(labels), self.device, drift=self._drifts(run))
            say(  # a run that was stopped has many such files, and one line says it of all
                f"{path}: skipped: a curve needs {LEAST} rows; other kinds of this run may be skipped too",
                about=str(run),
            )
        return None

    def _drifts(self, run: Path) -> float:
        if run not in self._drift:
            self._drift[run] = runs.drift(self._runs, run)
        return self._drift[run]


def _twins(labels: Labels, other: Labels) -> bool:
    """Whether two kinds differ in nothing but bf16 for fp16, whose rates and bytes are equal."""
    twin = {"fp16": "bf16"}
    return all(twin.get(value, value) == twin.get(other[name], other[name]) for name, value in labels.items())


def _part(labels: Labels, other: Labels) -> bool:
    """Whether rows of `other` hold the kernel asked for and what runs around it: the write of the cache, the quantisation of the input."""
    return [name for name, value in labels.items() if other[name] != value] in (["scope"], ["x"])


def row_terms(family: Family, rows: Rows, labels: Labels, device: Device) -> tuple[Terms, At]:
    """(terms [rows], points) of measured rows at the device's own datasheet rates."""
    with np.errstate(all="ignore"):  # of numbers out of all proportion; what comes of them tells
        op = family.op(rows.numbers, labels)
        terms = family.terms(op, device)
        points, _ = at(family, op, terms)
        # Which of two equally far points is chosen hangs on the last digit of a logarithm, which differs between processors: here it is right.
        exact = family.features(
            family.op({name: values.astype(np.longdouble) for name, values in rows.numbers.items()}, labels)
        )
    features = np.stack([np.broadcast_to(np.asarray(value, np.float64), (len(rows),)) for value in exact], axis=1)
    return terms.flat((len(rows),)), replace(points, features=features)


def fitted(family: Family, rows: Rows, labels: Labels, device: Device) -> Curve:
    """A curve through all of `rows`. Raises SpecError when they make none."""
    found: Curve | None = None
    # What comes of numbers out of proportion tells them.
    with np.errstate(all="ignore"), suppress(np.linalg.LinAlgError), one_thread():
        terms, points = row_terms(family, rows, labels, device)
        found = curves.fit(terms, points, rows.seconds, _ladders(family, rows, labels, device))
    if found is None or not found.sound:
        raise SpecError("no curve fits these rows: their shapes are too few, or a number is far too large or small")
    return found


def _ladders(family: Family, rows: Rows, labels: Labels, device: Device) -> list[Ladder]:
    """Those of the rows' layers, with the terms of every rung."""
    return [Ladder(*row_terms(family, kernels, labels, device), rungs) for kernels, rungs in ladders(family, rows)]


def load(path: Path, name: str, labels: Labels, device: Device) -> Curve:
    """The curve of a row file, from the cache when the rows are the same. Raises SpecError for unreadable rows."""
    return _curve(name, labels, device, [(None, path)])


def _curve(name: str, labels: Labels, device: Device, sources: list[tuple[Device | None, Path]]) -> Curve:
    """The curve of one or several row files, each of `device` (None) or of a sibling; from the cache when the rows are the same."""
    parts = [_VERSION, f"{name}/{kind(labels)}".encode(), _rates(device)]
    for theirs, path in sources:
        try:
            parts += [b"" if theirs is None else _rates(theirs), path.read_bytes()]
        except OSError as error:
            raise SpecError(f"{path}: {error.strerror or error}") from None
    digest = blake2b(b"|".join(parts), digest_size=16).hexdigest()
    return _load(digest, name, labels, device, sources)


def _rates(device: Device) -> bytes:
    return repr((_plain(device.peaks), _plain(_others(device)))).encode()


def _others(device: Device) -> dict[str, object]:
    """What else the terms of a kernel read off a device."""
    link = device.scaleup
    found = {
        "bandwidth": device.bandwidth, "scaleout": device.scaleout, "sm_count": device.sm_count,
        "scaleup": link and link.bandwidth, "pair": link and link.pair, "domain": link and link.domain,
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


def _plain(values: Mapping[str, object]) -> dict[str, float]:
    return {key: float(np.max(np.asarray(value))) for key, value in values.items()}


_MEMORY: dict[str, Curve] = {}


def _load(digest: str, name: str, labels: Labels, device: Device, sources: list[tuple[Device | None, Path]]) -> Curve:
    if digest in _MEMORY:
        return _MEMORY[digest]
    found = _kept(digest)
    if found is None:
        found = _fitted(name, labels, device, sources)
        kept.write(f"{digest}.curve", np.asarray(curves.pack(found), "<f8").tobytes(), kept.CURVE)
    _MEMORY[digest] = found
    return found


def _kept(digest: str) -> Curve | None:
    """A curve out of the cache; None where it has none that is all numbers."""
    body = kept.read(f"{digest}.curve", kept.CURVE)
    if body is None:
        return None
    with suppress(ValueError, IndexError, OverflowError):
        found = curves.unpack(np.frombuffer(body, "<f8").astype(np.float64))
        if found.sound:
            return found
    kept.spoilt(f"{digest}.curve")
    return None


def _fitted(name: str, labels: Labels, device: Device, sources: list[tuple[Device | None, Path]]) -> Curve:
    """A curve through the rows of some files. Raises SpecError when they make none."""
    rows, parts, table = tables.joined(name, labels, device, sources)
    home = kept.folder()
    say(f"fitting curves of {device.name} {'in each process' if home is None else f'on first use (kept in {home})'}")
    with naming(sources[0][1]):
        found = fitted(families()[name], rows, labels, device)
    return replace(found, parts=parts, table=table) if len(sources) > 1 else found


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A context in which a SpecError about rows gets the file's name in front."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
