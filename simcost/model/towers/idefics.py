"""Idefics 2 and 3, SmolVLM, Aria: SigLIP without a head, and a connector.

Sources: Hugging Face `modeling_idefics2.py`, `modeling_idefics3.py`, `modeling_smolvlm.py`, `modeling_aria.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simcost.blocks.tower._resampler import Resampler
from simcost.blocks.tower.tower import PATCHES, Matrix, Rows, Tower
from simcost.errors import SpecError
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper

_SPLIT = "an image keeps its shape; where a processor splits pictures into several (do_image_splitting), each counts as an image"
_SECOND = trunks.Sizes(patch=32.0)
_THIRD = trunks.Sizes(hidden=1152.0, heads=16.0, patch=32.0)


def _trunk(c: Wrapper, defaults: trunks.Sizes) -> trunks.Trunk:
    vision = c.table("vision_config")
    if not str(vision.values.get("model_type", "idefics")).startswith(("idefics", "smolvlm", "siglip")):
        raise Uncounted(f"vision_config.model_type = {vision.values['model_type']!r} is not known")
    vision.ignore("vision_use_head", "use_base_siglip", "tie_word_embeddings")
    return trunks.siglip(vision, head=False, defaults=defaults)


def idefics3(c: Wrapper) -> tuple[Tower, ...]:
    """`scale_factor` squared patches side by side, one product; the resampler that older files describe is in no class."""
    c.own.ignore("perceiver_config")
    trunk, factor = _trunk(c, _THIRD), c.own.num("scale_factor", default=2)
    rows = Rows(1.0 / factor**2)
    projector = Matrix("modality_projection", trunk.width * factor**2, c.hidden, rows, bias=False)
    return (trunks.tower(trunk, (projector,), 0.0, rows, multiple=factor),)


def idefics2(c: Wrapper) -> tuple[Tower, ...]:
    """A gated FFN as wide as the language model's, then latents that attend to the patches (perceiver resampler)."""
    trunk, r = _trunk(c, _SECOND), c.table("perceiver_config")
    inner = c.own.num("intermediate_size", default=14336)
    depth, latents = r.num("resampler_depth", default=3), r.num("resampler_n_latents", default=64)
    heads, width = r.num("resampler_n_heads", default=16), r.num("resampler_head_dim", default=96)
    kv, d = r.num("num_key_value_heads", default=4), c.hidden
    r.ignore("hidden_size")
    gate = (
        Matrix("gate_up_proj", trunk.width, 2.0 * inner, PATCHES, bias=False),
        Matrix("down_proj", inner, d, PATCHES, bias=False),
    )
    resampler = Resampler(depth, d, heads, kv, width, 4.0 * d, latents, 3.0 * d)
    found = trunks.tower(trunk._replace(side=None), (*gate, resampler), latents * d + d, Rows(0.0, latents))
    return (replace(found, largest=trunk.side or 0.0, said=_SPLIT),)


def aria(c: Wrapper) -> tuple[Tower, ...]:
    """Idefics 3's encoder, then queries that attend to its patches through two products each of queries, keys and values, and an FFN as wide as the language model."""
    trunk, d, key = _trunk(c, _THIRD), c.hidden, "projector_patch_to_query_dict"
    v, stated = trunk.width, c.own.raw(key, default={"1225": 128, "4900": 256})
    if not isinstance(stated, Mapping) or not stated:
        raise SpecError(f"{c.where}: '{key}' must be a table of patches and queries, not {stated!r}")
    queries = [Table({key: each}, "", c.where).num(key) for each in stated.values()]
    most = c.own.num(f"max_value_{key}", default=max(queries))
    c.own.taken.pop(f"max_value_{key}", None)  # which only some files state
    c.own.ignore("vision_feature_layer")
    attention = 3.0 * v * v + 4.0 * v * v + 4.0 * v + v * v + v + 4.0 * v
    projector = trunks.two(("linear_in", "linear_out"), v, d, d, bias=False)
    why = "latents of its projector that attend to patches are not timed"
    return (trunks.tower(trunk, projector, most * v + attention + 2.0 * v, PATCHES, refuses=why),)


WRAPPERS: dict[str, Rule] = {"idefics2": idefics2, "idefics3": idefics3, "smolvlm": idefics3, "aria": aria}
