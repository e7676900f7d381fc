"""A config handed over as a Python mapping, in the place of a name: it is known by its content.

Most likely to be wrong: a mapping that is no plain config, such as one with tensors in it; that is refused. Source: `config.to_dict()` of
Hugging Face transformers, whose `_name_or_path` names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from simcost.errors import SpecError, prose
from simcost.frozen import frozen
from simcost.texts import json_value

_UNNAMED = "config"


@frozen
class Given:
    """`text`: the config as JSON, by which two of one name are told apart."""

    name: str
    text: str

    def __str__(self) -> str:
        return self.name

    @property
    def config(self) -> dict[str, Any]:
        """The config, anew for every reader."""
        found: dict[str, Any] = json.loads(self.text)
        return found


Name: TypeAlias = str | Given  # what a question calls its model


def given(config: Mapping[str, Any]) -> Given:
    """A config by its content, under its `_name_or_path`, else "config". Raises SpecError for what JSON cannot hold."""
    name = config.get("_name_or_path")
    name = prose(name) if isinstance(name, str) and name else _UNNAMED
    if not all(isinstance(key, str) for key in config):
        raise SpecError(f"{name}: a model config must map names to values")
    try:
        text = json.dumps(config, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"{name}: a model config may only hold values that JSON can hold: {error}") from None
    json_value(text, name)
    return Given(name, text)
