"""Plans that cannot be run: the rule, and the nearest values with which every rule holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simcost
from simcost.errors import Infeasible, SimcostError
from simcost.estimate import feasible
from simcost.num import every
from simcost.query import make, workload

BROKEN: list[tuple[str, str, dict[str, Any], int | None, str]] = [
    ("qwen2.5-7b", "h200", {"plan.tp": 8}, None, "plan.tp = 4)"),
    ("llama-3.1-70b", "h200", {"plan.tp": 128}, None, "plan.tp = 64)"),
    ("llama-3.1-70b", "h200", {"plan.pp": 100}, None, "plan.pp = 80)"),
    ("deepseek-v3", "h200", {"plan.ep": 64, "plan.redundant_experts": 30}, 64, "plan.ep = 26, or plan.redundant_experts = 0 or 64)"),
    ("deepseek-v3", "h200", {"plan.ep": 16}, 8, "plan.ep = 8)"),
    ("deepseek-v3", "h200", {"plan.tp": 4, "plan.pp": 4}, 8, "plan.tp = 2, or plan.pp = 2)"),
    ("deepseek-v3", "h200", {"plan.tp": 3, "plan.ep": 8}, None, "plan.tp = 2 or 4)"),
    ("deepseek-v3", "h200", {"plan.tp": 32}, None, "plan.tp = 16)"),
]  # fmt: skip


def refusal(model: str, hw: str, sets: dict[str, Any], gpus: int | None) -> str:
    with pytest.raises(Infeasible) as error:
        simcost.decode(model, hw, set=sets, gpus=gpus)
    return str(error.value)


@pytest.mark.parametrize(("model", "hw", "sets", "gpus", "said"), BROKEN)
def test_a_refusal_names_the_nearest_plans_and_each_of_them_runs(
    model: str, hw: str, sets: dict[str, Any], gpus: int | None, said: str
) -> None:
    reason = refusal(model, hw, sets, gpus)
    assert reason.endswith(said)
    for field, values in re.findall(r"(plan\.\w+) = (\d+(?: or \d+)?)", reason.partition("nearest that work")[2]):
        for value in values.split(" or "):
            assert simcost.decode(model, hw, set={**sets, field: int(value)}, gpus=gpus).metrics["tpot_s"] > 0


@pytest.mark.parametrize("tp", [3, 5, 6, 7, 10, 20, 200])
def test_no_value_between_the_asked_one_and_the_nearest_works(tp: int) -> None:
    def runs(value: int) -> bool:
        w = workload(make("glm-4.5", "h200", True, {"batch": 8, "context": 512}, {"plan.tp": value}, {}, None))
        return all(every(check.ok) for check in feasible.of(w))

    good = [value for value in range(1, 257) if runs(value)]
    near = [max((v for v in good if v < tp), default=None), min((v for v in good if v > tp), default=None)]
    shown = " or ".join(str(v) for v in near if v is not None)
    assert refusal("glm-4.5", "h200", {"plan.tp": tp}, None).endswith(f"plan.tp = {shown})")


def test_where_two_fields_must_change_nothing_is_said() -> None:
    assert "nearest" not in refusal("deepseek-v3", "h200", {"plan.tp": 3, "plan.cp": 3}, None)


def test_normal_exchanges_are_refused_in_a_cuda_graph_and_nowhere_else() -> None:
    sets = {"plan.ep": 8, "plan.all_to_all": "normal"}
    assert "which a CUDA graph" in refusal("deepseek-v3", "h200", sets, None)
    eager = simcost.decode("deepseek-v3", "h200", set={**sets, "plan.cuda_graph": "off"})
    prompt = simcost.prefill("deepseek-v3", "h200", set=sets)
    still = simcost.decode("deepseek-v3", "h200", set={"plan.tp": 8, "plan.all_to_all": "normal"})  # nothing travels
    assert all(found.metrics for found in (eager, prompt, still))
    found = simcost.plans("deepseek-v3", "h200", gpus=16, batch=[64], set={"plan.all_to_all": "normal"}).rows
    travels = [row["dp_attention"] > 1 for row in found]
    assert [("CUDA graph" in row.get("reason", "")) for row in found] == travels


def test_a_rank_holds_whole_blocks_of_a_format_that_scales_blocks() -> None:
    found = simcost.plans("deepseek-v3", "h800", gpus=64, batch=[64]).rows
    narrow = [row for row in found if 2048 / row["tp"] % 128]  # the shared experts and dense layers: linear layers
    assert narrow
    assert not any(row["feasible"] for row in narrow)
    assert {"blocks of 128" in row["reason"] for row in narrow if row["pp"] < 64} == {True}
    wide = simcost.plans("deepseek-v3", "h800", gpus=64, batch=[64], set={"plan.weight_dtype": "bf16"}).rows
    assert not any("blocks of" in row.get("reason", "") for row in wide)
    # parts of experts are padded: 64 of 2048 columns at etp = 32
    assert any(row["feasible"] for row in found if 2048 / row["etp"] % 128 and not 2048 / row["tp"] % 128)
    assert "down_proj: a rank's 576 columns" in refusal("deepseek-v3", "h200", {"plan.tp": 32}, None)
    # scales along one row: engines pad what is cut
    assert simcost.decode("gpt-oss-120b", "b200", set={"plan.tp": 8}).metrics["tpot_s"] > 0


def test_a_bad_value_in_a_list_is_a_row_and_the_others_are_answered(tmp_path: Path) -> None:
    few, negative = tmp_path / "few.csv", tmp_path / "negative.csv"
    few.write_text(",".join(["5"] * 128) + "\n")
    negative.write_text(",".join(["5"] * 255 + ["-1"]) + "\n")
    for other in (few, negative):
        routings = ["balanced", str(other)]
        rows = simcost.decode("deepseek-v3", "h200", batch=512, set={"plan.ep": 8}, vary={"routing": routings}).rows
        assert [row["feasible"] for row in rows] == [True, False]
        assert rows[1]["reason"]
        with pytest.raises(SimcostError, match="no point of the sweep"):
            simcost.decode("deepseek-v3", "h200", set={"plan.ep": 8}, vary={"routing": [str(other)]})


def test_plans_stand_in_the_package_and_keep_the_values_of_single_queries() -> None:
    rows = simcost.plans("llama-3.1-70b", "h200", gpus=8, batch=[16, 64]).rows
    best = rows[0]
    sets = {f"plan.{name}": best[name] for name in ("tp", "cp", "dp_attention", "pp", "dp", "ep")}
    alone = simcost.decode("llama-3.1-70b", "h200", batch=best["batch"], set=sets, gpus=8).metrics
    for name in ("tpot_s", "output_tokens_per_s_per_gpu", "memory_used_bytes_per_gpu"):
        assert np.isclose(best[name], alone[name], rtol=1e-12)
    assert "plans" in simcost.__all__


def test_parts_of_experts_are_stored_and_computed_in_whole_blocks() -> None:
    def asked(**sets: object) -> simcost.result.Result:
        return simcost.decode("minimax-m2", "h200", batch=8, set={f"plan.{k}": v for k, v in sets.items()})

    cut, whole, spread = asked(tp=8), asked(tp=4), asked(tp=8, ep=8)
    said = [note for note in cut.warnings if "192 columns of an expert as 256" in note]
    assert len(said) == 1
    assert not any("columns of an expert" in note for found in (whole, spread) for note in found.warnings)
    # 62 layers of 256 experts of 3 x 3072 x 1536: an eighth of them, a third more of it as 192 is padded to 256.
    experts = 62 * 256 * 3 * 3072 * 1536 / 8
    extra = float(cut.metrics["weight_bytes_per_gpu"] - spread.metrics["weight_bytes_per_gpu"])
    assert extra == pytest.approx(experts / 3, rel=1e-3)

    def products(found: simcost.result.Result) -> dict[str, str]:
        return {row["op"]: row["shape"] for row in found.tables["ops"] if "experts_" in row["op"]}

    rows = products(simcost.explain("minimax-m2", "h200", batch=8, set={"plan.tp": 8, "hw.measurements": "none"}))
    assert "n=512 k=3072" in rows["moe / experts / experts_up"]
    assert "n=3072 k=256" in rows["moe / experts / experts_down"]
    # Formats that scale no blocks are cut as they are, and points of a sweep are padded one by one.
    bf16 = simcost.explain(
        "minimax-m2", "h200", batch=8, set={"plan.tp": 8, "plan.weight_dtype": "bf16", "hw.measurements": "none"}
    )
    assert "n=384 k=3072" in products(bf16)["moe / experts / experts_up"]
    rows_ = simcost.decode("minimax-m2", "h200", batch=8, vary={"plan.tp": [1, 4, 8]}).rows
    assert [row["weight_bytes_per_gpu"] for row in rows_[1:]] == [
        found.metrics["weight_bytes_per_gpu"] for found in (whole, cut)
    ]
