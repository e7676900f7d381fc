"""Lengths of a stage, as a mean and a sigma that may each have a range, in the form in which commands take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIGMAS = ("isl_sigma", "osl_sigma")  # of the natural logarithm of prompts' and answers' lengths


def lengths(values: Mapping[str, Any]) -> dict[str, str]:
    """Arguments of the lengths that have a sigma; others stand as the stage says them."""
    return {
        name.removesuffix("_sigma"): f"lognormal:{values[name.removesuffix('_sigma')]}:{values[name]}"
        for name in SIGMAS
        if name in values
    }
