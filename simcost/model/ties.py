"""Whether the head is tied, where a multimodal config says it beside its language model and inside it.

Of most such classes transformers 5 reads the outer table, and transformers 4 that of the language model; the file says which of them wrote it. Most likely to
be wrong: a file that a later version wrote without its defaults. Sources: transformers 5.24.0 `modeling_utils.py` (`tie_weights`) and classes.toml, which records
the classes whose outer table decides; transformers 4.57 (`get_text_config(decoder=True).tie_word_embeddings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError
from simcost.hf import MODELS
from simcost.model.family import is_recorded, ties_outside

_KEY = "tie_word_embeddings"


def settled(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The config with one answer. Raises SpecError where two disagree and no version says which is read."""
    name = next((name for name in MODELS if isinstance(config.get(name), Mapping)), None)
    kind = str(config.get("model_type", ""))
    default = ties_outside(kind)
    if name is None or (is_recorded(kind) and default is None):
        return config
    version = str(config.get("transformers_version") or "")
    major = int(version.split(".")[0]) if version.split(".")[0].isdecimal() else None
    outer, inner = config.get(_KEY), config[name].get(_KEY)
    if outer is None and major is not None and major >= 5:
        outer = default
    if outer is None or outer == inner:
        return config
    if inner is None or (major is not None and major >= 5):
        return {**config, name: {**config[name], _KEY: outer}}
    if major is None:
        raise SpecError(
            f"{where}: '{_KEY}' = {outer!r} contradicts {name}'s {inner!r}: transformers 5 reads the first, 4 the second, and transformers_version is absent "
            f"(--set model.{_KEY}=... says which)"
        )
    return config
