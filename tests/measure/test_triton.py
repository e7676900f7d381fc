"""Our Triton kernels in Triton's interpreter, against fp64. On a GPU the run itself checks them before it times them."""

# ruff: noqa: E402 -- what must be there is asked for first

from __future__ import annotations

import os
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton and its kernels are imported
pytest.importorskip("triton", reason="Triton is not installed here; its interpreter runs these kernels on a CPU")

if tuple(int(v) for v in np.__version__.split(".")[:2]) >= (2, 4) and not torch.cuda.is_available():
    pytest.skip("Triton's interpreter breaks with numpy 2.4 and later", allow_module_level=True)

from simcost.measure.kernels import grouped
from simcost.measure.machine.target import Target
from simcost.measure.sampling.visit import build
from simcost.measure.timing.buffers import Bench
from simcost.measure.triton_kernels import grouped_fp8, mla_decode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def close(got, want) -> float:
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("splits", [0, 1, 3])
@pytest.mark.parametrize(("batch", "heads", "queries", "keys", "rank", "rope"), [
    (2, 16, 1, 100, 64, 16), (1, 20, 3, 70, 32, 16), (2, 4, 1, 5, 64, 64), (1, 40, 1, 130, 512, 64),
])  # fmt: skip
def test_split_attention_over_a_latent_matches_fp64(batch, heads, queries, keys, rank, rope, splits):
    torch.manual_seed(0)
    q = torch.randn(batch, queries, heads, rank + rope, device=DEVICE).transpose(1, 2)
    latent = torch.randn(batch, keys, rank + rope, device=DEVICE)
    scale = (rank + rope) ** -0.5
    got = mla_decode.attend(q, latent, rank, scale, mla_decode.Tile(splits=splits))
    k = latent.double().unsqueeze(1)
    seen = torch.ones(queries, keys, device=DEVICE).tril(keys - queries).bool()
    scores = (q.double() @ k.transpose(-2, -1) * scale).masked_fill(~seen, float("-inf"))
    assert close(got, torch.softmax(scores, -1) @ k[..., :rank]) < 1e-5


@pytest.mark.parametrize("counts", [[0, 3, 40, 1, 0], [16, 16], [1], [0, 0, 129]])
def test_grouped_products_match_fp64_plain_and_block_scaled(counts):
    torch.manual_seed(0)
    n, k, experts = 192, 256, len(counts)
    each = torch.tensor(counts, device=DEVICE)
    ends, rows = each.cumsum(0).int(), int(each.sum())
    owner = torch.repeat_interleave(torch.arange(experts, device=DEVICE), each)
    x, w = torch.randn(rows, k, device=DEVICE), torch.randn(experts, n, k, device=DEVICE)
    want = torch.einsum("rk,rnk->rn", x.double(), w.double()[owner])
    assert close(grouped_fp8.multiply_plain(w, x, ends), want) < 1e-5
    x8, w8 = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn)
    xs, ws = torch.rand(rows, k // 128, device=DEVICE) + 0.5, torch.rand(experts, 2, k // 128, device=DEVICE) + 0.5
    wide_x = x8.double() * xs.repeat_interleave(128, 1)
    wide_w = w8.double() * ws.repeat_interleave(128, 1)[:, :n].repeat_interleave(128, 2)
    want = torch.einsum("rk,rnk->rn", wide_x, wide_w[owner])
    assert close(grouped_fp8.multiply(w8, ws, (x8, xs), ends), want) < 0.01  # the output is bf16


@pytest.mark.parametrize(("family", "numbers"), [
    ("grouped_gemm", (40, 3, 4, 128, 128, 1.5)), ("experts", (9, 18, 4, 4, 128, 128, 1.33)),
])  # fmt: skip
def test_block_scaled_layers_pass_their_own_check(family, numbers):
    from simcost.measure.points.point import Point, kind_of

    name = "fp8_block"
    labels = {"x": name, "w": name, "compute": name}
    if family == "experts":
        labels |= {"x": "bf16", "gated": "gated"}
    bench = Bench(Target(DEVICE if DEVICE == "cpu" else "cuda:0", 1, 1e9, 1e6, (name,), {}), 0)
    bench.begin(1e6)
    kernel = build(Point(kind_of(family, **labels), tuple(float(v) for v in numbers)), bench, 1)
    assert kernel.backend == "triton fp8 blocks (simcost)"
    assert kernel.error() < 0.06


def test_tiles_follow_the_rows_an_expert_and_the_device(monkeypatch):
    assert grouped_fp8.shape(8, 8)[0] == 16
    assert grouped_fp8.shape(800, 8)[0] == 64
    assert grouped_fp8.shape(8000, 8)[0] == 128
    assert mla_decode.tile(128, torch.device("cpu")) == mla_decode.SMALL
    there = torch.device("cuda:0")
    for capability, use in (((9, 0), mla_decode.LARGE), ((10, 0), mla_decode.SMALL), ((8, 9), mla_decode.SMALL)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert mla_decode.tile(128, there) == use
    for shared, stages in ((232448, 4), (101376, 2)):
        properties = types.SimpleNamespace(shared_memory_per_block_optin=shared)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device, found=properties: found)
        assert grouped_fp8.deepest(there) == stages
    assert grouped.BLOCK == grouped_fp8.BLOCK
