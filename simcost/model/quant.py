"""`quantization_config` -> the number format in which each kind of weight is stored.

Embedding, head, router and norms stay in the base format in every scheme unless the scheme says otherwise
(DeepSeek-V3 README_WEIGHTS.md; gpt-oss modules_to_not_convert; llm-compressor's default ignore list).
"""

from __future__ import annotations

from typing import Any

from simcost.dtypes import Dtype
from simcost.model.quantisation.stored import CONVERTED, Held, Quantisation, Stored

__all__ = ["CONVERTED", "Held", "Quantisation", "Stored", "read"]


def read(table: Any, where: str, held: Held, base: Dtype) -> Quantisation | None:
    """The quantisation of a model; None when absent. `held`: the matrices of every role, layer by layer; `base`: the format of the others. Raises SpecError for
    malformed tables, NotModelled for schemes that nobody models yet."""
    if table is None:
        return None
    from simcost.model.quantisation import table as tables  # most designs have none

    return tables.read(table, where, held, base)
