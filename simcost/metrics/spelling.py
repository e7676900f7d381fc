"""Words as the field writes them: TPOT, MFU, KV, "output tokens/s per GPU"."""

from __future__ import annotations

_CAPITALS = ("cuda", "e2e", "gpu", "hfu", "isl", "itl", "kv", "mfu", "mla", "mtbf", "osl", "tpot", "ttft", "usd")
_WORDS = {**{word: word.upper() for word in _CAPITALS}, "gpus": "GPUs", "flops": "FLOPs", "moe": "MoE"}


def spelled(words: str) -> str:
    """The words of a metric's name, each as the field writes it; "per s" as "/s"."""
    whole = " ".join(_WORDS.get(word, word) for word in words.split(" "))
    return f"{whole} ".replace(" per s ", "/s ")[:-1]
