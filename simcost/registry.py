"""Plug-ins are found, not listed: one module, one variant."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def discover(package: str) -> dict[str, ModuleType]:
    """Every module of `package` by its file stem; private modules (leading underscore) are skipped."""
    home = importlib.import_module(package)
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(home.__path__):
        if info.name.startswith("_"):
            continue
        if info.name in found:
            raise ValueError(f"{package}: two plug-ins are named {info.name!r}")
        found[info.name] = importlib.import_module(f"{package}.{info.name}")
    return dict(sorted(found.items()))
