"""Exact counts of a ModelSpec: parameters, bytes, cache, and training FLOPs under each published convention.

Conventions are defined in docs/glossary.md; a "FLOPs per token" or "active parameters" without its convention is no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from simcost.dtypes import Dtype
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.plan import Plan
from simcost.sharding.shard import Block, Weight

_WHOLE = Plan()
LOOKED_UP = (
    "embed_positions",
    "embed_tokens_per_layer",
    "ngram_embedding",
)  # tables that no head shares: a token reads a row of each


def _weights(model: ModelSpec, plan: Plan = _WHOLE) -> list[tuple[float, Weight]]:
    return [(n, weight) for n, block in model.blocks() for weight in block.weights(plan)]


def _total(weights: Iterable[tuple[float, Weight]], active: bool = False) -> Num:
    total: Num = 0.0
    for n, weight in weights:
        total = total + n * weight.count * (weight.active if active else 1.0)
    return total


def parameters(model: ModelSpec) -> dict[str, Num]:
    """Numbers of parameters: of the checkpoint without MTP, of its language model and of its towers; and of the language model the active ones in three
    conventions: all, without input embedding, without embedding and head. The total and the towers are NaN where a tower cannot be counted."""
    weights = _weights(model)
    active = _total(weights, active=True)
    embedding = _total((n, w) for n, w in weights if w.name == "embed_tokens")
    head = _total((n, w) for n, w in weights if w.name in ("lm_head", "lm_head_bias"))
    # With tied embeddings the one table is the head's: it computes, so (b) keeps it and (c) drops it.
    positions = _total((n, w) for n, w in weights if w.name in LOOKED_UP)
    lookup = positions if model.head.tied else positions + embedding
    language = _total(weights)
    towers = math.nan if model.uncounted else sum((tower.parameters for tower in model.towers), 0.0)
    return {
        "params_total": language + towers,
        "params_language": language,
        "params_towers": towers,
        "params_mtp": _total((1.0, w) for block in model.mtp for w in block.weights(_WHOLE)),
        "params_active_all": active,
        "params_active_no_embedding": active - lookup,
        "params_active_no_embedding_no_head": active - positions - embedding - head,
    }


def weight_bytes(model: ModelSpec, plan: Plan = _WHOLE, storage: Mapping[str, Dtype] | None = None) -> Num:
    """Stored bytes on the busiest rank of `plan`, scales and towers included, MTP apart; NaN where a tower cannot be counted. `storage` replaces the config's.
    [B]"""
    formats = model.storage if storage is None else storage
    total: Num = math.nan if model.uncounted else 0.0
    for n, weight in [
        *_weights(model, plan),
        *((1.0, weight) for tower in model.towers for weight in tower.weights(plan)),
    ]:
        total = total + n * weight.stored_bytes(formats)
    return total


def state_elements(model: ModelSpec, context: Num, plan: Plan = _WHOLE) -> Num:
    """Elements that all layers keep of one sequence of `context` tokens on one rank, pipeline stages not split."""
    total: Num = 0.0
    for n, block in model.blocks():
        total = total + n * block.state_elements(context, plan)
    return total


def state_bytes(model: ModelSpec, context: Num, plan: Plan, kv: Dtype) -> Num:
    """Bytes that all layers keep of one sequence on one rank, each block's state in its own format, pipeline stages not split.
    [B]"""
    total: Num = 0.0
    for n, block in model.blocks():
        total = total + n * block.state_bytes(context, plan, kv)
    return total


def kv_elements(model: ModelSpec) -> dict[str, Num]:
    """K/V elements of a token, in three counts: written by all layers; kept for the whole context by unbounded layers;
    and the published one, which counts window layers too where they share the K/V shape of the unbounded layers."""
    written: Num = 0.0
    growing: Num = 0.0
    shapes: set[object] = set()
    masked = [(n, block, block.mask.bounded) for n, block in model.blocks() if block.mask is not None]
    for n, block, bounded in masked:
        each = block.token_elements(_WHOLE)
        written = written + n * each
        if not bounded:
            growing = growing + n * each
            shapes.add(_shape(block))
    own = any(bounded and shapes and _shape(block) not in shapes for _, block, bounded in masked)
    return {
        "kv_elements_per_token": growing if own else written,
        "kv_elements_per_token_written": written,
        "kv_elements_per_token_growing": growing,
    }


def _shape(block: Block) -> tuple[str, ...]:
    names = ("num_key_value_heads", "head_dim", "v_head_dim", "kv_lora_rank", "compress_ratio")
    return tuple(str(getattr(block, name, None)) for name in names)


def attention_core_flops(model: ModelSpec, q_len: Num, past: Num) -> Num:
    """Exact FLOPs of the attention cores of all layers for one sequence of `q_len` new tokens after `past`, un-absorbed. [FLOP]"""
    total: Num = 0.0
    for n, block in model.blocks():
        total = total + n * block.core_flops(q_len, past)
    return total


def flops_per_token(model: ModelSpec, q_len: Num, past: Num, logits: Num) -> Num:
    """Model FLOPs of one of `q_len` new tokens after `past`, with un-absorbed attention, and the head for `logits` tokens of a sequence. [FLOP]"""
    active = parameters(model)
    body, head = active["params_active_no_embedding_no_head"], active["params_active_no_embedding"]
    core = attention_core_flops(model, q_len, past) / q_len
    again = _passed_again(model)
    return 2.0 * (body + again) + 2.0 * (head - body) * (logits / q_len) + core


def ffn_flops_per_token(model: ModelSpec) -> Num:
    """FLOPs of the FFN and MoE matrices for one token, router included. [FLOP]"""
    total: Num = 0.0
    for n, block in model.blocks():
        if block.kind == "ffn":
            for weight in block.weights(_WHOLE):
                if weight.inner is not None:
                    total = total + 2.0 * n * weight.count * weight.active * weight.uses
    return total


def _passed_again(model: ModelSpec) -> Num:
    """Parameters that a token passes after the first time, of weights that several layers share, each as often as it does."""
    total: Num = 0.0
    for n, weight in _weights(model):
        total = total + n * weight.count * weight.active * (weight.uses - 1.0) * (weight.uses > 1.0)
    return total
