"""Names of kernels as a table shows them: what tells one kernel from another, in 42 characters.

CUDA names are written out, with namespaces and template arguments; HIP names are mangled (Itanium C++ ABI, <mangled-name>: `_ZN`, then length and word of each namespace and of the name);
Tensile, which makes the matrix products of ROCm, spells all settings of a kernel, of which the tile tells most. Most likely to be wrong: mangled names with substitutions before the name itself, which are
shown as they are.
"""

from __future__ import annotations

import re

from simcost.errors import plain

_LONGEST = 42
_ANONYMOUS = "(anonymous namespace)::"
_SPACES = re.compile(
    r"\b[a-zA-Z_]\w*::|\((?:int|unsigned int|bool|long)\)"
)  # namespaces, and kinds of numbers among what a template is made of
_WRAPS = re.compile(r"\A(?:(?:device_kernel|enable_sm\w+|Kernel2?)<)+")  # of CUTLASS: what they hold says more
_MANGLED = re.compile(r"_ZNK?")
_HELD = re.compile(r"\AILi\d+ENS_")  # kentry<1, what runs>, of Composable Kernel
_TENSILE = re.compile(r"\ACijk_(\w+?)_.*?(MT\d+x\d+x\d+)")


def short(name: str) -> str:
    """A kernel's name without namespaces and what wraps it; its beginning where it is long."""
    shown = plain(name.removeprefix("void ").replace(_ANONYMOUS, ""))
    if found := _TENSILE.match(shown):
        shown = f"Cijk_{found[1]} {found[2]}"
    elif shown.startswith("_Z"):
        shown = _written_out(shown)
    elif not shown.startswith(("Mem", "aten::")):
        shown = _WRAPS.sub("", _SPACES.sub("", shown)).partition("(")[0] or shown
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def _written_out(name: str) -> str:
    """The last word of a mangled name, with what it holds where it only wraps it, and its template arguments, which tell two of one name apart, as they are."""
    nested = _MANGLED.match(name)
    word, at = _word(name, nested.end() if nested else len("_Z"))
    if word == "kentry" and (held := _HELD.match(name[at:])):
        word, at = _word(name, at + held.end())
    return f"{word} {name[at:]}" if word else name


def _word(name: str, at: int) -> tuple[str, int]:
    """The last of the words with their lengths that stand from a place on, and where they end; "" where there is none."""
    word = ""
    while (size := re.compile(r"\d{1,3}").match(name, at)) and size.end() + int(size[0]) <= len(name):
        at = size.end() + int(size[0])
        word = name[size.end() : at]
    return word, at
