"""What a reader of memory figures must know besides them: limits that are passed, and what the terms do not cover.

Most likely to be wrong: devices that are no NVIDIA's, of which no start-up log is public. Source: the model's config, the engine's terms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcost.estimate import stages
from simcost.estimate.memory import Kept
from simcost.hardware import engines
from simcost.model.spec import ModelSpec
from simcost.provenance import Kind, Note
from simcost.units import show
from simcost.workload import Workload

_LOGGED = "NVIDIA"  # whose start-up logs the terms are from


def tight(kept: Kept) -> list[Note]:
    """A note where a design fits and the reserve is less than CUDA and NCCL themselves take: the engine starts, and runs out of memory."""
    w, spare = kept.workload, np.asarray(kept.memory.reserve - kept.workload.memory.context)
    if not np.any((spare < 0.0) & (np.asarray(kept.memory.short) <= 0.0)):
        return []
    need = show(float(np.max(np.asarray(w.memory.context))), "memory")
    text = (
        f"{w.device.name}: engine.{w.memory.names['share']} leaves {show(float(np.min(np.asarray(kept.memory.reserve))), 'memory')} per GPU "
        f"outside what is counted; CUDA's context and NCCL take about {need}: expect to run out of memory"
    )
    return [Note(text, Kind.LIMIT)]


def admitted(w: Workload) -> list[Note]:
    """A note where the batch is more than an engine runs at once."""
    local = np.max(np.asarray(stages.sequences(w)))
    most = float(np.max(np.asarray(w.memory.sequences)))
    if local <= most:
        return []
    name = f"engine.{w.memory.names['sequences']}"
    text = f"{engines.title(w.memory.engine)} runs at most {most:,.0f} sequences at once ({name}); {local:,.0f} on a replica are asked"
    return [Note(text, Kind.LIMIT)]


def vendor(w: Workload) -> list[Note]:
    """A note where the engine's terms are from another vendor's devices."""
    if w.device.title.startswith(_LOGGED):
        return []
    text = f"{w.device.name}: the engine's terms of memory were fitted to start-up logs of other GPUs: {_LOGGED} GPUs"
    return [Note(text, Kind.TRANSFERRED)]


def exceeds(w: Workload) -> list[Note]:
    """A note where more tokens are asked than the config allows."""
    model, longest = w.model, float(np.max(np.asarray(w.phase.context)))
    if model.max_positions is None or longest <= model.max_positions:
        return []
    text = f"{model.name}: {longest:,.0f} tokens exceed max_position_embeddings = {model.max_positions:,.0f}"
    return [Note(text, Kind.LIMIT)]


def beyond(model: ModelSpec, reached: Any) -> list[Note]:
    """A note where more context fits in memory than the config allows; `reached`: max_context, [tokens]."""
    most = np.asarray([] if reached is None else reached, np.float64)
    most = most[np.isfinite(most)]
    if model.max_positions is None or not most.size or float(most.max()) <= model.max_positions:
        return []
    allowed = f"max_position_embeddings = {model.max_positions:,.0f}"
    text = f"{model.name}: memory allows a context of {float(most.max()):,.0f}; the config allows {allowed}"
    return [Note(text, Kind.ORIGIN)]  # what is asked is within both: it says what max_context is from


def mtp(model: ModelSpec) -> list[Note]:
    """A note where modules of a config are left out."""
    if not model.mtp:
        return []
    count = f"num_nextn_predict_layers = {len(model.mtp)}"
    text = f"{model.name}: {count}: MTP modules are neither run nor held in memory, as engines load them only for speculative decoding"
    return [Note(text, Kind.SCOPE)]
