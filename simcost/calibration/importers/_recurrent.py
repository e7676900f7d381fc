"""Recurrent layers in the tables of `aiconfigurator-core`: Gated DeltaNet with its convolution, and KDA.

Convolution and core are rows of their own. KDA's convolutions are left out: one row stands for three in one table and for one in another; so are those
before Mamba-2, of which the table has no other kernel. Heads are those of one GPU. Most likely to be wrong: the format of TensorRT-LLM's states, which no column states: its
rows move 1.1 times the bytes that fp32 states would allow at the peak of an H100 (below their light), so they are taken as bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from simcost.calibration.candidate import Candidate
from simcost.calibration.importers._tables import candidate, kept, read_table, versions

_STATES = {"vllm": "fp32", "sglang": "fp32", "trtllm": "bf16"}
_CHUNK = 64.0  # tokens that the kernels of every table take at once
_COLUMNS = (
    "kernel_source", "phase", "batch_size", "seq_len", "d_conv", "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim",
)  # fmt: skip
_ONE = "one token a sequence: a step's kernel would run"
_PROMPTS: dict[str, Callable[[Any], Any]] = {_ONE: lambda f: (f["phase"] == "context") & (f["seq_len"] == 1)}
_CORES = {"gdn": ("gated_delta", "gated_delta_rule"), "kda": ("kda", "kda")}


def recurrent(root: Path, engine: str) -> Iterator[Candidate]:
    """Cores and convolutions of every table of an engine."""
    for folder, table in (("linear_attention", "gdn"), ("kda", "kda")):
        for path in versions(root, folder, engine, table):
            frame = read_table(path, _COLUMNS)
            yield from _cores(frame, path, engine, table)
            if table == "gdn":
                yield from _convolutions(frame, path)


def _cores(frame: Any, path: Path, engine: str, table: str) -> Iterator[Candidate]:
    rule, word = _CORES[table]
    cores = frame[frame["kernel_source"].str.contains(word) & ~frame["kernel_source"].str.contains("conv")]
    labels = {"rule": rule, "x": "bf16"}
    prompts, dropped, _ = kept(cores[cores["phase"] == "context"], _PROMPTS)
    if len(prompts):
        yield candidate("recurrent_prefill", labels, prompts, _prompt, path, dropped)
    steps = cores[cores["phase"] == "generation"]
    if len(steps):
        yield candidate("recurrent_decode", {**labels, "state": _STATES[engine]}, steps, _step, path)


def _step(f: Any) -> Mapping[str, Any]:
    return {
        "batch": f["batch_size"], "heads": f["num_v_heads"], "key_heads": f["num_k_heads"], "d_k": f["head_k_dim"],
        "d_v": f["head_v_dim"],
    }  # fmt: skip


def _prompt(f: Any) -> Mapping[str, Any]:
    step = _step(f)
    return {"batch": step.pop("batch"), "q_len": f["seq_len"], **step, "chunk": _CHUNK}  # type: ignore[attr-defined]


def _convolutions(frame: Any, path: Path) -> Iterator[Candidate]:
    convs = frame[frame["kernel_source"].str.startswith("causal_conv1d")]

    def columns(f: Any) -> Mapping[str, Any]:
        return {"batch": f["batch_size"], "q_len": f["seq_len"], "channels": _channels(f), "width": f["d_conv"]}

    mine, dropped, _ = kept(convs[convs["phase"].isin(("context", "generation"))], _PROMPTS)
    if len(mine):
        yield candidate("causal_conv", {"x": "bf16", "state": "bf16"}, mine, columns, path, dropped)


def _channels(f: Any) -> Any:
    """Queries, keys and values."""
    return 2.0 * f["num_k_heads"] * f["head_k_dim"] + f["num_v_heads"] * f["head_v_dim"]
