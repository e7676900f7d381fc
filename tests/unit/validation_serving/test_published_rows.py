"""Published serving: the files hold what was collected, each row asks what its source states, a fault is one line."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.model.count import parameters
from simcost.model.load import load
from simcost.validation.serving import published
from simcost.validation.serving.published import GROUPS, UNPRICED

EVERY = published.every()
BY_ID = {row.id: row for row in EVERY}


def test_every_collected_row_is_there_and_counted() -> None:
    found = {line["source"]: line for line in published.counts(EVERY)}
    rows = {name: line["rows"] for name, line in found.items()}
    assert rows == {
        "trt017": 373, "trt014": 94, "trt100": 250, "trt05": 58, "trt09": 126, "trtblog": 19, "dsprod": 6, "sgl": 29,
        "hpcops": 26, "mlperf": 12, "vllmci": 18, "vultr": 9, "vllmpr": 1, "gptfast": 33, "aicref": 35, "infx": 164,
        "splitwise": 132, "neuron": 82, "tpu": 10, "ascend": 45, "lmdeploy": 24, "tt356": 10, "vllmrec": 1,
        "infersim": 4, "sglbook": 24, "trt120": 143, "ttgpu": 30, "sgldocs": 9, "sglpr": 6, "vllmprs": 28, "trtpr": 4,
    }  # fmt: skip
    assert sum(rows.values()) == 1561 + 24 + 220
    assert all(line["rows"] == sum(line[group] for group in (*GROUPS, UNPRICED)) for line in found.values())
    assert {group: sum(line[group] for line in found.values()) for group in (*GROUPS, UNPRICED)} == {
        "judged": 1346, "reported": 84, "speculative": 36, "apart": 192, UNPRICED: 147,
    }  # fmt: skip


def test_rows_that_do_not_judge_say_why_and_those_that_do_are_whole() -> None:
    for row in EVERY:
        assert all((row.source.reference, row.locator)), row.id
        if row.group == "judged":
            assert row.point is not None, row.id
            assert set(row.judges) <= set(row.measured), row.id
            assert row.point.hw in hardware.names(), row.id
        else:
            assert row.why, row.id
        if row.point is not None and row.gpus:
            assert row.point.gpus == row.gpus, row.id
    assert sum(line["rows"] for line in published.reasons(EVERY)) == sum(row.group != "judged" for row in EVERY)


def test_no_question_is_asked_twice() -> None:
    seen: dict[str, str] = {}
    for row in EVERY:
        if row.group != "judged":
            continue
        key = repr((row.load, row.stack, row.judges, row.device, row.point))
        assert key not in seen, (row.id, seen.get(key))
        seen[key] = row.id


def test_a_row_of_each_kind_asks_what_its_source_states() -> None:
    most = BY_ID["trt017-0001"]
    assert most.point is not None
    assert (most.kind, most.point.concurrency, most.point.isl, most.point.osl) == ("max", math.inf, 128, 128)
    assert (most.point.requests, most.judges, most.measured) == (30000, ("output",), {"output": 29526.04})
    assert (most.point.hw, most.point.engine, most.point.version) == ("h200", "trtllm", "0.17")
    assert most.point.sets["plan.weight_dtype"] == most.point.sets["plan.kv_dtype"] == "fp8"
    batch = BY_ID["trt05-0014"].point
    assert batch is not None
    assert batch.model == "falcon-180b"
    assert (batch.concurrency, batch.isl, batch.osl, batch.sets["plan.tp"]) == (96, 128, 2048, 8)
    loop = BY_ID["infx-0161"]
    assert loop.point is not None
    assert (loop.kind, loop.point.concurrency, loop.point.shortest) == ("closed loop", 8, 0.8)
    assert loop.point.isl == pytest.approx(0.9 * 1024)  # uniform from 0.8 of the printed length on
    assert loop.judges == ("ttft", "tpot")  # tokens/s follow from them
    pool = BY_ID["dsprod-0003"]
    assert pool.point is not None
    assert (pool.kind, pool.point.concurrency, pool.point.gpus) == ("decode pool", 128 * 128, 128)
    prompt = BY_ID["sgl-0003"]
    assert prompt.point is not None
    assert prompt.point.concurrency * prompt.point.isl == 16384 * 32
    assert prompt.measured["input"] == pytest.approx(50302 * 4)  # printed for a node


def test_what_follows_from_other_figures_does_not_judge() -> None:
    latency = BY_ID["vllmci-0001"]  # printed: 2.07753 s of 8 sequences of 128 tokens
    assert latency.parts["latency_s"] == pytest.approx(2.07753)
    assert latency.measured == {"output": pytest.approx(8 * 128 / 2.07753, rel=1e-6)}
    assert BY_ID["gptfast-0001"].measured == {"output": 104.9}
    assert BY_ID["lmdeploy-0011"].judges == ("output",)  # its first tokens are staggered
    assert BY_ID["splitwise-0080"].judges == ("ttft",)  # its token time is the host's


def test_the_production_day_is_kept_whole() -> None:
    day, decode = BY_ID["dsprod-0001"], BY_ID["dsprod-0002"]
    assert day.parts["input_tokens_per_s_per_node"] == 73700
    assert decode.parts["output_tokens_per_s_per_node"] == 14800
    assert (decode.parts["tokens_per_s_per_user_low"], decode.parts["tokens_per_s_per_user_high"]) == (20, 22)
    assert decode.measured["output"] == 14800 * 18
    assert day.group == decode.group == "apart"


def test_own_configs_have_the_parameters_of_their_models() -> None:
    own = [path.stem for path in (published.home() / "models").glob("*.json")]
    assert own == ["gpt-j-6b"]
    spec = load(str(published.home() / "models" / "gpt-j-6b.json"))
    assert parameters(spec)["params_total"] == 6_050_882_784  # EleutherAI/gpt-j-6b


def _changed(tmp_path: Path, file: str, change: dict[str, str], row: int = 0) -> Path:
    """A copy of the rows' folder in which one line differs."""
    home = tmp_path / "rows"
    shutil.copytree(published.home(), home)
    path = home / file
    with path.open(encoding="utf-8", newline="") as handle:
        table = csv.DictReader(handle)
        names, lines = list(table.fieldnames or ()), list(table)
    lines[row].update(change)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, names)
        writer.writeheader()
        writer.writerows(lines)
    return home


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("published.csv", {"load": "closd"}, "published.csv:2: load = 'closd' is not known .*did you mean 'closed'"),
        ("published.csv", {"source": "trt17"}, "published.csv:2: source = 'trt17' is not known"),
        ("published.csv", {"model": "llama-9"}, "published.csv:2: model = 'llama-9' is not known"),
        ("published.csv", {"weights": "fp7"}, "published.csv:2: weights = 'fp7' is not known"),
        ("published.csv", {"judges": "speed"}, "published.csv:2: judges = 'speed' is not known"),
        ("published.csv", {"group": "apart"}, "published.csv:2: a row of apart needs a reason in why"),
        ("published.csv", {"tp": ""}, "published.csv:2: a judged row states its plan, load, lengths"),
        ("published.csv", {"judges": "tpot"}, "published.csv:2: a judged row states its plan, load, lengths"),
        ("published.csv", {"isl": "-1"}, "published.csv:2: isl = '-1' must be a number, 0 or more"),
        ("published.csv", {"tp": "1.5"}, "published.csv:2: tp = '1.5' must be a whole number above 0"),
        ("published.csv", {"set": "plan.tpp=1"}, "published.csv:2: unknown path 'plan.tpp'"),
        ("published.csv", {"id": "trt017-0002"}, "published.csv:3: id 'trt017-0002' is empty, or appears twice"),
        ("devices.csv", {"hw": "", "why": ""}, "devices.csv: .* stands for nothing, without a reason"),
        ("models.csv", {"base": "gpt-k"}, "models.csv, codellama-13b-hf: base = 'gpt-k' is not known"),
        ("stacks.csv", {"engine": "vlm"}, "engine = 'vlm' is not known .*did you mean 'vllm'"),
    ],
)
def test_a_fault_is_one_line_that_names_it(tmp_path: Path, file: str, change: dict[str, str], said: str) -> None:
    with pytest.raises(SpecError, match=said) as fault:
        published.read(_changed(tmp_path, file, change))
    assert "\n" not in str(fault.value)


def test_what_has_no_profile_or_config_is_unpriced_for_the_reason_of_its_table() -> None:
    assert {BY_ID[name].why for name in ("neuron-0001", "hpcops-0001")} == {
        "no profile of Inferentia2",
        "no public config of Hy3",
    }
    assert all(row.point is None for row in EVERY if row.group == UNPRICED)
