"""Context parallelism: the tokens of a sequence, and its cache, shared out over cp ranks.

Prefill: each rank takes q_len/cp queries in two pieces, one from each end, so that causal work is even. `ring` passes K and V
around behind the core, `all_gather` collects them first, `ulysses` swaps tokens for heads by All2All and back. Decode: each
rank keeps 1/cp of the cache and sees all queries of the group; partial outputs are joined (`ulysses`: heads are split).
Most likely to be wrong: the merge of partial outputs is not counted as a kernel. Sources: Ring Attention (arXiv 2310.01889),
Llama 3 (arXiv 2407.21783 §3.3.2, all-gather), DeepSpeed-Ulysses (arXiv 2309.14509), Helix (arXiv 2507.07120, decode).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simcost.frozen import frozen
from simcost.num import Num, every, floor, maximum, where
from simcost.ops.attention_core import Mask
from simcost.ops.collective import RING, Collective, Kind
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Overlap, Program, Serial
from simcost.sharding.shard import View


@frozen
class At:
    """What one rank's core sees: sequences, queries and cached keys of each, and through which mask; its heads are cut in
    `head_parts`."""

    batch: Num
    q_len: Num
    past: Num
    head_parts: Num
    mask: Mask

    @property
    def context(self) -> Num:
        """Keys of a sequence on this rank, cached and new."""
        return self.past + self.q_len


@frozen
class Wire:
    """Bytes of one token on one rank before cp: its queries, its keys and values, its outputs."""

    q: Num
    kv: Num
    o: Num


def at(view: View, mask: Mask) -> At:
    """A rank's share of the core. Of a prefill it is that of q/cp queries after (q - q/cp)/2 more keys: under a causal mask the
    same number of (query, key) pairs, exactly; under a window those of the rank in the middle, which has most. In decode the keys
    of a window or chunk lie spread over the ranks as the whole cache does."""
    phase, cp = view.phase, view.plan.cp
    if every(cp == 1.0) or view.plan.cp_method == "ulysses":
        return At(view.batch, phase.q_len, phase.past, cp, mask)
    decode = phase.q_len <= 1.0
    share = where(decode, phase.q_len, phase.q_len / cp)
    mine = _spread(mask, where(decode, cp, 1.0))
    held = phase.context / cp - 1.0
    if mask.chunk is not None and mine.chunk is not None:
        # Of a chunk that has just begun a rank still reads a key, and none of the chunk before.
        held = maximum(held, floor(phase.past / mask.chunk) * mine.chunk)
    past = where(decode, held, phase.past + (phase.q_len - share) / 2.0)
    return At(view.batch, share, where(past > 0.0, past, 0.0), 1.0, mine)


def _spread(mask: Mask, ranks: Num) -> Mask:
    window, chunk = (None if limit is None else limit / ranks for limit in (mask.window, mask.chunk))
    return replace(mask, window=window, chunk=chunk)


def copies(plan: Plan, heads: Num) -> Num:
    """K/V heads (1: a latent) that the cp ranks hold, move and write together, of `heads` before cp. Ulysses gives each rank all
    tokens of some heads: at least one each."""
    return maximum(heads, plan.cp) if plan.cp_method == "ulysses" else heads


def checks(plan: Plan, heads: Num) -> list[Check]:
    """Rules of the cp method: ulysses splits `heads` evenly over tp·cp, others split no heads."""
    if plan.cp_method != "ulysses":
        return []
    return [divides(heads, plan.tp * plan.cp, "num_attention_heads (ulysses splits them over tp·cp)")]


def _shared(kind: Kind, payload: Num, ranks: Num, stride: Num) -> Collective:
    """A collective of ranks that share a sequence."""
    return Collective(kind, payload, ranks, stride, shares="sequence")


def heads(plan: Plan) -> Num:
    """Into how many parts the heads of a rank are cut where tokens are swapped for them."""
    return plan.cp if plan.cp_method == "ulysses" else 1.0


def swapped(view: View, inner: Sequence[Program], there_bytes: Num, back_bytes: Num) -> tuple[Program, ...]:
    """What sees all tokens of a part of the heads, between the exchanges that bring them and take them back; itself where
    cp is 1. [B] of one token on one rank before cp."""
    cp, stride = view.plan.cp, view.plan.tp
    if every(cp == 1.0):
        return tuple(inner)
    rows = sum(group.batch * group.phase.q_len for group in view.groups)
    share = rows / cp * (cp - 1.0) / cp
    there = Call(_shared("all_to_all", share * there_bytes, cp, stride), "heads for tokens")
    back = Call(_shared("all_to_all", share * back_bytes, cp, stride), "tokens for heads")
    return there, *inner, back


def around(view: View, core: Program, wire: Wire, mask: Mask) -> Program:
    """The core with the collectives that context parallelism needs; the core alone where cp is 1."""
    phase, cp, stride = view.phase, view.plan.cp, view.plan.tp
    if every(cp == 1.0):
        return core
    rows = view.batch * phase.q_len
    if view.plan.cp_method == "ulysses":
        share = rows / cp * (cp - 1.0) / cp
        there = Call(_shared("all_to_all", share * (wire.q + wire.kv), cp, stride), "heads for tokens")
        back = Call(_shared("all_to_all", share * wire.o, cp, stride), "tokens for heads")
        return Serial((there, core, back))
    prefill, decode = where(phase.q_len > 1.0, cp, 1.0), where(phase.q_len > 1.0, 1.0, cp)
    keys = Call(
        _shared("all_gather", view.batch * mask.keys(phase.q_len, phase.past) * wire.kv, prefill, stride),
        "keys and values",
    )
    queries = Call(_shared("all_gather", rows * wire.q, decode, stride), "queries")
    # Each partial output comes with a log-sum-exp a head, small beside it, and is added in the activations' format.
    outputs = Call(_shared("reduce_scatter", rows * wire.o, decode, stride), "partial outputs")
    inner: Program = (
        Overlap((core, keys), "ring", (0.0, RING)) if view.plan.cp_method == "ring" else Serial((keys, core))
    )
    return Serial((queries, inner, outputs))
