"""Every kernel against its higher-precision reference on a CPU; and that a wrong one is found out."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import varlen

from benchmarks.gpu.bench import core, gemm
from simcost.measure import torch_ops as ops
from simcost.measure.kernels import attention, experts, flashinfer_mla, grouped, products, quantise
from simcost.measure.kernels.kernel import Kernel, Unsupported
from simcost.measure.machine.target import Target
from simcost.measure.points import kinds
from simcost.measure.points.point import Kind, Point, kind_of
from simcost.measure.sampling import visit
from simcost.measure.sampling.probe import time_kernel
from simcost.measure.timing.buffers import Bench, error, rows_of, some, tolerance
from simcost.measure.timing.cpu import Timing

CPU = Target("cpu", 1, 1e9, 2e6, ("bf16", "fp32"), {})
SMALL = {
    "gemm": (1, 9, 72, 136),
    "batched_gemm": (5, 9, 64, 72),
    "gemm_variant": (1, 24, 72, 40),
    "attention_prefill": {"gqa": (2, 17, 0, 6, 2, 32, 32, 0), "mla": (2, 9, 5, 3, 3, 48, 32, 0),
                          "latent": (2, 7, 4, 5, 1, 80, 64, 0), "window": (2, 17, 3, 6, 2, 32, 32, 7)},
    "attention_decode": {"gqa": (3, 1, 41, 6, 2, 64, 64, 0), "mla": (2, 1, 30, 3, 3, 48, 32, 0),
                         "latent": (2, 1, 33, 5, 1, 80, 64, 0)},
    "attention_backward": (2, 13, 0, 6, 2, 32, 32, 0),
    "experts": (11, 33, 7, 8, 64, 48, 2.0),
    "grouped_gemm": (29, 5, 8, 64, 48, 2.0),
    "grouped_weight_grad": (40, 3, 16, 24),
    "permute": (10, 30, 64),
    "stream": (1280, 1, 1, 3),
    "gather": (19, 64),
    "recurrent_prefill": (2, 37, 6, 2, 16, 8, 16),
    "recurrent_decode": (3, 6, 2, 16, 8),
    "causal_conv": (2, 19, 24, 4),
    "index_scores": {"paged": (3, 1, 40, 4, 16), "plain": (2, 9, 30, 4, 16)},
    "block_scores": (2, 9, 30, 4, 16, 8),
    "index_topk": (3, 2, 50, 16),
    "block_topk": (2, 9, 90, 3, 4, 8),
}  # fmt: skip


def small(one: Kind) -> tuple[float, ...]:
    if one.family == "router":
        return (23, 64, 6, 8, 4) if one.name == "sigmoid" else (23, 60, 6, 1, 1)
    found = SMALL[one.family]
    if isinstance(found, dict):
        found = found[one.table.get("layout") or one.table["keys"]]
    if one.family == "stream" and one.table["what"] in ("activation", "residual"):
        found = (1280, 2, 1, 5)
    return found


@pytest.fixture
def bench():
    torch.manual_seed(0)
    found = Bench(CPU, 0)
    found.begin(1e6)
    return found


@pytest.mark.parametrize("one", kinds.kinds(CPU, "standard"), ids=str)
def test_a_kernel_is_right_and_its_copies_are_other_buffers(one, bench):
    point = Point(one, tuple(float(v) for v in small(one)))
    with torch.no_grad():
        kernel = visit.build(point, bench, 3)
        assert len(kernel.calls) == 3
        assert kernel.error() <= kernel.tolerance
        results = [call() for call in kernel.calls]
    first, second = (r[0] if isinstance(r, tuple) else r for r in results[:2])
    if torch.is_tensor(first):
        assert first.data_ptr() != second.data_ptr()
        assert torch.isfinite(first.double()).all()
    assert kernel.backend


def taken(bench, monkeypatch) -> list[tuple[str, int, int]]:
    """(format, first byte, end) of every slice that is taken from now on, the tensors kept alive."""
    found, kept, take = [], [], bench.take

    def noted(shape, name):
        x = take(shape, name)
        kept.append(x)
        found.append((name, x.data_ptr(), x.data_ptr() + x.numel() * x.element_size()))
        return x

    monkeypatch.setattr(bench, "take", noted)
    return found


@pytest.mark.parametrize("one", kinds.kinds(CPU, "standard"), ids=str)
def test_no_two_slices_of_a_visit_share_a_byte(one, monkeypatch):
    """Each point as a visit takes it, after another one left the pools in use."""
    bench = Bench(Target("cpu", 1, 1e9, 1e5, ("bf16", "fp32"), {}), 0)
    state = visiting(bench)
    slices = taken(bench, monkeypatch)
    for _ in range(2):
        slices.clear()
        with torch.no_grad():
            state._build(Point(one, tuple(float(v) for v in small(one))), check=False)
        order = sorted(slices, key=lambda one: one[1])
        assert all(end <= start for (_, _, end), (_, start, _) in itertools.pairwise(order))


def test_copies_of_a_buffer_just_below_the_rotation_are_disjoint(monkeypatch):
    """Two thirds of the rotation a copy: the second one once wrapped around into the first."""
    bench = Bench(Target("cpu", 1, 1e9, 120e4, ("bf16", "fp32"), {}), 0)
    slices = taken(bench, monkeypatch)
    kernel = visiting(bench)._build(gemm("bf16", 8, 512, 512), check=False)  # 0.54 MB of 1.2
    assert len(kernel.calls) == 3
    order = sorted(slices, key=lambda one: one[1])
    assert all(end <= start for (_, _, end), (_, start, _) in itertools.pairwise(order))


def test_a_point_that_takes_more_than_it_said_gets_a_second_pool(bench):
    bench.begin(1.0)
    size = 300_000  # of 1e6 that rotate
    found = [bench.take((size,), "fp32") for _ in range(4)]
    ends = sorted((x.data_ptr(), x.data_ptr() + 4 * size) for x in found)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize(("numbers", "layout"), [
    ((1, 12, 20, 4, 2, 32, 32, 0), "gqa"),  # a continued prefill
    ((1, 24, 0, 4, 2, 32, 32, 7), "gqa"),  # a window
    ((2, 9, 16, 4, 2, 32, 32, 11), "gqa"),  # both
])  # fmt: skip
def test_masks_start_at_the_lower_right_corner(numbers, layout, bench):
    one = kind_of("attention_prefill", x="fp32", kv="fp32", compute="fp32", layout=layout, scope="core")
    kernel = visit.build(Point(one, tuple(float(v) for v in numbers)), bench, 1)
    assert kernel.error() < 1e-5
    s = attention.shape(Point(one, tuple(float(v) for v in numbers)).op)
    q, k, v = attention.tensors(s, bench)
    causal_from_the_left = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=True, scale=s.scale
    )
    assert attention.wrong(s, causal_from_the_left, q, k, v) > 0.01  # the check tells them apart


def flash(q, k, v, q_ends, k_ends, q_most, k_most, scale, window_size):
    """What torch's variable-length kernel computes: causal from the lower right corner, keys shared by groups of
    heads."""
    out = torch.empty(len(q), q.shape[1], v.shape[2])
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    for a, b, c, d in zip(q_ends, q_ends[1:], k_ends, k_ends[1:], strict=False):
        mask = ops.lower_right(int(b - a), int(d - c), q.device, q.dtype, window_size[0] + 1)
        parts = (x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d]))
        out[a:b] = torch.nn.functional.scaled_dot_product_attention(*parts, mask, scale=scale).transpose(0, 1)
    return out


def varlen_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
):
    return flash(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size)


def varlen_2_12(
    query,
    key,
    value,
    cu_seq_q,
    cu_seq_k,
    max_q,
    max_k,
    *,
    return_aux=None,
    scale=None,
    window_size=(-1, -1),
    enable_gqa=False,
):
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return flash(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale, window_size)


def varlen_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    raise AssertionError("it has no scale: never called")


MASKED = [(1, 12, 20, 4, 2, 32, 32, 0), (2, 24, 0, 4, 4, 32, 32, 7)]


@pytest.mark.parametrize("numbers", MASKED, ids=["continued, grouped", "window"])
@pytest.mark.parametrize("version", [varlen_2_11, varlen_2_12])
def test_the_variable_length_kernel_is_called_as_its_version_wants(numbers, version, bench, monkeypatch):
    monkeypatch.setattr(varlen, "varlen_attn", version)
    one = kind_of("attention_prefill", x="fp32", kv="fp32", compute="fp32", layout="gqa", scope="core")
    s = attention.shape(Point(one, tuple(float(v) for v in numbers)).op)
    kernel = attention._varlen(s, [attention.tensors(s, bench)])
    assert kernel.error() < 1e-5
    monkeypatch.setattr(varlen, "varlen_attn", varlen_2_10)
    with pytest.raises(Unsupported, match="no scale"):
        attention._varlen(s, [attention.tensors(s, bench)])


def test_a_shape_that_no_kernel_takes_costs_its_kind_nothing(bench, monkeypatch):
    """Expanded MLA with a past: the variable-length kernel has one width."""
    monkeypatch.setattr(visit, "build", lambda point, bench, copies: attention._varlen(attention.shape(point.op), []))
    state = visiting(bench)
    points = [core("mla", "bf16", 1, 16, past, 4, 4, 192, 128) for past in range(8, 13)]
    assert [state.prove(points[0]), *(state.time(point)[1] for point in points)] == [""] * 6
    assert not state.dropped
    assert state.skipped == {"a continued prefill has no kernel here with widths 192 and 128": 5}
    assert state.time(points[1]) == (None, "")  # another pass does not try again
    assert sum(state.skipped.values()) == 5


def test_int4_weights_match_their_dequantised_values(bench):
    made = products.product("int4", bench, 5, 64, 256)
    assert made.error(5, 64) < 0.01
    assert visit.build(gemm("int4", 5, 64, 256), bench, 2).error() < 0.01


def test_fp4_pairs_unpack_low_bits_first():
    packed = torch.tensor([[0x21, 0x7F]], dtype=torch.uint8)
    assert products._unpacked(packed).tolist() == [[0.5, 1.0, -6.0, 6.0]]


def test_what_fast_accumulation_may_err_grows_with_the_sum():
    """llama-3.1-70b's down projection sums 28672 numbers; a wrong scale errs by a third, at any length."""
    assert products.tolerance("fp8", 1024) == tolerance("fp8") == 0.02
    assert products.tolerance("fp8_row", 4096) == pytest.approx(0.02)
    assert 0.1 < products.tolerance("fp8", 28672) < 0.2
    assert products.tolerance("fp8", 10**6) == 0.2
    assert products.tolerance("fp8_block", 28672) == 0.02  # its partial sums are 128 long
    assert products.tolerance("bf16", 28672) == 0.02


def test_a_wrong_scale_stands_out_of_the_widest_tolerance(bench):
    made = products._scaled("fp8_row", bench, 16, 32, 64)
    made.call.keywords["use_fast_accum"] = False
    made.call.keywords["scale_b"] = made.call.keywords["scale_b"].flip(1).contiguous()
    assert made.error(16, 32) > 0.2


def test_rows_of_fp8_are_selected_as_bytes():
    x = torch.randn(7, 16).to(torch.float8_e4m3fn)
    index = torch.tensor([6, 0, 6])
    assert rows_of(x, index).dtype == torch.float8_e4m3fn
    assert torch.equal(rows_of(x, index).float(), x.float()[index])
    y = torch.randn(7, 3)
    assert torch.equal(rows_of(y, index), y[index])


def test_no_fp8_tensor_is_indexed_as_numbers(bench, monkeypatch):
    """A build of torch without such a kernel, as CUDA's: experts under block scales, and their references."""
    real = torch.Tensor.index_select

    def strict(self, dim, index):
        assert self.dtype.itemsize > 1 or self.dtype == torch.uint8, "no kernel"
        return real(self, dim, index)

    monkeypatch.setattr(torch.Tensor, "index_select", strict)
    up, down = torch.randn(4, 64, 128), torch.randn(4, 128, 32)
    seen = []

    def apply(w):
        def run(x, ends):
            wide, scale = x
            seen.append(wide.dtype)
            x = wide.float() * scale.repeat_interleave(128, 1) if scale.dim() > 1 else wide.float()
            starts = [0, *ends[:-1].tolist()]
            return torch.cat([x[a:b] @ w[e].t() for e, (a, b) in enumerate(zip(starts, ends.tolist(), strict=True))])

        return run

    kinds_ = [grouped.Weights(apply(w), lambda e, w=w: w[e].double(), "") for w in (up, down)]
    monkeypatch.setattr(experts, "cast_groups", lambda x: quantise.cast_groups(x) if x.shape[1] % 128 == 0 else (
        x.to(torch.float8_e4m3fn), torch.ones(len(x))))  # fmt: skip
    layer = experts._Layer(*kinds_, experts.chosen(torch.tensor([3, 2, 4, 3]), 6, bench), 4, True, True)
    gates = torch.full((6, 2), 0.5)
    assert layer(torch.randn(6, 128), gates).shape == (6, 128)
    assert seen[0] == torch.float8_e4m3fn
    for name in ("fp8", "fp8_row", "fp8_block"):
        made = products.product(name, bench, 8, 128, 128)
        assert made.x(torch.tensor([0, 3])).shape == made.w(torch.tensor([0, 3])).shape == (2, 128)


def test_gradients_of_grouped_weights_must_run_on_the_fast_path(bench, monkeypatch):
    one = kind_of("grouped_weight_grad", x="bf16", out="bf16", compute="bf16")
    point = Point(one, (40.0, 3.0, 16.0, 24.0))
    assert visit.build(point, bench, 1).expects == ""
    monkeypatch.setattr(grouped, "fast", lambda device, name: True)
    assert visit.build(point, bench, 1).expects == grouped.FAST


def test_fp32_is_no_tf32_whatever_the_process_allows():
    torch.set_float32_matmul_precision("high")
    try:
        with products.context("fp32")():
            assert torch.get_float32_matmul_precision() == "highest"
        with products.context("tf32")():
            assert torch.get_float32_matmul_precision() == "high"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_flashinfer_is_not_even_looked_for_unless_asked(monkeypatch):
    tried = []
    monkeypatch.setattr(flashinfer_mla, "optional", tried.append)
    monkeypatch.setattr(flashinfer_mla, "_asked", False)
    assert not flashinfer_mla.works(torch.device("cpu"))
    assert not tried
    flashinfer_mla.ask()
    assert not flashinfer_mla.works(torch.device("cpu"))
    assert tried == ["flashinfer"]
    flashinfer_mla._right.cache_clear()


@pytest.mark.parametrize("name", ["fp8", "fp8_row"])
def test_references_of_scaled_products_agree_with_torch_where_it_emulates_them(name, bench):
    """Never timed on a CPU; the arithmetic of scales is the same."""
    made = products._scaled(name, bench, 16, 32, 64)
    made.call.keywords["use_fast_accum"] = False
    assert made.error(16, 32) < 0.02


def test_block_scales_lie_as_cublaslt_wants_them(bench):
    made = products._blocks("fp8_block", bench, 5, 256, 384)
    x, w, a, _, b, _ = made.call.args
    assert x.shape == (8, 384)
    assert w.stride() == (1, 384)
    assert a.shape == (8, 3)
    assert a.stride() == (1, 8)
    assert b.shape == (4, 2)
    assert b.stride() == (1, 4)
    rows, columns = made.x(torch.tensor([0, 4])), made.w(torch.tensor([0, 200]))
    assert rows[1, 300] == x[4, 300].double() * a[4, 2].double()
    assert columns[1, 130] == w.t()[200, 130].double() * b[1, 1].double()


def test_casts_to_fp8_keep_the_largest_value():
    x = torch.randn(6, 256) * 3
    q, scale = quantise.cast_groups(x)
    assert q.shape == x.shape
    assert scale.shape == (6, 2)
    assert error(q.double() * scale.repeat_interleave(128, 1).double(), x) < 0.05
    q, scale = quantise.cast_tensor(x)
    assert float(q.float().abs().max()) == 448.0


def test_chosen_experts_give_every_expert_its_count_and_no_token_one_twice(bench):
    counts = torch.tensor([5, 0, 7, 2, 7])
    ids = experts.chosen(counts, 7, bench)
    assert ids.shape == (7, 3)
    assert torch.bincount(ids.flatten(), minlength=5).tolist() == counts.tolist()
    assert all(len(set(row)) == 3 for row in ids.tolist())


def test_random_data_is_random_and_never_denormal(bench):
    x = bench.take((1000, 37), "fp32")
    assert 0.09 < float(x.std()) < 0.11
    assert int((x == 0).sum()) == 0
    y = bench.take((1000, 37), "fp32")
    assert x.data_ptr() != y.data_ptr()
    assert not torch.equal(x, y)


def test_an_error_that_is_not_finite_is_infinite():
    x = torch.ones(4)
    assert error(x * math.nan, x) == math.inf
    assert error(x, x) == 0.0
    assert error(torch.ones(3), x) == math.inf
    assert some(5, 99, x.device).tolist() == [0, 1, 2, 3, 4]
    assert tolerance("fp32") < tolerance("fp16") < tolerance("bf16") == tolerance("fp8")


def spoiled(kernel: Kernel) -> Kernel:
    return Kernel(kernel.calls, lambda: 0.5, kernel.tolerance, kernel.backend)


def visiting(bench) -> visit.Visits:
    return visit.Visits(bench, 0.002, 1.0, lambda op: 1e-3)


def test_a_wrong_point_is_never_timed_and_the_third_drops_its_kind_with_one_line(bench, monkeypatch):
    real = visit.build
    monkeypatch.setattr(visit, "build", lambda *a: spoiled(real(*a)))
    state = visiting(bench)
    points = [gemm("fp32", m, 64, 64) for m in (8, 16, 24, 32)]
    said = state.prove(points[0])
    assert "linear is wrong (relative error 0.5, allowed 0.0001)" in said
    assert state.time(points[0]) == (None, "")  # and is not tried again
    assert "relative error 0.5" in state.time(points[1])[1]
    assert not state.dropped
    timing, said = state.time(points[2])
    assert timing is None
    assert said.startswith("gemm/fp32-fp32-fp32: dropped: ")
    assert state.time(points[3]) == (None, "")
    assert state.skipped == {"wrong result": 3}
    assert not state.kernels


def test_one_wrong_point_has_all_others_of_its_kind_checked_and_no_more(bench, monkeypatch):
    """Large points are believed as long as no point of their kind was wrong."""
    real = visit.build
    monkeypatch.setattr(visit, "build", lambda p, *a: spoiled(real(p, *a)) if p.numbers[1] == 9.0 else real(p, *a))
    monkeypatch.setitem(visit._CHECKED, False, 1e4)
    state = visiting(bench)
    small, large, bad, other = (gemm("fp32", m, 8, 8) for m in (8, 800, 9, 808))
    assert state.time(small)[0] is not None
    assert not state._worth_checking(large)
    bad_kind = Point(bad.kind, (1.0, 9.0, 8.0, 8.0))
    assert "is wrong" in state.time(bad_kind)[1]
    assert state._worth_checking(other)
    assert state.time(gemm("fp32", 816, 8, 8))[0] is not None
    assert not state.dropped


def test_a_kernel_that_never_works_is_given_up_and_others_go_on(bench, monkeypatch):
    def broken(*_):
        raise RuntimeError("no kernel image\nsecond line")

    state = visiting(bench)
    good = gemm("fp32", 8, 64, 64)
    assert isinstance(state.time(good)[0], Timing)
    monkeypatch.setattr(visit, "build", broken)
    bad = gemm("bf16", 8, 64, 64)
    notes = [state.time(bad)[1] for _ in range(4)]
    assert "RuntimeError: no kernel image" in notes[0]
    assert "dropped" in notes[2]
    assert notes[3] == ""
    for _ in range(5):
        state.time(good)
    assert good.kind not in state.dropped  # it worked once: a failure of a point is not one of the kind


def test_calls_of_a_kind_that_turned_out_slow_are_passed_over_but_not_below_a_curve(bench, monkeypatch):
    taken_s = 1e-3  # a hundred times the guess
    monkeypatch.setattr(visit, "time_kernel", lambda *a: (Timing(taken_s, taken_s, taken_s, 5, 0.0), "loop"))
    first, second, third = (core("gqa", "fp32", 4, 1, keys, 8, 8, 64, 64) for keys in (2000, 2100, 2200))

    def state(call_s, spare):
        return visit.Visits(bench, 0.002, call_s, lambda op: 1e-5, {first.kind: spare})

    one = state(1e-5, 1)
    assert one.time(first)[0] is not None
    assert one.time(first) == (None, "")  # it has its row
    assert sum(one.skipped.values()) == 0
    assert one.time(second) == (None, "")
    assert sum(one.skipped.values()) == 1
    needed = state(taken_s / 8.0, 0)  # too long, but nothing to spare
    assert needed.time(first)[0] is not None
    assert needed.time(third)[0] is not None


def test_a_fast_path_that_did_not_run_is_no_row(bench, monkeypatch):
    real = visit.build

    def expecting(*a):
        kernel = real(*a)
        return Kernel(kernel.calls, kernel.error, kernel.tolerance, kernel.backend, expects="cutlass_grouped")

    monkeypatch.setattr(visit, "build", expecting)
    state = visiting(bench)
    assert "the fast path did not run" in state.prove(gemm("fp32", 8, 64, 64))
    assert list(state.dropped) == [gemm("fp32", 8, 64, 64).kind]  # true of every point: at once


def test_a_timed_kernel_has_a_time_above_zero(bench):
    timing, how = time_kernel(visit.build(gemm("fp32", 8, 64, 64), bench, 2), bench, 0.005)
    assert how == "loop"
    assert 0 < timing.p20_s <= timing.seconds <= timing.p80_s < 1
    assert np.isfinite(timing.dirty)
