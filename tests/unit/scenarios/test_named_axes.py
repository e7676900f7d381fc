"""Models, devices and engines are axes like any other; and a file's rows say which question they answer."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.report.text import as_csv

TP = {"plan.tp": 8}


def test_every_row_is_the_question_of_its_names() -> None:
    found = simcost.decode(
        set=TP, batch=4, vary={"model": ["llama-3.1-70b", "mixtral-8x7b"], "hw": ["h100", "a100", "b200"], "engine": ["any", "vllm"]},
    )  # fmt: skip
    assert len(found.rows) == 12
    for row in found.rows:
        alone = simcost.decode(row["model"], row["hw"], batch=4, set=TP, engine=row["engine"])
        assert {
            name: row[name] for name in ("tpot_s", "usd_per_million_output_tokens", "memory_used_bytes_per_gpu")
        } == {
            name: alone.metrics[name]
            for name in ("tpot_s", "usd_per_million_output_tokens", "memory_used_bytes_per_gpu")
        }


def test_names_mix_with_numbers_in_the_order_asked_for() -> None:
    found = simcost.prefill(
        "llama-3.1-8b", vary={"isl": [128, 4096], "hw": ["h100", "h200"], "hw.memory.bandwidth": ["x1", "x2"]}
    )
    axes = [(row["hw"], row["isl"], row["hw.memory.bandwidth"]) for row in found.rows]
    assert axes == [(hw, isl, b) for hw in ("h100", "h200") for isl in (128, 4096) for b in ("x1", "x2")]
    for row in found.rows:
        alone = simcost.prefill(
            "llama-3.1-8b", row["hw"], isl=row["isl"], set={"hw.memory.bandwidth": row["hw.memory.bandwidth"]}
        )
        assert row["ttft_s"] == pytest.approx(alone.metrics["ttft_s"], rel=1e-12)


def test_a_model_key_is_varied_on_every_model() -> None:
    found = simcost.decode(hw="h200", vary={"model": ["llama-3.1-8b", "qwen3-8b"], "model.num_key_value_heads": [1, 8]})
    for row in found.rows:
        alone = simcost.decode(
            row["model"], "h200", set={"model.num_key_value_heads": row["model.num_key_value_heads"]}
        )
        assert row["kv_bytes_per_gpu"] == alone.metrics["kv_bytes_per_gpu"]


def test_a_device_that_cannot_run_it_is_a_row_with_its_reason() -> None:
    found = simcost.decode(
        "llama-3.1-8b", set={"plan.compute_dtype": "fp8", "plan.weight_dtype": "fp8"}, vary={"hw": ["h200", "a100"]}
    )
    by_name = {row["hw"]: row for row in found.rows}
    assert by_name["h200"]["feasible"]
    assert not by_name["a100"]["feasible"]
    assert "cannot compute in" in by_name["a100"]["reason"]


def test_a_device_without_a_price_leaves_the_price_of_the_others(tmp_path: Any) -> None:
    from simcost.hardware import load

    priced = {name: load.load(name).usd_per_hour for name in load.names()}
    without = next(name for name, usd in priced.items() if usd is None)
    rows = simcost.decode("llama-3.1-8b", vary={"hw": [without, "h100"]}).rows
    assert rows[0].get("usd_per_million_output_tokens") is None
    assert rows[1]["usd_per_million_output_tokens"] > 0


@pytest.mark.parametrize(("ask", "says"), [
    ({"model": "llama-3.1-8b", "vary": {"hw": ["h100", "h2000"]}}, "unknown"),
    ({"model": "llama-3.1-8b", "hw": "h100", "vary": {"hw": ["h200"]}}, "'hw' is both set and varied"),
    ({"model": "llama-3.1-8b", "hw": "h100", "vary": {"model": ["qwen3-8b"]}}, "'model' is both set and varied"),
    ({"model": "llama-3.1-8b"}, "missing --hw (or --vary hw=... for several)"),
    ({"hw": "h100"}, "missing --model"),
    ({"model": "llama-3.1-8b", "vary": {"hw": [8]}}, "8 is not a name"),
    ({"model": "llama-3.1-8b", "hw": "h100", "set": {"hw": "h200"}}, "use --hw h200"),
    ({"model": "llama-3.1-8b", "vary": {"hw": ["h100"]}, "nodes": 1}, "'hw' is varied: use --gpus"),
])  # fmt: skip
def test_names_are_said_once(ask: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError) as error:
        simcost.decode(**ask)
    assert says in str(error.value)


def _rows(result: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(result))))


def test_rows_of_a_file_say_which_question_they_answer() -> None:
    one = _rows(simcost.decode("llama-3.1-70b", "h200", batch=8, set=TP, engine="vllm"))
    assert {key: one[0][key] for key in ("model", "hw", "engine", "plan", "phase", "simcost")} == {
        "model": "llama-3.1-70b", "hw": "h200", "engine": "vllm", "plan": "tp=8", "phase": "decode", "simcost": simcost.__version__,
    }  # fmt: skip
    several = _rows(simcost.prefill("llama-3.1-70b", set=TP, vary={"hw": ["h100", "h200"]}))
    assert [row["hw"] for row in several] == ["h100", "h200"]
    assert {row["phase"] for row in several} == {"prefill"}
    assert len({one[0]["content"], several[0]["content"]}) == 2
    assert (
        one[0]["content"]
        == _rows(simcost.decode("llama-3.1-70b", "h200", batch=8, set=TP, engine="vllm"))[0]["content"]
    )


def test_a_swapped_design_is_told_from_the_first_one_in_a_file() -> None:
    first, second = (
        _rows(simcost.decode("llama-3.1-8b", "h200", set=sets))[0]
        for sets in ({"plan.tp": 2}, {"plan.tp": 2, "model.attention": "mla", "plan.kv_dtype": "fp8"})
    )
    assert "set" not in first
    assert second["set"] == "model.attention=mla plan.kv_dtype=fp8"
    assert (first["plan"], second["plan"]) == ("tp=2", "tp=2")


def test_a_config_that_is_handed_over_has_its_name_in_a_file() -> None:
    from simcost.model import load

    config = {**load.load_config("llama-3.1-8b")[2], "_name_or_path": "mine/own"}
    assert _rows(simcost.decode(config, "h200"))[0]["model"] == "mine/own"


def test_another_config_of_one_name_has_another_content(tmp_path: Any) -> None:
    import json

    from simcost.model import load

    file = tmp_path / "mine.json"
    contents = set()
    for layers in (2, 3):
        file.write_text(json.dumps({**load.load_config("llama-3.1-8b")[2], "num_hidden_layers": layers}))
        contents.add(_rows(simcost.decode(str(file), "h200"))[0]["content"])
    assert len(contents) == 2


def test_the_command_line_takes_names_as_axes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["decode", "--model", "llama-3.1-70b", "--vary", "hw=h100,h200", "--set", "plan.tp=8"]) == 0
    assert "llama-3.1-70b on h100 / h200: batch 1" in capsys.readouterr().out
    assert run(["decode", "--model", "llama-3.1-70b", "--hw", "h100", "--vary", "hw=h100,h200"]) == 2
    assert "both set and varied" in capsys.readouterr().err
