"""Times of an engine's steps on a grid, between whose points they are interpolated: decode, a chunk of a prompt, and both in one forward.

A mixed step takes what decode and the chunk take alone, less what they share: weights are read once, launches happen once. What is shared depends on how
many rows either brings and not on their contexts, since attention cores run group by group; the grid therefore needs pairs of axes only (a test compares with
steps priced whole). Most likely to be wrong: a batch between two points of the grid, where tiles make real times step-like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.num import Array, Index, Num, is_scalar, plain, where
from simcost.plan import Phase, Tokens
from simcost.workload import Workload

BATCHES = (
    1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 65536,
)  # fmt: skip
CONTEXTS = (1, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 4194304, 16777216)
CHUNKS = (1, 16, 64, 128, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768, 65536, 131072, 1048576)
_BESIDE = float(CONTEXTS[1])  # of the decode beside a chunk, at which what they share is priced
PASTS = (0, 1024, 4096, 16384, 65536, 262144, 1048576, 16777216)


@frozen
class StepTable:
    """Times [s] of one attention replica by (batch, context), (chunk, past) and (batch, chunk), without the host's work on a step. Several plans stand one after the
    other, `plan` being whose times are asked: an index, or an array of them that broadcasts with what is asked.

    decode, chunk: of a step alone, the slowest pipeline stage's of a chunk; through: of a chunk from the first stage to the last; shared: what a mixed step
    saves. decode_error, chunk_error: one standard deviation of the log of them. [plans, first axis, second axis]"""

    batches: Array
    contexts: Array
    chunks: Array
    pasts: Array
    decode: Array
    chunk: Array
    through: Array
    shared: Array
    decode_error: Array
    chunk_error: Array
    plan: int | Index = 0

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        """As `serving.step_times.StepTimes`. [s]"""
        alone = where(np.asarray(batch) > 0.0, self._of_decode(self.decode, batch, context), 0.0)
        if is_scalar(tokens) and tokens == 0.0:
            return alone
        return alone + self.beside(batch, tokens, past)

    def beside(self, batch: Num, tokens: Num, past: Num) -> Num:
        """What a chunk adds to a decode step of so many sequences: its own time less what they share. [s]"""
        chunk = self._of_chunk(self.chunk, tokens, past)
        saved = _between(self.batches, self.chunks, self.shared, self.plan, batch, tokens)
        return where(np.asarray(tokens) > 0.0, chunk - where(np.asarray(batch) > 0.0, saved, 0.0), 0.0)

    def of(self, plan: int | Index) -> StepTable:
        """The same table, asked of other plans."""
        return replace(self, plan=plan)

    def prompt(self, tokens: Num, past: Num) -> Num:
        """Seconds of a chunk from the first pipeline stage to the last, with no decode beside it."""
        return self._of_chunk(self.through, tokens, past)

    def deviation(self, batch: Num, context: Num, tokens: Num, past: Num) -> tuple[Num, Num]:
        """One standard deviation of the log of (decode, the chunk)."""
        return self._of_decode(self.decode_error, batch, context), self._of_chunk(self.chunk_error, tokens, past)

    def _of_decode(self, table: Array, batch: Num, context: Num) -> Num:
        return _between(self.batches, self.contexts, table, self.plan, batch, context)

    def _of_chunk(self, table: Array, tokens: Num, past: Num) -> Num:
        return _between(self.chunks, self.pasts, table, self.plan, tokens, past)


def _between(xs: Array, ys: Array, table: Array, plan: int | Index, x: Num, y: Num) -> Num:
    """Bilinear between the points of a plan's grid; on its last slope beyond its end. Before it at its first point, of a past on its first slope: less than nothing
    before a chunk says that it is several prompts."""
    x, y = np.maximum(x, xs[0]), np.maximum(y, ys[0]) if ys[0] > 0.0 else np.asarray(y, np.float64)
    i, j = _cell(xs, x), _cell(ys, y)
    u, v = (x - xs[i]) / (xs[i + 1] - xs[i]), (y - ys[j]) / (ys[j + 1] - ys[j])
    wide = len(ys)
    flat, at = table.ravel(), (plan * len(xs) + i) * wide + j
    low = flat[at] * (1.0 - v) + flat[at + 1] * v
    high = flat[at + wide] * (1.0 - v) + flat[at + wide + 1] * v
    return plain(low * (1.0 - u) + high * u)


def _cell(points: Array, value: Num) -> Index:
    return np.asarray(np.clip(np.searchsorted(points, value, side="right") - 1, 0, len(points) - 2))


def table(
    w: Workload, batch: float, context: float, tokens: float, past: float, drafts: float = 0.0, least_context: float = 1.0, least_tokens: float = 1.0,
) -> StepTable:  # fmt: skip
    """The table up to a batch of one replica, a context, a chunk and a past, from the least context and chunk that are asked; each sequence of a decode step brings
    1 + `drafts` rows. One copy of the design is priced. Sizes of the plan are numbers, or [plans, 1] arrays."""
    plan = replace(w.plan, dp=1.0, gpus=None)
    w = replace(w, plan=plan, view=replace(w.view, plan=plan))
    batches, contexts = _axis(BATCHES, batch), _axis(CONTEXTS, context, least_context, _BESIDE)
    chunks, pasts = _axis(CHUNKS, tokens, least_tokens), _axis(PASTS, past)
    base = int(np.searchsorted(contexts, _BESIDE))
    ranks, pp = plan.replicas * 1.0, plan.pp
    rows, routing = 1.0 + drafts, w.phase.routing
    size, seen = _product(batches, contexts)
    decode = _priced(w, Phase(size * ranks, rows, seen, rows, pp, routing, decode=True))
    new, before = _product(chunks, pasts)
    chunk = _priced(w, Phase(ranks, new, before, routing=routing))
    size, new = _product(batches, chunks)
    # A chunk is in one micro-batch of a pipeline. Priced is a chunk in each.
    beside = (Tokens(ranks * pp, new, pasts[0]),)
    mixed = _priced(w, Phase(size * ranks, rows, _BESIDE, rows, pp, routing, decode=True, beside=beside))
    alone = _grid(_seconds(decode, decode.cost.seconds), batches, contexts)
    prompt = _grid(_seconds(chunk, chunk.slowest.seconds), chunks, pasts)
    both = _grid(_seconds(mixed, mixed.cost.seconds), batches, chunks)
    return StepTable(
        batches,
        contexts,
        chunks,
        pasts,
        decode=alone,
        chunk=prompt,
        through=_grid(_seconds(chunk, chunk.cost.seconds), chunks, pasts),
        shared=(alone[:, :, base : base + 1] - both) / np.reshape(pp, (-1, 1, 1)) + prompt[:, None, :, 0],
        decode_error=_grid(decode.cost.deviation / decode.cost.seconds, batches, contexts),
        chunk_error=_grid(chunk.cost.deviation / chunk.cost.seconds, chunks, pasts),
    )


def _priced(w: Workload, phase: Phase) -> steps.Step:
    return steps.run(replace(w, phase=phase, view=replace(w.view, phase=phase)), checked=True)


def _seconds(step: steps.Step, seconds: Num) -> Num:
    """Without the host's work on a step, which an engine's profile states."""
    return seconds - step.host.seconds


def _axis(points: Sequence[int], most: float, least: float = 0.0, also: float | None = None) -> Array:
    """The points of an axis from the last that is not above `least` up to the first that is not below `most`, at least three up to there; and `also`."""
    found = [float(p) for p in points]
    last = max(next((i for i, p in enumerate(found) if p >= most), len(found) - 1), 2)
    first = max((i for i, p in enumerate(found[:last]) if p <= least), default=0)
    return np.asarray(sorted({*found[first : last + 1], *([] if also is None else [also])}))


def _product(first: Array, second: Array) -> tuple[Array, Array]:
    """All pairs of two axes, each [1, pairs]."""
    return np.repeat(first, len(second))[None, :], np.tile(second, len(first))[None, :]


def _grid(values: Num, first: Array, second: Array) -> Array:
    """[plans, pairs] as [plans, first axis, second axis]."""
    flat = np.asarray(values, np.float64)
    flat = np.broadcast_to(flat, np.broadcast_shapes(flat.shape, (1, len(first) * len(second))))
    return np.ascontiguousarray(flat).reshape(-1, len(first), len(second))
