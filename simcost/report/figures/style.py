"""How every figure looks: its size, type, colours that the colour-blind tell apart, and what a browser says of a mark under the pointer.

Colours: Okabe and Ito, Color Universal Design (2008); no figure rests on colour alone, a hatch, a marker or a word says the same. Type of a column is
7 pt at least, as IEEE's and ACM's authors' kits ask of a figure at its printed size.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from simcost import units
from simcost.errors import SpecError, nearest, plain
from simcost.provenance import VERSION
from simcost.report.cells import cell, title
from simcost.report.question import asked
from simcost.result import Result

INK, PAPER, FAINT = "#1a1a1b", "#fefefe", "#6b6b6c"  # a page that is dark puts others in their place
BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#999999",
)  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "oo")
_EM = 0.58  # of the size of the type: the width of a letter, on average
_TIPS = "_simcost_tips"


class Style(NamedTuple):
    """Width and type of a figure. [inch], [pt]"""

    name: str
    width: float
    font: float

    @property
    def slide(self) -> bool:
        return self.name == "slide"

    def letters(self, share: float = 1.0, font: float = 0.0) -> int:
        """How many stand beside each other in a share of the width."""
        return max(int(self.width * share * 72.0 / (_EM * (font or self.font))), 8)


STYLES = {"slide": Style("slide", 9.0, 11.0), "column": Style("column", 3.3, 7.5)}
SMALL = 7.0  # pt: the smallest type anywhere


def style(width: str) -> Style:
    """By name. Raises SpecError for a width that is none."""
    if width not in STYLES:
        raise SpecError(f"--width must be one of {', '.join(STYLES)}, not '{plain(width)}'{nearest(width, STYLES)}")
    return STYLES[width]


@contextmanager
def settings(look: Style) -> Iterator[None]:
    """matplotlib as these figures need it; the caller's own settings stay."""
    import matplotlib

    small = max(look.font - 1.5, SMALL)
    with matplotlib.rc_context({
        "font.family": "DejaVu Sans", "font.size": look.font, "axes.titlesize": look.font, "axes.labelsize": look.font,
        "xtick.labelsize": small, "ytick.labelsize": small, "legend.fontsize": small, "figure.titlesize": look.font + 2.0 * look.slide,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.facecolor": PAPER, "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "legend.facecolor": PAPER, "hatch.color": PAPER, "hatch.linewidth": 0.8,
        "axes.linewidth": 0.8 if look.slide else 0.6, "lines.linewidth": 2.0 if look.slide else 1.1, "lines.markersize": 6.0 if look.slide else 3.5,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.alpha": 0.35, "grid.linewidth": 0.5,
        "legend.frameon": False, "svg.hashsalt": "simcost", "svg.fonttype": "path", "pdf.fonttype": 42, "text.parse_math": False, "path.simplify": True,
    }):  # fmt: skip
        yield


def canvas(
    look: Style,
    heights: Sequence[float],
    columns: int = 1,
    key: int = 0,
    widths: Sequence[float] | None = None,
    **more: Any,
) -> tuple[Any, Any, Any]:
    """A figure without a display, its axes as an array of rows and columns, and below them a place for a key of so many lines (None: there is none). `heights`: of each row; title and foot have theirs beside [inch]; `widths`: of the columns, as ratios."""
    from matplotlib.figure import Figure

    lines = [*heights, *([(key * (look.font - 1.0) * 1.45 + 4.0) / 72.0] if key else [])]
    figure = Figure(figsize=(look.width, sum(lines) + (0.75 if look.slide else 0.82)), layout="constrained")
    grid = figure.add_gridspec(len(lines), columns, height_ratios=lines, width_ratios=widths)
    rows = grid[: len(heights), :].subgridspec(len(heights), columns, height_ratios=heights, width_ratios=widths) if len(lines) > len(heights) else grid  # fmt: skip
    axes = rows.subplots(squeeze=False, **more)
    if not key:
        return figure, axes, None
    place = figure.add_subplot(grid[len(heights), :])
    place.axis("off")
    return figure, axes, place


def beside(names: Sequence[str], look: Style, most: int = 3) -> int:
    """How many columns of a key hold every name in full, at least one; of a paper's column one."""
    longest = max(map(len, names), default=0)
    return next((n for n in range(most if look.slide else 1, 1, -1) if longest <= look.letters(0.85 / n)), 1)


def key(place: Any, handles: Sequence[Any], names: Sequence[str], columns: int) -> None:
    """What marks mean, in the place for it."""
    place.legend(handles, names, loc="upper left", bbox_to_anchor=(0.0, 1.0), ncols=columns, handlelength=1.8, borderaxespad=0.0, labelspacing=0.3, columnspacing=1.2)  # fmt: skip


def ticks(axis: Any, which: str, low: float, high: float, look: Style, few: bool = False) -> None:
    """Plain numbers on an axis; of logarithms where the ends are far apart, at 1, 2 and 5 of few decades. `few`: where there is room for three of them."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    one = getattr(axis, f"{which}axis")
    if low > 0.0 and high > 12.0 * low:
        getattr(axis, f"set_{which}scale")("log")
        decades = 500.0 if look.slide else 100.0
        subs = ((1.0,) if high > 50.0 * low else (1.0, 3.0)) if few else (1.0, 2.0, 5.0) if high < decades * low else (1.0,)  # fmt: skip
        one.set_major_locator(LogLocator(subs=subs))
        one.set_minor_locator(NullLocator())
        one.set_minor_formatter(NullFormatter())
    one.set_major_formatter(lambda value, _: number(value))


def number(value: float) -> str:
    """A tick: 5,000, 20k, 3M."""
    for letter in ("B", "M", "k"):
        size = units.parse(f"1 {letter}", "tokens")
        if abs(value) >= 10_000.0 and abs(value) >= size:
            return f"{value / size:,.4g}{letter}"
    return f"{value:,.6g}"


def wrapped(words: str, look: Style, font: float = 0.0, lines: int = 2, share: float = 1.0) -> str:
    """Words in a few lines; what leaves no room ends in an ellipsis."""
    found = textwrap.wrap(plain(words), look.letters(share, font), break_on_hyphens=False)
    if len(found) > lines:
        found = [*found[: lines - 1], textwrap.shorten(found[lines - 1], len(found[lines - 1]) - 2, placeholder="")[:-1] + "…"]  # fmt: skip
    return "\n".join(found)


def short(words: object, letters: int) -> str:
    """One line of so many letters at most."""
    text = plain(str(words))
    return text if len(text) <= letters else text[: letters - 1] + "…"


# Where an answer starts from that its figure does not hold: it draws all lengths and batches.
_POINT = {"crossover": ("batch", "context", "engine")}


def about(result: Result) -> str:
    """What a figure is of, in a line below it."""
    given = {key: value for key, value in result.inputs.items() if key not in _POINT.get(result.command, ())}
    changed = [f"{path}={plain(str(value))}" for path, value in given.get("set", {}).items()]
    said = asked(result) or ", ".join([*(f"{title(k)} {cell(k, v)}" for k, v in given.items() if _told(v)), *changed])
    return f"simcost {result.command}{': ' if said else ''}{said}"


def _told(value: Any) -> bool:
    return value not in (None, "", [], {}, False) and not isinstance(value, dict)


def headed(figure: Any, look: Style, question: str, result: Result, note: str = "") -> None:
    """The question that a figure answers above it, and below it what it is of and how to read it."""
    size = look.font + 2.0 * look.slide
    figure.suptitle(wrapped(question, look, size * 1.08), x=0.01, ha="left", weight="bold", fontsize=size)
    small = max(look.font - 3.0, SMALL)
    words = f"{note}{'. ' if note else ''}{about(result)}. simcost {VERSION}"
    figure.supxlabel(
        wrapped(words, look, small, 3 if look.slide else 6), x=0.01, ha="left", fontsize=small, color=FAINT
    )


def tip(figure: Any, artist: Any, words: str) -> None:
    """What a browser says of a mark under the pointer."""
    known = figure.__dict__.setdefault(_TIPS, {})
    name = f"tip{len(known)}"
    known[name] = plain(words)
    artist.set_gid(name)


def tips(figure: Any) -> dict[str, str]:
    """Name of a mark -> what is said of it."""
    return dict(figure.__dict__.get(_TIPS, {}))


def readable(colour: str) -> str:
    """Ink or paper: what reads on a colour (WCAG's relative luminance)."""
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    red, green, blue = ((x / 12.92) if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return "#ffffff" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "#000000"
