"""The attention core with one query a sequence: GQA, windows, and absorbed MLA over the latent.

Over the latent a few queries (a draft that is verified, the end of a prompt) are so many more heads: all of them attend to the same
keys (deepseek-ai/FlashMLA `csrc/flash_api.cpp`, q_seq_per_hk). Most likely to be wrong: kernels that take one query."""

from __future__ import annotations

import numpy as np

from simcost.calibration.families import attention_prefill as prefill
from simcost.calibration.family import kernel_terms
from simcost.calibration.form import Terms
from simcost.hardware.profile import Device
from simcost.num import Mask, Num
from simcost.ops.work import Op

COLUMNS = prefill.COLUMNS
WORDS = prefill.WORDS
NUMBERS = prefill.NUMBERS
LABELS = prefill.LABELS
LADDERS = ("batch", "past")
SIZES = ("kv_heads_of_batch", "keys")
LENGTHS = None

op = prefill.op
numbers = prefill.numbers
relatives = prefill.relatives
labels = prefill.labels


def covers(op: Op) -> Mask:
    core = prefill.the_core(op)
    return core is not None and ((core.q_len == 1.0) | prefill.few_over_latent(core))


def terms(op: Op, device: Device) -> Terms:
    core = prefill.certain_core(op)
    sizes = (core.batch * core.kv_heads, core.mask.keys(core.q_len, core.past))
    return kernel_terms(core, device, core.work(), prefill.serial_bytes(op), sizes)


def features(op: Op) -> tuple[Num, ...]:
    """K/V heads of all sequences, keys, grouping, width, how much a window hides."""
    core = prefill.certain_core(op)
    keys = core.mask.keys(core.q_len, core.past)
    return (
        np.log(core.batch * core.kv_heads), np.log(keys), np.log(core.heads * core.q_len / core.kv_heads), np.log(core.d_qk),
        np.log1p(np.log((core.past + core.q_len) / keys)),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads, mask and width of a batch, and its context."""
    core = prefill.certain_core(op)
    window = 0.0 if core.mask.window is None else core.mask.window
    return (core.batch, core.heads * core.q_len, core.kv_heads, core.d_qk, window, np.log(core.past + core.q_len))
