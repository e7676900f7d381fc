"""Inkling: patches folded step by step into one token by products alone, and a table of sounds; Inkling 2: blocks with layer scale, a class token and two products into the language model.

Inkling plans its steps over the prime factors of a patch's sides: each step folds pixels of a square, and at last of frames, into the width. Most likely to be wrong: a picture that a
processor repeats over the frames of a patch, as is taken here. Sources: Hugging Face `modeling_inkling.py` (plan_out_scales), `modeling_inkling2.py`.
"""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import NamedTuple

from simcost.blocks.tower.tower import Encoder, Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper
from simcost.num import Num

_SAME, _MOST = 1e-5, 12  # distances that single precision cannot tell apart; scales of which all choices are tried
_TIED = "two plans of its steps are equally near, and the rounding of its class decides"
_IDLE = (
    "hidden_size",
    "num_attention_heads",
    "text_hidden_size",
    "rms_norm_eps",
)  # of Inkling's tower: its class reads the language model's width


class Scale(NamedTuple):
    """What one number of a step stands for: frames, pixels of a side, and how many numbers stand beside each other."""

    frames: int
    side: int
    channels: int


def inkling(c: Wrapper) -> tuple[Tower, ...]:
    """Products with a norm after each but the last, and one norm at the end; a table of mel bins and their values, and a norm."""
    vision, audio = c.table("vision_config"), c.table("audio_config")
    vision.used.update(_IDLE)
    audio.used.update(_IDLE)
    bins = audio.num("n_mel_bins", "num_codebooks", default=80)
    values = audio.num("mel_vocab_size", "codebook_size", default=256)
    sounds = bins * values * c.hidden + c.hidden
    return _folds(vision, c.hidden), Tower("audio tower", "audio_config", (), sounds)


def _folds(vision: Table, d: Num) -> Tower:
    frames, side = int(vision.num("temporal_patch_size", default=2)), int(vision.side("patch_size", 40))
    steps = planned(
        frames, side, int(vision.num("n_layers", "num_hidden_layers", default=24)), int(trunks.channels(vision))
    )
    parts, norms = [], 0.0
    for number, (before, after) in enumerate(pairwise(steps)):
        last = number == len(steps) - 2
        folded = (after.frames // before.frames) * (after.side // before.side) ** 2
        rows = Rows((frames / after.frames) * (side / after.side) ** 2)
        out: Num = d if last else float(after.channels)
        norms += 0.0 if last else float(after.channels)
        parts.append(Matrix(f"fold_{number}", float(before.channels * folded), out, rows, bias=False))
    return Tower("vision tower", "vision_config", tuple(parts), norms + d, float(side))


def planned(frames: int, side: int, layers: int, colours: int) -> list[Scale]:
    """Scales before the first step and after each: those nearest to an even ladder of as many steps, of what the prime factors give; of fewer steps than scales each another one. Raises
    Uncounted where the class builds no tower, and where two choices are equally near, so that its rounding decides."""
    if frames < 2 or side < 2:
        raise Uncounted(f"a patch of {side} x {side} pixels and {frames} frames, of which its class builds no tower")
    squares, times = _ladder(side), _ladder(frames)
    found = [Scale(1, 1, colours)]
    found += [Scale(1, s, math.ceil(s * s * colours / 64) * 64) for s in squares]
    found += [Scale(t, side, side * side * colours * t * 64) for t in times]
    sizes = [math.log(scale.frames * scale.side**2) for scale in found]
    whole = math.log(side * side * frames * colours)
    even = [whole * step / layers for step in range(layers + 1)]
    chosen = [_nearest(sizes, to) for to in even] if layers >= len(found) else _apart(sizes, even)
    return [found[at] for at in (0, *chosen[1:-1], len(found) - 1)]


def _nearest(sizes: list[float], to: float) -> int:
    """The size that is nearest to one."""
    best, *others = sorted((abs(size - to), at) for at, size in enumerate(sizes))
    if others and others[0][0] - best[0] < _SAME:
        raise Uncounted(_TIED)
    return best[1]


def _apart(sizes: list[float], even: list[float]) -> list[int]:
    """A size of its own for each of `even`, so that the distances are least together. They rise as `even` does: any two that cross cost no less than in order."""
    if len(sizes) > _MOST:
        raise Uncounted(f"more than {_MOST} scales for fewer layers")

    def cost(chosen: tuple[int, ...]) -> float:
        return sum(abs(sizes[at] - to) for at, to in zip(chosen, even, strict=True))

    best, *others = sorted((cost(each), each) for each in combinations(range(len(sizes)), len(even)))
    order = best[1]
    crossed = [
        abs(sizes[order[j]] - even[i]) + abs(sizes[order[i]] - even[j]) - abs(sizes[order[i]] - even[i]) - abs(sizes[order[j]] - even[j])
        for i, j in combinations(range(len(even)), 2)
    ]  # fmt: skip
    if (others and others[0][0] - best[0] < _SAME) or any(more < _SAME for more in crossed):
        raise Uncounted(_TIED)
    return list(order)


def _ladder(number: int) -> list[int]:
    """Products of its prime factors, the largest first."""
    factors, rest, p = [], number, 2
    while rest > 1:
        while rest % p == 0:
            factors.append(p)
            rest //= p
        p += 1
    found, product = [], 1
    for factor in reversed(factors):
        product *= factor
        found.append(product)
    return found


def inkling2(c: Wrapper) -> tuple[Tower, ...]:
    """A table of positions on a grid, a class token with a position of its own, a LayerNorm before the blocks; squares of patches are merged."""
    vision = c.table("vision_config")
    v, layers = vision.num("hidden_size", default=1024), vision.num("num_hidden_layers", default=23)
    heads, patch = vision.num("num_attention_heads", default=16), vision.side("patch_size", 20)
    ratio = vision.num("mlp_ratio", default=4.0)
    g = vision.num("intermediate_size") if vision.values.get("intermediate_size") is not None else math.floor(v * ratio)
    merged, grid = vision.num("spatial_merge_size", default=2), vision.num("posemb_grid_size", default=32)
    wide, bias = vision.num("projection_hidden_dim", default=4096), vision.flag("projector_bias", False)
    vision.used.update(("text_hidden_size", "layer_scale_init_value"))
    blocks = Encoder(layers, v, heads, v / heads, g, trunks.plain_vectors(v, g) + 2.0 * v, rows=Rows(1.0, 1.0))
    trunk = trunks.Trunk(
        v, (trunks.embedding(vision, v, patch, False), blocks), grid**2 * v + 2.0 * v + 2.0 * v, patch, None
    )
    tokens = Rows(1.0 / merged**2)
    projector = (
        Matrix("merger.linear_1", merged**2 * v, wide, tokens, bias),
        Matrix("merger.linear_2", wide, c.hidden, tokens, bias),
    )
    return (trunks.tower(trunk, projector, 0.0, tokens, merged),)


WRAPPERS: dict[str, Rule] = {"inkling_mm_model": inkling, "inkling2": inkling2, "inkling2_loop": inkling2}
