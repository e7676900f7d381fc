"""Reading a Hugging Face `config.json`: one name a fact, strict types, and a record of every key that was used.

Aliases fold the field's many spellings into one (`n_layer`, `num_layers` -> `num_hidden_layers`). A key read through
`num` may hold an array (a sweep); one read through `layout` decides the structure and must be one integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost import settings
from simcost.errors import SpecError
from simcost.num import Num, is_scalar, num
from simcost.provenance import Kind, Note

ALIASES = {one.key: one.aliases for one in settings.MODEL}
CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
MODELS = ("text_config", "llm_config", "language_config", "thinker_config")  # a language model inside a larger one
PARTS = ("attn_config", "ffn_config")  # of a layer: the sizes of the model stand around them
NESTED = (*MODELS, *PARTS)
RENAMED = {
    "linear_attn_config": {
        "num_heads": "linear_num_heads", "head_dim": "linear_head_dim", "short_conv_kernel_size": "linear_conv_kernel_dim",
        "kda_layers": "kda_layers", "full_attn_layers": "full_attn_layers", "use_full_rank_gate": "kda_full_rank_output_gate",
    },
    "sparse_attention_config": {
        "sparse_index_dim": "index_head_dim", "sparse_num_index_heads": "index_n_heads", "sparse_topk_blocks": "index_topk_blocks",
        "sparse_block_size": "index_block_size", "sparse_local_block": "index_local_blocks", "sparse_init_block": "index_init_blocks",
        "sparse_attention_freq": "sparse_attention_freq", "use_sparse_attention": "use_sparse_attention",
        "sparse_disable_index_value": "sparse_disable_index_value", "sparse_score_type": "sparse_score_type",
    },
    "loop_config": {
        "core_start": "loop_layer_index_start", "core_end": "loop_layer_index_end", "num_passes": "loop_num_passes", "gate_rank": "loop_gate_rank",
    },
    "mtp_config": {
        "num_nextn_predict_layers": "num_nextn_predict_layers", "local_layer_ids": "mtp_local_layer_ids", "chain_hidden_post_norm": "chain_hidden_post_norm",
    },
    "attention_other_setting": {
        "attention_type": "swa_attention_type", "num_attention_heads": "swa_num_attention_heads", "num_attention_groups": "swa_num_key_value_heads",
        "num_key_value_heads": "swa_num_key_value_heads", "head_dim": "swa_head_dim", "true_head_dim": "swa_true_head_dim",
    },
}  # fmt: skip
# Files also state the training length by an alias of the longest context; the key's own name wins.
_LIMITS = ("max_position_embeddings",)
_COUNTS = frozenset(one.key for one in settings.MODEL if one.kind in (settings.COUNT, settings.LENGTH))
_OF_ALL = ("hidden_size", "vocab_size", "num_hidden_layers")  # counts of the model, not of a layer
WRAPPER = "wrapper_model_type"  # the type of the class around the language model, whose own type takes the key's place
TIES = "tie_word_embeddings"
WRAPPER_TIES = "wrapper_tie_word_embeddings"  # what the wrapper says of it, where its language model says otherwise
_LARGEST = 1e8
MISSING: Any = object()


def canonical(key: str) -> str:
    """The Hugging Face name of a config key; a key that is no alias stays as it is."""
    return CANONICAL.get(key, key)


def flatten(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config as one level of canonical keys; nested text, attention and FFN tables are laid over the outer ones; a null
    spelling is absent where another has a value. The type of a wrapper, and what it says of
    tied embeddings, are kept beside those of its language model. Raises SpecError where two spellings of a key contradict each other."""
    flat: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    config = _renamed(config)
    inner = [_of_layers(name, config[name], config) for name in NESTED if isinstance(config.get(name), Mapping)]
    outer = {key: value for key, value in config.items() if not (key in NESTED and isinstance(value, Mapping))}
    for table in (outer, *(flatten(part, where) for part in inner)):
        nested = table is not outer
        for key, value in table.items():
            name = canonical(key)
            known = flat.get(name)
            if (value is None or (isinstance(value, str) and not value)) and known is not None:
                continue  # files state one spelling and leave its twins null; tables of an FFN have no model_type
            if not nested and known is not None and not _same(known, value):
                if name not in _LIMITS and not (name == "hidden_act" and _act(known) == _act(value)):
                    raise SpecError(f"{where}: '{key}' = {value!r} contradicts '{spelled[name]}' = {known!r}")
                if key != name:
                    continue
            flat[name] = value
            spelled[name] = key
    if config.get("model_type") not in (None, flat.get("model_type")):
        flat[WRAPPER] = config["model_type"]
    if config.get(TIES) not in (None, flat.get(TIES)):
        flat[WRAPPER_TIES] = config[TIES]
    return flat


def _renamed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the keys of tables that have names of their own; one that is not known keeps the table's name before its own."""
    for table, names in RENAMED.items():
        inner = config.get(table)
        if isinstance(inner, Mapping):
            found = {names.get(key, f"{table}.{key}"): value for key, value in inner.items()}
            config = {**{key: value for key, value in config.items() if key != table}, **found}
    return config


def _of_layers(name: str, inner: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A nested table without sizes of the model that stand around it, where it is of a part of a layer: DBRX's class sets those in its table anew."""
    if name not in PARTS:
        return inner
    held = {canonical(key) for key, value in config.items() if value is not None} & {*_OF_ALL}
    return {key: value for key, value in inner.items() if canonical(key) not in held}


def shadowed(config: Mapping[str, Any]) -> list[str]:
    """Numbers that a nested table and what is around it state differently: the keys of those that do not hold, by their paths."""
    found = []
    for name in NESTED:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            theirs = {canonical(key): key for key in inner}
            both = [key for key, value in config.items() if canonical(key) in theirs and _is_number(value)]
            for key in both:
                twin = theirs[canonical(key)]
                if _is_number(inner[twin]) and not _same(config[key], inner[twin]) and canonical(key) != TIES:
                    loses = name in PARTS and canonical(key) in _OF_ALL
                    found.append(f"{name}.{twin}" if loses else key)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float, list))


def outer_keys(config: Mapping[str, Any]) -> set[str]:
    """Keys that stand beside a nested language model and not in it, by their canonical names."""
    inner = next((config[name] for name in MODELS if isinstance(config.get(name), Mapping)), None)
    if inner is None:
        return set()
    return ({canonical(key) for key in config} - {canonical(key) for key in inner}) | outer_keys(inner)


def _act(word: Any) -> Any:
    """An activation by one word: SwiGLU is SiLU beside a gate, which other keys or the class state."""
    return {"swiglu": "silu", "swish": "silu"}.get(word, word) if isinstance(word, str) else word


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else bool(a == b)


class Reader:
    """A config being read. `implied` are family facts without a key; what the file says wins over them."""

    def __init__(self, config: Mapping[str, Any], implied: Mapping[str, Any], where: str) -> None:
        self.config = dict(config)
        self.implied = dict(implied)
        self.where = where
        self.used: set[str] = set()
        self.asked: set[str] = set()  # also of what only its presence was asked
        self.kinds: dict[int, str] = {}  # words for layers that were worked out: every plug-in asks for them
        self.scalar: set[str] = set()
        self.notes: list[Note] = []
        self.layer: int | None = None  # that is read: a count may be a list of one per layer
        self._counts: dict[tuple[str, float, float, int | None], Num] = {}

    def has(self, key: str) -> bool:
        """Whether the fact is given and not null."""
        self.asked.add(key)
        return self.config.get(key) is not None or self.implied.get(key) is not None

    def given(self, key: str) -> bool:
        """Whether the fact is given and not switched off: not null, false, 0 or empty."""
        value = self._raw(key)
        return bool(np.any(value)) if isinstance(value, np.ndarray) else bool(value)

    def off(self, key: str) -> bool:
        """Whether a fact that a class implies is switched off, as swaps do; the key then counts as used."""
        if self._raw(key) is not False:
            return False
        self.used.add(key)
        return True

    def raw(self, key: str, default: Any = None) -> Any:
        """The value of a key as the config has it, else the family; `default` where neither has. The key counts as used, and as one that
        decides the structure: only what `num` and `fraction` read may be an array."""
        self.scalar.add(key)
        self.used.add(key)
        value = self._raw(key)
        return default if value is None else value

    def _read(self, key: str) -> Any:
        self.used.add(key)
        return self._raw(key)

    def _raw(self, key: str) -> Any:
        self.asked.add(key)
        value = self.config.get(key)
        return self.implied.get(key) if value is None else value

    def note(self, text: str, kind: Kind = Kind.SAID, *about: str) -> None:
        """Keeps a note for the answer, each once. `kind`: what it is about; `about`: the keys that it speaks of."""
        if text not in self.notes:
            self.notes.append(Note(text, kind, about))

    def ineffective(self, key: str, why: str) -> None:
        """Takes a key as read and says that it changes nothing here, with the reason, where the config states it."""
        self.used.add(key)
        if self.config.get(key) is not None:
            self.note(f"{key} has no effect: {why}", Kind.UNUSED, key)

    def num(self, key: str, default: Any = MISSING, least: float = 1.0, most: float = _LARGEST) -> Num:
        """A count from `least` to `most`, scalar or array; of a list of one a layer that of the layer that is read. Without `default` a missing key raises
        SpecError, as any other value does."""
        value = self._read(key)
        if value is None:
            if default is MISSING:
                raise SpecError(f"{self.where}: missing key '{key}'")
            return num(default)
        at = self.layer if isinstance(value, list) else None
        if (key, least, most, at) not in self._counts:  # layers ask for the same ones, each anew
            value = self._of_layer(key, value) if isinstance(value, list) else value
            self._check(key, value, least, most)
            self._counts[key, least, most, at] = num(value)
        return self._counts[key, least, most, at]

    def _of_layer(self, key: str, value: list[Any]) -> Any:
        """The entry of the layer that is read, where the key is one of a layer; else the one that all have."""
        layers = self.config.get("num_hidden_layers")
        if not value or len(value) != layers:
            raise SpecError(
                f"{self.where}: '{key}' must be an integer, or a list of one per layer, not {_short(value)}"
            )
        if self.layer is not None and key not in _OF_ALL:
            return value[min(self.layer, len(value) - 1)]  # a module of multi-token prediction is like the last
        if any(each != value[0] for each in value):
            raise SpecError(f"{self.where}: '{key}' must be one integer for all layers, not {_short(value)}")
        return value[0]

    def entries(self) -> tuple[str, ...]:
        """What lists of one count a layer say of the layer that is read."""
        assert self.layer is not None
        lists = (value for key, value in self.config.items() if isinstance(value, list) and key in _COUNTS)
        return tuple(repr(value[self.layer]) for value in lists if self.layer < len(value))

    def layout(self, key: str, default: Any = MISSING, least: float = 0.0, most: float = _LARGEST) -> int:
        """A count that decides which layers exist: one integer. Raises SpecError for an array, and as `num`."""
        self.scalar.add(key)
        value = self.num(key, default, least, most)
        if not is_scalar(value):
            raise SpecError(f"{self.where}: '{key}' decides the structure, so it must be one integer for all layers")
        return int(value)

    def _check(self, key: str, value: Any, least: float, most: float) -> None:
        for item in np.ravel(value) if isinstance(value, np.ndarray) else (value,):
            if isinstance(item, (bool, np.bool_)) or not isinstance(item, (int, float, np.integer, np.floating)):
                raise SpecError(f"{self.where}: '{key}' must be an integer, not {item!r}")
            if item != item or item in (float("inf"), float("-inf")) or item != int(item):
                raise SpecError(f"{self.where}: '{key}' must be an integer, not {item!r}")
            if not least <= item <= most:
                raise SpecError(f"{self.where}: '{key}' = {int(item)} is outside {int(least)} to {int(most):,}")

    def fraction(self, key: str, default: float) -> Num:
        """A number in (0, 1], scalar or array; `default` when absent. Raises SpecError for anything else."""
        value = self._read(key)
        if value is None:
            return default
        ok = not isinstance(value, bool) and isinstance(value, (int, float, np.ndarray))
        if not ok or not np.all((np.asarray(value, float) > 0) & (np.asarray(value, float) <= 1)):
            raise SpecError(f"{self.where}: '{key}' must be a number in (0, 1], not {value!r}")
        return num(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value; `default` when absent. Raises SpecError for anything else than true or false."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise SpecError(f"{self.where}: '{key}' must be true or false, not {value!r}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A string; `default` when absent. Raises SpecError for anything else."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise SpecError(f"{self.where}: '{key}' must be a string, not {value!r}")
        return value

    def biased(self) -> bool:
        """Whether every linear layer has a bias."""
        return self.flag("use_bias") or not self.flag("no_bias", True)

    def items(self, key: str) -> list[Any] | None:
        """A list, or None when absent. Raises SpecError for anything else."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise SpecError(f"{self.where}: '{key}' must be a list, not {value!r}")
        return value

    def per_layer(self, key: str, layer: int, layers: int) -> Any:
        """The entry of a list that has one item a layer, or None when the list is absent or empty; one that goes on to the modules of multi-token prediction
        has theirs after the layers', another gives its last for them. Raises SpecError for a list of another length."""
        entries = self.items(key)
        if entries is None or not entries:
            return None
        if len(entries) != layers and not self.goes_on(key, layers):
            raise SpecError(f"{self.where}: '{key}' has {len(entries)} entries for {layers} layers ({self.counting()})")
        return entries[min(layer, len(entries) - 1)]

    def counting(self) -> str:
        """The keys that say how many entries a list of layers may have."""
        more = self.has("num_nextn_predict_layers")
        return f"num_hidden_layers{' and num_nextn_predict_layers' if more else ''}"

    def goes_on(self, key: str, layers: int) -> bool:
        """Whether a list of layers has an item for each module of multi-token prediction too."""
        entries, beyond = self._raw(key), self._raw("num_nextn_predict_layers")
        counted = isinstance(beyond, int) and not isinstance(beyond, bool) and beyond > 0
        return isinstance(entries, list) and counted and len(entries) == layers + beyond

    def divisible(self, size: Num, parts: Num, what: str) -> None:
        """Raises SpecError, which begins with `what`, where `parts` does not divide `size`."""
        if not np.all(np.asarray(size) % np.asarray(parts) == 0):
            raise SpecError(f"{self.where}: {what}: {_whole(size)} is not divisible by {_whole(parts)}")


def _short(value: list[Any]) -> str:
    return repr(value) if len(value) <= 8 else f"[{', '.join(map(repr, value[:8]))}, ...]"


def _whole(value: Num) -> str:
    return ", ".join(f"{item:.0f}" for item in np.ravel(value))
