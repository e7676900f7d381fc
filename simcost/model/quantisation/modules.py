"""Names of modules in a quantisation -> the weights that they are: role, matrix and layers.

A pattern fits a module where it names it, a part of its path or what holds it; "re:" begins a regular expression, signs of a shell's patterns are read as
such. Most likely to be wrong: a module under a name that no class known here uses; it is said. Sources: modeling files of the families;
`should_convert_module` (transformers), `match_named_modules` (compressed-tensors), `is_layer_skipped` (vLLM).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np

from simcost.model.quantisation.patterns import Paths, Steps, expression, placeholder, shell
from simcost.model.quantisation.stored import Held
from simcost.num import Bools, every, is_scalar
from simcost.sharding.shard import Weight

Part = tuple[str, str, str]  # role, matrix, the module of the checkpoint that is a part of it

# Matrices that engines fuse -> their modules.
PARTS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"), "qk_proj": ("q_proj", "k_proj"), "qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"), "gate_up_proj": ("gate_proj", "up_proj"),
    "experts_up": ("gate_proj", "up_proj"), "experts_down": ("down_proj",), "shared_up": ("gate_proj", "up_proj"), "shared_down": ("down_proj",),
    "experts_up_alone": ("up_proj",), "shared_up_alone": ("up_proj",), "router": ("gate",), "shared_gate": ("shared_expert_gate",), "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"), "in_proj_ba": ("in_proj_b", "in_proj_a"),
}  # fmt: skip
# Other names of a module, and names of a module that holds several parts.
_ALIKE = {
    "q_proj": ("wq", "query", "q", "attn_q", "qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv", "att_proj", "fused_qkv_a_proj"),
    "k_proj": ("wk", "key", "k", "attn_k", "qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv", "att_proj"),
    "v_proj": ("wv", "value", "v", "attn_v", "qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv", "att_proj"),
    "o_proj": ("wo", "dense", "out_proj", "c_proj", "attn_out"), "q_a_proj": ("wq_a", "fused_qkv_a_proj"), "kv_a_proj_with_mqa": ("kv_a_proj", "wkv_a", "fused_qkv_a_proj"),
    "q_b_proj": ("q_proj", "wq_b"), "kv_b_proj": ("wkv_b",), "gate_proj": ("w1", "gate_up_proj", "gate_up", "w13", "linear_in", "v1"),
    "up_proj": ("w3", "gate_up_proj", "gate_up", "w13", "c_fc", "fc1", "dense_h_to_4h", "fc_in", "linear_in"),
    "down_proj": ("w2", "c_proj", "fc2", "dense_4h_to_h", "fc_out", "linear_out", "proj"), "gate": ("router", "router.layer", "gate.wg", "gate.weight"),
    "kv_a_proj": ("kv_a_proj_with_mqa",), "in_proj_qkv": ("in_proj_qkvz",), "in_proj_z": ("in_proj_qkvz",), "in_proj_b": ("in_proj_ba",), "in_proj_a": ("in_proj_ba",),
    "index_wq_b": ("indexer.wq_b",), "index_wk": ("indexer.wk", "index_k_proj"), "index_wq": ("index_q_proj",), "index_weights_proj": ("indexer.weights_proj",),
}  # fmt: skip
_HOLDERS = {
    "attention": ("self_attn", "self_attention", "attention", "attn", "linear_attn", "mixer", "mamba", "temporal_block"),
    "ffn": ("mlp", "feed_forward", "ffn", "mixer", "shared_mlp", ""),
    "experts": ("mlp.experts", "block_sparse_moe.experts", "feed_forward.experts", "ffn.experts", "mixer.experts", "experts", "moe.experts", "mlp.switch_mlp",
                "block_sparse_moe.switch_mlp", "feed_forward.switch_mlp", "switch_mlp"),
    "shared_experts": ("mlp.shared_experts", "mlp.shared_expert", "feed_forward.shared_expert", "mixer.shared_experts", "ffn.shared_experts",
                       "shared_mlp", "mlp.shared_mlp", "block_sparse_moe.shared_experts", "moe.shared_experts"),
    "router": ("mlp", "block_sparse_moe", "feed_forward", "ffn", "mixer", "moe", ""),
}  # fmt: skip
_ENDS = {
    "head": ("lm_head", "embed_out", "output_layer", "output_projection", "head"),
    "embedding": ("embed_tokens", "embeddings", "word_embeddings", "wte", "tok_embeddings", "embed"),
}
# Modules that a design may lack: tables that are tied, routers, experts.
_ELSEWHERE = (
    ("head", ""), ("embedding", ""), ("router", "gate"), ("router", "shared_expert_gate"),
    *((role, part) for role in ("experts", "shared_experts") for part in ("gate_proj", "up_proj", "down_proj")),
)  # fmt: skip
_LAYER = re.compile(r"\b(?:layers|h|blocks|block)\.(\d{1,6})\b")
_EXPERT = re.compile(r"\bexperts\.\d+\b")
_TOWER = re.compile(r"vis|audio|tower|encoder|projector|mm_proj|patch_merge")
# Modules whose weights are vectors or that this count has as such, and those of multi-token prediction.
_NEVER = re.compile(r"norm|bias|rotary|conv1d|A_log|(?:^|\.)mtp\b|^mtp|sinks|k_scale|v_scale|score_correction")
_DECODER = re.compile(
    r"^.*?(?=\blayers\.)|^.*?\.(?=lm_head|embed_tokens)"
)  # what wrappers put before the decoder's modules
_MLX = "switch_mlp"
_BEFORE = ("model.", "", "language_model.model.", "model.language_model.", "backbone.")  # a path in a checkpoint
_OF_SHELLS = 2  # the first so many, behind which a shell's patterns are matched
_SHAPE = re.compile(r"\blayers\.([^.]*)")
_SIGNS = re.compile(r"[*?\[]")


def parts(weight: Weight) -> tuple[str, ...]:
    """The modules of the checkpoint that a matrix is made of."""
    return PARTS.get(weight.name, (weight.name,))


def without_gates(held: Held) -> Held:
    """The matrices with those of experts that have no gate, as wide out as the next one is in, under a name that says so."""
    return {role: {layer: tuple(_alone(w, each) for w in each) for layer, each in layers.items()} for role, layers in held.items()}  # fmt: skip


def _alone(weight: Weight, beside: tuple[Weight, ...]) -> Weight:
    if weight.name not in ("experts_up", "shared_up"):
        return weight
    down = next((w for w in beside if w.name == weight.name.replace("up", "down") and w.inner is not None), None)
    if down is None or down.inner is None or not every(weight.out == down.inner):
        return weight
    return replace(weight, name=f"{weight.name}_alone")


@cache
def _paths(role: str, part: str) -> tuple[str, ...]:
    """Every path that a module may have inside the decoder; layer and expert are 1."""
    if role in _ENDS:
        return _ENDS[role]
    found = []
    # Small matrices of a mixer are routers by format, and stand with it.
    place = "attention" if role == "router" and part not in ("gate", "shared_expert_gate") else role
    for holder in _HOLDERS.get(place, (place,)):
        for leaf in (part, *_ALIKE.get(part, ())):
            inside = [holder] if holder else []
            found.append(".".join(["layers.1", *inside, leaf]))
            if role == "experts":
                found.append(".".join(["layers.1", *inside, "1", leaf]))
    return tuple(found)


class Names:
    """The modules of a design, and which of them a pattern fits."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.layers = 1 + max((layer for role in held if role not in _ENDS for layer in held[role]), default=-1)
        matrices = {(role, w.name): w for role, layers in held.items() for each in layers.values() for w in each}
        self.modules: tuple[Part, ...] = tuple(
            (role, name, p) for (role, name), w in matrices.items() for p in parts(w)
        )
        self._known: dict[tuple[str, int | None], tuple[Part, ...]] = {}
        self._steps = Steps()

    def fits(self, pattern: str) -> Iterator[tuple[Part, frozenset[int]]]:
        """The modules that a pattern fits, with the layers in which it does."""
        named = not pattern.startswith("re:") and _TOWER.search(pattern)
        for number, found in () if named else self._numbered(pattern):
            for part in found:
                held = self.held[part[0]]
                layers = frozenset(held) if number is None else frozenset({number} & set(held))
                if part[0] in _ENDS:
                    layers = frozenset(held)
                if layers:
                    yield part, layers

    def outside(self, pattern: str) -> bool:
        """Whether a pattern that fits no module names one beside those that quantisation converts: a tower, a norm, multi-token prediction, a table that is tied, a router or
        experts where the design has none."""
        if _is_pattern(pattern):
            if _matching(pattern, _elsewhere(), self._steps).any():
                return True
        elif _plain(pattern) in _named_elsewhere():
            return True
        number = _LAYER.search(pattern)
        beyond = number is not None and int(number[1]) >= self.layers
        return beyond or _TOWER.search(pattern) is not None or _NEVER.search(pattern) is not None

    def _numbered(self, pattern: str) -> Iterator[tuple[int | None, tuple[Part, ...]]]:
        if pattern.startswith("re:"):
            by_layer = re.search(r"\d|[\[?{]|\\d", pattern[3:]) is not None
            numbers: list[int | None] = [*range(self.layers)] if by_layer else [None]
            for number in numbers:
                yield number, self._known_as(pattern, number)
            return
        stated, shape = _LAYER.search(pattern), _SHAPE.search(pattern)
        if shape is not None and shape[1] != "*" and _SIGNS.search(shape[1]):
            for each in range(self.layers):
                yield each, self._known_as(pattern, each)
        elif stated is None:
            yield None, self._known_as(pattern, None)
        else:
            yield int(stated[1]), self._known_as(_LAYER.sub("layers.1", pattern), None)

    def _known_as(self, pattern: str, layer: int | None) -> tuple[Part, ...]:
        pattern = pattern if pattern.startswith("re:") else _EXPERT.sub("experts.1", pattern)
        if not _is_pattern(pattern):
            return _named(self.modules).get(_plain(pattern), ())
        key = pattern, layer
        if key not in self._known:
            owners, paths = _paths_of(self.modules, None if layer is None else len(str(layer)))
            hits = _matching(pattern, paths if layer is None else paths.numbered(layer), self._steps)
            fitting = {owners[i] for i in np.flatnonzero(hits).tolist()}
            self._known[key] = tuple(part for i, part in enumerate(self.modules) if i in fitting)
        return self._known[key]


def experts_apart(patterns: Iterable[tuple[str, object]], held: Held) -> str | None:
    """The first name of single experts that leaves out others of its layer, which are then not all alike; None where names are of all experts. `patterns`: names with
    what they stand for."""
    copies = {float(w.copies) for each in held.get("experts", {}).values() for w in each if is_scalar(w.copies)}
    named: dict[tuple[str, object], set[str]] = {}
    for pattern, form in patterns:
        found = _EXPERT.search(pattern)
        if pattern.startswith("re:") and re.search(r"experts[\\.(\[]+\d", pattern):
            return pattern
        if found is not None and not pattern.startswith("re:"):
            named.setdefault((_EXPERT.sub("experts.1", pattern), form), set()).add(found[0])
    return (
        next((name for (name, _), numbers in named.items() if float(len(numbers)) not in copies), None)
        if copies
        else None
    )


def _is_pattern(pattern: str) -> bool:
    return pattern.startswith("re:") or _SIGNS.search(pattern) is not None


def _plain(name: str) -> str:
    """A name as it stands in the decoder."""
    return _inner(name).removeprefix("model.").removeprefix("backbone.")


def _inner(name: str) -> str:
    return _DECODER.sub("", name).removesuffix(".weight")


def _by_name(paths: Iterable[tuple[Part, Iterable[str]]]) -> dict[str, tuple[Part, ...]]:
    """The modules that each name fits: that of a path, of a part of it or of what holds it."""
    found: dict[str, dict[Part, None]] = {}
    for part, each in paths:
        for path in each:
            words = path.split(".")
            for first in range(len(words)):
                for last in range(first, len(words)):
                    found.setdefault(".".join(words[first : last + 1]), {})[part] = None
    return {name: tuple(parts) for name, parts in found.items()}


@lru_cache(maxsize=8)
def _named(modules: tuple[Part, ...]) -> Mapping[str, tuple[Part, ...]]:
    """The modules that each name of a design fits. Designs that differ in sizes alone share it."""
    return _by_name((part, _paths(part[0], part[2])) for part in modules)


@lru_cache(maxsize=16)
def _paths_of(modules: tuple[Part, ...], digits: int | None) -> tuple[list[int], Paths]:
    """(the module of each path, the paths) that patterns are matched against, of a layer whose number has so many digits."""
    number = "layers.1" if digits is None else f"layers.{placeholder(digits)}"
    found = [
        (i, path.replace("layers.1", number, 1))
        for i, (role, _, part) in enumerate(modules)
        for path in _for_patterns(_paths(role, part))
    ]
    return [i for i, _ in found], Paths([path for _, path in found])


def _for_patterns(paths: Iterable[str]) -> Iterator[str]:
    """Paths behind all that may stand before them. MLX writes whole names: a pattern of others must not fit its names by chance."""
    for path in paths:
        yield from () if _MLX in path else (before + path for before in _BEFORE)


@cache
def _elsewhere() -> Paths:
    return Paths([path for role, part in _ELSEWHERE for path in _for_patterns(_paths(role, part))])


@cache
def _named_elsewhere() -> frozenset[str]:
    return frozenset(_by_name(((role, part, part), _paths(role, part)) for role, part in _ELSEWHERE))


def _matching(pattern: str, paths: Paths, steps: Steps) -> Bools:
    """Which paths a pattern fits; a shell's pattern may also name what holds a module. Raises Refused."""
    if pattern.startswith("re:"):
        return expression(pattern[3:], paths, steps)
    inner = _inner(pattern)
    signs = dict.fromkeys((inner, inner + ".*", pattern))
    plain = np.arange(len(paths.paths)) % len(_BEFORE) < _OF_SHELLS
    return np.asarray(plain & np.logical_or.reduce([shell(each, paths, steps) for each in signs]), bool)
