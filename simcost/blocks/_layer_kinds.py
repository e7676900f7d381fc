"""What each layer of a config is, by every key with which configs say so: attention, a window, a recurrent mixer, both, or an FFN alone.

Words are those of `layer_types`; older ones and letters are read as them. Sources: Hugging Face `configuration_utils.py` (legacy names) and the configuration
files of Nemotron-H, Jamba, Bamba, Granite, Qwen3-Next, Llama 4, Gemma and MiMo.
"""

from __future__ import annotations

from typing import Any

from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader
from simcost.num import is_scalar
from simcost.provenance import Kind

FULL, SLIDING, CHUNKED, LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
HYBRID, MLP, MOE = "hybrid", "mlp", "moe"  # attention beside a recurrent mixer; an FFN alone; experts alone
ALONE = (MLP, MOE)
COMPRESSED, HEAVILY_COMPRESSED = "compressed_sparse_attention", "heavily_compressed_attention"  # DeepSeek-V4
CONV = "conv"  # LFM2
INDEXED = "indexed_attention"  # DSA; files of GLM-5.3 and Qwen4 call it full attention
BLOCK_SPARSE = "minimax_m3_sparse"  # MiniMax-M3
_RATIOS = {0: SLIDING, 4: COMPRESSED, 128: HEAVILY_COMPRESSED}  # of its compress_ratios
_SOFTMAX = (1, FULL, "attention", "softmax")  # of MiniMax's attn_type_list; 0 is linear
OLDER = {
    "attention": FULL,
    "deepseek_sparse_attention": INDEXED,
    "mamba": LINEAR,
    "mamba2": LINEAR,
    "global": FULL,
    "softmax": FULL,
}
_LETTERS = {"M": LINEAR, "*": FULL, "-": MLP, "E": MOE}  # of Nemotron-H's hybrid_override_pattern
HANDLES = (
    "hybrid_override_pattern", "layers_block_type", "attn_layer_period", "attn_layer_offset", "attn_layer_indices",
    "full_attention_interval", "layer_group_size", "mtp_hybrid_override_pattern", "mtp_layers_block_type",
    "mtp_layer_types", "mtp_mlp_layer_types", "global_attn_every_n", "no_ffn",
)  # fmt: skip


def layer_kind(r: Reader, layer: int, layers: int) -> str:
    """The word for this layer, worked out once. Raises SpecError for a list of another length than the layers, and for a letter that is none."""
    if layer not in r.kinds:
        r.kinds[layer] = _kind(r, layer, layers)
    return r.kinds[layer]


def _kind(r: Reader, layer: int, layers: int) -> str:
    stated = r.per_layer("layer_types", layer, layers)
    if r.flag("short_conv"):
        _no_convolutions(r, layers)
    if stated is not None:
        return OLDER.get(str(stated), str(stated))
    if r.given("hybrid_override_pattern"):
        return _letters(r, "hybrid_override_pattern", layers)[layer]
    if r.given("compress_ratios"):
        return _compressed_kinds(r, layers)[layer]
    if r.given("sparse_attention_freq") and r.flag("use_sparse_attention", True):
        return BLOCK_SPARSE if r.per_layer("sparse_attention_freq", layer, layers) else FULL
    recurrent = _recurrent_kind(r, layer, layers)
    if recurrent is not None:
        return recurrent
    return _window_kind(r, layer, layers)


def _no_convolutions(r: Reader, layers: int) -> None:
    """Keys that LFM2's class has whether or not a layer is a convolution."""
    words = r.items("layer_types")
    if words is not None:
        r.ineffective("full_attn_idxs", "layer_types says which layers attend")
    listed = r.items("full_attn_idxs")
    some = CONV in words if words is not None else listed is not None and not set(range(layers)) <= {*listed}
    if not some:
        r.ineffective("conv_L_cache", "no layer is a convolution")
    r.used.add("conv_L_cache")


def _letters(r: Reader, key: str, layers: int | None = None) -> list[str]:
    text = r.text(key)
    wrong = [letter for letter in text if letter not in _LETTERS]
    if wrong:
        raise SpecError(f"{r.where}: '{key}' has the letter {wrong[0]!r}, which is not one of {' '.join(_LETTERS)}")
    if layers is not None and len(text) != layers:
        raise SpecError(f"{r.where}: '{key}' has {len(text)} letters for {layers} layers ({r.counting()})")
    return [_LETTERS[letter] for letter in text]


def _compressed_kinds(r: Reader, layers: int) -> list[str]:
    """Of all layers, and of a module of multi-token prediction where the list is one longer. Raises SpecError for another length or ratio."""
    ratios = r.items("compress_ratios") or []
    wrong = [ratio for ratio in ratios if ratio not in _RATIOS]
    if wrong or len(ratios) not in (layers, layers + 1):
        why = (
            f"has {len(ratios)} entries for {layers} layers ({r.counting()})"
            if not wrong
            else f"has {wrong[0]!r}, which is not one of {', '.join(map(str, _RATIOS))}"
        )
        raise SpecError(f"{r.where}: 'compress_ratios' {why}")
    return [_RATIOS[ratio] for ratio in ratios]


def lists_more(r: Reader, layers: int) -> bool:
    """Whether a list of layers goes on to the modules of multi-token prediction. Raises NotModelled where these differ."""
    if r.given("compress_ratios") and len(_compressed_kinds(r, layers)) > layers:
        return True
    found = [key for key in ("layer_types", "mlp_layer_types") if r.goes_on(key, layers)]
    for key in found:
        _one_kind(r, key, (r.items(key) or [])[layers:])
    return bool(found)


def mtp_layer(r: Reader, kinds: list[tuple[str, bool]]) -> int | None:
    """The layer that is like a module of multi-token prediction by `mtp_layer_types` and `mtp_mlp_layer_types`, which transformers writes; None where the config has none. `kinds`:
    of each layer its kind and whether it has experts. Raises NotModelled where modules differ, and where no layer is like them."""
    if not r.given("mtp_layer_types") or not r.given("num_nextn_predict_layers"):
        return None
    kind = _one_kind(r, "mtp_layer_types", r.items("mtp_layer_types") or [])
    if kind == INDEXED and all(other != INDEXED for other, _ in kinds):
        kind = FULL
    ffn = _one_kind(r, "mtp_mlp_layer_types", r.items("mtp_mlp_layer_types") or ["dense"])
    if (kind, ffn != "dense") not in kinds:
        raise NotModelled(
            f"{r.where}: not modelled: multi-token prediction has a layer of {kind} and {ffn}, and the model has none"
        )
    return kinds.index((kind, ffn != "dense"))


def _one_kind(r: Reader, key: str, entries: list[Any]) -> str:
    if any(entry != entries[0] for entry in entries):
        raise NotModelled(
            f"{r.where}: not modelled: '{key}' of modules of multi-token prediction that differ: {entries}"
        )
    return str(entries[0])


def mtp_kinds(r: Reader) -> list[str]:
    """What the layers of a module of multi-token prediction are, where the config says so; [] where it is one layer like the model's last."""
    if r.given("mtp_hybrid_override_pattern"):
        return _letters(r, "mtp_hybrid_override_pattern")
    return [OLDER.get(str(word), str(word)) for word in r.items("mtp_layers_block_type") or []]


def _recurrent_kind(r: Reader, layer: int, layers: int) -> str | None:
    """By a period, a list of attention layers, or what a family is throughout; None where the config has no recurrent layers."""
    if r.given("attn_layer_period"):
        return FULL if in_period(r, "attn", layer, layers) else LINEAR
    if r.given("full_attention_interval"):
        return FULL if (layer + 1) % r.layout("full_attention_interval", least=1) == 0 else LINEAR
    if r.given("kda_layers"):
        return _kda(r, layer)
    if r.given("attn_type_list"):
        return FULL if r.per_layer("attn_type_list", layer, layers) in _SOFTMAX else LINEAR
    if r.given("layer_group_size"):
        return FULL if (layer + 1) % r.layout("layer_group_size", least=1) == 0 else LINEAR
    if r.flag("short_conv") and r.has("full_attn_idxs"):
        return FULL if layer in (r.items("full_attn_idxs") or []) else CONV
    if r.given("attn_layer_indices"):
        return FULL if layer in (r.items("attn_layer_indices") or []) else LINEAR
    return r.text("layer_kind") or None


def in_period(r: Reader, of: str, layer: int, layers: int) -> bool:
    """Whether a layer is the one of its period by `<of>_layer_period` and `<of>_layer_offset` (Jamba). Raises SpecError for an offset beyond the period, as its class does."""
    period, offset = r.layout(f"{of}_layer_period", least=1), r.layout(f"{of}_layer_offset", 0)
    if offset >= period:
        raise SpecError(f"{r.where}: '{of}_layer_offset' = {offset} must be below {of}_layer_period = {period}")
    if layers % period == 0:
        r.note(
            f"{of}_layer_offset has no effect on totals: as many layers are of its kind",
            Kind.UNUSED,
            f"{of}_layer_offset",
        )
    return layer % period == offset


def _kda(r: Reader, layer: int) -> str:
    """By Kimi Linear's lists, which count from one. Raises SpecError for a layer that stands in both or in none."""
    linear = layer + 1 in (r.items("kda_layers") or [])
    if r.has("full_attn_layers") and linear == (layer + 1 in (r.items("full_attn_layers") or [])):
        where = "both kda_layers and full_attn_layers" if linear else "neither kda_layers nor full_attn_layers"
        raise SpecError(f"{r.where}: layer {layer + 1}, counted from one, of num_hidden_layers is in {where}")
    return LINEAR if linear else FULL


def _window_kind(r: Reader, layer: int, layers: int) -> str:
    """Full attention, a window or chunks."""
    allowed = r.flag("use_sliding_window", True)
    hybrid = r.per_layer("hybrid_layer_pattern", layer, layers)
    if hybrid is not None:
        return SLIDING if hybrid else FULL
    if r.has("attention_chunk_size") and r.has("no_rope_layer_interval"):
        return CHUNKED if turns(r, layer, layers) else FULL
    if _none(r) or not r.has("sliding_window") or not allowed:
        return FULL
    if r.has("sliding_window_pattern"):
        every = r.layout("sliding_window_pattern", least=1)
        return FULL if (layer + 1) % every == 0 else SLIDING
    if r.has("max_window_layers"):
        return SLIDING if layer >= r.layout("max_window_layers") else FULL
    return SLIDING


def turns(r: Reader, layer: int, layers: int, every: int = 0) -> bool:
    """Whether heads rotate in a layer: by `no_rope_layers`, where 1 stands for rope, else in all but each last of `no_rope_layer_interval` layers, or of `every` where that is absent; 0: in all."""
    stated = r.per_layer("no_rope_layers", layer, layers)
    if stated is not None:
        r.ineffective("no_rope_layer_interval", "no_rope_layers states which layers rotate")
        return bool(stated)
    period = r.layout("no_rope_layer_interval", least=1) if r.has("no_rope_layer_interval") else every
    return not period or (layer + 1) % period != 0


def _none(r: Reader) -> bool:
    """Whether a window of -1 says that there is none (Grok-2). Raises NotModelled where only every so many layers see all tokens."""
    if r.has("global_attn_every_n") and r.raw("global_attn_every_n") != 1:
        raise NotModelled(
            f"{r.where}: not modelled: 'global_attn_every_n' = {r.config.get('global_attn_every_n')!r}: state layer_types, a word per layer"
        )
    window = r.config.get("sliding_window")
    return is_scalar(window) and window == -1 and r.raw("sliding_window") == -1


def one_sublayer(r: Reader) -> bool:
    """Whether each layer is a mixer or an FFN, and not both (Nemotron-H)."""
    stated: Any = r.config.get("layer_types")
    listed = isinstance(stated, list) and any(word in ALONE for word in stated)
    return listed or r.given("hybrid_override_pattern")


def has_part(r: Reader, kind: str, layer: int, layers: int) -> bool:
    """Whether a layer has a part of this kind ("attention" or "ffn"): all have both, but for models whose layers are one of them."""
    if r.flag("no_ffn"):
        return kind == "attention"
    return not one_sublayer(r) or (layer_kind(r, layer, layers) in ALONE) == (kind == "ffn")


HALVES = 2  # of a layer with a shortcut (LongCat-Flash), each attention and an FFN


def halves(r: Reader) -> int:
    """How many pairs of attention and FFN a layer of the config is."""
    return HALVES if r.flag("shortcut_moe") else 1


def stated_layers(r: Reader) -> int | None:
    """How many layers the pattern or list of a model with one sublayer a layer names, as its class counts them; None elsewhere."""
    if not one_sublayer(r):
        return None
    return len(
        r.text("hybrid_override_pattern") if r.given("hybrid_override_pattern") else r.items("layer_types") or []
    )


def is_among_shared(r: Reader, layer: int, layers: int) -> bool:
    """Whether a layer is one of the last `num_kv_shared_layers`. Raises SpecError where that leaves none before them."""
    shared = r.layout("num_kv_shared_layers", 0)
    if shared and shared >= layers:
        raise SpecError(f"{r.where}: 'num_kv_shared_layers' = {shared} of {layers} layers: none has keys and values")
    return layer >= layers - shared


def reads_cache_of_another(r: Reader, layer: int, layers: int) -> bool:
    """Whether a layer has no keys and values of its own: the last `num_kv_shared_layers` read those of the last layer before them of their kind. Raises SpecError
    where no layer before them is of that kind."""
    if not is_among_shared(r, layer, layers):
        return False
    shared, kind = r.layout("num_kv_shared_layers", 0), gemma_kind(r, layer, layers)
    if all(gemma_kind(r, other, layers) != kind for other in range(layers - shared)):
        raise SpecError(
            f"{r.where}: layer {layer} ({kind}) reads the cache of a layer before the last {shared}, and none of those is of the same kind"
        )
    return True


def gemma_kind(r: Reader, layer: int, layers: int) -> str:
    """`layer_kind`, but that Gemma 4's class makes the last layer one of full attention, whatever the list says of it."""
    last = r.flag("last_layer_is_full") and layer == layers - 1
    return FULL if last else layer_kind(r, layer, layers)
