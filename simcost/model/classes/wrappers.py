"""What a multimodal class takes its language model to be where the table of it does not say: its type, and, by that type, the sizes that the file leaves out.

A file of transformers states of a nested model only what differs from the defaults of its class, its type and its sizes among them: LLaVA's 1.5 of 7B states neither
width nor layers. Most likely to be wrong: a file of a repository's own code, whose wrapper has the type of a class and another language model inside.
Source: the classes of transformers 5.24.0 (`inner` and `sizes` of classes.toml); `to_diff_dict` of its `configuration_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.hf import MODELS
from simcost.model.classes.family import inner_types


def typed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a model_type in every nested language model whose wrapper's class gives it one and whose table states none."""
    types = inner_types(str(config.get("model_type", "")))
    out = dict(config)
    for name in MODELS:
        table = config.get(name)
        if isinstance(table, Mapping):
            named = {} if table.get("model_type") or name not in types else {"model_type": types[name]}
            out[name] = typed({**table, **named})
    return out
