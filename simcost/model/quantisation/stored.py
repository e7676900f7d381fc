"""What a checkpoint stores the weights of each kind in, as a `quantization_config` says.

Source: `simcost.model.quantisation`, which reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.provenance import Note
from simcost.sharding.shard import Weight

CONVERTED = ("attention", "ffn", "experts", "shared_experts")  # roles that schemes convert unless they say otherwise
Held = Mapping[str, Mapping[int, tuple[Weight, ...]]]  # role -> layer -> its matrices


@frozen
class Part:
    """Elements of a role in one format, and what its kernels compute in; None for the activations' format."""

    elements: float
    dtype: Dtype
    compute: Dtype | None


@frozen
class Stored:
    """The format of a role, and what its kernels compute in; None for the activations' format. `parts`: of a role whose modules differ the formats of each
    layer, whose mean `dtype` then is; () where all are alike."""

    dtype: Dtype
    compute: Dtype | None
    parts: tuple[tuple[int, tuple[Part, ...]], ...] = ()


@frozen
class Quantisation:
    """formats: of the roles that are converted, the others keep the base format; kv: the cache's format, None where nothing states one;
    names_experts: whether single layers, or the experts, are named with a format of their own."""

    method: str
    formats: Mapping[str, Stored]
    kv: Dtype | None = None
    notes: tuple[Note, ...] = ()
    names_experts: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are stored in fewer than 16 bits."""
        return tuple(role for role, each in self.formats.items() if each.dtype.bits < 16)

    def compute(self, role: str) -> Dtype | None:
        """What kernels of a role compute in; None for the activations' format."""
        return self.formats[role].compute if role in self.formats else None
