"""Settings of a step and of an engine."""

from __future__ import annotations

from typing import Any

from simcost.settings._setting import CHOICE, COUNT, FLAG, LENGTH, NAME, STEPS, TRAIN, Setting


def _phase(key: str, meaning: str, default: str, **more: Any) -> Setting:
    return Setting("phase", key, more.pop("kind", COUNT), meaning, default, **more)


PHASE = (
    _phase("batch", "number of sequences over all replicas", "1", aliases=("batch_size",)),
    _phase("context", "tokens that the new token attends to, itself included", "4096", steps=("decode",), aliases=("context_length",), kind=LENGTH),
    _phase("isl", "new tokens per sequence (input sequence length)", "4096", steps=("prefill",), aliases=("input_len", "input_length"), kind=LENGTH),
    _phase("past", "tokens already in the cache (chunked prefill)", "0", steps=("prefill",), least=0, kind=LENGTH),
    _phase("chunk", "tokens per chunk of a prompt (chunked prefill)", "the whole prompt", steps=("prefill",), aliases=("chunk_size",), kind=LENGTH),
    _phase("images", "images of each sequence, which pass the model's tower; their tokens are part of isl", "0", steps=("prefill",), least=0),
    _phase("video_frames", "frames of a video of each sequence, as its processor samples them; their tokens are part of isl", "0", steps=("prefill",), least=0),
    _phase("image_height", "pixels of the height of each image and frame, of towers that keep an image's size", "", steps=("prefill",)),
    _phase("image_width", "pixels of its width", "", steps=("prefill",)),
    _phase("prefill_tokens", "mixed step: tokens of a prompt that are computed together with the new ones, on every attention replica", "0", steps=("decode",), least=0, kind=LENGTH),
    _phase("prefill_past", "tokens of that prompt that are already in the cache", "0", steps=("decode",), least=0, kind=LENGTH),
    _phase("micro_batch", "sequences per micro-batch and replica", "1", steps=TRAIN),
    _phase("global_batch", "sequences per step over all replicas", "4 micro-batches per replica and pipeline stage", steps=TRAIN),
    _phase("seq", "tokens of a sequence", "4096", steps=TRAIN, aliases=("seq_len", "sequence_length"), kind=LENGTH),
    _phase("routing", "how tokens choose experts: balanced, random, zipf:0.5, dirichlet:1, or tokens per expert as CSV, a line per layer", "random", kind=NAME, steps=(*STEPS, *TRAIN)),
)  # fmt: skip

# The settings of `[memory.settings]` and `[serving.settings]` in workloads/engines, which say what each engine calls them.
_SERVING: dict[str, Any] = {"default": "by engine and release", "steps": ("serving",)}
ENGINE = (
    Setting("engine", "engine", CHOICE, "whose kernels and memory; any: the middle of the engines, kernel by kernel; torch: our own measurements", "any", choices=("any", "vllm", "sglang", "trtllm", "torch")),
    Setting("engine", "version", NAME, "release whose terms of memory and serving hold", "newest"),
    Setting("engine", "share", "fraction", "part of the device's memory that the engine takes", "by engine and release"),
    Setting("engine", "tokens", LENGTH, "tokens of its largest step", "by engine and device"),
    Setting("engine", "sequences", COUNT, "requests of its largest step", "by engine and device"),
    Setting("engine", "block", COUNT, "tokens of a page of the cache", "by engine"),
    Setting("engine", "stream_interval", COUNT, "tokens between two sends of a stream", **_SERVING),
    Setting("engine", "receive_interval", COUNT, "decode steps between two looks at new requests", **_SERVING),
    Setting("engine", "prefix_cache", FLAG, "prompts found in the cache are not prefilled again", **_SERVING),
    Setting("engine", "chunked", FLAG, "prompts are cut to the token budget of a step", **_SERVING),
    Setting("engine", "mixed", FLAG, "a step holds prompts and decode", **_SERVING),
    Setting("engine", "overlap", FLAG, "the host prepares a step while the one before it runs", **_SERVING),
    Setting("engine", "reserved_output", "number", "how much of what running requests may still make admission keeps free", **_SERVING),
    Setting("engine", "host_step", "seconds", "time of the host that a step shows", **_SERVING),
    Setting("engine", "host_token", "seconds", "time of the host that each token of a prompt adds before the first token", **_SERVING),
    Setting("engine", "host_request", "seconds", "time of the front end that a request takes while others wait", **_SERVING),
    Setting("engine", "host_delay", "seconds", "time that a request waits before the scheduler has it, while others pass", **_SERVING),
)  # fmt: skip
