"""What a load makes of an engine: the operating point of one attention replica, or of lists of them."""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Ints, Num

# What keeps a replica from more throughput, by code.
LIMITS = ("load", "kv cache", "max sequences", "prefill", "host link")
LOAD, KV_CACHE, SEQUENCES, PREFILL, HOST_LINK = range(len(LIMITS))


@frozen
class Load:
    """What requests bring to one scheduler. isl: new tokens of a prompt on average, those of the prefix cache left out; hit: tokens of a prompt that the prefix cache
    holds; osl: tokens of an answer on average; context: cached tokens of a running request on average; held: tokens of the KV pool that one takes, reserved
    ones included; isl_cv2: squared coefficient of variation of isl; emitted: tokens that a sequence makes in a step (1, more with speculative decoding);
    lag_s: what a prompt takes from the first pipeline stage to the last beyond its time on one [s]; link_s: what the
    tokens of the prefix cache take of the
    link to the host's memory, 0 where they are in the pool [s]."""

    isl: Num
    osl: Num
    context: Num
    hit: Num = 0.0
    isl_cv2: Num = 0.0
    emitted: Num = 1.0
    lag_s: Num = 0.0
    link_s: Num = 0.0


@frozen
class Room:
    """How many sequences may run at a time: `kv` as their caches allow, `sequences` as the engine's setting does."""

    kv: Num
    sequences: Num


@frozen
class OperatingPoint:
    """Of one replica in the steady state. ttft_s: to the first token, of which queueing_s before the prompt is touched; tpot_s: between tokens, the first
    left out; running: sequences that decode; waiting: those before their first token; utilisation: requests_per_s over the most that this replica
    can do with the same lengths (capacity_per_s); limit: code in LIMITS. decode_s, prefill_s, host_s: parts of tpot_s; prompt_s: what one prompt takes
    of the replica; chunk: tokens of a step that takes prompts. A point that the load exceeds has a
    `requests_per_s` of capacity and an infinite ttft_s."""

    ttft_s: Num
    queueing_s: Num
    tpot_s: Num
    running: Num
    waiting: Num
    kv_used_fraction: Num
    utilisation: Num
    requests_per_s: Num
    capacity_per_s: Num
    limit: Ints
    decode_s: Num
    prefill_s: Num
    host_s: Num
    prompt_s: Num
    chunk: Num
