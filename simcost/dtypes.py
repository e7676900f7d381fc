"""Number formats, exact to the bit: element bits plus the scales that a block format stores beside them.

Sources: OCP Microscaling Formats v1.0 (mxfp8, mxfp4: 32 elements share one 8-bit scale); NVIDIA NVFP4 (16 elements share one fp8
scale); DeepSeek-V3 README_WEIGHTS.md (fp8 weights, one fp32 scale per 128x128 block); AutoGPTQ/AWQ checkpoint layout
(int4, one fp16 scale and one int4 zero per group).
"""

from __future__ import annotations

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Num, ceil


@frozen
class Dtype:
    """A format. `block` is the (out, in) tile that shares `scale_bits`; (0, 0) means no stored scale."""

    name: str
    bits: float
    peak: str  # the device's rate that computes in it; "" when it is storage only
    block: tuple[int, int] = (0, 0)
    scale_bits: float = 0

    def tensor_bytes(self, elements: Num) -> Num:
        """Bytes of a plain (activation or cache) tensor; block scales run along the last dimension. [B]"""
        bits: Num = elements * self.bits
        if self.scale_bits:
            bits = bits + elements / self.block[1] * self.scale_bits
        return bits / 8

    def matrix_bytes(self, out: Num, inner: Num) -> Num:
        """Bytes of a weight matrix with its scales; partial tiles store a whole scale. [B]"""
        size: Num = out * inner * self.bits / 8
        if self.scale_bits:
            rows, cols = self.block
            tiles: Num = ceil(out / rows) * ceil(inner / cols)
            size = size + tiles * self.scale_bits / 8
        return size


_TABLE = {
    d.name: d
    for d in (
        Dtype("fp32", 32, "fp32"),
        Dtype("tf32", 32, "tf32"),
        Dtype("bf16", 16, "bf16"),
        Dtype("fp16", 16, "fp16"),
        Dtype("fp8", 8, "fp8"),
        Dtype("fp8_block", 8, "fp8", (128, 128), 32),
        Dtype("int8", 8, "int8"),
        Dtype("mxfp8", 8, "mxfp8", (1, 32), 8),
        Dtype("mxfp4", 4, "fp4", (1, 32), 8),
        Dtype("nvfp4", 4, "fp4", (1, 16), 8),
        Dtype("int4", 4, "", (1, 128), 20),
    )
}
_ALIASES = {
    "float32": "fp32",
    "float": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "float8_e4m3fn": "fp8",
    "e4m3": "fp8",
    "e4m3fn": "fp8",
    "fp8_e4m3": "fp8",
    "fp8_e4m3fn": "fp8",
    "float8": "fp8",
    "tfloat32": "tf32",
}
_SEVERAL = {"fp4": ("mxfp4", "nvfp4"), "float4": ("mxfp4", "nvfp4")}


def spelled(name: str) -> str:
    """The name that simcost has for a format, written in any case, with torch's prefix or by an alias; what is none stays as it is."""
    plain = name.lower().removeprefix("torch.").replace("-", "_")
    found = _ALIASES.get(plain, plain)
    return found if found in _TABLE else name


def dtype(name: str, where: str = "dtype") -> Dtype:
    """The format called `name`, as `spelled` reads it. Raises SpecError naming the nearest, or those that it may be."""
    found = _TABLE.get(name) or _TABLE.get(spelled(name))
    if found is None:
        several = _SEVERAL.get(name.lower())
        if several:
            raise SpecError(f"{where}: {name!r} can be {' or '.join(several)}: write one of them")
        raise SpecError(f"{where}: unknown dtype {name!r} (one of {', '.join(_TABLE)}){nearest(name, _TABLE)}")
    return found


def block_scaled(base: Dtype, rows: int, cols: int, scale_bits: float) -> Dtype:
    """`base` with its own tile, as `quantization_config.weight_block_size` or `group_size` says."""
    return Dtype(base.name, base.bits, base.peak, (rows, cols), scale_bits)


def names() -> list[str]:
    """Names of all formats, without aliases."""
    return list(_TABLE)
