"""What a multimodal class takes its language model to be where the table of it does not say: its type, and, by that type, the sizes that the file leaves out.

A file of transformers states of a nested model only what differs from the defaults of its class, its type and its sizes among them: LLaVA's 1.5 of 7B states neither
width nor layers. Most likely to be wrong: a file of a repository's own code, whose wrapper has the type of a class and another language model inside.
Source: the classes of transformers 5.24.0 (`inner` and `sizes` of classes.toml); `to_diff_dict` of its `configuration_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.hf import MODELS
from simcost.model.classes.family import families, inner_types


def typed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with a model_type in every nested language model whose wrapper's class gives it one and whose table states none. Older files state the language model on the wrapper's own level: it
    gets a table of its type alone."""
    kind = str(config.get("model_type", ""))
    types = inner_types(kind)
    out = dict(config)
    inside = next(iter(types), "") if kind not in families() else ""
    if (
        inside
        and config.get("hidden_size") is not None
        and not any(isinstance(config.get(one), Mapping) for one in MODELS)
    ):
        out[inside] = {"model_type": types[inside]}
        return out
    for name in MODELS:
        table = config.get(name)
        if isinstance(table, Mapping):
            named = {} if table.get("model_type") or name not in types else {"model_type": types[name]}
            out[name] = typed({**table, **named})
    return out
