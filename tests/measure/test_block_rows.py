"""Times of torch blocks: one for every op, filed as rows; what is faster than a device can be is none."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from layerkit import SMALL_FFN, SMALL_GQA, SMALL_MLA, SMALL_MOE, spec

from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.errors import SpecError
from simcost.estimate.layer import fused, listed, of_model
from simcost.measure.points.design import Rates
from simcost.measure.session import layers
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers import bounds, build, time_cpu
from simcost.measure.torch_layers import rows as blocks_rows
from simcost.measure.torch_layers.times import BlockTime, OpTime
from simcost.model import load as models
from simcost.plan import Phase


@pytest.mark.parametrize("ffn", [SMALL_FFN, SMALL_MOE], ids=["dense", "moe"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "training"])
def test_every_op_of_the_program_gets_a_time(ffn, backward: bool) -> None:
    one = spec(SMALL_GQA, ffn, backward=backward)
    found = time_cpu.measure(build.build(one, copies=2), 0.01)
    ahead = found[0]
    assert [op.name for op in ahead.ops] == [item.name for item in listed(one)]
    assert [op.name for op in ahead.fused] == [item.name for item in fused(one)]
    assert ahead.whole.samples >= 1  # clean ones: a busy machine leaves few
    if not backward:
        assert all(op.isolated_s is not None for op in ahead.ops)
        return
    back = found[1]
    learnt = [item for item in reversed(listed(one)) if item.op.input_grad()]
    wanted = [f"{item.name}:input_grad" for item in learnt]
    assert [op.name for op in back.ops if op.variant == "input"] == wanted
    split = {op.name for op in back.ops if op.variant == "weight"}
    assert {f"{s}:weight_grad" for s in ("attention/qkv_proj", "attention/o_proj")} <= split


def test_experts_are_filed_as_they_ran() -> None:
    block = build.build(spec(SMALL_GQA, replace(SMALL_MOE, n_routed_experts=8.0), batch=1.0, q=2.0), copies=1)
    touched, load = time_cpu.as_run(block)
    assert 1 <= touched <= 4
    assert 2.0 <= load <= 4.0  # two tokens' four copies: the busiest of eight experts has one or two
    up = next(op for op in time_cpu.measure(block, 0.01)[0].ops if op.name.endswith("experts_up"))
    assert (up.op.experts, up.op.load) == (touched, load)


def test_rows_load_and_resume_adds_what_is_missing(tmp_path) -> None:
    ones = [spec(SMALL_GQA), spec(SMALL_MLA, SMALL_MOE, q=1.0, past=5.0), spec(SMALL_GQA, SMALL_MOE, backward=True)]
    ones = [replace(one, name=f"block-{i}") for i, one in enumerate(ones)]
    events = list(layers.measure_in_situ("cpu", ones[:2], tmp_path, seconds=0.01))
    assert [event.done for event in events] == [0, 1, 1, 2]  # before a block and after it
    with pytest.raises(SpecError, match="--resume"):
        list(layers.measure_in_situ("cpu", ones, tmp_path))
    for path in (tmp_path / "blocks.csv", tmp_path / "gemm" / "fp32-fp32-fp32.csv"):
        with path.open("a", encoding="utf-8") as file:
            file.write("1,2,3")  # what an interrupted write leaves behind
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, resume=True, seconds=0.01))
    assert [event.note for event in events[:2]] == ["measured before"] * 2
    assert tables.load_run(tmp_path).title.startswith("kernels timed inside running layers")
    lines = blocks_rows.read_blocks(tmp_path)
    assert [(line["block"], line["direction"]) for line in lines] == [
        ("block-0", "forward"), ("block-1", "forward"), ("block-2", "forward"), ("block-2", "backward"),
    ]  # fmt: skip
    read = {path.parent.name: len(tables.read(path, families()[path.parent.name])) for path in tmp_path.glob("*/*.csv")}
    assert {"gemm", "attention_prefill", "attention_decode", "batched_gemm", "experts"} <= set(read)
    assert read["gemm_variant"] == 5  # qkv, o, router, shared up and down; "input" and "weight" have a file each


def test_the_record_of_blocks_says_how_it_went_over_all_sessions(tmp_path, monkeypatch) -> None:
    real = layers.measure_block

    def busy(*args, **kwargs):
        return [replace(one, whole=replace(one.whole, dirty=0.75)) for one in real(*args, **kwargs)]

    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(3)]
    monkeypatch.setattr(layers, "measure_block", busy)
    asked = {"mode": "quick", "seed": 3}
    for _ in layers.measure_in_situ("cpu", ones[:2], tmp_path, seconds=0.01, asked=asked):
        running = tables.load_run(tmp_path).record
    assert running["state"] == "running"
    first = tables.load_run(tmp_path).record
    assert (first["state"], first["quality"], first["dirty_share"]) == ("complete", "poor", 0.75)
    assert first["disturbed"] == ["block-0 forward: 75% of its samples", "block-1 forward: 75% of its samples"]
    assert (first["environment"]["mode"], first["environment"]["seed"]) == ("quick", 3)
    assert first["kinds"]["gemm/fp32-fp32-fp32"]["rows"] > 0
    assert first["started"] <= first["ended"]
    assert len(first["sentinel_product_s"]) == 2
    calm = [replace(one.whole, dirty=0.0) for one in real(ones[2], seconds=0.01)]
    monkeypatch.setattr(layers, "measure_block", lambda *a, **k: [replace(real(*a, **k)[0], whole=calm[0])])
    list(layers.measure_in_situ("cpu", ones, tmp_path, budget_s=60.0, resume=True, seconds=0.01))
    both = tables.load_run(tmp_path).record
    assert (both["visits"], both["dirty_share"], both["disturbed"]) == (3, 0.5, first["disturbed"])
    assert both["started"] == first["started"]
    assert both["sentinel_product_s"][:2] == first["sentinel_product_s"]


def test_a_block_that_does_not_fit_stops_no_run(tmp_path) -> None:
    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(2)]
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, seconds=0.01, limit=1000.0))
    assert [event.done for event in events] == [0, 1, 1, 2]
    assert all(event.note.startswith("left out: block-") for event in events[1::2])
    assert blocks_rows.read_blocks(tmp_path) == []


def test_a_budget_ends_in_good_order_and_a_foreign_file_is_refused(tmp_path, monkeypatch) -> None:
    ones = [replace(spec(SMALL_GQA), name=f"block-{i}") for i in range(5)]
    real, clock = layers.measure_block, []

    def slow(*args, **kwargs):
        clock.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(layers, "measure_block", slow)
    monkeypatch.setattr(layers.time, "monotonic", lambda: 0.6 * len(clock))  # a block takes 0.6 s
    events = list(layers.measure_in_situ("cpu", ones, tmp_path, budget_s=1.0, seconds=0.01))
    monkeypatch.undo()
    assert events[-1].note == "budget spent after 1 of 5 blocks"
    assert tables.load_run(tmp_path).record["state"] == "budget reached"
    assert len(blocks_rows.read_blocks(tmp_path)) == 1
    (tmp_path / "blocks.csv").write_text("what,is,this\n1,2,3\n", encoding="utf-8")
    with pytest.raises(SpecError, match="columns must be block"):
        list(layers.measure_in_situ("cpu", ones, tmp_path, resume=True))


@pytest.mark.parametrize(("attention", "q", "backend"), [
    (SMALL_GQA, 5.0, "sdpa flash (CPU)"), (SMALL_MLA, 5.0, "sdpa flash (CPU)"),
    (SMALL_MLA, 1.0, "sdpa flash (CPU) on the latent"), (replace(SMALL_GQA, sinks=True), 5.0, "sdpa flash (CPU)"),
])  # fmt: skip
def test_a_blocks_line_names_what_ran_its_attention(tmp_path, attention, q, backend) -> None:
    one = spec(attention, q=q, past=4.0 if q == 1.0 else 0.0)
    blocks_rows.write(tmp_path, layers.measure_block(one, seconds=0.01))
    assert [row["backend"] for row in blocks_rows.read_blocks(tmp_path)] == [backend]


def test_a_table_of_before_backends_were_named_is_read_and_added_to(tmp_path) -> None:
    path, old = tmp_path / "blocks.csv", blocks_rows.COLUMNS[:-1]
    path.write_text(",".join(old) + "\n" + ",".join(["a", *["1"] * (len(old) - 1)]) + "\n1,2", encoding="utf-8")
    assert [row["block"] for row in blocks_rows.read_blocks(tmp_path)] == ["a"]
    blocks_rows.write(tmp_path, layers.measure_block(spec(SMALL_GQA), seconds=0.01))
    assert [(row["block"], row["backend"]) for row in blocks_rows.read_blocks(tmp_path)] == [
        ("a", ""), ("small", "sdpa flash (CPU)"),
    ]  # fmt: skip


def test_a_section_faster_than_light_is_no_row_and_no_sum() -> None:
    """What the profiler made of MLA's core: its torch.cat, without the kernel that reads the cache."""
    one = of_model(models.load("deepseek-v3"), Phase(64.0, 1.0, 4095.0))[0]
    probed = Rates({"bf16": 7e14}, 4e12)
    core = next(item for item in listed(one) if item.name == "attention/core")
    true = Timing(100e-6, 99e-6, 101e-6, 9, 0.0)
    found = BlockTime(
        one, "forward", true, (OpTime("attention/o_proj", core.op, true), OpTime(core.name, core.op, true))
    )
    assert bounds.credible(found, probed) == found
    short = replace(found, ops=(found.ops[0], OpTime(core.name, core.op, replace(true, seconds=6e-6))))
    left = bounds.credible(short, probed)
    assert left.refused == ("attention/core",)
    assert [op.name for op in left.ops] == ["attention/o_proj"]
    assert left.in_situ_s is None
    assert layers._said([left], 1) == "1 rows, faster than the device can be: attention/core"


def test_a_class_with_an_impossible_section_is_no_row_either() -> None:
    one = spec(SMALL_GQA, SMALL_MOE)
    found = time_cpu.measure(build.build(one, copies=1), 0.01)[0]
    assert bounds.credible(found, Rates({"fp32": 1e15}, 1e15)) == found
    left = bounds.credible(found, Rates({"fp32": 1.0}, 1.0))
    assert left.ops == left.fused == ()
    assert len(left.refused) == len(found.ops)


def test_the_host_describes_itself_in_a_valid_profile(tmp_path, monkeypatch) -> None:
    from simcost.hardware import load as hardware
    from simcost.measure.machine import cpu_profile

    monkeypatch.setattr(cpu_profile, "_LARGE", 128)
    monkeypatch.setattr(cpu_profile, "_COPY", float(1 << 22))
    (tmp_path / "profile.toml").write_text(cpu_profile.profile_text(), encoding="utf-8")
    device = hardware.load(str(tmp_path))
    assert set(device.peaks) == {"bf16", "fp32"}
    assert device.bandwidth > 0
    assert 0 < device.assumption("attention_efficiency") <= 1
    assert hardware.read(str(tmp_path))[1]["peak"]["bf16"]["source"] == "measured"
