"""Mistral Small 3.1 and later, Mistral Large 4, LightOnOCR: Pixtral, patches merged by one product, two into the language model.

Sources: Hugging Face `modeling_mistral3.py`, `modeling_mistral_large4.py`, `modeling_lighton_ocr.py`.
"""

from __future__ import annotations

from simcost.blocks.tower.tower import Matrix, Rows, Tower
from simcost.model.tower_parts import trunks
from simcost.model.tower_parts.table import Rule, Wrapper


def mistral3(c: Wrapper) -> tuple[Tower, ...]:
    """An RMSNorm, `spatial_merge_size` squared patches merged to one, two products."""
    trunk = trunks.of(c.table("vision_config"), trunks.PIXTRAL)
    side = c.own.num("spatial_merge_size", default=2)
    joined = c.own.length("vision_feature_layer", 1) * trunk.width
    bias = c.own.flag("multimodal_projector_bias", False)
    rows = Rows(1.0 / side**2)
    merger = Matrix("merging_layer", trunk.width * side**2, trunk.width, rows, bias=False)
    projector = (merger, *trunks.two(trunks.LINEARS, joined, c.hidden, c.hidden, rows, bias))
    return (trunks.tower(trunk, projector, trunk.width, rows, multiple=side),)


WRAPPERS: dict[str, Rule] = {"mistral3": mistral3, "mistral_large4": mistral3, "lighton_ocr": mistral3}
