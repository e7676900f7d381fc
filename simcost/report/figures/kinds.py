"""Every kind of figure: which results have it, and its drawing; as a picture, as the text of an SVG, or into a file."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from simcost.errors import SpecError, nearest, plain
from simcost.files import write_whole
from simcost.report.figures import (
    against,
    breakdown,
    calibration,
    crossover,
    designs,
    errors,
    latency,
    memory,
    pareto,
    roofline,
    sensitivity,
    style,
    sweep,
    timeline,
)
from simcost.report.figures.learning import budget, laws, stages, variants
from simcost.result import Result

PICTURES = (".png", ".svg", ".pdf")
_DPI = {"slide": 150, "column": 300}  # of a PNG: 1,350 pixels for a slide, 990 for a column


class Kind(NamedTuple):
    """A kind of figure. `commands`: whose answers may have it; `needs`: when, in words."""

    name: str
    commands: tuple[str, ...]
    needs: str
    applies: Callable[[Result], bool]
    draw: Callable[[Result, style.Style], Any]


KINDS: Mapping[str, Kind] = {
    each.NAME: Kind(each.NAME, each.COMMANDS, each.NEEDS, each.applies, each.draw)
    for each in (against, calibration, errors, crossover, sensitivity, timeline, budget, stages, variants, laws, latency, sweep, designs, pareto, breakdown, roofline, memory)
}  # fmt: skip


def names(result: Result) -> list[str]:
    """Figures that a result has; the first is drawn where none is named."""
    return [name for name, kind in KINDS.items() if result.command in kind.commands and kind.applies(result)]


def commands() -> dict[str, list[str]]:
    """Command -> figures that its answers may have."""
    return {of: [kind.name for kind in KINDS.values() if of in kind.commands] for of in dict.fromkeys(one for kind in KINDS.values() for one in kind.commands)}  # fmt: skip


def check(command: str, name: str, width: str, where: str) -> None:
    """Raises SpecError, before the work, for a picture that no answer of a command has, and without matplotlib."""
    style.style(width)
    of = commands().get(command, [])
    if name and known(name) not in of:
        has = f"an answer of '{command}' may have {', '.join(of)}" if of else f"'{command}' has no figure"
        raise SpecError(f"--figure {name}: {has}; {name} is of {KINDS[name].needs}")
    if not of:
        raise SpecError(f"{where}: '{command}' has no figure; these have: {', '.join(sorted(commands()))}")
    ready(where)


def ready(where: str) -> None:
    """Raises SpecError where matplotlib is missing. `where`: the option that asks for a picture."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SpecError(f"{where} needs matplotlib: pip install 'simcost[plot]'") from None


def known(name: str) -> str:
    """Raises SpecError for a figure that there is none of."""
    if name not in KINDS:
        raise SpecError(f"--figure must be one of {', '.join(KINDS)}, not '{plain(name)}'{nearest(name, KINDS)}")
    return name


def figure(result: Result, name: str = "", width: str = "slide", where: str = "a figure") -> Any:
    """A figure of a result, as matplotlib's. `name`: which, "" for the first that the result has; `width`: "slide", or "column" for one of a paper. Raises SpecError for a
    result that has none, or not this one, and without matplotlib."""
    ready(where)
    look, found = style.style(width), names(result)
    if name and known(name) not in found:
        has = f"has {', '.join(found)}" if found else "has no figure"
        raise SpecError(f"--figure {name}: this answer of '{plain(result.command)}' {has}; {name} is of {KINDS[name].needs}")  # fmt: skip
    if not found:
        raise SpecError(f"{where}: this answer has no figure{_of(result.command)}")
    with quiet():
        return KINDS[name or found[0]].draw(result, look)


def _of(command: str) -> str:
    """When answers of a command have figures: "; it has sweep or pareto for serve at several loads"."""
    when: dict[str, list[str]] = {}
    for kind in KINDS.values():
        if command in kind.commands:
            needs = [part for part in kind.needs.split(", ") if command in part] or [kind.needs]
            when.setdefault(", ".join(needs), []).append(kind.name)
    told = [f"{' and '.join(names)} of {needs}" for needs, names in when.items()]
    return f"; there is {'; '.join(told)}" if told else ""


def picture(drawn: Any, suffix: str, width: str = "slide") -> bytes:
    """The bytes of a file of a figure. The same figure is the same bytes: no date, no random names."""
    if suffix == ".svg":
        return svg(drawn, width).encode()
    buffer = io.BytesIO()
    kept: dict[str, Any] = {"CreationDate": None} if suffix == ".pdf" else {"Software": None}
    with quiet(), style.settings(style.style(width)):
        drawn.savefig(buffer, format=suffix[1:], dpi=_DPI[width], metadata=kept)
    return _small(buffer.getvalue(), _DPI[width]) if suffix == ".png" else buffer.getvalue()


def _small(data: bytes, dots: int) -> bytes:
    """A PNG of 256 colours, which a figure of few colours needs no more than: a third of the size. matplotlib itself needs Pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True, dpi=(dots, dots))  # fmt: skip
    return buffer.getvalue()


def svg(drawn: Any, width: str = "slide") -> str:
    """A figure as the text of an SVG file: positions to a hundredth of a point, and what stands under the pointer as titles of marks."""
    buffer = io.StringIO()
    with quiet(), style.settings(style.style(width)):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"(scale\([^)]*\))|(\d\.\d\d)\d+", r"\1\2", buffer.getvalue())  # type is as large as it is
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL))
    for name, words in style.tips(drawn).items():
        text = text.replace(f'<g id="{name}">', f'<g id="{name}"><title>{html.escape(words)}</title>', 1)
    return "\n".join(map(plain, text.split("\n")))  # XML has no control characters


def write(result: Result, path: Path, name: str = "", width: str = "slide", said: str = "") -> None:
    """A figure of a result into a PNG, SVG or PDF, whole or not at all. Raises SpecError as `figure`, and where it cannot be written."""
    said = said or f"-o {path}"
    drawn = figure(result, name, width, said)
    write_whole(path, picture(drawn, path.suffix.lower(), width), said, make=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Letters that the font does not have are boxes in a picture, and a name that leaves no room runs out of it: no warnings at the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing|constrained_layout not applied|Attempt to set non-positive")
        yield
