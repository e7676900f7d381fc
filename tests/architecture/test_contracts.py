"""Who may import whom: the contracts of pyproject.toml, and rooms that stay small enough to be looked over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
MOST = 22  # files of a folder, `__init__` apart


def test_the_contracts_hold() -> None:
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == 0


def test_no_folder_is_crowded() -> None:
    files = Counter(
        path.parent.relative_to(ROOT) for path in (ROOT / "simcost").rglob("*.py") if path.stem != "__init__"
    )
    plug_ins = {Path("simcost/measure/kernels"), Path("simcost/calibration/families")}
    crowded = {str(folder): count for folder, count in files.items() if count > MOST and folder not in plug_ins}
    assert crowded == {}
