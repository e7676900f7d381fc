"""Every number and flag of the config that each class of `transformers` writes by default: changed, it moves an answer, is named, or is refused by name.

By default one type in eight is tried; `SIMCOST_MUTATIONS=all` tries all (4 minutes). A type that simcost refuses as it stands is skipped. Words of `irrelevant.toml` stand in the
source of some class, but for those of `own`.
"""

from __future__ import annotations

import os
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.errors import SimcostError
from simcost.model import load
from tests.mutation.matrix import FAULTS, Base, numbers, settled
from tests.oracles import classes

EVERY = os.environ.get("SIMCOST_MUTATIONS") == "all"
TYPES = [kind for kind in (*classes.CAUSAL, *classes.IMAGE_TEXT) if EVERY or zlib.crc32(kind.encode()) % 8 == 0]


@pytest.mark.parametrize("kind", TYPES)
def test_every_number_of_a_class_counts_or_is_named(kind: str) -> None:
    try:
        base = Base(classes.table(classes.config(kind)))
    except (SimcostError, classes.Unbuildable) as error:
        pytest.skip(str(error))
    wrong = []
    for path, value in numbers(base.config, False):
        found = base.pair(path, value, False)
        if (verdict := settled(found)) in FAULTS:
            wrong.append(f"{'.'.join(map(str, path))} = {value!r} -> {found[verdict]!r} {verdict.value}")
    assert not wrong, "\n".join([kind, *wrong])


def words(table: Any) -> Iterator[str]:
    """Every key of a config, at any depth."""
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield key
            yield from words(value)
    elif isinstance(table, list):
        for value in table:
            yield from words(value)


def test_a_word_that_means_nothing_is_some_classes_key() -> None:
    """A word that no class has is one of repositories' own code, and stands under `own`, unless a shipped config has it."""
    tables = tomllib.loads((Path(simcost.__file__).parent / "model" / "irrelevant.toml").read_text())
    home = Path(classes.transformers.__file__).parent
    source = "".join(path.read_text() for path in [*home.glob("models/*/*.py"), *home.glob("*.py")])
    known = set(re.findall(r"\w+", source))
    shipped = {word for name in load.names() for word in words(load.load_config(name)[2])}
    for table in tables.values():
        assert set(table["keys"]) <= known | shipped
        assert not set(table.get("own", ())) & known
