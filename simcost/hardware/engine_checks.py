"""What a term of `workloads/engines/<name>.toml` may hold: its kinds, and the checks before any is believed.

Most likely to be wrong: a new kind of term that no check knows; it is refused. Source: `engine_terms`, which reads them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simcost import units
from simcost.errors import SpecError, nearest

SHARES_OF = ("all", "free before load", "free after load", "free after peak")
WINDOWS = ("whole", "grouped", "ratio")
ABSORBED = ("apart", "merged")
COUNTED = ("pages", "requests")
NUMBERS = (
    "latent_multiple", "vocabulary_multiple", "logit_bytes", "kept_logit_bytes", "dispatch_tokens", "group_ratio", "experts_tokens",
    "mla_workspace_tokens", "steps_in_flight", "stage_tensors", "state_pages",
)  # fmt: skip
BYTES = (
    "sequence_bytes", "tower_bytes", "non_torch_alone", "non_torch_nvlink", "non_torch_pcie", "context_alone", "context_group",
    "graph_bytes", "graph_layer_bytes", "graph_experts_bytes", "exchange_bytes",
)  # fmt: skip
FLAGS = ("experts_stay", "graphs_inside")
WORDS = {"share_of": SHARES_OF, "windows": WINDOWS, "chunks": WINDOWS, "absorbed": ABSORBED, "counted": COUNTED}
OTHERS = (
    "share", "tokens", "sequences", "block", "graph_sequences", "mxfp4_multiples", "window_ratio", "sampled", "tower_share",
)  # fmt: skip
OPTIONAL = ("window_ratio", "sampled", "tower_share", "state_pages", "counted")
KEPT = (
    "kept_bytes", "kept_token_bytes", "kept_sequence_bytes", "kept_rank_bytes", "kept_replica_bytes", "least", "least_above",
)  # fmt: skip
TERMS = (*NUMBERS, *BYTES, *FLAGS, *WORDS, *OTHERS)
# Of the serving part.
POLICIES = ("mixed", "prefill_first")
SERVING_FLAGS = ("chunked", "prefix_cache", "overlap", "split_over_replicas")
TIMES = ("host_step", "host_request", "host_token", "host_delay")
CHOICES = ("drafts", "moe_backends", "attention_backends")
SERVING = (
    "policy", *SERVING_FLAGS, *TIMES, *CHOICES, "stream_interval", "receive_interval", "reserved_output", "sequences_with_drafts",
)  # fmt: skip
SERVING_OPTIONAL = ("sequences_with_drafts", "receive_interval")
_SHARES = ("window_ratio", "tower_share", "reserved_output")
_WORDS = {**WORDS, "policy": POLICIES}


def check(at: str, name: str, term: Any, known: Sequence[str] = TERMS) -> None:
    """Raises SpecError for a term that is unknown, has no source, or holds what it cannot."""
    if name not in known:
        raise SpecError(f"{at} is unknown{nearest(name, known)}")
    if not isinstance(term, Mapping) or not (term.get("source") or term.get("reason")):
        raise SpecError(f"{at} needs a 'source', or a 'reason' where it is assumed")
    value = term.get("value")
    if name in _WORDS:
        _word(value, _WORDS[name], at)
        _word(term.get("chunked", value), _WORDS[name], at)
    elif name in (*FLAGS, *SERVING_FLAGS):
        for each in (value, *(term[key] for key in ("pipeline", "drafts", "replicas", "states") if key in term)):
            if not isinstance(each, bool):
                raise SpecError(f"{at} must be true or false, not {each!r}")
        if not all(isinstance(each, str) for each in _list(term.get("states_but", [""]), at)):
            raise SpecError(f"{at}: 'states_but' must be a list of families, not {term['states_but']!r}")
    elif name in TIMES:
        for each in (value, term.get("serial", value), term.get("prior", value)):
            time_of(each, at)
    elif name in CHOICES:
        if not all(isinstance(each, str) for each in _list(value, at)):
            raise SpecError(f"{at} must be a list of words, not {value!r}")
    elif name in BYTES:
        size_of(value, at)
        size_of(term.get("before_fp8", value), at)
    elif name in NUMBERS:
        _number(value, at, 0.0)
        if not all(isinstance(each, str) for each in _list(term.get("one", [""]), at)):
            raise SpecError(f"{at}: 'one' must be a list of families, not {term['one']!r}")
    elif name in _SHARES:
        _number(value, at, 0.0, 1.0)
        _number(term.get("replicas", value), at, 0.0, 1.0)
    elif name == "mxfp4_multiples":
        for kind in ("mxfp8", "fp8", "otherwise"):
            for multiple in _list(term.get(kind), at, 2):
                _number(multiple, at, 1.0)
    elif name == "share":
        _share(term, at)
    elif "tiers" in term:
        _tiers(term["tiers"], at)
    else:
        _number(value, at, 1.0)


def size_of(text: Any, at: str) -> float:
    """A size that may be nothing. [B]"""
    if not isinstance(text, str):
        raise SpecError(f"{at} must be a size with its unit ('0.5 GiB'), not {text!r}")
    return 0.0 if text == "0 B" else units.parse(text, "bytes", at)


def time_of(text: Any, at: str) -> float:
    """A time with its unit, which may be nothing. [s]"""
    if not isinstance(text, str):
        raise SpecError(f"{at} must be a time with its unit ('0.3 ms'), not {text!r}")
    return 0.0 if text.split() in (["0", "s"], ["0s"]) else units.parse(text, "seconds", at)


def check_words(at: str, said: Any) -> None:
    """Raises SpecError for a setting whose name and words are not {name = text, words = {WORD = number}}."""
    words = said.get("words") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(said.get("name"), str) or set(said) - {"name", "words"}:
        raise SpecError(f"{at} must be a name, or a table with 'name' and 'words'")
    if not isinstance(words, Mapping) or not words:
        raise SpecError(f"{at}: 'words' must be a table of words and numbers")
    for value in words.values():
        _number(value, at, 0.0, 1.0)


def _word(value: Any, words: Sequence[str], at: str) -> None:
    if value not in words:
        raise SpecError(f"{at} must be one of {', '.join(words)}, not {value!r}")


def _number(value: Any, at: str, least: float, most: float = math.inf) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        within = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise SpecError(f"{at} must be a number {within}, not {value!r}")


def _list(found: Any, at: str, size: int = 0) -> Sequence[Any]:
    if not isinstance(found, list) or not found or (size and len(found) != size):
        raise SpecError(f"{at} must be a list{f' of {size}' if size else ''}, not {found!r}")
    return found


def _tiers(found: Any, at: str) -> None:
    """Values by the memory of a device; the last is of all larger ones."""
    for tier in _bounded(found, at):
        if "below" in tier:
            size_of(tier["below"], at)
        _number(tier.get("value"), at, 1.0)
        _number(tier.get("from_tp_4", 1.0), at, 1.0)


def _bounded(found: Any, at: str) -> Sequence[Mapping[str, Any]]:
    """Tiers of which all but the last have an upper bound."""
    tiers = _list(found, at)
    if not all(isinstance(tier, Mapping) for tier in tiers) or [("below" in tier) for tier in tiers] != [True] * (
        len(tiers) - 1
    ) + [False]:
        raise SpecError(f"{at}: every tier except the last needs 'below'")
    return tiers


def _share(term: Mapping[str, Any], at: str) -> None:
    """A number, one for the ranks of a group, or what a reserve leaves."""
    if "value" in term:
        _number(term["value"], at, 0.0, 1.0)
    elif "ranks" in term:
        for tier in _bounded(term["ranks"], at):
            _number(tier.get("below", 1.0), at, 1.0)
            _number(tier.get("value"), at, 0.0, 1.0)
    elif "reserved" in term:
        size_of(term.get("replica_bytes", "0 B"), at)
        for tier in _bounded(term["reserved"], at):
            size_of(tier.get("below", "0 B"), at)
            if "share" in tier:
                _number(tier["share"], at, 0.0, 1.0)
            else:
                for name in ("bytes", "rank_bytes"):
                    size_of(tier.get(name), f"{at}: {name}")
    else:
        for name in KEPT:
            size_of(term.get(name), f"{at}: {name}")
