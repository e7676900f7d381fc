"""Multi-matrix factorisation attention (MFA): many wide query heads from one shared latent of `share_q_dim`, and one head of keys and values.

The cache is that of MQA, 2 x head_dim elements per token, and every cached element serves all query heads. Most likely to be wrong: engines'
kernels for one KV head of 256 under 64 query heads differ by a factor of ten. Sources: MFA (arXiv 2412.19255), Step-3 (arXiv 2507.19427); which
matrices are cut: vLLM `model_executor/models/step3_text.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.blocks.swap import Chosen, Design, Swap, multiple, whole
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = ("use_mfa", "share_q_dim")  # keys of configs that only this block reads


@frozen
class MFA(GQA):
    """GQA whose queries pass a latent of width `share_q_dim`. The products to the latent and to keys and values are whole on every rank, the
    latent's expansion is cut by heads."""

    share_q_dim: Num = 1.0
    source: ClassVar[str] = "arXiv 2412.19255"

    def peak_elements(self, plan: Plan) -> Num:
        """What GQA holds, and the latent of the queries."""
        return GQA.peak_elements(self, plan) + self.share_q_dim

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """qkv_proj (to the queries' latent, keys and values) with the norm of the latent, wq (its expansion to this rank's heads), and what GQA has after
        the core."""
        h, kv = self.heads(plan)
        d, rank = self.hidden_size, self.share_q_dim
        down = rank + kv * (self.head_dim + self.v_head_dim)
        found = [Weight("qkv_proj", "attention", down, d), Weight("inter_norm", "attention", rank)]
        found.append(Weight("wq", "attention", h * self.head_dim, rank))
        for weight in GQA.weights(self, plan):
            if weight.name == "qkv_bias":
                found.append(replace(weight, out=down))
            elif weight.name != "qkv_proj":
                found.append(weight)
        return tuple(found)

    def _projections(self, view: View) -> tuple[Program, ...]:
        """Down to the latent, keys and values; norm of the latent; up to the queries of this rank's heads."""
        rows, act = view.tokens, view.activation
        norm = Call(Stream("norm", rows * self.share_q_dim, 1.0, 1.0, 4.0, act, act), "inter_norm")
        down, *after = GQA._projections(self, view)
        return down, norm, linear(view, self._weight(view, "wq"), rows), *after


_HEAD_DIM, _PER_HEAD, _CUT = (
    256,
    112,
    8,
)  # Step-3: head_dim, hidden_size over query heads; heads stay a multiple that tp = 8 cuts


def _mfa(design: Design, text: str) -> list[Chosen]:
    """Step-3's proportions."""
    hidden = int(design.hidden_size)
    rank = whole(text, "the width", f"model.attention=mfa:{text}") if text else multiple(hidden * 2 / 7)
    heads = multiple(hidden / _PER_HEAD, _CUT)
    why = f"hidden_size / {_PER_HEAD}, as Step-3"
    return [
        Chosen("use_mfa", True, "asked for"),
        Chosen("share_q_dim", rank, "asked for" if text else "2/7 of hidden_size, as Step-3, to a multiple of 64"),
        Chosen("num_attention_heads", heads, why if heads * _PER_HEAD == hidden else f"{why}, to a multiple of {_CUT}"),
        Chosen("num_key_value_heads", 1, "one for all query heads"),
        Chosen("head_dim", _HEAD_DIM, "as Step-3"),
        Chosen("v_head_dim", None, "values are as wide as keys"),
        *([Chosen("multi_query", False, "the KV heads are stated")] if design.config.get("multi_query") else []),
    ]


BY_KEYS = ("use_mfa", "share_q_dim")
SWAPS = {"mfa": Swap(_mfa, "mfa or mfa:<width of the queries' latent>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 where the config says so by use_mfa, or by share_q_dim alone; else 0."""
    return 3 if r.flag("use_mfa", r.has("share_q_dim")) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> MFA:
    """The MFA block of a layer. Raises SpecError for a missing or wrong key."""
    return MFA(**dimensions(r), share_q_dim=r.num("share_q_dim"))  # type: ignore[arg-type]
