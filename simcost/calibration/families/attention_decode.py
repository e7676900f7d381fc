"""The attention core with one query a sequence: GQA, windows, and absorbed MLA over the latent.

Over the latent several queries (a draft that is verified, the end of a prompt, a whole prompt in the absorbed form) are so many more
heads: all of them attend to the same keys (deepseek-ai/FlashMLA `csrc/flash_api.cpp`, q_seq_per_hk). Most likely to be wrong: kernels
that take one query."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.calibration.families import attention_prefill as prefill
from simcost.calibration.family import Labels, kernel_terms
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num, maximum, minimum
from simcost.ops.fused import Fused
from simcost.ops.work import Op

COLUMNS = prefill.COLUMNS
WORDS = prefill.WORDS
NUMBERS = prefill.NUMBERS
LABELS = prefill.LABELS
LADDERS = ("batch", "past")
SIZES = ("kv_heads_of_batch", "keys")
ACROSS = 0  # sequences
LENGTHS = None
STAND_IN = 0.40
EFFICIENCY = "attention_efficiency"  # of the profile, by which another device's rows are carried over

# Heads times queries that one pass over the latents serves: the most that rows have. Absorbed prefills on H200 and H100 (SGLang's
# FlashAttention 3, docs/theory/mla.md) take 9 and 11 % less than this says in the middle, and 23 and 34 % less than with 64.
PASS = 128.0

op = prefill.op
numbers = prefill.numbers
labels = prefill.labels


def relatives(labels: Labels) -> list[Labels]:
    """As in prefill, and over a latent other layouts too."""
    return prefill.with_write(labels, prefill.alike(labels))


def covers(op: Op) -> Mask:
    """One query a sequence; over a latent up to FEW."""
    core = prefill.the_core(op)
    return core is not None and ((core.q_len == 1.0) | prefill.few_over_latent(core))


def _one_query(op: Op) -> Op:
    """What the kernel sees, one query a sequence. Over a latent queries become heads, and what is more than one pass serves becomes
    sequences with as many keys as a query sees on average: a kernel whose rows of so many sequences show what reading their latents
    once more takes, and what stands around so many."""
    core = prefill.certain_core(op)
    if not core.shared_kv or core.mask.picked is not None:
        return op
    rows = core.heads * core.q_len
    heads = minimum(rows, maximum(core.heads, PASS))
    keys = core.mask.pairs(core.q_len, core.past) / core.q_len
    one = replace(core, batch=core.batch * (rows / heads), q_len=1.0, past=keys - 1.0, heads=heads)
    return replace(op, parts=(one,)) if isinstance(op, Fused) else one


def terms(op: Op, device: Device) -> Terms:
    """The core as one query a sequence, with what runs before it as serial bytes. Sizes: K/V heads of all sequences, and keys."""
    one = _one_query(op)
    core = prefill.certain_core(one)
    sizes = (core.batch * core.kv_heads, core.mask.keys(core.q_len, core.past))
    return kernel_terms(core, device, core.work(), prefill.serial_bytes(one), sizes)


def features(op: Op) -> tuple[Num, ...]:
    """K/V heads of all sequences, keys, grouping, width, and how much a window hides: over a latent, which has none, how many
    queries were folded. Imported rows have one, so that the interval widens with every further one; from FEW on it holds
    (docs/theory/mla.md: more miss by less)."""
    queries, core = prefill.certain_core(op).q_len, prefill.certain_core(_one_query(op))
    keys = core.mask.keys(core.q_len, core.past)
    folded = np.log(minimum(queries, prefill.FEW))
    hidden = folded if prefill.layout(core) == "latent" else np.log1p(np.log((core.past + core.q_len) / keys))
    return (
        np.log(core.batch * core.kv_heads), np.log(keys), np.log(core.heads / core.kv_heads), np.log(core.d_qk), hidden,
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads, mask and width of a batch, and its context. Several queries are no layer that rows of one have timed: half a head
    keeps them apart."""
    queries, core = prefill.certain_core(op).q_len, prefill.certain_core(_one_query(op))
    window = 0.0 if core.mask.window is None else core.mask.window
    heads = np.where(np.asarray(queries) == 1.0, core.heads, core.heads + 0.5)
    return (core.batch, heads, core.kv_heads, core.d_qk, window, np.log(core.past + core.q_len))
