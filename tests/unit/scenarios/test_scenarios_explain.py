"""What crosses links and how uneven a routing is, by hand; the keys that a user may set."""

from __future__ import annotations

from typing import Any

import pytest

from simcost import query, settings
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.estimate import step as steps
from simcost.hardware import engine_file, engines
from simcost.hardware import load as hardware
from simcost.ops.collective import Collective
from simcost.ops.exchange import Exchange
from simcost.ops.gemm import Gemm
from simcost.result import Row
from simcost.routing.router import Router, Routing
from simcost.scenarios import explain_links, explain_routing, keys

H200 = hardware.load("h200")


def step(model: str, phase: dict[str, Any], **plan: Any) -> steps.Step:
    sets = {"hw.measurements": "none", **{f"plan.{name}": value for name, value in plan.items()}}
    return steps.run(query.workload(query.make(model, "h200", "context" in phase, phase, sets, {}, None)))


def transfers(rows: list[Row]) -> dict[tuple[str, str], Row]:
    return {(row["transfer"], row["tier"]): row for row in rows}


INSIDE, NETWORK = explain_links.TIERS


def test_a_rank_s_part_of_ring_reductions_by_hand() -> None:
    """Llama-3.1-70B, 64 tokens of 8,192 in bf16 on eight ranks of a node: 2 x 7/8 of the tensor, twice a layer."""
    rows = transfers(explain_links.rows(step("llama-3.1-70b", {"batch": 64, "context": 1024}, tp=8)))
    sent = 2 * 7 / 8 * 64 * 8192 * 2
    for name in ("attention / all-reduce", "ffn / all-reduce"):
        row = rows[name, INSIDE]
        assert (row["sent_bytes"], row["times"], row["sent_step_bytes"]) == (sent, 80, 80 * sent)
    assert rows["all-reduce", INSIDE]["times"] == 1  # the embedding's
    assert rows["gather logits", INSIDE]["sent_bytes"] == 7 / 8 * 64 * 128256 * 2
    assert rows["sum", INSIDE]["sent_step_bytes"] == 161 * sent + 7 / 8 * 64 * 128256 * 2
    assert ("sum", NETWORK) not in rows


def test_sums_are_those_of_the_rows() -> None:
    found = explain_links.rows(step("mixtral-8x7b", {"batch": 64, "context": 1024}, ep=8, tp=2, pp=2))
    listed = [row for row in found if row["part"] != "all"]
    assert {row["tier"] for row in listed} == {row["tier"] for row in found if row["part"] == "all"}
    for total in (row for row in found if row["part"] == "all"):
        mine = [row for row in listed if row["tier"] == total["tier"]]
        for name in ("sent_step_bytes", "time_s", "step_share"):
            assert total[name] == pytest.approx(sum(row[name] for row in mine))
        bare = sum(row["time_s"] * row["exposed_share"] for row in mine)
        assert total["exposed_share"] == pytest.approx(bare / total["time_s"])


def test_shares_are_of_the_whole_step_and_one_after_the_other_all_is_exposed() -> None:
    one = step("llama-3.1-70b", {"batch": 64, "context": 1024}, tp=8)
    for row in explain_links.rows(one):
        assert row["exposed_share"] == 1
        assert row["step_share"] == pytest.approx(row["time_s"] / float(one.cost.seconds))


def test_of_two_tiers_the_slower_one_is_exposed() -> None:
    """Sixteen ranks on two nodes: what crosses the network passes beside what stays inside, and the longer of both counts."""
    rows = transfers(explain_links.rows(step("llama-3.1-70b", {"batch": 64, "context": 1024}, tp=16)))
    names = {name for name, _ in rows} - {"sum"}
    assert {"attention / all-reduce", "ffn / all-reduce"} <= names
    for name in names:
        both = [rows[name, tier] for tier in (INSIDE, NETWORK)]
        assert sorted(row["exposed_share"] for row in both) == [0, 1]
        longer, other = sorted(both, key=lambda row: -row["exposed_share"])
        assert longer["time_s"] >= other["time_s"]


def test_a_design_on_one_device_moves_nothing() -> None:
    assert explain_links.rows(step("llama-3.1-8b", {"batch": 4, "context": 1024})) == []


def test_stages_send_what_a_rank_has_of_the_rows() -> None:
    """Two stages of eight ranks, two micro-batches of 32 tokens: an eighth each over the network, then gathered; the hidden states and the residual."""
    rows = transfers(explain_links.rows(step("llama-3.1-70b", {"batch": 64, "context": 1024}, tp=8, pp=2)))
    tensor = 2 * 32 * 8192 * 2
    assert rows["send", NETWORK]["sent_step_bytes"] == tensor / 8
    assert rows["gather", INSIDE]["sent_step_bytes"] == 7 / 8 * tensor


def test_an_overlap_hides_a_part_of_what_travels() -> None:
    phase = {"isl": 4096, "batch": 128}
    apart, beside = (
        transfers(explain_links.rows(step("deepseek-v3", phase, ep=64, all_to_all="normal", overlap=overlap)))
        for overlap in ("none", "two_batch")
    )
    assert apart["sum", NETWORK]["exposed_share"] == pytest.approx(1.0)
    assert beside["sum", NETWORK]["exposed_share"] < 0.9


@pytest.mark.parametrize(("op", "near", "far"), [
    (Collective("all_reduce", 8e6, 8.0), 2 * 7 / 8 * 8e6, 0), (Collective("all_gather", 8e6, 8.0), 7 / 8 * 8e6, 0),
    (Collective("all_to_all", 15e6, 16.0), 7e6, 8e6), (Collective("all_gather", 8e6, 16.0), 7 / 8 * 8e6, 1 / 2 * 1e6),
    (Collective("all_reduce", 8e6, 2.0, 8.0), 0, 8e6), (Collective("all_reduce", 8e6, 1.0), 0, 0),
])  # fmt: skip
def test_bytes_of_a_collective_on_nodes_of_eight(op: Collective, near: float, far: float) -> None:
    found = explain_links.moved(op, H200)
    assert found is not None
    assert (found.near, found.far) == (pytest.approx(near), pytest.approx(far))


def test_bytes_of_an_exchange_inside_a_node_are_of_its_copies() -> None:
    """Two of eight experts on eight ranks, each a rank: 2 x 7/8 copies of a token leave it."""
    op = Exchange(8.0, 64.0, 1000.0, 8.0, 1.0, Router(8.0, 2.0), Routing("balanced"), "normal", "dispatch")
    found = explain_links.moved(op, H200)
    assert found is not None
    assert (found.near, found.far) == (pytest.approx(8 * 1000 * 2 * 7 / 8), 0)


def test_what_computes_moves_nothing() -> None:
    bf16 = dtype("bf16")
    assert explain_links.moved(Gemm(8.0, 8.0, 8.0, bf16, bf16, bf16, bf16), H200) is None


# ---- routing ---------------------------------------------------------------------------------------------------------------


def routed(model: str, routing: str, **plan: Any) -> list[Row]:
    return explain_routing.rows(step(model, {"batch": 64, "context": 1024, "routing": routing}, **plan))


def test_even_experts_by_hand() -> None:
    """Mixtral over eight ranks: one expert each, nobody busier than others, a token on two ranks of one node."""
    (row,) = routed("mixtral-8x7b", "balanced", ep=8)
    assert row == {
        "layer": "all", "routing": "balanced", "tokens": 64, "busiest_expert_load": 1, "busiest_rank_load": 1,
        "experts_touched_per_rank": 1, "experts_per_rank": 1, "ranks_visited": 2, "nodes_visited": 1,
        "busiest_node_tokens": 1, "simulation_error": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("model", "plan", "held"), [
    ("mixtral-8x7b", {"tp": 2}, 8), ("mixtral-8x7b", {"tp": 8, "ep": 2}, 4),
    ("deepseek-v3", {"tp": 8, "ep": 8}, 32), ("deepseek-v3", {"ep": 32, "redundant_experts": 32}, 9),
])  # fmt: skip
def test_experts_of_a_rank(model: str, plan: dict[str, Any], held: int) -> None:
    (row,) = routed(model, "random", **plan)
    assert row["experts_per_rank"] == held
    assert 0 < row["experts_touched_per_rank"] <= held
    assert row["busiest_expert_load"] >= row["busiest_rank_load"] >= 1


def test_a_chance_of_an_expert_to_be_missed() -> None:
    """64 tokens at random: each of eight experts is missed by all with a chance of 0.75 to the 64th."""
    (row,) = routed("mixtral-8x7b", "random")
    assert row["experts_touched_per_rank"] == pytest.approx(8 * (1 - 0.75**64))
    assert row["ranks_visited"] == row["nodes_visited"] == 1


def test_dense_layers_route_nothing() -> None:
    assert routed("llama-3.1-8b", "random") == []
    assert len(routed("deepseek-v3", "random", tp=8)) == 1  # the dense stack has no row


# ---- keys ------------------------------------------------------------------------------------------------------------------


def test_all_groups_are_listed_where_none_is_named() -> None:
    found = keys.result([])
    assert tuple(found.tables) == settings.ROOTS
    assert found.metrics["keys"] == sum(len(rows) for rows in found.tables.values())
    assert tuple(keys.result(["hw", "plan"]).tables) in (("hw", "plan"), ("plan", "hw"))


@pytest.mark.parametrize("root", settings.ROOTS)
def test_every_key_stands_once_with_a_meaning(root: str) -> None:
    rows = keys.result([root]).tables[root]
    names = [row["key"] for row in rows]
    assert len(set(names)) == len(names) or root == "engine"
    assert all(row["meaning"] and row["takes"] for row in rows)
    if root != "engine":
        assert set(names) == {one.path for one in settings.of(root).values()}


def test_an_engine_s_settings_go_by_its_own_names() -> None:
    rows = {(row["key"], row["meaning"].split(":")[0]) for row in keys.result(["engine"]).tables["engine"]}
    for engine in engines.names():
        for part in engine_file.SETTINGS:
            for name in set(engine_file.setting_names(engine, part).values()) - set(engine_file.OWN):
                assert (f"engine.{name}", engines.title(engine)) in rows
    assert not {f"engine.{setting}" for setting in engine_file.SETTINGS[engine_file.MEMORY]} & {
        key for key, title in rows if title not in {engines.title(engine) for engine in engines.names()}
    }


@pytest.mark.parametrize(("root", "key", "takes"), [
    ("hw", "hw.memory.bandwidth", "B/s, or x1.5"), ("hw", "hw.memory.capacity", "B, or x1.5"),
    ("phase", "batch", "whole number from 1"),
])  # fmt: skip
def test_a_device_s_quantity_has_a_unit_or_is_a_multiple(root: str, key: str, takes: str) -> None:
    (row,) = (row for row in keys.result([root]).tables[root] if row["key"] == key)
    assert row["takes"] == takes


def test_what_a_value_needs_is_said() -> None:
    rows = {row["key"]: row["needs"] for row in keys.result(["plan"]).tables["plan"]}
    assert settings.NEEDS["mla"] in rows["plan.mla_form"]
    assert all(
        need in "; ".join(rows.values()) for name, need in settings.NEEDS.items() if name in ("experts", "cp", "tp")
    )


def test_a_group_that_is_none_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"unknown group of keys 'plans'.*did you mean 'plan'"):
        keys.result(["plans"])
