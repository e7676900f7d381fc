"""What a setting is: its kind, default, and what it needs."""

from __future__ import annotations

from typing import NamedTuple

ROOTS = ("model", "plan", "phase", "engine", "hw")
STACK = "stack"  # the root of flags of a training stack (`workloads/stacks`), which a training step alone takes
# What a value is, where it is no dimension of `units`. LENGTH: a count of tokens, of which 64k are 65,536.
COUNT, LENGTH, CHOICE, FORMAT, FACTOR, NAME = "count", "length", "choice", "format", "factor", "name"
FLAG, LIST, TABLE = "flag", "list", "table"
WHOLE = (COUNT, LENGTH)
SWITCH, STEPS, TRAIN = ("off", "on"), ("decode", "prefill"), ("train",)
LARGEST = 1_000_000_000
NEEDS = {
    "experts": "a model with routed experts",
    "travels": "tokens that travel to their experts: ep above 1, and ranks that hold different tokens",
    "exchanges": "ranks of a stage that hold different tokens",
    "shared": "a model with shared experts, and either an exchange of tokens or few tokens per rank",
    "mla": "a model with MLA",
    "recurrent": "a model with recurrent states",
    "packed": "weights in a narrower format than they are computed in",
    "tp": "tp above 1",
    "cp": "cp above 1",
    "cp_prefill": "cp above 1, and a step of more than one token",
    "pp": "pp above 1",
}


class Setting(NamedTuple):
    """One key. `kind`: COUNT, LENGTH, CHOICE, FORMAT (of numbers), FACTOR, NAME, FLAG, LIST, TABLE, or a dimension of `units`. `default`: in words.
    `least`: of a count. `needs`: (a value or "" for any, a key of NEEDS) that must hold, or the setting has no effect. `steps`: which take it."""

    root: str
    key: str
    kind: str
    meaning: str
    default: str = ""
    choices: tuple[str, ...] = ()
    least: int = 1
    aliases: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    source: str = ""
    steps: tuple[str, ...] = STEPS

    @property
    def path(self) -> str:
        """As it is written after --set."""
        return self.key if self.root == "phase" or self.key == "engine" else f"{self.root}.{self.key}"

    @property
    def takes(self) -> str:
        """The values in words."""
        if self.kind == CHOICE:
            return ", ".join(self.choices)
        if self.kind in WHOLE:
            return f"whole number from {self.least}" + (" (64k: 65,536)" if self.kind == LENGTH else "")
        words = {FORMAT: "number format", FACTOR: "number from 0 to 1000, or none", FLAG: "true, false"}
        return words.get(self.kind, self.kind.replace("_per_s", "/s").replace("_", " "))
