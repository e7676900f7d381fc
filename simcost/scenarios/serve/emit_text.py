"""Launch commands as text: words quoted for a shell, files as here-documents, keys as YAML."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from simcost.errors import prose
from simcost.frozen import frozen

HEAD = "HEAD_ADDRESS"  # stands for the address of the first node


@frozen
class Launch:
    """A server. title: its pool, "" where there is one; start: the words before its options; options: of each node;
    file: (name, text) of its options beside the line, ("", "") where there are none; copies: servers like it; gpus:
    of one of them, over `nodes` machines."""

    title: str
    start: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    file: tuple[str, str]
    copies: int
    gpus: int
    nodes: int

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """The words of each node's line."""
        return tuple((*self.start, *words) for words in self.options)


@frozen
class Emitted:
    """The servers of a plan, and what stands before them. source: where the options are documented."""

    engine: str
    version: str
    source: str
    launches: tuple[Launch, ...]
    router: tuple[str, ...] = ()
    router_file: tuple[str, str] = ("", "")
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """A shell script, with what it stands for in comments."""
        lines = [f"# {self.source}"]
        for launch in self.launches:
            lines += _script(launch)
        if self.router:
            lines += ["", "# the router", *_here(self.router_file), shlex.join(self.router)]
        return "\n".join([*lines, *(f"# {prose(note)}" for note in self.notes), ""])


def plain(value: Any) -> str:
    """A value as a word."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def yaml(kept: Mapping[str, Any]) -> str:
    """A file of keys, those with a dot nested one deep."""
    lines: list[str] = []
    for name, value in kept.items():
        table, _, key = name.partition(".")
        if key and f"{table}:" not in lines:
            lines += [
                f"{table}:",
                *(f"  {_pair(each[len(table) + 1 :], kept[each])}" for each in kept if each.startswith(f"{table}.")),
            ]
        elif not key:
            lines.append(_pair(name, value))
    return "\n".join([*lines, ""])


def _pair(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{key}: {str(value).lower()}"
    shown = plain(value)
    safe = not isinstance(value, str) or shown.replace("_", "").isalnum()
    return f"{key}: {shown if safe else json.dumps(shown)}"


def _script(launch: Launch) -> list[str]:
    """Lines of one server: what it is, its file, the command of each node."""
    what = f"{launch.title}: " if launch.title else ""
    many = f"{launch.copies} servers like this, each" if launch.copies > 1 else "one server"
    lines = ["", f"# {what}{many} of {launch.gpus} GPU{'s' if launch.gpus > 1 else ''}", *_here(launch.file)]
    for at, words in enumerate(launch.options):
        if len(launch.options) > 1:
            lines.append(f"# node {at + 1} of {len(launch.options)}; {HEAD} is the address of the first")
        lines.append(_folded(launch.start, words))
    return lines


def _here(file: tuple[str, str]) -> list[str]:
    """A file as a here-document."""
    name, text = file
    return [f"cat > {shlex.quote(name)} <<'END'", text.rstrip("\n"), "END"] if name else []


def _folded(start: Sequence[str], words: Sequence[str]) -> str:
    """A command, an option a line."""
    lines = [list(start)]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)
