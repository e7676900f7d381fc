"""torch, or one line that says which extra brings it. Only this package may ask."""

from __future__ import annotations

import importlib
from types import ModuleType

from simcost.errors import SimcostError


def need_torch() -> ModuleType:
    """The torch module. Raises SimcostError naming the extra."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise SimcostError("measuring needs torch, which is not installed: pip install 'simcost[measure]'") from None


def optional(name: str) -> ModuleType | None:
    """A module that may be absent, or broken on this machine; None then."""
    try:
        return importlib.import_module(name)
    except Exception:  # a library that fails to start (no driver, foreign CUDA) is as good as absent
        return None
