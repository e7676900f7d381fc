"""Number formats: bits of elements and of the scales beside them, counted tile by tile; names as torch and configs spell them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost.dtypes import Dtype, block_scaled, dtype, names, spelled
from simcost.errors import SpecError

SIZES = st.integers(1, 700)
# (bits of an element, rows and columns of a tile, bits of its scale), from the formats' own papers.
PUBLISHED = {
    "fp32": (32, 0, 0, 0), "bf16": (16, 0, 0, 0), "fp16": (16, 0, 0, 0), "fp8": (8, 0, 0, 0), "int8": (8, 0, 0, 0),
    "fp8_block": (8, 128, 128, 32), "mxfp8": (8, 1, 32, 8), "mxfp4": (4, 1, 32, 8), "nvfp4": (4, 1, 16, 8),
    "int4": (4, 1, 128, 20),
}  # fmt: skip


def counted(kind: tuple[int, int, int, int], out: int, inner: int) -> float:
    """Bytes of a matrix, tile by tile."""
    bits, rows, columns, scale = kind
    total = out * inner * bits
    if scale:
        total += scale * len([1 for _ in range(0, out, rows) for _ in range(0, inner, columns)])
    return total / 8


@pytest.mark.parametrize("name", PUBLISHED)
@given(out=SIZES, inner=SIZES)
def test_a_matrix_stores_its_elements_and_a_scale_for_every_begun_tile(name: str, out: int, inner: int) -> None:
    assert dtype(name).matrix_bytes(float(out), float(inner)) == counted(PUBLISHED[name], out, inner)


@pytest.mark.parametrize(("name", "bits"), [
    ("bf16", 16.0), ("fp8", 8.0), ("mxfp8", 8.25), ("mxfp4", 4.25), ("nvfp4", 4.5), ("int4", 4 + 20 / 128),
    ("fp8_block", 8 + 32 / 128),
])  # fmt: skip
def test_bits_a_tensors_element_include_its_share_of_the_scale(name: str, bits: float) -> None:
    assert dtype(name).tensor_bytes(4096.0) * 8 / 4096 == bits


@pytest.mark.parametrize("name", PUBLISHED)
def test_whole_tiles_of_one_row_weigh_the_same_as_a_tensor(name: str) -> None:
    kind = dtype(name)
    rows = 1 if kind.block[0] <= 1 else kind.block[0]
    assert rows * kind.tensor_bytes(256.0) >= kind.matrix_bytes(float(rows), 256.0)
    if kind.block[0] <= 1:
        assert kind.tensor_bytes(256.0) == kind.matrix_bytes(1.0, 256.0)


@pytest.mark.parametrize(("alias", "name"), [
    ("bfloat16", "bf16"), ("float16", "fp16"), ("half", "fp16"), ("float32", "fp32"), ("float", "fp32"),
    ("float8_e4m3fn", "fp8"), ("e4m3", "fp8"), ("fp8_e4m3", "fp8"), ("BF16", "bf16"), ("BFloat16", "bf16"), ("torch.bfloat16", "bf16"), ("FP8", "fp8"), ("FP8-E4M3", "fp8"),
    ("MXFP4", "mxfp4"), ("Float16", "fp16"),
])  # fmt: skip
def test_torchs_names_are_known(alias: str, name: str) -> None:
    assert dtype(alias) == dtype(name)
    assert spelled(alias) == name
    assert alias not in names()


@pytest.mark.parametrize("name", ["fp4", "FP4"])
def test_a_format_of_two_kinds_names_both(name: str) -> None:
    with pytest.raises(SpecError, match=f"plan.kv_dtype: '{name}' can be mxfp4 or nvfp4: write one of them"):
        dtype(name, "plan.kv_dtype")
    assert spelled(name) == name


@pytest.mark.parametrize(("name", "near"), [("fp9", "fp8"), ("bf18", "bf16"), ("mxpf4", "mxfp4"), ("zzzz", "")])
def test_an_unknown_format_is_one_line_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(SpecError) as error:
        dtype(name, "model.json: 'torch_dtype'")
    said = str(error.value)
    assert said.startswith(f"model.json: 'torch_dtype': unknown dtype '{name}'")
    assert said.endswith(f"did you mean '{near}'?") if near else "did you mean" not in said
    assert all(known in said for known in names())


@given(rows=st.integers(1, 300), columns=st.integers(1, 300), out=SIZES, inner=SIZES)
def test_a_tile_of_ones_own_replaces_the_formats(rows: int, columns: int, out: int, inner: int) -> None:
    kind = block_scaled(dtype("fp8_block"), rows, columns, 16)
    assert (kind.name, kind.bits, kind.peak) == ("fp8_block", 8, "fp8")
    tiles = math.ceil(out / rows) * math.ceil(inner / columns)
    assert kind.matrix_bytes(float(out), float(inner)) == out * inner + 2 * tiles


def test_a_format_without_scales_ignores_its_tile() -> None:
    assert Dtype("plain", 8, "", (7, 7)).matrix_bytes(10.0, 10.0) == 100.0


def test_formats_for_storage_alone_name_no_rate() -> None:
    assert [name for name in names() if not dtype(name).peak] == ["int4"]
    assert dtype("mxfp4").peak == dtype("nvfp4").peak == "fp4"
    assert dtype("fp8_block").peak == "fp8"
