"""--help of every command: summaries of commands whole, by subject, and two examples at the end; as wide as the terminal.

Typer's parser makes the page; here two of its parts are replaced on the command itself, where help is asked for. Most likely to be wrong: a later click that writes a page by other parts.
"""

from __future__ import annotations

from typing import Any

WIDEST = 200  # characters of a line


def attach(command: Any) -> None:
    """Let a command, and those inside it, write their page so."""
    command.format_epilog = _epilog(command.format_epilog)
    if hasattr(command, "commands"):
        command.format_commands = _commands(command)


def _epilog(before: Any) -> Any:
    def write(context: Any, formatter: Any) -> None:
        from simcost.cli.help.examples import EXAMPLES

        words = context.command_path.partition(" ")[2]
        if words in EXAMPLES:
            with formatter.section("Examples"):
                for line in EXAMPLES[words]:
                    formatter.write(f"{' ' * formatter.current_indent}simcost {line}\n")
        before(context, formatter)

    return write


def _commands(group: Any) -> Any:
    def write(context: Any, formatter: Any) -> None:
        from simcost.cli.help.examples import SUBJECTS

        found = {name: group.get_command(context, name) for name in group.list_commands(context)}
        rows = {name: (name, _summary(each)) for name, each in found.items() if each is not None and not each.hidden}
        subjects = SUBJECTS if context.parent is None else ()
        listed = {name for _, names in subjects for name in names}
        rest = tuple(name for name in rows if name not in listed)
        for heading, names in (*subjects, ("More" if subjects else "Commands", rest)):
            mine = [rows[name] for name in names if name in rows]
            if mine:
                with formatter.section(heading):
                    formatter.write_dl(mine, col_max=20)

    return write


def _summary(command: Any) -> str:
    """The first sentence of a command, whole."""
    return str(command.get_short_help_str(limit=1000))
