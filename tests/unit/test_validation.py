"""Reports of predictions against measurements, with a synthetic clock: no torch, no device, no absolute times."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, Listed, adjoints, fused, listed, random_blocks
from simcost.files import kept
from simcost.hardware import load as hardware
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers import rows as blocks_rows
from simcost.measure.torch_layers.times import BlockTime, OpTime, total
from simcost.ops.traffic import Traffic
from simcost.validation import blocks, kernels
from simcost.validation import device as devices
from simcost.validation import seen_rows as looked_at
from simcost.validation.predict import predict

PROFILE = """schema = 1
name = "made-up"
title = "A processor that exists in this test"
vendor = "none"
[sources]
test = "this test"
[peak]
bf16 = { value = "500 GFLOP/s", source = "test" }
fp32 = { value = "100 GFLOP/s", source = "test" }
[memory]
capacity = { value = "16 GB", source = "test" }
bandwidth = { value = "40 GB/s", source = "test" }
[compute]
l2 = { value = "1 MB", source = "test" }
[assumed]
gemm_efficiency = { value = 0.9, reason = "test" }
attention_efficiency = { value = 0.9, reason = "test" }
memory_efficiency = { value = 0.9, reason = "test" }
kernel_overhead = { value = "2 us", reason = "test" }
eager_launch = { value = "1 us", reason = "test" }
step_overhead = { value = "2 us", reason = "test" }
collective_latency = { value = "2 us", reason = "test" }
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMCOST_CACHE", str(tmp_path / "cache"))
    kept.folder.cache_clear()
    (tmp_path / "profile.toml").write_text(PROFILE, encoding="utf-8")
    yield tmp_path
    kept.folder.cache_clear()


def true_seconds(op, noise: np.random.Generator | None) -> float:
    """A processor of half the datasheet's speed with 10 us a call, and noise."""
    work = op.work()
    flops = 50e9 if op.peak in ("vector", "fp32") else 250e9
    seconds = 10e-6 + float(max(work.flops / flops, work.bytes / 20e9))
    return seconds * (1.0 if noise is None else math.exp(0.02 * noise.standard_normal()))


def took(op, noise: np.random.Generator | None = None) -> Timing:
    seconds = true_seconds(op, noise)
    return Timing(seconds, 0.99 * seconds, 1.01 * seconds, 9, 0.0)


def measured(spec: BlockSpec, noise: np.random.Generator | None = None) -> list[BlockTime]:
    """A clock that knows the truth."""
    ops = tuple(
        OpTime(one.name, one.op, took(one.op, noise), isolated_s=0.8 * true_seconds(one.op, None))
        for one in listed(spec)
    )
    together = tuple(
        OpTime(one.name, one.op, total(op.time for op in ops if op.name.startswith(one.name + "/")))
        for one in fused(spec)
    )
    found = [BlockTime(spec, "forward", total(op.time for op in ops), ops, together)]
    if spec.backward:
        back = []
        for item in reversed(listed(spec)):
            for what, parts in zip(("input", "weight"), adjoints(item), strict=True):
                back += [OpTime(part.name, part.op, took(part.op, noise), what) for part in parts]
        found.append(BlockTime(spec, "backward", total(op.time for op in back), tuple(back)))
    return found


def calibrated(home, count: int) -> None:
    run = home / "measurements" / "made"
    run.mkdir(parents=True)
    (run / "run.toml").write_text('schema = 1\nkind = "measured"\ntitle = "made"\n', encoding="utf-8")
    noise = np.random.default_rng(7)
    for spec in design(count, 0):
        blocks_rows.write(run, measured(spec, noise))


def design(count: int, seed: int) -> list[BlockSpec]:
    """Dense decode alone: few families, quickly fitted."""
    return [spec for spec in random_blocks(9 * count, seed) if spec.kind == "dense" and spec.decode][:count]


def test_rows_from_inside_blocks_predict_other_blocks_within_their_intervals(home) -> None:
    calibrated(home, 24)
    plain = hardware.load(str(home), {"measurements": "none"})
    held_out = design(12, 1)
    result = blocks.validate(str(home), held_out, measure=measured)
    found = result.metrics
    assert found["blocks"] == 12
    assert found["median_abs_error"] < 0.05
    assert found["coverage"] >= 0.75
    without = [blocks.case(one, plain) for spec in held_out for one in measured(spec)]
    assert all(abs(case.predicted.seconds / case.measured.seconds - 1) > 0.2 for case in without)
    assert {row["basis"].split()[-1] for row in result.tables["blocks"]} <= {"fitted", "measured"}


def test_a_report_agrees_with_itself(home) -> None:
    specs = random_blocks(15)
    result = blocks.validate(str(home), specs, measure=measured)
    rows = result.tables["blocks"]
    assert len(rows) == 15 + sum(spec.backward for spec in specs) == result.metrics["blocks"]
    for row in rows:
        assert row["error"] == pytest.approx(row["predicted_s"] / row["measured_s"] - 1)
        assert row["covered"] == (row["low_s"] <= row["measured_s"] <= row["high_s"])
        assert row["low_s"] < row["predicted_s"] < row["high_s"]
        assert row["in_situ_error"] == pytest.approx(0.0)
        if row["direction"] == "forward":
            assert row["composition_error"] == pytest.approx(-0.2)
    assert result.metrics["composition_bias"] == pytest.approx(-0.2)
    errors = [abs(row["error"]) for row in rows]
    assert result.metrics["median_abs_error"] == pytest.approx(np.median(errors))
    assert result.metrics["p90_abs_error"] == pytest.approx(np.quantile(errors, 0.9))
    assert result.metrics["coverage"] == pytest.approx(np.mean([row["covered"] for row in rows]))
    assert sum(row["n"] for row in result.tables["kinds"]) == len(rows)
    whole = sum(row["measured_s"] for row in rows)
    gaps = sum(row["predicted_s"] - row["measured_s"] for row in rows)
    assert sum(row["gap_of_time"] for row in result.tables["ops"]) == pytest.approx(gaps / whole)
    assert sum(row["share_of_time"] for row in result.tables["ops"]) == pytest.approx(1.0)


def test_every_op_of_a_block_meets_its_prediction(home) -> None:
    device = hardware.load(str(home))
    for spec in random_blocks(15):
        for one in measured(spec):
            case = blocks.case(one, device)
            assert sum(pair.measured_s for pair in case.ops) == pytest.approx(one.seconds)
            assert sum(pair.predicted_s for pair in case.ops) == pytest.approx(case.predicted.seconds)


def test_two_gradients_under_one_time_are_compared_together(home) -> None:
    spec = random_blocks(15)[14]
    forward, backward = measured(spec)
    one = backward.ops[0]
    partner = replace(one, name=one.name.partition(":")[0], variant="both")
    merged = replace(backward, ops=(partner, *backward.ops[2:]))
    pairs = blocks.case(merged, hardware.load(str(home))).ops
    assert partner.name in {pair.name for pair in pairs}
    assert len(pairs) == len(merged.ops)
    assert forward.direction == "forward"


def test_a_calibrated_gradient_takes_its_own_curve(home) -> None:
    """Rows of the two gradients, five times slower than the forward GEMM's."""
    run = home / "measurements" / "made"
    run.mkdir(parents=True)
    (run / "run.toml").write_text('schema = 1\nkind = "measured"\n', encoding="utf-8")
    specs = [replace(spec, backward=True, phase=replace(spec.phase, q_len=200.0 + 10 * i, past=0.0, batch=1.0))
             for i, spec in enumerate(random_blocks(36)[::3])]  # fmt: skip
    for spec in specs:
        forward, backward = measured(spec)
        slow = tuple(replace(op, time=replace(op.time, seconds=5 * op.time.seconds)) for op in backward.ops)
        blocks_rows.write(run, [forward, replace(backward, ops=slow)])
    device = hardware.load(str(home))
    parts = {part.name: float(part.cost.seconds) for part in predict(specs[3], device, "backward").parts}
    op = next(item for item in listed(specs[3]) if item.name == "ffn/gate_up_proj")
    assert parts["ffn/gate_up_proj:input_grad"] == pytest.approx(
        5 * true_seconds(op.op.input_grad()[0], None), rel=0.15
    )
    assert parts["ffn/gate_up_proj:weight_grad"] == pytest.approx(
        5 * true_seconds(op.op.weight_grad()[0], None), rel=0.15
    )


def test_blocks_that_cannot_be_measured_are_said_and_left_out(home) -> None:
    specs = random_blocks(4)

    def refuse(spec: BlockSpec) -> list[BlockTime]:
        if spec is specs[0]:
            raise SpecError(f"{spec.name}: needs 9 TB and may take 1 GB: choose a smaller batch, context or layer")
        return measured(spec)

    result = blocks.validate(str(home), specs, measure=refuse)
    assert result.metrics["blocks"] == 3
    assert result.warnings[0].startswith("left out: dense-prefill-000")
    with pytest.raises(SpecError, match="needs 9 TB"):
        blocks.validate(str(home), specs[:1], measure=refuse)
    with pytest.raises(SpecError, match="no blocks"):
        blocks.validate(str(home), [], measure=refuse)
    told = []
    result = blocks.validate(str(home), specs, measure=measured, budget_s=0.0, progress=told.append)
    assert result.warnings == ("budget spent after 1 of 4 blocks",)
    assert [event.done for event in told] == [1]


def disturbed(spec: BlockSpec) -> list[BlockTime]:
    """Twice as slow, because somebody else ran."""
    found = measured(spec)
    slow = [replace(one.whole, seconds=2.0 * one.whole.seconds, dirty=0.31) for one in found]
    return [replace(one, whole=whole) for one, whole in zip(found, slow, strict=True)]


def test_disturbed_timings_are_in_the_rows_and_in_no_figure(home) -> None:
    specs = design(4, 1)
    calm = blocks.validate(str(home), specs[1:], measure=measured)
    mixed = blocks.validate(str(home), specs, measure=lambda spec: (disturbed if spec is specs[0] else measured)(spec))
    assert mixed.metrics == {**calm.metrics, "disturbed_blocks": 1}
    assert [row["disturbed"] for row in mixed.tables["blocks"]] == [True, False, False, False]
    assert mixed.tables["ops"] == calm.tables["ops"]
    assert mixed.warnings[-1].startswith("1 of 4 timings had more than 30% disturbed samples")
    assert specs[0].name in mixed.warnings[-1]
    busy = blocks.validate(str(home), specs, measure=disturbed)
    assert busy.metrics["blocks"] == busy.metrics["disturbed_blocks"] == 4
    assert "ALL DISTURBED" in busy.verdict


RUN = """schema = 1
kind = "measured"
title = "made"
[environment]
device = "{device}"
device_name = "{name}"
threads = {threads}
"""


def measured_on(home, device: str, threads: int = 1, name: str = "a part") -> str:
    run = home / "measurements" / "made"
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.toml").write_text(RUN.format(device=device, threads=threads, name=name), encoding="utf-8")
    return str(home)


def test_rows_of_another_kind_of_device_are_refused_with_the_way_out(home) -> None:
    specs = design(1, 1)
    for rows, asked in (("cuda:0", "cpu"), ("cpu", "cuda:1")):
        hw = measured_on(home, rows)
        with pytest.raises(
            SpecError, match=rf"measured with --device {rows[:4].rstrip(':')}.*or name a profile"
        ) as error:
            blocks.validate(hw, specs, asked, measure=measured)
        assert "\n" not in str(error.value)
    assert blocks.validate(measured_on(home, "cuda:0"), specs, "cuda:1", measure=measured).metrics["blocks"] == 1
    with pytest.raises(SpecError, match=r"is not a CPU: .*--device cuda.*calibrate run -o DIR"):
        blocks.validate("h200", specs, "cpu", measure=measured)


def test_threads_are_those_of_the_rows(home) -> None:
    hw, specs = measured_on(home, "cpu", threads=3), design(1, 1)
    assert blocks.validate(hw, specs, measure=measured).inputs["threads"] == 3
    with pytest.raises(SpecError, match="were measured with 3 threads, not 2: ask with --threads 3"):
        blocks.validate(hw, specs, threads=2, measure=measured)
    ranks = home / "measurements" / "collectives"
    ranks.mkdir()
    (ranks / "run.toml").write_text(
        RUN.format(device="cpu", threads=1, name="a part") + "ranks = 2\n", encoding="utf-8"
    )
    assert blocks.validate(hw, specs, measure=measured).inputs["threads"] == 3
    (home / "measurements" / "made" / "run.toml").unlink()
    assert blocks.validate(hw, specs, measure=measured).inputs["threads"] == 1
    assert blocks.validate(hw, specs, threads=2, measure=measured).inputs["threads"] == 2


def test_a_part_of_another_name_is_said(home) -> None:
    profile = hardware.load(measured_on(home, "cpu", name="this one"))
    assert devices.another_part(profile, "this one") == ()
    assert "measured on this one, this is that one" in devices.another_part(profile, "that one")[0]


def test_a_design_is_random_or_the_layers_of_models() -> None:
    assert blocks.design(count=5) == random_blocks(5, 1)
    found = blocks.design(["deepseek-v3", "qwen3-8b"], batch=4, context=33, isl=20)
    assert [spec.stage for spec in found] == ["prefill"] * 2 + ["decode"] * 2 + ["train"] * 2 + [
        "prefill",
        "decode",
        "train",
    ]
    assert [spec.kind for spec in found[:2]] == ["mla", "mla+moe"]
    assert found[2].phase == blocks.Phase(4.0, 1.0, 32.0)


def test_a_direction_that_is_none_is_refused(home) -> None:
    with pytest.raises(SpecError, match="forward, backward"):
        predict(random_blocks(1)[0], hardware.load(str(home)), "sideways")


def test_unsplit_adjoints_keep_their_names() -> None:
    item = next(item for item in listed(random_blocks(1)[0]) if item.name == "ffn/down_proj")
    inputs, weights = adjoints(item)
    assert [part.name for part in (*inputs, *weights)] == ["ffn/down_proj:input_grad", "ffn/down_proj:weight_grad"]
    assert isinstance(inputs[0], Listed)


# ---- kernels that others published -------------------------------------------------------------------------------------


def test_published_rows_map_to_ops_and_keep_their_sources() -> None:
    rows = kernels.references()
    assert len(rows) == 863
    assert len({row.id for row in rows}) == len(rows)
    assert all(row.source and row.locator and row.seconds > 0 for row in rows)
    assert {row.family for row in rows} == {
        "gemm",
        "grouped_gemm",
        "attention_prefill",
        "attention_decode",
        "collective",
        "exchange",
        "experts",
    }
    assert {row.hw for row in rows} <= set(hardware.names())
    for row in rows:
        if row.family not in ("collective", "exchange"):
            assert float(row.op.work().flops) > 0


def test_published_rows_are_not_faster_than_their_device() -> None:
    """A slip of unit or shape would show here: margin for clocks above the datasheet's and a cache that holds the operands."""
    for row in kernels.references():
        if isinstance(row.op, Traffic):  # one link at least must carry what it says
            device = hardware.load(row.hw)
            assert device.scaleup is not None
            assert float(row.op.near_bytes) / float(device.scaleup.bandwidth) < 1.1 * row.seconds, row.id
            assert float(row.op.far_bytes) / float(device.scaleout or 1.0) < 1.1 * row.seconds, row.id
        if row.family in ("collective", "exchange"):
            continue
        device, work = hardware.load(row.hw), row.op.work()
        assert float(work.flops) / float(device.peak(row.op.peak)) < 1.1 * row.seconds, row.id
        if float(work.bytes) > 2 * float(device.l2 or 0):
            assert float(work.bytes) / float(device.bandwidth) < 1.1 * row.seconds, row.id


def test_the_reference_report_counts_by_source_and_device() -> None:
    some = [row for row in kernels.references() if row.family in ("grouped_gemm", "collective") and row.hw == "h800"]
    result = kernels.reference("h800", some)
    rows = result.tables["rows"]
    assert len(rows) == len(some) == result.metrics["rows"] == sum(row["n"] for row in result.tables["sources"])
    assert {row["source"] for row in result.tables["sources"]} == {row.source for row in some}
    assert len(result.tables["worst"]) == kernels.WORST
    worst = [abs(row["log_error"]) for row in result.tables["worst"]]
    assert worst == sorted(worst, reverse=True)
    assert max(worst) == max(abs(row["log_error"]) for row in rows)
    assert result.metrics["coverage"] == pytest.approx(np.mean([row["covered"] for row in rows]))


def test_rows_that_were_looked_at_stand_apart_from_the_headline() -> None:
    some = [
        row
        for row in kernels.references()
        if row.id.startswith("KDEEPEP") or (row.hw == "h20" and row.family == "attention_prefill")
    ]
    result = kernels.reference(None, some)
    rows = result.tables["rows"]
    apart = [row for row in rows if row["looked_at"]]
    assert {row["id"] for row in apart if row["op"] == "exchange"} == {"KDEEPEP-0007", "KDEEPEP-0015"}
    assert {row["hw"] for row in apart if row["op"] != "exchange"} == {"h20"}
    assert result.metrics["rows"] == len(rows) - len(apart) == 18
    assert result.metrics["looked_at_rows"] == len(apart) == 7
    alone = [abs(row["error"]) for row in rows if not row["looked_at"]]
    assert result.metrics["median_abs_error"] == pytest.approx(np.median(alone))
    assert "18 published timings that nobody looked at before a decision: " in result.verdict
    assert "; 7 that were looked at: " in result.verdict
    only = kernels.reference("h20", [row for row in some if row.hw == "h20"])
    assert (only.metrics["rows"], only.metrics["looked_at_rows"]) == (0, 5)
    assert only.verdict.startswith("5 that were looked at: ")


def a_row(basis: str, half_width: float, covered: bool, looked_at: str = "") -> dict:
    return {"basis": basis, "half_width": half_width, "covered": covered, "error": 0.1, "looked_at": looked_at}


def test_coverage_is_counted_by_basis_and_by_width() -> None:
    """Too narrow where narrow and too wide where wide: right on the mean, wrong in every class."""
    rows = [a_row("fitted", 0.10, i < 4) for i in range(8)] + [a_row("60% datasheet, 40% assumed", 2.0, True)] * 8
    rows += [a_row("transferred", 0.25, i < 9) for i in range(10)] + [a_row("fitted", 0.15, True, "for a reason")]
    bases = kernels._classes(rows, "basis", kernels._by_basis)
    assert [(row["basis"], row["n"], row["coverage"], row["within_bar"], row["looked_at"]) for row in bases] == [
        ("fitted", 8, 0.5, False, ""), ("transferred", 10, 0.9, True, ""), ("roofline", 8, 1.0, False, ""),
        ("fitted", 1, 1.0, False, "yes"),
    ]  # fmt: skip
    widths = kernels._classes(rows, "half_width", kernels._by_width)
    assert [row["half_width"] for row in widths] == ["up to 15%", "up to 30%", "above 30%", "up to 15%"]
    (note,) = kernels._outside(rows)
    assert "fitted (8 rows): 50%" in note
    assert "half-width above 30% (8 rows): 100%" in note
    assert "transferred" not in note


def test_classes_hold_every_row_once() -> None:
    some = [row for row in kernels.references() if row.family in ("exchange", "collective")]
    result = kernels.reference(None, some)
    for table in ("basis", "half-width"):
        assert sum(row["n"] for row in result.tables[table]) == len(some)
    for row in result.tables["rows"]:
        assert row["half_width"] == pytest.approx(math.log(row["high_s"] / row["predicted_s"]))


def test_what_was_looked_at_is_among_the_rows() -> None:
    rows = kernels.references()
    for look in looked_at.looks():
        assert look.reason
        assert [r for r in rows if look.covers(r.source, r.hw, r.family, r.kernel, r.numbers)], look


def test_the_error_without_calibration_stands_beside() -> None:
    some = [row for row in kernels.references() if row.source == "NetX-lab/Frontier" and row.family == "gemm"]
    group = kernels.reference(None, some).tables["sources"][0]
    assert group["roofline_median_abs_error"] > 2 * group["median_abs_error"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("what,is,this\n", "columns must be id,source"),
        (",".join(kernels.COLUMNS) + "\n1,a,b,c,h800,gem,m=1,x=bf16,1e-3,latency\n", "csv:2: no family 'gem'"),
        (",".join(kernels.COLUMNS) + "\n1,a,b,c,h800,gemm,m=1,x=bf16,1e-3,latency\n", "csv:2: "),
        (",".join(kernels.COLUMNS) + "\n1,a,b,c,h800,gemm,batch=1;m=x;n=1;k=1,x=bf16;w=bf16;compute=bf16,1e-3,latency\n", "csv:2: "),
    ],
)  # fmt: skip
def test_a_broken_reference_file_names_file_and_line(tmp_path, text: str, said: str) -> None:
    path = tmp_path / "kernels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=said):
        kernels.references(path)
    with pytest.raises(SpecError, match=r"kernels\.csv"):
        kernels.references(tmp_path / "none" / "kernels.csv")


def test_a_device_without_published_rows_is_named_with_those_that_have_some() -> None:
    with pytest.raises(SpecError, match="no published kernel timings of 'a40'"):
        kernels.reference("a40")
