"""A profile for processors that talk to each other: the link of collectives, as point-to-point messages found it.

The rows of collectives answer a query only where a profile states a link. Rate and latency are the best and the shortest
of the `p2p` rows; a profile that states its link already stays as it is. Most likely to be wrong: ranks on one machine
share its memory, and more ranks than were measured get the same rate each.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.measure.points.folder import replace
from simcost.measure.points.point import kind_of
from simcost.units import show


@frozen
class Link:
    """rate [B/s] and latency [s] of messages between two of `ranks` processes."""

    rate: float
    latency: float
    ranks: int
    backend: str


def found(home: Path, backend: str, ranks: int) -> Link:
    """The link that the point-to-point rows of a run show: the best rate, the shortest time. Raises SpecError for rows that
    cannot be read."""
    kind = kind_of("p2p", backend=backend)
    rows = tables.read(tables.row_file(home, kind.family, kind.name), families()["p2p"])
    return Link(float((rows.numbers["bytes"] / rows.seconds).max()), float(rows.seconds.min()), ranks, backend)


def linked(text: str, link: Link, where: str) -> str:
    """A profile's text with the link; as it was where it states one. Raises SpecError for text that is no profile."""
    try:
        stated = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: not valid TOML: {error}") from None
    if "scaleup" in stated.get("links", {}):
        return text
    how = f"between two of {link.ranks} processes by {link.backend}, timed by simcost on this machine"
    source = f"collectives = {json.dumps(f'point-to-point messages {how}')}"
    assumed = [
        f"link_efficiency = {_assumed('1.0', f'the rate is what messages reached {how}')}",
        f"hop_latency = {_assumed(show(link.latency, 'seconds'), f'the shortest message {how}')}",
    ]
    lines = text.rstrip("\n").split("\n")
    lines = _under(lines, "[sources]", [source], where)
    lines = _under(lines, "[assumed]", assumed, where)
    lines += [
        "",
        "[links.scaleup]",
        f"name = {json.dumps(link.backend)}",
        'topology = "host"',
        f'bandwidth = {{ value = "{show(link.rate, "bytes_per_s")}", source = "collectives" }}',
        f'domain = {{ value = {link.ranks}, source = "collectives" }}',
    ]
    return "\n".join(lines) + "\n"


def _assumed(value: str, reason: str) -> str:
    shown = value if value.replace(".", "").isdigit() else json.dumps(value)
    return f"{{ value = {shown}, reason = {json.dumps(reason)} }}"


def _under(lines: Sequence[str], head: str, more: Sequence[str], where: str) -> list[str]:
    """Lines put in as the first of a table."""
    if head not in lines:
        raise SpecError(f"{where}: missing table {head}")
    at = list(lines).index(head) + 1
    return [*lines[:at], *more, *lines[at:]]


def state(profile: Path, link: Link, threads: int = 1) -> None:
    """Writes the link into `profile`; where there is none, this processor is measured first (about ten seconds). Raises SpecError
    for a file that is no profile."""
    from simcost.measure.machine.cpu_profile import profile_text

    try:
        before = profile.read_text(encoding="utf-8") if profile.is_file() else profile_text(threads)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{profile}: {getattr(error, 'strerror', None) or error}") from None
    replace(profile, linked(before, link, str(profile)))
