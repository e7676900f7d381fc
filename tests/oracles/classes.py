"""The classes of Hugging Face `transformers` as an oracle: each built on torch's meta device, so that a model of any size takes no memory.

A count is the number of elements of every parameter, each once, and of the biases that balance a router's loads, which checkpoints hold as buffers. The cache of a token is what the attention modules' own projections put out as keys and
values. Most likely to be wrong: a module that keeps what no projection names, which the formula for the cache then passes over.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import pytest

transformers = pytest.importorskip("transformers", minversion="5.24.0", reason="the extra [oracle] is not installed")
import torch  # noqa: E402 -- the classes need it
from transformers import CONFIG_MAPPING, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402

warnings.filterwarnings("ignore")

SECONDS = 20  # for one class
# What a class cannot be built without and its own defaults leave out.
_HEAD = {"head_dim": 128}
_QSA = {
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 128, "indexer_budget": 2048, "indexer_compress_ratio": 4, "eos_token_id": 0, "ple_layer_ids": [1, 3],
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25},
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "hunyuan_v1_dense": _HEAD, "hunyuan_v1_moe": _HEAD, "ministral": _HEAD, "hunyuan_vl": {"text_config": _HEAD}, "nemotron": {"num_key_value_heads": 48},
    "dots1": {"n_routed_experts": 16, "n_shared_experts": 2, "num_experts_per_tok": 6}, "deepseek_v2": {"num_experts_per_tok": 6},
    "qwen4_exp_text": _QSA, "qwen4_exp": {"text_config": {"model_type": "qwen4_exp_text", **_QSA}},
    "dbrx": {"attn_config": {"rope_theta": 10000.0}}, "chameleon": {"vocabulary_map": {"<image>": 8711}}, "emu3": {"vocabulary_map": {"<image>": 8711}},
    "granite4_vision": {"deepstack_layer_map": [[-2, 0]], "downsample_rate": "1/2"}, "deepseek_ocr2": {"text_config": {"num_experts_per_tok": 6, "mlp_layer_types": ["dense"] + ["sparse"] * 31}},
}  # fmt: skip
CAUSAL = tuple(sorted(set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) & set(CONFIG_MAPPING)))
IMAGE_TEXT = tuple(
    sorted((set(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) & set(CONFIG_MAPPING)) - set(CAUSAL))
)


class Unbuildable(Exception):
    """A class that its own library cannot build from this config."""


@contextmanager
def limited(seconds: int = SECONDS) -> Iterator[None]:
    """Anything that goes wrong inside, or lasts too long, is Unbuildable."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    except Exception as error:
        raise Unbuildable(f"{type(error).__name__}: {str(error).splitlines()[0][:90] if str(error) else ''}") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def config(kind: str, **keys: Any) -> Any:
    """The config object of a type, with `keys` in the place of its defaults. Raises Unbuildable."""
    with limited():
        return CONFIG_MAPPING[kind](**{**NEEDED.get(kind, {}), **keys})


def again(kind: str, table: Mapping[str, Any]) -> Any:
    """The config object that the class makes of a file's table. Raises Unbuildable."""
    with limited():
        return CONFIG_MAPPING[kind].from_dict(json.loads(json.dumps(table)))  # a class may change what it is given


def table(of: Any) -> dict[str, Any]:
    """What `save_pretrained` would write, as JSON holds it."""
    found: dict[str, Any] = json.loads(json.dumps(of.to_dict(), default=str))
    return found


def built(of: Any) -> torch.nn.Module:
    """The model of a config on the meta device. Raises Unbuildable."""
    # Where a class for images and text is there, the causal one is its language model alone; a language model may have no head of its own.
    every = (AutoModelForImageTextToText, AutoModelForCausalLM)
    auto = next((one for one in every if type(of) in one._model_mapping), AutoModel)
    with limited(), torch.device("meta"):
        model: torch.nn.Module = auto.from_config(of)
    return model


def parameters(*modules: torch.nn.Module | None) -> int:
    """Elements of the parameters of modules, each once, and of their routers' correction biases."""
    there = [module for module in modules if module is not None]
    found = {id(p): _stored(p, module) for module in there for p in module.parameters()}
    biases = [pair for module in there for pair in module.named_buffers()]
    found |= {id(buffer): buffer.numel() for name, buffer in biases if name.endswith("e_score_correction_bias")}
    return sum(found.values())


def _stored(parameter: torch.Tensor, module: Any) -> int:
    """Elements in a checkpoint: LongCat-Flash's class allocates matrices for experts that pass a token through, which have no weights."""
    of = getattr(module, "config", None)
    zero = int(getattr(of, "zero_expert_num", None) or 0)
    whole = parameter.dim() == 3 and zero and parameter.shape[0] == of.n_routed_experts + zero
    return parameter[: of.n_routed_experts].numel() if whole else parameter.numel()


def language(model: Any) -> int:
    """Parameters of the language model and its head alone. Raises Unbuildable."""
    with limited():
        decoder = model.get_decoder()
        return parameters(decoder, model.get_output_embeddings()) - parameters(getattr(decoder, "vqmodel", None))


_OUT = ("o_proj", "out_proj", "dense", "c_proj", "wo", "resid_attn")
_FUSED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack", "qkv")


def cache(model: Any, of: Any, context: int) -> float:
    """Elements that the cache holds of one sequence of `context` tokens. Raises Unbuildable where a model has no module of a known form."""
    text = of.get_text_config()
    total = 0.0
    layers = 0
    recurrent = {"linear_attention", "hybrid", "mamba"} & {*(getattr(text, "layer_types", None) or ())}
    if recurrent or any("indexer" in name for name, _ in model.named_modules()):
        raise Unbuildable("keeps more than what its projections put out: a recurrent state or an indexer's keys")
    with limited():
        decoder = model.get_decoder()
        slides = "create_sliding_window_causal_mask" in inspect.getsource(inspect.getmodule(type(decoder)))
    for module in decoder.modules():
        width = _width(module)
        if width is not None and layers < text.num_hidden_layers:
            total += width * _kept(module, text, layers, context, slides)
        layers += width is not None
    if layers != text.num_hidden_layers:
        raise Unbuildable(f"{layers} attention modules in {text.num_hidden_layers} layers")
    return total


def _width(module: Any) -> float | None:
    """Keys and values of a token in one layer; None for a module that is no attention."""
    children = dict(module.named_children())
    if "kv_a_proj_with_mqa" in children:
        return float(_out(children["kv_a_proj_with_mqa"]))
    for k, v in (("k_proj", "v_proj"), ("Wk", "Wv")):
        if k in children and v in children:
            return float(_out(children[k]) + _out(children[v]))
    fused = next((children[name] for name in _FUSED if name in children), None)
    last = next((children[name] for name in _OUT if name in children), None)
    if fused is None or last is None:
        return None
    return float(_out(fused) - _in(last))  # queries are as wide as what the output projection takes in


def _out(module: Any) -> int:
    linear = getattr(module, "linear", module)  # Moshi wraps its projections
    return int(linear.nf if hasattr(linear, "nf") else linear.weight.shape[0])


def _in(module: Any) -> int:
    linear = getattr(module, "linear", module)
    return int(linear.weight.shape[0] if hasattr(linear, "nf") else linear.weight.shape[1])


def _kept(module: Any, text: Any, layer: int, context: int, slides: bool) -> int:
    """Tokens that a layer keeps. `slides`: whether the class has a mask of a window."""
    if getattr(text, "attention_layers", None):  # GPT-Neo
        return min(context, text.window_size) if text.attention_layers[layer] == "local" else context
    kinds = getattr(text, "layer_types", None)
    kind = kinds[layer] if kinds else "sliding_attention"
    if kind == "chunked_attention":
        return min(context, int(text.attention_chunk_size))
    if kind != "sliding_attention" or not slides:
        return context
    window = getattr(module, "sliding_window", getattr(text, "sliding_window", None))
    return min(context, int(window)) if window else context


def modules(of: Any) -> list[Any]:
    """The Python modules of a config's class and of its model's."""
    found = [inspect.getmodule(type(of))]
    for mapping in (AutoModelForCausalLM._model_mapping, AutoModel._model_mapping):
        if type(of) in mapping:
            found.append(inspect.getmodule(mapping[type(of)]))
    return found
