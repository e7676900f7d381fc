"""How a serving engine shares out a GPU's memory, as numbers: its terms for one release, device and plan (`engine_terms` reads them).

Most likely to be wrong: memory that no framework accounts for (NCCL, exchange buffers), which moves between releases and machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from simcost.frozen import frozen
from simcost.num import Num


@frozen
class EngineMemory:
    """Terms of one engine and release on a device. share: of what `share_of` says; tokens: rows of the largest step; sequences: that
    run at once; block: tokens of a page of the cache; logit_bytes: for every sequence and vocabulary entry, besides the logits in the
    activations' format; kept_logit_bytes: of them that stand at all times; sampled: sequences that the largest step samples; group_ratio:
    numbers of layers of two kinds that differ by less share a group's size; state_pages: that a layer which keeps a state takes of a request; counted: what a log
    counts as tokens of the pool: "pages" that each group of layers gets, or "requests" of the longest length; steps_in_flight: whose rows a window keeps; stage_tensors: as wide as the residual
    stream, that a pipeline stage hands on where the next norm adds what the last layer made; experts_tokens: rows
    of a step that pass the experts at once; names: what the engine calls the settings; sources: where each term is from; stated: what the user set."""

    engine: str
    version: str
    share_of: str
    share: Num
    tokens: Num
    sequences: Num
    block: Num
    windows: str
    chunks: str
    group_ratio: Num
    state_pages: Num
    counted: str
    steps_in_flight: Num
    stage_tensors: Num
    window_ratio: Num
    latent_multiple: Num
    vocabulary_multiple: Num
    absorbed: str
    mxfp4_multiples: tuple[float, float]
    logit_bytes: Num
    kept_logit_bytes: Num
    sequence_bytes: Num
    sampled: Num
    tower_bytes: Num
    experts_stay: bool
    experts_tokens: Num
    mla_workspace_tokens: Num
    dispatch_tokens: Num
    exchange_bytes: Num
    non_torch: Num
    context: Num
    graphs_inside: bool
    graph_bytes: Num
    graph_layer_bytes: Num
    graph_experts_bytes: Num
    graph_sequences: Num
    stated: frozenset[str]
    names: Mapping[str, str] = field(default_factory=dict, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
