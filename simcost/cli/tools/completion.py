"""Completion of words in bash, whose readline hands over `--set plan.tp=8` as four words: it breaks at `=` and `:`.

Typer makes the script of each shell and finds the candidates; here the broken words are put together before, and what stands before the break is taken off the candidates
after. Other shells hand over whole words. Most likely to be wrong: a user's COMP_WORDBREAKS, taken to be readline's own.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout

from simcost import settings

ASKED = "_SIMCOST_COMPLETE"  # Typer's, of the name of the program
_BREAKS = ("=", ":")


def completing(run: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    """`run`, of a command or of a question of bash for candidates."""
    if os.environ.get(ASKED) != "complete_bash":
        return run

    def answered(argv: list[str]) -> int:
        try:
            words, before = joined(_split(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"]))
        except (KeyError, ValueError):  # not as bash's script asks
            return run(argv)
        import shlex

        os.environ["COMP_WORDS"], os.environ["COMP_CWORD"] = shlex.join(words), str(len(words) - 1)
        with redirect_stdout(io.StringIO()) as out:
            code = _ended(run, argv)
        sys.stdout.write("\n".join(replies(out.getvalue().split("\n"), before)))
        return code

    return answered


def joined(words: list[str], current: int) -> tuple[list[str], str]:
    """(the words of a line up to the current one, those that were broken put together; what of the current one stands before its last break)."""
    whole: list[str] = []
    before = ""
    glued = False
    for word in [*words, ""][: current + 1]:
        if word in _BREAKS and whole:
            whole[-1] += word
            before, glued = whole[-1], True
        elif glued:
            whole[-1] += word
            glued = False
        else:
            whole.append(word)
            before = ""
    return whole, before


def replies(candidates: list[str], before: str) -> list[str]:
    """Candidates for the part of a word behind its last break. The only one of a key is followed by what it takes, so that bash puts no space behind `=`."""
    found = [one.removeprefix(before) for one in candidates if one]
    if len(found) == 1 and found[0].endswith("="):
        takes = {f"{one.path}=": one.takes for one in settings.EVERY}
        found.append(f"{found[0]}<{takes.get(before + found[0], 'value')}>")
    return found


def _split(line: str) -> list[str]:
    """Words as bash joined them; an open quotation mark is that of the word being typed."""
    import shlex

    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _ended(run: Callable[[list[str]], int], argv: list[str]) -> int:
    try:
        return run(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
