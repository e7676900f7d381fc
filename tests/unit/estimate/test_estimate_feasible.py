"""Whether a plan can be run: the first broken rule, and the nearest values with which it could, found by trying them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toykit import workload

from simcost.errors import Infeasible
from simcost.estimate import feasible
from simcost.num import every
from simcost.workload import Workload

MOE = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


def plan(home: Path, decode: bool = True, **sets: Any) -> Workload:
    config, profile = sets.pop("config", {}), sets.pop("profile", {})
    return workload(
        home, decode, {f"plan.{name}": value for name, value in sets.items()}, config=config, profile=profile
    )


@pytest.mark.parametrize(("sets", "decode", "said"), [
    ({}, True, ""), ({"tp": 2}, True, ""), ({"tp": 8}, True, ""), ({"tp": 3}, True, "num_attention_heads = 8 cannot be cut into 3"),
    ({"pp": 5}, True, "pp must not exceed the 4 layers of m"), ({"ep": 2}, True, "m has no experts to split"),
    ({"vpp": 2, "pp": 2}, True, "vpp applies to training schedules only"),
    ({"pp": 2, "overlap_p2p_comm": "on"}, True, "overlap_p2p_comm hides nothing in decode"), ({"pp": 2, "overlap_p2p_comm": "on"}, False, ""),
    ({"ep": 8, "config": MOE}, True, ""), ({"ep": 16, "config": MOE}, True, "experts"),
    ({"ep": 8, "all_to_all": "normal", "config": MOE}, True, "all_to_all=normal waits for counts on the host"),
    ({"ep": 8, "all_to_all": "normal", "cuda_graph": "off", "config": MOE}, True, ""), ({"ep": 8, "all_to_all": "normal", "config": MOE}, False, ""),
    ({"ep": 16, "all_to_all": "nvlink", "config": {**MOE, "num_local_experts": 16}}, True, "the group of the experts spans more"),
    ({"tp": 4, "gpus": 2}, True, "the plan takes 4 GPUs, the cluster has 2"),
])  # fmt: skip
def test_the_first_broken_rule_is_said(tmp_path: Path, sets: dict[str, Any], decode: bool, said: str) -> None:
    w = plan(tmp_path, decode, **sets)
    found = feasible.broken(w, advise=False)
    assert said in found
    assert bool(found) is bool(said)
    assert all(every(check.ok) for check in feasible.of(w)) is not bool(said)
    if said:
        with pytest.raises(Infeasible, match="^plan: " + re.escape(found)):
            feasible.require(w)
    else:
        feasible.require(w)


def around(home: Path, name: str, now: int, most: int, **sets: Any) -> str:
    """The next smaller and larger values that run, one by one."""
    good = [
        v for v in range(1, most + 1) if not feasible.broken(plan(home / str(v), **{**sets, name: v}), advise=False)
    ]
    near = [v for v in good if v < now][-1:] + [v for v in good if v > now][:1]
    return f"plan.{name} = {' or '.join(map(str, near))}" if near else ""


@pytest.mark.parametrize(("sets", "names", "most"), [
    ({"tp": 3}, ["tp"], 24), ({"pp": 7}, ["pp"], 24), ({"ep": 3, "config": MOE}, ["ep"], 24), ({"tp": 3, "gpus": 12}, ["tp"], 12),
])  # fmt: skip
def test_advice_names_the_nearest_values_that_run(
    tmp_path: Path, sets: dict[str, Any], names: list[str], most: int
) -> None:
    now = feasible.nearest(plan(tmp_path, **sets))
    want = [around(tmp_path, name, sets[name], most, **sets) for name in names]
    assert now == f" (nearest valid: {', or '.join(want)})"


def test_where_two_fields_must_change_no_advice_is_given(tmp_path: Path) -> None:
    assert feasible.nearest(plan(tmp_path, tp=3, pp=7)) == ""


def test_of_many_plans_each_point_keeps_or_breaks_its_rules(tmp_path: Path) -> None:
    w = plan(tmp_path, tp=3)
    holds = feasible._holds(w, "tp", np.arange(1.0, 17.0))
    assert [int(tp) for tp in np.arange(1, 17)[holds]] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("count", "overlap", "ok"),
    [("20", "two_batch", False), ("21", "two_batch", True), ("8", "none", True), ("132", "two_batch", True)],
)
def test_an_overlap_leaves_multiprocessors_to_compute_with(tmp_path: Path, count: str, overlap: str, ok: bool) -> None:
    sms = {"compute.sm_count": f"{{ value = {count}, source = 'book' }}"}
    w = plan(tmp_path, ep=8, overlap=overlap, all_to_all="normal", cuda_graph="off", config=MOE, profile=sms)
    found = feasible.broken(w, advise=False)
    assert (found == "") is ok
    assert ok or f"of {count} multiprocessors (compute.sm_count)" in found


@pytest.mark.parametrize(
    ("tp", "said"), [(8, ""), (16, "no 'links.scaleout.bandwidth', and the plan spans more than one scale-up domain")]
)
def test_a_plan_beyond_the_links_is_told_the_missing_key(tmp_path: Path, tp: int, said: str) -> None:
    gone = ("links.scaleout.bandwidth", "assumed.scaleout_efficiency", "assumed.scaleout_hop_latency")
    w = workload(tmp_path, sets={"plan.tp": tp}, config={"num_attention_heads": 16}, without=gone)
    found = feasible.broken(w, advise=False)
    assert said in found
    assert bool(found) is bool(said)
    copies = workload(tmp_path, sets={"plan.dp": 64}, without=gone)  # which have nothing to say to each other
    assert feasible.broken(copies) == ""
