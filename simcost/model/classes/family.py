"""What a model's class implies beyond its config: facts of its code, defaults of keys that a file leaves out, keys that it derives from others.

Facts stand in `families.toml`, by hand from each modeling file; defaults and the keys that a class reads in `classes.toml`, recorded from the classes. A key
that a file states as null is no key that it leaves out: the class then gets null. Most likely to be wrong: a repository with code of its own under the name of
a class, whose defaults are others. Source: Hugging Face transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost.hf import WRAPPER
from simcost.model.keys import on
from simcost.texts import toml

_TABLES = (
    "source",
    "defaults",
    "derived",
    "renamed",
    "layer_words",
    "reads",
    "uncounted",
)  # of an entry, beside its facts


class Sections(Mapping[str, dict[str, Any]]):
    """The tables of a TOML file that begins each by a line `[name]`, parsed when it is asked for: a question is about one class of hundreds."""

    def __init__(self, text: str) -> None:
        parts = f"\n{text}".split("\n[")[1:]  # faster than a pattern over a hundred kilobytes
        self._texts = {part[: part.index("]")].strip('"'): f"[{part}" for part in parts}
        self._read: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        if name not in self._read:
            self._read[name] = toml(self._texts[name])[name]
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, name: object) -> bool:
        return name in self._texts


@cache
def families() -> Mapping[str, dict[str, Any]]:
    """families.toml: model_type -> the facts that its code fixes and configs leave out, by config key."""
    return _table("families.toml")


@cache
def _classes() -> Mapping[str, dict[str, Any]]:
    """classes.toml: model_type -> `reads`, the keys of the config that its class reads, `defaults`, `sizes`; of a wrapper `inner` and `ties_outside`."""
    return _table("classes.toml")


def _table(name: str) -> Sections:
    return Sections((Path(__file__).parent / name).read_text(encoding="utf-8"))


@cache
def words() -> frozenset[str]:
    """The keys of all facts."""
    return frozenset(key for table in families().values() for key in table if key not in _TABLES)


@cache
def defaults(family: str) -> Mapping[str, Any]:
    """What the class takes where a file leaves a key out."""
    return {**_classes().get(family, {}).get("defaults", {}), **families().get(family, {}).get("defaults", {})}


def inner_types(kind: str) -> Mapping[str, str]:
    """The type that a multimodal class gives each table of a language model that states none."""
    found: dict[str, str] = _classes().get(kind, {}).get("inner", {})
    return found


@cache
def inside(family: str) -> Mapping[str, int]:
    """The sizes that the class takes where a file leaves them out of the table of a nested model: those of `defaults` are of every config."""
    return {**_classes().get(family, {}).get("sizes", {}), **defaults(family)}


def filled(family: str) -> set[str]:
    """Keys that have a value where a config leaves them out, and none where it states null."""
    return {*defaults(family), *families().get(family, {}).get("derived", {})}


# Files that name the type of another class, or one that is none: the architecture says which it is.
# LLaVA's own classes (haotian-liu/LLaVA, llava/model/language_model) are the named one, with a tower and a projector beside it.
_BY_ARCHITECTURE: dict[str, tuple[str, tuple[str | None, ...]]] = {
    "Grok1ForCausalLM": ("grok-2", ("git", None)),
    "DeepseekV4ForCausalLM": ("deepseek_v4", ("deepseek_ref",)),
    "LlavaLlamaForCausalLM": ("llama", ("llava_llama", "llava")),
    "LlavaMistralForCausalLM": ("mistral", ("llava_mistral", "llava")),
    "LlavaQwenForCausalLM": ("qwen2", ("llava_qwen", "qwen2")),
}


def by_architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the model_type that its architecture proves, where it states a wrong one."""
    named = config.get("architectures")
    for name in named if isinstance(named, list) else ():
        kind, wrong = _BY_ARCHITECTURE.get(name, ("", ())) if isinstance(name, str) else ("", ())
        if kind and config.get("model_type") in wrong:
            return {**config, "model_type": kind}
    return dict(config)


def ties_outside(kind: str) -> bool | None:
    """What a multimodal class takes where its outer table does not say whether the head is tied; None where that is read inside."""
    found = _classes().get(kind, {}).get("ties_outside")
    return None if found is None else bool(found)


def is_recorded(kind: str) -> bool:
    """Whether the class was asked."""
    return kind in _classes()


def uncounted(family: str) -> str:
    """Weights of the class that no block has; "" for none."""
    return str(families().get(family, {}).get("uncounted", ""))


def renamed(family: str, name: str) -> list[str]:
    """Keys that this class alone has for what the readers call `name`."""
    return [key for key, ours in families().get(family, {}).get("renamed", {}).items() if ours == name]


def implied(family: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the family, the defaults of what `config` leaves out, and what its class derives of what is then there."""
    table = families().get(family, {})
    facts = {key: value for key, value in table.items() if key not in _TABLES}
    taken = inside(family) if config.get(WRAPPER) is not None else defaults(family)
    facts |= {key: value for key, value in taken.items() if key not in config}
    for key, rule in table.get("derived", {}).items():
        size = _derived(rule, {**facts, **config}) if key not in config else None
        facts |= {} if size is None else {key: size}
    return facts


def _derived(rule: list[Any], sizes: Mapping[str, Any]) -> Any:
    """[multiple, key] or [key, "//", key]; None where a size is not there, or no number above 0."""
    found: list[Any] = [sizes.get(part) if isinstance(part, str) else part for part in rule if part != "//"]
    if not all(map(_above_zero, found)):
        return None
    return found[0] // found[1] if "//" in rule else found[0] * found[1]


def _above_zero(size: Any) -> bool:
    number = isinstance(size, (int, float, np.ndarray)) and not isinstance(size, bool)
    return number and bool(np.all(np.asarray(size) > 0))


def uncovered(family: str, config: Mapping[str, Any]) -> str:
    """Why the entry of a family does not cover a config; "" where it does."""
    table = families().get(family, {})
    for needed in table.get("needs", ()):
        spelled = needed if isinstance(needed, list) else [needed]
        if all(config.get(key) is None for key in spelled):
            names = " or ".join(f"'{key}'" for key in spelled)
            return f"missing key {names}, for which implementations of {family} use different defaults"
    for key, covered in table.get("only", {}).items():
        value = config.get(key)
        if value is not None and not any(
            value is one or (value == one and type(value) is type(one)) for one in covered
        ):
            said = f"only {', '.join(map(repr, covered))}" if covered else "only where it is absent"
            return f"not modelled: '{key}' = {value!r} of {family}: {said}"
    if table.get("square") and config.get("head_dim") is not None:
        sizes: list[Any] = [config.get(key) for key in ("head_dim", "num_attention_heads", "hidden_size")]
        if all(map(_above_zero, sizes)) and np.any(np.not_equal(sizes[0] * sizes[1], sizes[2])):
            return f"not modelled: 'head_dim' of {family}: num_attention_heads x head_dim must be hidden_size, as in its output projection"
    return ""


def covered(family: str) -> frozenset[str]:
    """The keys of which the entry of a family covers some values alone: of a config that `uncovered` passes they say nothing new."""
    return frozenset(families().get(family, {}).get("only", ()))


def superseded(family: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Stated keys that mean nothing to the class beside another one that is stated, each with that one."""
    table = families().get(family, {}).get("superseded", {})
    return {key: by for key, by in table.items() if config.get(by) is not None and config.get(key) is not None}


def reads(family: str) -> set[str]:
    """The keys that the class of the family reads, or the repositories' own code; none for a family whose class is not recorded."""
    return {*_classes().get(family, {}).get("reads", ()), *families().get(family, {}).get("reads", ())}


def ignored(family: str, config: Mapping[str, Any], sizes: frozenset[str]) -> set[str]:
    """Keys of `sizes` that are on and that the class of the family does not read; none for a family whose class is not recorded."""
    if _classes().get(family, {}).get("reads") is None:
        return set()
    return {key for key in sizes.intersection(config) if key not in reads(family) and on(config[key])}
