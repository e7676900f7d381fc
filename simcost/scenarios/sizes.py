"""A plan in one option, "tp=8,pp=2,global_batch=512": settings of a plan or a step for the second model of a question."""

from __future__ import annotations

from typing import Any

from simcost import grammar, settings
from simcost.errors import SpecError


def read(option: str, text: Any) -> dict[str, Any]:
    """Settings by path of a text; {} for None. Names of a plan's sizes stand without "plan.". Raises SpecError, which names
    the option."""
    if text is None:
        return {}
    plan = settings.spelled("plan")
    parts = [part.strip() for part in str(text).split(",")]
    said = [f"plan.{part}" if part.partition("=")[0].strip() in plan else part for part in parts]
    try:
        return grammar.assignments(said)
    except SpecError as error:
        raise SpecError(f"{option} {text}: {str(error).replace('--set ', '')}") from None
