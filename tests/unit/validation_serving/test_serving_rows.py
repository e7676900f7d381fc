"""Rows of the silicon sample: copies, plans, lengths, what stands apart, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from servingkit import JUDGED, line_of, lines, read, sample, written

from simcost.errors import SpecError
from simcost.validation.serving import rows, rules
from simcost.validation.serving.point import Launch
from simcost.validation.serving.rows import DISAGGREGATED
from simcost.validation.serving.rules import CONTRADICTORY, SUSPECT, UNSTATED

TWINS = "16,1,4,4 is TP4 EP4"


def plan(row: rows.Row) -> tuple[int, int, int]:
    assert row.point is not None
    tp, ep, dp = (row.point.sets.get(f"plan.{key}", 1) for key in ("tp", "ep", "dp_attention"))
    return tp, ep, dp


def test_every_line_is_somewhere() -> None:
    found = dict(rows.counted(sample()))
    assert found["rows of the file"] == 61 == sum(len(row.ids) for row in sample().rows)
    assert found["distinct measurements"] == 60 == found["aggregated"] + found["disaggregated"]
    apart = Counter((row.mode, row.apart) for row in sample().rows)
    assert apart["aggregated", UNSTATED] == 2
    assert apart["aggregated", CONTRADICTORY] == 8
    assert apart["aggregated", SUSPECT] == 3
    assert apart[DISAGGREGATED, UNSTATED] == 2
    assert found["aggregated, speculative"] == 7
    assert found["judged"] == JUDGED == sum(row.judged for row in sample().rows)
    assert all(row.why for row in sample().rows if row.apart)
    assert all(row.point is not None or row.apart == UNSTATED for row in sample().rows)


def test_every_rule_that_reads_rows_decides_one() -> None:
    counts = rules.counts(rules.shipped(), sample().decided)
    assert [rule.name for rule, n in counts if not n and rule.section not in ("peer", "story")] == []
    drafts = {rule.name: n for rule, n in counts if rule.section == "speculative"}
    assert sum(drafts.values()) == sum(row.speculative for row in sample().rows)
    models = [n for rule, n in counts if rule.section == "model"]
    assert sum(models) == len(sample().rows)


def test_copies_of_a_measurement_count_once_and_say_what_columns_mean() -> None:
    row = next(row for row in sample().rows if len(row.ids) > 1)
    own = [line for line in lines() if line["id"] in row.ids]
    spelled = {tuple(line[key] for key in ("tp_size", "moe_tp_size", "moe_ep_size")) for line in own}
    assert spelled == {("16", "4", "4"), ("4", "1", "4")}
    assert plan(row) == (4, 4, 1)
    assert {line["model_path"] for line in own} == {"deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-V3"}


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("64,1,8,8 is TP8 EP8", (8, 8, 1)),
        ("1,64,8,8 is DP8 EP8", (1, 8, 8)),
        ("1,16,4,4 is DP4 EP4", (1, 4, 4)),
        ("1,4,2,2 is DP2 EP2", (1, 2, 2)),
        ("4,1,2,2 is TP2 EP2", (2, 2, 1)),
        ("4,4,1,16 is TP4 EP4", (4, 4, 1)),
        ("2,2,1,4 is TP2 EP2", (2, 2, 1)),
        ("Kimi NVFP4, TP4", (4, 1, 1)),
        ("MiniMax NVFP4, DP2", (1, 2, 2)),
        ("TRT-LLM scripts of 2025-11, H200, DP8", (1, 8, 8)),
        ("TRT-LLM scripts of 2025-11, fp8, TP8", (8, 8, 1)),
    ],
)
def test_plans_are_those_that_ran(rule: str, found: tuple[int, int, int]) -> None:
    own = [
        row
        for row in sample().rows
        if rule in row.used.get("plan", ()) and row.point is not None and row.point.prefill is None
    ]
    assert own
    assert {plan(row) for row in own} == {found}
    for row in own:
        assert row.point is not None
        assert row.point.gpus == found[0] * found[2]


def test_a_rule_may_take_the_column_of_tp(tmp_path: Path) -> None:
    rule = "MiniMax on vLLM 0.17 and 0.18"
    line = line_of(rule, "plan")
    for tp in ("2", "4", "8"):
        (row,) = read(tmp_path, line | {"tp_size": tp, "attention_dp_size": "1", "moe_tp_size": tp, "moe_ep_size": "1"})
        assert row.used["plan"] == (rule,)
        assert plan(row) == (int(tp), int(tp), 1)
    own = next(row for row in sample().rows if "TRT-LLM scripts of 2025-11, fp4, DP" in row.used.get("plan", ()))
    assert plan(own)[0] == 1
    assert plan(own)[1] == plan(own)[2] > 1


def test_columns_stand_as_they_are_where_no_rule_speaks(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model") | {
        "tp_size": "2",
        "attention_dp_size": "1",
        "moe_tp_size": "2",
        "moe_ep_size": "1",
    }
    (row,) = read(tmp_path, line)
    assert plan(row) == (2, 1, 1)
    (empty,) = read(tmp_path, line | {"attention_dp_size": "", "moe_tp_size": "4"})
    assert plan(empty) == (2, 1, 2)  # experts on four GPUs: two replicas of the attention


def test_plans_that_contradict_themselves_are_no_question(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model")
    for cells, said in (
        (
            {"tp_size": "8", "attention_dp_size": "1", "moe_tp_size": "2", "moe_ep_size": "2"},
            "experts on 4 GPUs, attention on 8",
        ),
        ({"tp_size": ""}, "tp_size is empty"),
    ):
        (row,) = read(tmp_path, line | cells)
        assert (row.point, row.apart) == (None, UNSTATED)
        assert said in row.why
    first, second = (
        line | {"tp_size": "8", "moe_tp_size": "8"},
        line | {"id": "twin", "tp_size": "4", "moe_tp_size": "4"},
    )
    (both,) = read(tmp_path, first, second)
    assert both.ids == (line["id"], "twin")
    assert (both.point, both.why) == (None, "copies of one measurement state different plans")


def test_a_load_that_nobody_states_is_no_question(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model")
    cut = ";".join(part for part in line["silicon_data_source"].split(";") if "silicon_concurrency" not in part)
    (row,) = read(tmp_path, line | {"silicon_data_source": cut})
    assert (row.point, row.apart) == (None, UNSTATED)


def test_lengths_are_means_and_times_are_seconds(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model") | {
        "isl": "1000",
        "osl": "500",
        "silicon_ttft_ms": "250",
        "silicon_tpot_ms": "20",
    }
    (row,) = read(tmp_path, line)
    assert row.point is not None
    assert (row.point.isl, row.point.osl, row.point.shortest) == (900.0, 450.0, 0.8)
    assert (row.isl, row.osl) == (1000.0, 500.0)
    assert (row.ttft_s, row.tpot_s) == (0.25, 0.02)
    assert row.point.requests == 10 * row.point.concurrency
    nominal = next(row for row in sample().rows if row.used["lengths"] == ("nominal",) and row.point is not None)
    assert nominal.point is not None
    assert (nominal.point.isl, nominal.point.shortest, nominal.point.requests) == (nominal.isl, 1.0, 0.0)


def test_what_rounds_to_the_same_times_is_one_measurement(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model") | {"silicon_ttft_ms": "250.123456", "silicon_tpot_ms": "20.987654"}
    rounded = line | {"id": "rounded", "silicon_ttft_ms": "250.12", "silicon_tpot_ms": "20.99"}
    assert len(read(tmp_path, line, rounded)) == 1
    assert len(read(tmp_path, line, rounded | {"silicon_tpot_ms": "21.01"})) == 2
    assert len(read(tmp_path, line, rounded | {"system": "gb200"})) == 2


def test_speculative_rows_are_told_by_image_and_config(tmp_path: Path) -> None:
    line = line_of("MTP-2, SGLang", "speculative")
    (fast,) = read(tmp_path, line)
    assert fast.point is not None
    assert (fast.point.speculative, fast.judged) == (2, False)
    (plain,) = read(tmp_path, line | {"silicon_data_source": line["silicon_data_source"] + "; config_id=87"})
    assert plain.point is not None
    assert (plain.point.speculative, plain.judged) == (0, True)


def test_pools_hold_their_instances() -> None:
    row = next(row for row in sample().rows if row.mode == DISAGGREGATED and row.point is not None)
    point = row.point
    assert point is not None
    assert point.prefill is not None
    assert point.decode is not None
    assert "plan.tp" not in point.sets
    assert point.gpus == sum(
        pool.instances * pool.sets["plan.tp"] * pool.sets.get("plan.dp_attention", 1)
        for pool in (point.prefill, point.decode)
    )
    assert not row.judged


def test_dynamos_release_is_not_the_engines() -> None:
    own = [row for row in sample().rows if "Dynamo's release" in row.used.get("version", ())]
    assert own
    assert {row.version for row in own} == {""}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"backend": "vlm"}, "rows.csv:2: backend = 'vlm' is not one of vllm, sglang, trtllm; did you mean 'vllm'?"),
        ({"system": "h300_sxm"}, "rows.csv:2: system = 'h300_sxm' is not one of"),
        ({"mode": "both"}, "rows.csv:2: mode = 'both' is not one of agg, disagg"),
        ({"silicon_tpot_ms": "fast"}, "rows.csv:2: silicon_tpot_ms = 'fast' must be a number, 0 or more"),
        ({"silicon_tpot_ms": "0"}, "rows.csv:2: tpot is empty or 0"),
        ({"isl": "-1"}, "rows.csv:2: isl = '-1' must be a number, 0 or more"),
        ({"model_path": "nobody/none"}, "(nobody/none) has no rule of [[model]]"),
        ({"precision": "fp2"}, "has no rule of [[checkpoint]]"),
    ],
)
def test_malformed_rows_are_refused(tmp_path: Path, cells: dict[str, str], said: str) -> None:
    line = line_of("Llama-3.1-70B", "model")
    with pytest.raises(SpecError) as caught:
        read(tmp_path, line | cells)
    assert said in str(caught.value)


def test_files_of_another_shape_are_refused(tmp_path: Path) -> None:
    line = line_of("Llama-3.1-70B", "model")
    twin = line | {
        "silicon_data_source": line["silicon_data_source"].replace("silicon_concurrency=", "silicon_concurrency=1")
    }
    with pytest.raises(SpecError, match="copies of one measurement differ in concurrency"):
        read(tmp_path, line, twin)
    with pytest.raises(SpecError, match=r"rows\.csv: missing columns silicon_ttft_ms"):
        read(tmp_path, {key: value for key, value in line.items() if key != "silicon_ttft_ms"})
    short = tmp_path / "short.csv"
    short.write_text(written(short, [line]).read_text(encoding="utf-8") + "a,b\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"short\.csv:3: not as many cells as the header"):
        rows.read(short, rules.shipped())
    with pytest.raises(SpecError, match="No such file"):
        rows.read(tmp_path / "none.csv", rules.shipped())


RULE = '[[apart]]\nname = "a"\nmatch = { tp = 4 }\nkind = "suspect"\nwhy = "w"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 2\n", "schema must be 1"),
        ("schema = 1\n[[appart]]\n", "unknown section 'appart'; did you mean 'apart'?"),
        ("schema = 1\n[apart]\nname = 'a'\n", "write each rule as [[apart]]"),
        ("schema = 1\n" + RULE.replace("tp =", "tps ="), "unknown key 'tps' of match; did you mean 'tp'?"),
        (
            "schema = 1\n" + RULE.replace('"suspect"', '"odd"'),
            "kind = 'odd' is not one of unstated, contradictory, suspect",
        ),
        ("schema = 1\n" + RULE.replace('kind = "suspect"', ""), "kind = None must be of type str"),
        ("schema = 1\n" + RULE.replace('why = "w"', ""), "a rule has a name, a match and a why"),
        ("schema = 1\n" + RULE + "tokens = 2\n", "unknown key 'tokens' (keys: kind)"),
        ("schema = 1\n" + RULE + RULE, "has two rules named 'a'"),
    ],
)
def test_malformed_rules_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        rules.read(path)
    assert said in str(caught.value)


LAUNCH = '[[launch]]\nname = "a"\nmatch = {}\ntokens = { isl = 2, plus = 64, least = 8192 }\nwhy = "w"\n'


def test_sizes_of_a_launch_are_sums(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("schema = 1\n" + LAUNCH, encoding="utf-8")
    (rule,) = rules.read(path)["launch"]
    assert rules.size(rule.gives["tokens"], {"isl": 5000.0, "concurrency": 8.0}) == 10064.0
    assert rules.size(rule.gives["tokens"], {"isl": 1000.0, "concurrency": 8.0}) == 8192.0
    for odd, said in (
        ("isi = 2", "tokens has no 'isi'"),
        ('isl = "2"', "tokens: isl = '2' must be a number, 0 or more"),
    ):
        path.write_text("schema = 1\n" + LAUNCH.replace("isl = 2", odd), encoding="utf-8")
        with pytest.raises(SpecError) as caught:
            rules.read(path)
        assert said in str(caught.value)


def test_flags_of_a_launch_are_those_of_its_script() -> None:
    own = next(row for row in sample().rows if row.used.get("launch") == ("DeepSeek fp4, TensorRT-LLM",) and row.point)
    assert own.point is not None
    launch = own.point.launch
    assert launch.tokens == max(own.isl + own.concurrency + 64, 8192)
    assert (launch.sequences, launch.share, launch.stream) == (512.0, 0.8, 10.0)
    looks = {
        row.used["receive"][0]: row.point.launch.receive for row in sample().rows if "receive" in row.used and row.point
    }
    assert looks == {
        "DeepSeek fp8, TP4": 10.0, "NVFP4 of Qwen3.5": 30.0, "NVFP4 of GLM-5": 10.0, "below 16 requests": 10.0, "from 16 requests on": 30.0,
    }  # fmt: skip
    silent = next(row for row in sample().rows if row.used["lengths"] == ("nominal",) and row.point)
    assert silent.point is not None
    assert silent.point.launch == Launch()


def test_a_match_takes_patterns_lists_and_ranges(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    facts = {"image": ("x/sglang:v0.5.9-cu130", ""), "isl": (1024.0,), "concurrency": ("",), "tp": (4,)}
    for match, holds in (
        ("{}", True), ('{ image = "*:v0.5.9-cu130" }', True), ('{ image = "*:v0.5.9" }', False),
        ("{ isl = 1024, tp = [2, 4] }", True), ("{ isl = { from = 1025 } }", False), ("{ isl = { to = 1024 } }", True),
        ("{ concurrency = { to = 9 } }", False), ('{ concurrency = "" }', True), ('{ config = "" }', True),
    ):  # fmt: skip
        path.write_text("schema = 1\n" + RULE.replace("{ tp = 4 }", match), encoding="utf-8")
        (rule,) = rules.read(path)["apart"]
        assert rule.holds(facts) is holds, match
