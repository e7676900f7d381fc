"""Answers as the trainer takes them: whole sequences dealt over data-parallel ranks such that tokens are even, and
packed into micro-batches.

A micro-batch has room for a number of tokens, the longest sequence at least, or takes a number of sequences as long as they are. It is priced as equal sequences of the length that a token of
the batch sees on average, sum L²/sum L, so that attention's work is that of the real lengths. A trainer that pads takes
a number of sequences a micro-batch, each as long as the longest of the step. Most likely to be wrong: micro-batches of one or two sequences whose lengths differ much, which are shorter than that length (`pairs`); trainers that pad
several sequences to the longest of them alone. Sources: verl `utils/seqlen_balancing.py`; NeMo-RL `sequence packing`
guide.
"""

from __future__ import annotations

import heapq

import numpy as np

from simcost.frozen import frozen
from simcost.num import Array, Ints


@frozen
class Packed:
    """One minibatch on its slowest rank. `micro_batch` sequences of `seq` tokens, `micro_batches` of them; `tokens`: of
    all ranks, padding counted; `imbalance`: tokens of the slowest rank over the mean; `idle`: ranks without a sequence;
    `pairs`: pairs of tokens in attention over those of the real lengths."""

    micro_batch: int
    seq: int
    micro_batches: int
    tokens: float
    imbalance: float
    idle: int
    pairs: float = 1.0


def packed(lengths: Ints, ranks: int, minibatches: int, room: int, sequences: int | None = None) -> Packed:
    """The sequences of a step in `minibatches` parts over `ranks` data-parallel ranks; `room`: tokens that a micro-batch
    holds; `sequences`: a micro-batch has so many of them instead, without padding."""
    total = float(np.sum(lengths))
    parts = np.array_split(lengths, min(minibatches, len(lengths)))
    slowest = float(np.mean([np.max(dealt(part, ranks)) for part in parts]))
    mean = total / len(parts) / ranks
    seen = float(np.sum(lengths.astype(np.float64) ** 2)) / total
    by_tokens = max(int(np.ceil(slowest / max(room, 1) - 1e-9)), 1)
    count = by_tokens if sequences is None else -(-max(map(len, parts)) // (ranks * sequences))
    micro = max(round(slowest / count / seen), 1)
    seq = max(round(slowest / count / micro), 1)
    return Packed(micro, seq, count, total, slowest / mean, max(ranks - len(lengths) // len(parts), 0), seq / seen)


def padded(lengths: Ints, ranks: int, minibatches: int, micro: int = 1) -> Packed:
    """The same of a trainer that pads every sequence to the longest of the step, `micro` of them a micro-batch."""
    parts = np.array_split(lengths, min(minibatches, len(lengths)))
    seq, count = int(np.max(lengths)), -(-max(map(len, parts)) // (ranks * micro))
    mean = len(lengths) / len(parts) / ranks
    idle = max(ranks - len(lengths) // len(parts), 0)
    return Packed(micro, seq, count, float(seq * len(lengths)), count * micro / mean, idle)


def fullest(lengths: Ints, sequences: int) -> int:
    """Tokens of the largest micro-batch of so many sequences without padding, taken in the order in which they come."""
    ends = np.arange(0, len(lengths), sequences)
    return int(np.max(np.add.reduceat(lengths, ends)))


def dealt(lengths: Ints, ranks: int) -> Array:
    """Tokens of each rank, the longest sequence to the emptiest rank in turn. [ranks]"""
    heap = [(0.0, rank) for rank in range(ranks)]
    for length in sorted(lengths.tolist(), reverse=True):
        tokens, rank = heap[0]
        heapq.heapreplace(heap, (tokens + length, rank))
    return np.asarray([tokens for tokens, _ in heap])
