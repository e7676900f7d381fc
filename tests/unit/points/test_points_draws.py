"""Drawn points: whatever the draw, a point stays itself, is its own family's, and has widths that its formats want."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from simcost.calibration.columns import first_bad
from simcost.calibration.family import families, kind
from simcost.measure.kernels.attention import heads_and_widths
from simcost.measure.machine.target import Target
from simcost.measure.points import kinds, sobol
from simcost.measure.points.kernel_class import by_blocks, kernel_classes, of_a_step, plain
from simcost.measure.points.point import Kind, Point, kind_of
from simcost.measure.points.rounding import realised
from simcost.num import every

np = pytest.importorskip("numpy")
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True)
CPU = Target("cpu", 1, 1e10, 1e8, ("bf16", "fp32"), {})
CUDA_FORMATS = ("bf16", "fp16", "tf32", "fp32", "fp8", "fp8_row", "fp8_block", "nvfp4", "mxfp4", "int4")
CUDA = Target("cuda:0", 1, 4e10, 1e8, CUDA_FORMATS, {})
EVERYTHING = sorted({*kinds.kinds(CPU, "full"), *kinds.kinds(CUDA, "full")}, key=str)
EACH = pytest.mark.parametrize("one", EVERYTHING, ids=str)
UNIT = st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8)
WIDTHS = {"gemm": "nk", "gemm_variant": "nk", "batched_gemm": "nk", "grouped_gemm": "nk", "grouped_weight_grad": "nk",
          "experts": ("hidden", "width"), "gather": ("width",)}  # fmt: skip
MULTIPLE = {"fp8": 16, "fp8_block": 128, "nvfp4": 32, "mxfp4": 32, "int4": 128}  # bytes of 16, or a group of scales


def drawn(one: Kind, u: list[float], large: bool) -> tuple[float, ...] | None:
    return realised(one, kernel_classes()[one.family].draw(one, u, large))


def named(one: Kind, numbers: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(families()[one.family].NUMBERS, numbers, strict=True))


@EACH
@EXAMPLES
@given(u=UNIT, large=st.booleans())
def test_what_is_drawn_rounds_to_itself(one: Kind, u: list[float], large: bool) -> None:
    numbers = drawn(one, u, large)
    if numbers is None:
        assert one.table.get("layout") == "window"  # a window that hides nothing
        return
    assert realised(one, named(one, numbers)) == pytest.approx(numbers)


@EACH
@EXAMPLES
@given(u=UNIT, large=st.booleans())
def test_what_is_drawn_may_stand_in_a_file(one: Kind, u: list[float], large: bool) -> None:
    numbers = drawn(one, u, large)
    if numbers is not None:
        table = {name: np.array([value]) for name, value in named(one, numbers).items()}
        assert first_bad(families()[one.family].COLUMNS, table) is None


@EACH
@EXAMPLES
@given(u=UNIT, large=st.booleans())
def test_what_is_drawn_is_its_own_family_s(one: Kind, u: list[float], large: bool) -> None:
    numbers = drawn(one, u, large)
    if numbers is None or one.table.get("what") == "row":
        return  # fp8 scaled by rows is a forward product as an op
    op = Point(one, numbers).op
    labels = families()[one.family].labels(op)
    assert labels is not None
    assert kind(labels) == one.name
    if one.family == "batched_gemm" and numbers[0] == 1.0:
        return
    assert every(families()[one.family].covers(op))


@EACH
@EXAMPLES
@given(u=UNIT, large=st.booleans())
def test_widths_are_multiples_that_formats_want(one: Kind, u: list[float], large: bool) -> None:
    numbers = drawn(one, u, large)
    if numbers is None:
        return
    row, step = named(one, numbers), max(MULTIPLE.get(word, 8) for word in one.table.values())
    for name in WIDTHS.get(one.family, ()):
        assert row[name] % step == 0, name
    if one.family == "stream":
        assert row["elements"] % 128 == 0


@EACH
def test_a_datacentre_device_gets_no_smaller_kernels(one: Kind) -> None:
    """The largest draw of a CPU is within what a GPU may be asked."""
    draw = kernel_classes()[one.family].draw
    for name, value in draw(one, [1.0] * 8, False).items():
        assert value <= draw(one, [1.0] * 8, True)[name] or name in ("touched", "load")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.floats(0.0, 1.0), st.floats(1.0, 100.0), st.floats(1.0, 1000.0))
def test_a_share_of_a_range_is_even_in_its_logarithm(u: float, low: float, times: float) -> None:
    value = sobol.log_between(u, low, low * times)
    assert low * (1 - 1e-12) <= value <= low * times * (1 + 1e-12)
    assert np.log(value / low) == pytest.approx(u * np.log(times), abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_options_have_the_same_chance_and_the_last_takes_the_end(count: int) -> None:
    options = list(range(count))
    hits = [sobol.one_of((i + 0.5) / (100 * count), options) for i in range(100 * count)]
    assert [hits.count(option) for option in options] == [100] * count
    assert sobol.one_of(1.0, options) == options[-1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(UNIT, st.sampled_from(["gqa", "window", "mla", "latent"]))
def test_heads_and_widths_are_a_layout_s(u: list[float], layout: str) -> None:
    got = heads_and_widths(
        kind_of("attention_prefill", x="bf16", kv="bf16", compute="bf16", layout=layout, scope="core"), u
    )
    assert got["heads"] % got["kv_heads"] == 0
    widths = {"mla": (192, 128), "latent": (576, 512)}  # DeepSeek's
    assert layout not in widths or (got["d_qk"], got["d_v"]) == widths[layout]
    assert layout in widths or (got["d_qk"] == got["d_v"] and got["heads"] <= 12 * got["kv_heads"])
    assert (got["kv_heads"] == 1) if layout == "latent" else got["kv_heads"] >= 1
    assert layout != "mla" or got["kv_heads"] == got["heads"]


# ---- which kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", CUDA_FORMATS)
def test_narrow_formats_have_products_alone(format_: str) -> None:
    """On a GPU layers run in bf16; other formats are those of products, of experts where a kernel is ours, and of what feeds
    them."""
    found = {family for family, module in kernel_classes().items() if module.kinds(format_, CUDA)}
    products = {"gemm"} if format_ != "fp8_row" else {"gemm_variant"}
    more = {
        "fp8": {"stream", "permute"},
        "fp8_block": {"stream", "permute", "experts", "grouped_gemm"},
    }
    if format_ == "bf16":
        assert found == set(kernel_classes())
    else:
        assert found == products | more.get(format_, set())


@pytest.mark.parametrize(("format_", "cpu", "cuda"), [
    ("bf16", "bf16", "bf16"), ("fp32", "fp32", None), ("fp16", "fp16", None), ("tf32", None, None), ("fp8", None, None),
])  # fmt: skip
def test_all_kernels_of_a_step_are_measured_in_formats_of_models(
    format_: str, cpu: str | None, cuda: str | None
) -> None:
    assert of_a_step(format_, CPU) == cpu
    assert of_a_step(format_, CUDA) == cuda
    assert plain(format_) is (format_ != "fp8")


def test_our_own_kernel_stands_in_where_torch_has_no_block_scales() -> None:
    absent = Target("cuda:0", 1, 4e10, 1e8, ("bf16", "fp8"), {"fp8_block": "no such product"})
    assert by_blocks("fp8", absent)
    assert not by_blocks("fp8", CUDA)
    assert by_blocks("fp8_block", CUDA)
    assert not by_blocks("bf16", absent)
    names = {str(one) for one in kinds.kinds(absent, "standard")}
    assert "experts/bf16-fp8_block-fp8_block-gated" in names
    assert "gemm/fp8_block-fp8_block-fp8_block" not in names


@pytest.mark.parametrize(("mode", "family", "words", "count"), [
    ("standard", "gemm", ("bf16", "bf16", "bf16"), 80), ("standard", "gemm", ("fp8", "fp8", "fp8"), 64),
    ("standard", "router", ("softmax",), 24), ("standard", "experts", ("bf16", "fp8_block", "fp8_block", "gated"), 48),
    ("full", "gemm", ("nvfp4", "nvfp4", "nvfp4"), 120), ("full", "gather", ("bf16", "bf16"), 40),
    ("quick", "gemm", ("bf16", "bf16", "bf16"), 24),
])  # fmt: skip
def test_points_of_a_kind_are_its_share_and_no_fewer_than_make_a_curve(
    mode: str, family: str, words: tuple[str, ...], count: int
) -> None:
    """Half of a main kind's in another format, 1.6 times as many of a narrow one: 80 x 1.6 / 2 = 64; a quarter of 60 is 15, of
    which no curve is made."""
    one = kind_of(family, **dict(zip(families()[family].LABELS, words, strict=True)))
    assert kinds.kinds(CUDA, mode)[one] == count


def test_a_visit_of_a_gpu_is_short() -> None:
    assert kinds.sized("standard", True).visit_s == pytest.approx(0.02)
    assert kinds.sized("standard", False) == kinds.mode("standard")
