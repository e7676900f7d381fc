"""Every number and flag of every config that ships: changed, it moves an answer, or is named as without effect, or is refused by name.

By default the changes of a value end with the first that moves an answer, lists of like tables are tried at one of each shape, and configs with the same keys at one of them;
`SIMCOST_MUTATIONS=all` makes all changes of all configs (2 minutes). No key is exempt: what means nothing is said by simcost itself (`simcost/model/irrelevant.toml`, `IGNORES` of plug-ins, rules of towers).
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from simcost.model import load
from tests.mutation.matrix import FAULTS, Base, Verdict, changes, family, numbers, settled

EVERY = os.environ.get("SIMCOST_MUTATIONS") == "all"


def tried() -> list[str]:
    """Shipped configs: all, or one of each type and set of keys."""
    found: dict[object, str] = {}
    for name in load.names():
        config = load.load_config(name)[2]
        keys = frozenset(tuple(key for key in path if isinstance(key, str)) for path, _ in numbers(config, EVERY))
        found.setdefault(name if EVERY else (config.get("model_type"), family(config), keys), name)
    return [*found.values()]


@pytest.mark.parametrize("name", tried())
def test_every_number_of_a_shipped_config_counts_or_is_named(name: str) -> None:
    base = Base(load.load_config(name)[2])
    wrong = []
    for path, value in numbers(base.config, EVERY):
        found = base.pair(path, value, EVERY)
        if (verdict := settled(found)) in FAULTS:
            wrong.append(f"{'.'.join(map(str, path))} = {value!r} -> {found[verdict]!r} {verdict.value}")
    assert not wrong, "\n".join([name, *wrong])


def test_the_matrix_is_of_some_size() -> None:
    pairs = sum(1 for name in load.names() for _ in numbers(load.load_config(name)[2], True))
    assert pairs > 2900


@pytest.mark.parametrize(("value", "found"), [
    (8, [((), 16), ((), 4), ((), 9)]), (1, [((), 2), ((), 0)]), (True, [((), False)]), (0.0, [((), 0.5)]), (0, [((), 1)]),
    ([4, 6], [((0,), 8), ((0,), 2), ((0,), 5), ((1,), 12), ((1,), 3), ((1,), 7)]), ([[3], "x"], [((0, 0), 6), ((0, 0), 1), ((0, 0), 4)]),
])  # fmt: skip
def test_changes_are_of_one_number(value: Any, found: list[Any]) -> None:
    assert list(changes(value)) == found


TINY = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-6, "rope_scaling": {"rope_type": "yarn", "factor": 2.0, "beta_fast": 32.0},
    "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.mark.parametrize(("path", "value", "verdict"), [
    (("hidden_size",), 128, Verdict.MOVED), (("num_attention_heads",), 5, Verdict.REFUSED), (("num_hidden_layers",), 0, Verdict.REFUSED), (("rms_norm_eps",), 1e-5, Verdict.NAMED),
    (("rope_scaling", "factor"), 4.0, Verdict.MOVED), (("rope_scaling", "beta_fast"), 16.0, Verdict.NAMED), (("max_position_embeddings",), 8192, Verdict.MOVED),
])  # fmt: skip
def test_a_verdict_is_what_it_says(path: tuple[str, ...], value: Any, verdict: Verdict) -> None:
    assert Base(TINY).judge(path, value) is verdict


def test_what_is_denied_and_moves_is_a_fault_whatever_else_is_true() -> None:
    assert settled({Verdict.MOVED: 1, Verdict.DENIED: 2}) is Verdict.DENIED
    assert settled({Verdict.SILENT: 1, Verdict.REFUSED: 2}) is Verdict.SILENT
    assert settled({Verdict.SILENT: 1, Verdict.NAMED: 2}) is Verdict.NAMED
