"""How pictures of a validation are made and written (extra `plot`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.files import check, write_whole


def pyplot(path: Path, option: str = "--plot", suffixes: tuple[str, ...] = (".png", ".svg")) -> Any:
    """matplotlib without a display. Raises SpecError when it is missing or the file's suffix is not a picture's."""
    try:
        import matplotlib
    except ImportError:
        raise SpecError(f"{option} {path} needs matplotlib: pip install 'simcost[plot]'") from None
    if path.suffix not in suffixes:
        raise SpecError(f"{option} {path}: the name must end in {' or '.join(suffixes)}")
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # a name with a dollar in it is no formula
    import matplotlib.pyplot as plt

    return plt


def ready(path: Path) -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn or written."""
    pyplot(path)
    check(path, f"--plot {path}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Letters that the font does not have are boxes in a picture, and a name that leaves no room runs out of it: no warnings at the terminal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing|constrained_layout not applied")
        yield


def save(plt: Any, figure: Any, path: Path, option: str = "--plot") -> None:
    """Whole or not at all."""
    picture = io.BytesIO()
    try:
        with _quiet():
            figure.savefig(picture, format=path.suffix[1:], dpi=150)
    finally:
        plt.close(figure)
    write_whole(path, picture.getvalue(), f"{option} {path}", make=False)
