"""Keys that mean nothing: one list, a reason each, and none that moves an answer where simcost says so of it."""

from __future__ import annotations

import os
import tomllib
import zlib
from functools import cache
from pathlib import Path

import pytest

import simcost
from simcost import hf, settings
from simcost.errors import SimcostError
from simcost.model import keys, layers, load
from tests.mutation.matrix import Base, Verdict, family

EVERY = os.environ.get("SIMCOST_MUTATIONS") == "all"
VALUES = (True, False, 3, 0.5)
OF = 80  # each config sees a word in so many
TABLE = tomllib.loads((Path(simcost.__file__).parent / "model" / "irrelevant.toml").read_text())


@cache
def kinds() -> dict[tuple[str, str], str]:
    """A shipped config of each pair of types, of the wrapper and of the language model."""
    found: dict[tuple[str, str], str] = {}
    for name in load.names():
        config = load.load_config(name)[2]
        found.setdefault((str(config.get("model_type")), family(config)), name)
    return found


def test_every_word_stands_once_with_a_reason() -> None:
    words = [word for table in TABLE.values() for word in (*table["keys"], *table.get("own", ()))]
    assert len(words) == len(set(words)) == len(keys.IRRELEVANT)
    assert all(table["why"] and set(table) <= {"why", "keys", "own"} for table in TABLE.values())
    assert {keys.REASONS[word] for word in words} == {table["why"] for table in TABLE.values()}


def test_no_word_is_one_that_counts_by_another_table() -> None:
    numbers = {one.key for one in settings.MODEL if one.kind in (settings.COUNT, settings.LENGTH, "fraction")}
    assert not keys.IRRELEVANT & numbers
    assert not keys.IRRELEVANT & set(hf.CANONICAL)
    assert not keys.IRRELEVANT & layers.declared("HANDLES")


@pytest.mark.parametrize("name", sorted(kinds().values()))
def test_a_word_that_is_said_to_mean_nothing_moves_nothing(name: str) -> None:
    config = load.load_config(name)[2]
    inner = next((part for part in hf.MODELS if part in config), None)
    table = config[inner] if inner else config
    new = [word for word in sorted(keys.IRRELEVANT) if word not in table and word not in config]
    some = new if EVERY else [word for word in new if zlib.crc32(f"{name} {word}".encode()) % OF == 0]
    wrong, base = [], Base(config)
    for word in some:
        path: tuple[str, ...] = (inner, word) if inner else (word,)
        for value in VALUES:
            verdict = base.judge(path, value)
            if verdict not in (
                Verdict.NAMED,
                Verdict.REFUSED,
                Verdict.MOVED,
            ):  # moved and not denied: a reader uses it here
                wrong.append((word, value, verdict))
    assert not wrong


def test_a_word_that_a_config_repeats_is_named_with_its_own_value() -> None:
    config = {**load.load_config("llama-3.1-8b")[2], "initializer_range": 0.02, "pad_token_id": 0, "use_cache": True}
    spec = load.load(load.spelled(config))
    assert {"initializer_range", "pad_token_id", "use_cache"} <= set(spec.unused)
    with pytest.raises(SimcostError, match="initializer_rang"):
        simcost.show_model("llama-3.1-8b", set={"model.initializer_rang": 1})
