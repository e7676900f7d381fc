"""Plug-ins are found, not listed: one module, one variant. Those of other packages stand in their entry points.

A package outside the tree adds a variant under the group of the folder that it would stand in: `[simcost.blocks.attention]`, `name = module`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from simcost.errors import SimcostError


@cache
def discover(package: str) -> dict[str, ModuleType]:
    """Every module of `package` by its file stem, private ones (leading underscore) left out, then what other packages declare for it. Raises
    SimcostError for two of one name, and for a declared module that cannot be imported."""
    home = importlib.import_module(package)
    found = {
        info.name: importlib.import_module(f"{package}.{info.name}")
        for info in pkgutil.iter_modules(home.__path__)
        if not info.name.startswith("_")
    }
    for name, module, where in _declared().get(package, ()):
        if name in found:
            raise SimcostError(f"{where}: {package} already has a plug-in {name!r}")
        try:
            found[name] = importlib.import_module(module)
        except ImportError as error:
            raise SimcostError(f"{where}: plug-in {name!r} of {package} cannot be imported: {error}") from None
    return dict(sorted(found.items()))


@cache
def _declared() -> dict[str, list[tuple[str, str, str]]]:
    """Group -> (name, module, whose) of all entry points for simcost. importlib.metadata, which knows them too, takes as long to import as
    half a query."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in _entry_points():
        try:
            data = path.read_bytes()
        except OSError:  # a package that has none
            continue
        group = ""
        for line in data.decode("utf-8", "replace").splitlines() if b"simcost." in data else ():
            text = line.strip()
            if text.startswith("["):
                group = text.strip("[]").strip()
            elif group.startswith("simcost.") and "=" in text and text[0] not in "#;":
                name, module = (part.strip() for part in text.split("=", 1))
                entry = (name, module.partition(":")[0].strip(), path.parent.name)
                if entry not in found.setdefault(group, []):
                    found[group].append(entry)
    return found


def _entry_points() -> Iterator[Path]:
    """Where installed packages have them, in the order of the import path."""
    for folder in dict.fromkeys(sys.path):
        try:
            names = sorted(
                each.name for each in os.scandir(folder or ".") if each.name.endswith((".dist-info", ".egg-info"))
            )
        except OSError:
            continue
        yield from (Path(folder or ".", name, "entry_points.txt") for name in names)
