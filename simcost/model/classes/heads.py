"""What the `architectures` of a config say of the head: models that classify or embed have none over the vocabulary, drafts of speculative decoding are no models of their own.

Most likely to be wrong: a repository's own class under the name of one of transformers. Sources: transformers 5.24.0, `modeling_layers.py`
(GenericForSequenceClassification: `score`, without bias; GenericForTokenClassification: with one) and `configuration_utils.py` (two labels where the file names none);
SafeAILab/EAGLE (a draft takes the embedding, and in part the head, of the model that it drafts for).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import NotModelled, SpecError
from simcost.hf import TIES
from simcost.model.classes.family import is_recorded

_WAY = "--set model.architectures=null reads it as a causal language model"
# Parts of the names of classes that share weights with another model, or have a head of several layers -> what they are.
_OTHERS = {
    "eagle": "a draft of speculative decoding, which shares weights with the model that it drafts for",
    "medusa": "heads of speculative decoding beside another model",
    "speculator": "a draft of speculative decoding, which shares weights with the model that it drafts for",
    "dflash": "a draft of speculative decoding, which shares weights with the model that it drafts for",
    "rewardmodel": "a reward model, whose head is its repository's own",
}
_ROWS = {"ForSequenceClassification": False, "ForTokenClassification": True}  # -> whether the head has a bias
_LABELS = 2  # of a file that names none


def read(config: Mapping[str, Any], flat: Mapping[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """(the config on one level with the keys of its head, how they were found; "" where it has a head over the vocabulary). `config`: as it was before, whose own
    class holds the head. Raises NotModelled for a class that shares weights with another model."""
    name = _named(config)
    other = next((what for part, what in _OTHERS.items() if part in name.lower()), None)
    if other is not None:
        raise NotModelled(f"{where}: not modelled: architectures = {name}: {other} ({_WAY})")
    for ending, bias in _ROWS.items():
        if name.endswith(ending):
            labels = _labels(flat, where)
            said = f"architectures = {name}: the head has {labels} rows, one per label"
            return {**flat, "head_vocab_size": labels, "lm_head_bias": bias, TIES: False}, said
    if name.endswith("Model") and not name.endswith("LMHeadModel") and is_recorded(str(config.get("model_type"))):
        said = f"architectures = {name}: the model has no head; a step's logits are those of the embedding's weights"
        return {**flat, TIES: True}, said
    return dict(flat), ""


def _named(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""


def _labels(flat: Mapping[str, Any], where: str) -> int:
    """How many labels a classifier has."""
    table, stated = flat.get("id2label"), flat.get("num_labels")
    if isinstance(table, Mapping) and table:
        return len(table)
    if stated is None:
        return _LABELS
    if type(stated) is not int or stated < 1:
        raise SpecError(f"{where}: 'num_labels' must be a positive integer, not {stated!r}")
    return stated
