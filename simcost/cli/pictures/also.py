"""--plot: a picture beside the answer at the terminal."""

from __future__ import annotations

from pathlib import Path

from simcost.cli.output import PAGE, PICTURES, suffix_of
from simcost.errors import SpecError
from simcost.files import check, write_whole
from simcost.result import Result

_ENDS = (*PICTURES, ".html")


def ready(path: Path | None) -> None:
    """Raises SpecError, before the work, for a picture that cannot be drawn or written."""
    if path is None:
        return
    if path.suffix.lower() not in _ENDS:
        raise SpecError(f"--plot {path}: the name must end in {', '.join(_ENDS[:-1])} or {_ENDS[-1]}")
    from simcost.report.figures import kinds

    kinds.ready(f"--plot {path}")
    check(path, f"--plot {path}")


def also(result: Result, path: Path | None, name: str) -> None:
    """Draws one figure of an answer, or its page, by the file's suffix. Raises SpecError for an answer without it, and where it cannot be written."""
    if path is None:
        return
    from simcost.report.figures import kinds

    if suffix_of(path) == PAGE:
        from simcost.report.page.page import page

        write_whole(path, page(result), f"--plot {path}", make=False)
        return
    if name not in kinds.names(result):
        raise SpecError(f"--plot {path}: this result cannot be drawn as {name}")
    kinds.write(result, path, name, said=f"--plot {path}")
