"""The start-up log of vLLM or SGLang -> what it prints of memory and with which settings the engine was started.

Lines are known by their words, so that releases may add to them; what a log does not print stays out. vLLM up to 0.10 and SGLang write GB for
GiB. Most likely to be wrong: a setting that was stated on the command line and that no line repeats. Source: vLLM
`v1/worker/gpu_worker.py`, `worker/worker.py`; SGLang `model_executor/model_runner.py`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.texts import content
from simcost.units import parse

_SIZE = r"(-?\d+(?:\.\d+)?)\s*G(?:i?B)"
_COUNT = r"(\d[\d,]*)"
_SHARE = r"(\d+(?:\.\d+)?)"
_NEAR = r"[^\n]{0,400}?"  # between two words of one line
_BLOCK = 16.0  # tokens of a block of vLLM V0, which prints blocks


@frozen
class Startup:
    """engine: "vllm" or "sglang"; settings: by the engine's own names, text; printed: sizes [B] and counts by name."""

    engine: str
    settings: Mapping[str, str]
    printed: Mapping[str, float]


_VLLM_SIZES = {
    "weights": (rf"(?:Model loading|Loading model weights) took {_SIZE}", rf"model weights take {_SIZE}", rf"weights memory: {_SIZE}"),
    "activations": (rf"PyTorch activation peak memory takes {_SIZE}", rf"torch peak memory increase: {_SIZE}", rf"peak activation[^\d-]*{_SIZE}"),
    "non_torch": (rf"non_torch_memory takes {_SIZE}", rf"non-torch forward increase memory: {_SIZE}"),
    "pool": (rf"Available KV cache memory: {_SIZE}", rf"reserved for KV Cache is {_SIZE}"),
    "graphs": (rf"Graph capturing finished in {_NEAR}took {_SIZE}",),
    "graph_estimate": (rf"[Ee]stimated CUDA ?graph memory[^\d-]*{_SIZE}",),
    "total": (rf"total_gpu_memory \({_SIZE}\)", rf"Free memory on device \S* ?\([\d.]+/{_SIZE}\)"),
}  # fmt: skip
_VLLM_COUNTS = {
    "tokens": (rf"GPU KV cache size: {_COUNT} tokens",),
    "concurrency": (rf"Maximum concurrency for \d[\d,]* tokens per request: {_SHARE}x",),
}
_VLLM_SETTINGS = {
    "version": (r"LLM engine \(v?([^)]+)\)", r"vLLM (?:API server )?version (\d+\.\d+[\w.+]*)", r"[█▄▀] +version (\d+\.\d+[\w.+]*)"),
    "model": (r"\bmodel='([^']+)'", r"'model(?:_tag)?': '([^']+)'"),
    "tensor_parallel_size": (r"\btensor_parallel_size['\"]?[=:]\s*(\d+)",),
    "pipeline_parallel_size": (r"\bpipeline_parallel_size['\"]?[=:]\s*(\d+)",),
    "data_parallel_size": (r"\bdata_parallel_size['\"]?[=:]\s*(\d+)",),
    "gpu_memory_utilization": (rf"gpu_memory_utilization['\"]?[=:]\s*{_SHARE}", rf"x gpu_memory_utilization \({_SHARE}\)"),
    "max_num_batched_tokens": (r"max_num_batched_tokens['\"]?[=:]\s*(\d+)",),
    "max_num_seqs": (r"max_num_seqs['\"]?[=:]\s*(\d+)",),
    "max_model_len": (r"max_(?:model|seq)_len['\"]?[=:]\s*(\d+)", rf"Maximum concurrency for {_COUNT} tokens per request"),
    "kv_cache_dtype": (r"kv_cache_dtype['\"]?[=:]\s*'?(\w+)",),
    "quantization": (r"\bquantization['\"]?[=:]\s*'?([\w-]+)",),
    "enforce_eager": (r"enforce_eager['\"]?[=:]\s*(True|False)",),
    "enable_expert_parallel": (r"enable_expert_parallel['\"]?[=:]\s*(True|False)",),
}  # fmt: skip
_SGLANG_SIZES = {
    "free_before_load": (rf"Load weight begin\. avail mem={_SIZE}",),
    "free_after_load": (rf"Load weight end\.{_NEAR}avail mem={_SIZE}",),
    "weights": (rf"Load weight end\.{_NEAR}mem usage={_SIZE}",),
    "k": (rf"KV Cache is allocated\.{_NEAR}K size: {_SIZE}",),
    "v": (rf"KV Cache is allocated\.{_NEAR}V size: {_SIZE}",),
    "pool": (rf"KV Cache is allocated\.{_NEAR}KV size: {_SIZE}",),
    "graphs": (rf"Capture cuda graph end\.{_NEAR}mem usage={_SIZE}",),
}
_SGLANG_COUNTS = {"tokens": (rf"KV Cache is allocated\.{_NEAR}#tokens: {_COUNT}", rf"max_total_num_tokens={_COUNT}")}
_SGLANG_SETTINGS = {
    "model": (r"model_path='([^']+)'",),
    "tensor_parallel_size": (r"\btp_size=(\d+)",),
    "pipeline_parallel_size": (r"\bpp_size=(\d+)",),
    "data_parallel_size": (r"\bdp_size=(\d+)",),
    "enable_dp_attention": (r"enable_dp_attention=(True|False)",),
    "mem_fraction_static": (rf"mem_fraction_static={_SHARE}",),
    "chunked_prefill_size": (r"chunked_prefill_size=(\d+)",),
    "max_running_requests": (r"max_running_requests=(\d+)",),
    "kv_cache_dtype": (r"kv_cache_dtype='(\w+)'",),
    "quantization": (r"quantization='([\w-]+)'",),
    "ep_size": (r"\bep_size=(\d+)",),
}


def read(path: Path) -> Startup:
    """What an engine's start-up log says of itself and its memory. Raises SpecError for a file that cannot be read, and for one
    in which no engine prints its memory."""
    text = _text(content(path))
    if re.search(r"Load weight begin|ServerArgs\(|KV Cache is allocated", text):
        found = Startup("sglang", _all(text, _SGLANG_SETTINGS, str), _printed(text, _SGLANG_SIZES, _SGLANG_COUNTS))
    else:
        found = Startup("vllm", _all(text, _VLLM_SETTINGS, str), _printed(text, _VLLM_SIZES, _VLLM_COUNTS))
    if not found.printed:
        raise SpecError(f"{path}: no line of vLLM or SGLang that tells of memory (weights, KV cache, activations)")
    return found


def _text(found: bytes) -> str:
    """A log as text; what Windows' shells redirect is UTF-16 with a mark of its order."""
    marked = found.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return found.decode("utf-16" if marked else "utf-8-sig", errors="replace")


def _printed(
    text: str, sizes: Mapping[str, tuple[str, ...]], counts: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    found = _all(text, sizes, lambda size: float(size) * parse("1 GiB", "bytes"))
    if "k" in found and "v" in found:  # SGLang prints the halves of the pool
        found["pool"] = found.pop("k") + found.pop("v")
    found |= _all(text, counts, lambda count: float(count.replace(",", "")))
    blocks = re.findall(r"# (?:GPU|CUDA|cuda|rocm) blocks: (\d+)", text)
    if blocks and "tokens" not in found:
        found["tokens"] = _BLOCK * float(blocks[-1])
    return found


def _all(text: str, patterns: Mapping[str, tuple[str, ...]], read_as: Callable[[str], Any]) -> dict[str, Any]:
    """What the first pattern that matches says of each name; the last of its matches, which is the engine's final word."""
    found: dict[str, Any] = {}
    for name, choices in patterns.items():
        for pattern in choices:
            matches = re.findall(pattern, text)
            if matches:
                found[name] = read_as(matches[-1])
                break
    return found
