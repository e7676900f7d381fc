"""The answer of a question that is written as a command line, in place of its page.

Most likely to be wrong: a command that prints without `emit`; then it has no answer here, which is said.
"""

from __future__ import annotations

from collections.abc import Callable

from simcost.cli import output
from simcost.errors import SpecError, nearest
from simcost.result import Result

COMMANDS = (
    "decode", "prefill", "explain", "compare", "plans", "sweep", "sensitivity", "crossover", "serve", "train", "rl", "think", "distill", "recipe", "loss", "show",
)  # fmt: skip
runs: list[Callable[[list[str]], object]] = []  # what runs a command line: the app, which knows the commands, adds it


def answer(words: list[str]) -> Result:
    """The Result of a question. Raises SpecError for a command that answers none, and as the command does."""
    if not words or words[0] not in COMMANDS:
        known = f"a file of --format json -o, or a question: {', '.join(COMMANDS)}"
        raise SpecError(
            f"{words[0] if words else 'nothing'}: write {known}{nearest(words[0], COMMANDS) if words else ''}"
        )
    with output.kept() as found:
        runs[0](words)
    if not found:
        raise SpecError(f"simcost {words[0]} printed no answer with these options")
    return found[0]
