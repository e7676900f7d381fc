"""An algorithm by name, and which passes its step needs."""

from __future__ import annotations

from types import ModuleType

from simcost.errors import SpecError, nearest
from simcost.registry import discover

FIELDS = ("GENERATES", "CRITIC", "REFERENCE", "FILTERS", "CLIPS")


def known() -> dict[str, ModuleType]:
    """Every algorithm by its name."""
    return {str(module.NAME): module for module in discover("simcost.learning.algorithms").values()}


def load(name: str) -> ModuleType:
    """The file of an algorithm. Raises SpecError for an unknown name."""
    found = known()
    if name not in found:
        raise SpecError(f"--algorithm {name}: unknown (one of {', '.join(found)}){nearest(name, found)}")
    return found[name]


def needs_old(one: ModuleType, updates: int, stale: bool) -> bool:
    """Whether the trainer computes log-probs of the policy that made the answers: where several updates, or an older
    policy, make the ratio other than 1. With one update of fresh answers it is 1 at every token (verl, pull request
    3996)."""
    return bool(one.CLIPS) and (updates > 1 or stale)
