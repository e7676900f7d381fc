"""A device as its datasheet states it, and what is assumed about it until it has been measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware.prices import Price
from simcost.num import Mask, Num, floor, maximum, minimum, where
from simcost.program import MULTIPROCESSORS

POWER = (
    "compute",
    "memory",
    "waiting",
)  # what binds a step, by which the share of the TDP is assumed that a device draws
RACK = 32.0  # devices


@frozen
class Link:
    """One tier. bandwidth [B/s] per device and direction; `pair` [B/s] between two devices of a mesh; domain [devices];
    reduces: the switch adds up what passes (NVLink SHARP)."""

    name: str
    topology: str
    bandwidth: Num
    pair: Num | None
    domain: Num | None
    reduces: bool = False

    @property
    def rack(self) -> Mask:
        """Whether its switch joins 32 devices or more, so that engines exchange tokens over it alone (NVL72), with kernels that
        send a copy a rank."""
        return False if self.topology != "switch" or self.domain is None else self.domain >= RACK

    def reach(self, group: Num) -> Num:
        """Bandwidth of one device towards a group: in a mesh only the links to its members count. [B/s]"""
        if self.pair is None:
            return self.bandwidth
        return minimum(self.bandwidth, self.pair * maximum(group - 1.0, 1.0))


@frozen
class Device:
    """Facts of one profile. peaks [FLOP/s, dense] by dtype; capacity [B]; bandwidth [B/s]; tdp [W]; price: the one that answers are made by; prices: all, by kind; power_ends: both ends of assumed shares of the TDP, by POWER.
    `assumed` holds efficiencies and overheads (SI), each with its reason in the profile. Absent values are None. `shipped`: reads a shipped
    profile by name, for tables that another device lends; l2 [B]; sm_count: multiprocessors; host: link to the memory
    of the host, one direction [B/s]; home: the profile's file; measurements: folders of
    measured rows, best first; tables: the folder of engines' tables, "" where there is none; base: the device as its profile states it, when
    overrides changed it; sibling: the device whose rows stand in for missing ones, and sigma of the log of its error here;
    capacity_assumed: why the capacity is no logged one, "" where it is."""

    name: str
    title: str
    peaks: Mapping[str, Num]
    capacity: Num
    bandwidth: Num
    scaleup: Link | None
    scaleout: Num | None
    tdp: Num | None
    price: Price | None
    assumed: Mapping[str, Num]
    where: str
    shipped: Callable[[str], Device] = field(compare=False, repr=False)
    notes: tuple[str, ...] = ()
    l2: Num | None = None
    home: str = ""
    measurements: tuple[str, ...] = ()
    tables: str = ""
    base: Device | None = field(default=None, compare=False)
    sibling: Device | None = None
    sibling_spread: float = 0.0
    sm_count: Num | None = None
    host: Num | None = None
    capacity_assumed: str = ""
    prices: Mapping[str, Price] = field(default_factory=dict)
    power_ends: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def usd_per_hour(self) -> Num | None:
        """Price of a device. [USD/h]"""
        return None if self.price is None else self.price.usd

    @property
    def multiprocessors(self) -> Num:
        """Number of multiprocessors; where the profile states none, those of the machine on which what copies was counted."""
        return MULTIPROCESSORS if self.sm_count is None else self.sm_count

    def peak(self, name: str) -> Num:
        """Dense rate of a format. [FLOP/s] Raises SpecError naming key and file when the profile does not state it."""
        if name not in self.peaks:
            raise SpecError(f"{self.where}: no 'peak.{name}' ({self.name} states {', '.join(self.peaks)})")
        return self.peaks[name]

    def assumption(self, key: str) -> Num:
        """An assumed efficiency or overhead, in SI. Raises SpecError naming key and file when the profile does not state it."""
        if key not in self.assumed:
            raise SpecError(f"{self.where}: no 'assumed.{key}'")
        return self.assumed[key]

    def node(self, group: Num, stride: Num = 1.0) -> Num:
        """Members of a group inside one scale-up domain, when they stand `stride` ranks apart; a group of one has a stride of 0."""
        if self.scaleup is None or self.scaleup.domain is None:
            return where(group <= 1.0, group, 1.0) if self.scaleup is None else group
        return minimum(group, maximum(floor(self.scaleup.domain / maximum(stride, 1.0)), 1.0))

    def nodes(self, group: Num, stride: Num = 1.0) -> Num:
        """Scale-up domains that a group spans."""
        per = self.node(group, stride)
        return floor((group + per - 1.0) / per)
