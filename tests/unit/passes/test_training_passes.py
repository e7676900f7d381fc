"""A layer's forward program in a training step, and what a backward pass runs again."""

from __future__ import annotations

import pytest
from trainkit import ATTENTION, FFN, job, passes

from simcost.dtypes import dtype
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.passes.training import UNFUSED, forward, repeated, unfused
from simcost.program import Call, Choice, Overlap, Program, Serial, calls, runs

BF16 = dtype("bf16")
CORE = AttentionCore(2.0, 512.0, 0.0, 8.0, 4.0, 64.0, 64.0, Mask(), BF16, BF16, BF16)
WRITE = Stream("cache write", 64.0, 1.0, 1.0, 0.0, BF16, BF16)
ROTATED = Stream("cache write", 64.0, 1.0, 1.0, 3.0, BF16, BF16)
NORM = Call(Stream("norm", 64.0, 1.0, 1.0, 4.0, BF16, BF16), "norm")
PRODUCT = Call(Gemm(16.0, 32.0, 64.0, BF16, BF16, BF16, BF16), "product")


def tags(program: Program | None) -> list[str]:
    return [] if program is None else [call.tag for call in calls(program)]


def test_nothing_is_written_to_a_cache() -> None:
    found = forward(Serial((PRODUCT, Call(WRITE, "write"), NORM), kernel="attention"))
    assert tags(found) == ["product", "norm"]
    assert isinstance(found, Serial)
    assert found.kernel == ""  # another kernel than the one that was measured whole


def test_what_an_engine_rotates_on_its_way_into_the_cache_is_rotated() -> None:
    (call,) = calls(forward(Serial((Call(ROTATED, "write"),))))
    assert isinstance(call.op, Stream)
    assert (call.op.what, call.op.flops) == ("rope", ROTATED.flops)


def test_options_and_overlaps_stay() -> None:
    choice = Choice((("one", PRODUCT), ("other", Serial((Call(WRITE, "write"), NORM)))), "which")
    found = forward(Serial((Overlap((choice, PRODUCT)), NORM)))
    assert tags(found) == ["product", "norm", "product", "norm"]
    assert isinstance(found, Serial)
    assert isinstance(found.parts[0], Overlap)


def test_a_core_in_products_does_all_pairs() -> None:
    """Two products of 2·b·a·q·k·d FLOP each, masked pairs too, and a softmax that reads and writes every score."""
    found = unfused(Call(CORE, "core", 3.0))
    scores, softmax, weighted = (call.op for call in calls(found))
    pairs = 2.0 * 8.0 * 512.0 * 512.0
    assert scores.work().flops == weighted.work().flops == 2.0 * pairs * 64.0
    assert softmax.work().bytes == 2.0 * 2.0 * pairs
    assert [call.repeat for call in calls(found)] == [3.0] * 3
    assert {call.module for call in calls(found)} == {"core_attn"}


def test_dropout_of_scores_is_a_kernel_of_its_own() -> None:
    *_, dropout, _ = (call.op for call in calls(unfused(Call(CORE, "core"), True)))
    pairs = 2.0 * 8.0 * 512.0 * 512.0
    assert isinstance(dropout, Stream)
    assert dropout.work().bytes == (2.0 + 2.0 + 1.0) * pairs  # scores in, what is left of them and a mask out


def test_only_cores_differ_without_flash_attention() -> None:
    one = job("llama-3-8b")
    (block,) = (block for block in one.model.stacks[-1][1] if block.kind == "attention")
    flash, apart = (forward(block.program(one.view), how) for how in ("flash", UNFUSED))
    rest = [call.tag for call in calls(flash) if not isinstance(call.op, AttentionCore)]
    assert [tag for tag in tags(apart) if tag not in ("scores", "softmax", "weighted sum")] == rest


@pytest.mark.parametrize(
    ("name", "part", "modules", "again"),
    [
        ("llama-3-8b", ATTENTION, "core_attn", ["core"]),
        ("llama-3-8b", ATTENTION, "layernorm", ["attention_norm"]),
        ("llama-3-8b", FFN, "activation", ["activation"]),
        ("llama-3-8b", FFN, "mlp", ["gate_up_proj", "activation", "down_proj", "all-reduce"]),
        ("llama-3-8b", FFN, "moe", []),
        ("deepseek-v3", ATTENTION, "mla_up_proj", ["q_b_proj", "kv_b_proj (expand)"]),
        ("deepseek-v3", FFN, "shared_experts", ["shared_up", "activation", "shared_down", "add shared"]),
    ],
)
def test_what_runs_again(name: str, part: slice, modules: str, again: list[str]) -> None:
    found = passes(job(name, recompute=modules), part)
    assert tags(found.again) == again
    assert tags(found.input)[: len(tags(found.again))] == tags(found.again)


def test_a_module_that_is_a_whole_block_runs_whole() -> None:
    program = Serial((PRODUCT, NORM))
    assert repeated(program, "moe", ("moe",)) is program
    assert repeated(program, "mlp", ("moe",)) is None


def test_a_product_runs_again_with_its_cast() -> None:
    cast = Call(Stream("quantise", 64.0, 1.0, 1.0, 2.0, BF16, dtype("fp8")), "cast")
    product = Call(PRODUCT.op, "up", module="mla_up_proj")
    linear = Serial((cast, product), kernel="linear")
    found = repeated(Serial((linear, NORM)), "", ("mla_up_proj",))
    assert tags(found) == ["cast", "up"]


def test_runs_count_one_option_and_every_repeat() -> None:
    choice = Choice((("one", Serial((PRODUCT, PRODUCT))), ("last", NORM)), "which")
    program = Serial((Overlap((choice, Call(PRODUCT.op, "p", 2.0))),), "", 3.0)
    assert [(call.tag, times) for call, times in runs(program)] == [("norm", 3.0), ("p", 6.0)]
