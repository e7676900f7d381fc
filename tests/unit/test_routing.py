"""Routings as users write them: what is read, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simcost import api, popularity
from simcost.errors import SpecError
from simcost.ops.exchange import Exchange
from simcost.routing import Router, Routing, busiest_rank, error, parse, touched


@pytest.mark.parametrize(("text", "expected"), [
    ("random", Routing()), ("balanced", Routing("balanced")), ("zipf:0.5", Routing("zipf", 0.5)),
    ("dirichlet:2", Routing("dirichlet", 2.0)), ("zipf:0", Routing("zipf", 0.0)),
])  # fmt: skip
def test_routings_are_read(text: str, expected: Routing) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("text", "word"), [
    ("zipf", "unknown routing"), ("ziff:0.5", "did you mean"), ("zipf:-1", "from 0"), ("zipf:nan", "not 'nan'"),
    ("dirichlet:0", "from 0.001"), ("random:1", "unknown routing"), ("no-such.csv", "No such file"),
])  # fmt: skip
def test_a_wrong_routing_is_one_line(text: str, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        parse(text)


@pytest.mark.parametrize(("body", "word"), [
    ("", "no tokens per expert"), ("1,2\n1,2,3\n", ":2: 3 experts, line 1 has 2"), ("1,x\n", "'x' is not a number"),
    ("1,-2\n", "0 or more"), ("0,0\n", "no expert has a token"), ("1,inf\n", "0 or more"),
])  # fmt: skip
def test_a_malformed_file_of_counts_is_one_line(tmp_path: Path, body: str, word: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(body)
    with pytest.raises(SpecError, match=word):
        parse(str(path))


def test_measured_counts_speak_for_each_layer(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    even, skewed = ["100"] * 8, ["800", *["100"] * 7]
    path.write_text(",".join(even) + "\n" + ",".join(skewed) + "\n")
    router, routing = Router(8.0, 2.0), parse(str(path))
    flat, hot = (
        Routing("measured", 0.0, (tuple(float(v) / sum(map(float, row)) for v in row),)) for row in (even, skewed)
    )
    both, one, other = (busiest_rank(r, router, 1e5, 8.0) for r in (routing, flat, hot))
    assert both == pytest.approx((one + other) / 2.0, rel=0.02)
    assert one < 1.05 < 2.0 < other
    assert error(routing, router, 8) < 0.03
    assert error(Routing(), router, 8) == 0.0
    with pytest.raises(SpecError, match="8 experts a line, the model has 256"):
        touched(routing, Router(256.0, 8.0), 10.0, 256.0)


def test_a_skewed_router_costs_time_and_memory_and_copies_help(tmp_path: Path) -> None:
    def step(routing: str, spare: int = 0) -> dict[str, float]:
        # low-latency buffers have a slot for everything, whoever is busiest
        sets = {"plan.ep": 32, "plan.redundant_experts": spare, "routing": routing, "plan.all_to_all": "normal"}
        return api.decode("deepseek-v3", "h800", batch=4096, context=2048, set=sets).metrics

    even, random, skewed, mended = step("balanced"), step("random"), step("zipf:0.8"), step("zipf:0.8", 32)
    assert even["tpot_s"] < random["tpot_s"] < skewed["tpot_s"]
    assert mended["tpot_s"] < skewed["tpot_s"]
    assert skewed["workspace_bytes_per_gpu"] > random["workspace_bytes_per_gpu"]
    assert mended["weight_bytes_per_gpu"] > random["weight_bytes_per_gpu"]


def test_a_capacity_factor_pads_every_expert() -> None:
    def seconds(factor: float | None) -> float:
        sets = {"plan.ep": 32, "plan.capacity_factor": factor, "routing": "balanced", "hw.measurements": "none"}
        return float(api.prefill("deepseek-v3", "h800", isl=4096, batch=32, set=sets).metrics["ttft_s"])

    assert seconds(1.0) == pytest.approx(seconds(None), rel=1e-6)
    assert seconds(2.0) > seconds(1.25) > seconds(1.0)


def test_points_of_a_sweep_over_tokens_are_those_of_single_queries() -> None:
    router, skewed = Router(64.0, 6.0), Routing("zipf", 0.7)
    tokens = np.array([1.0, 7.0, 100.0, 5000.0])
    many = busiest_rank(skewed, router, tokens, 8.0)
    assert [busiest_rank(skewed, router, float(t), 8.0) for t in tokens] == list(np.asarray(many))


@pytest.mark.parametrize(("rule", "ranks", "tokens"), [
    ("top2", 4, 64), ("top2", 8, 16), ("top2", 8, 64), ("top2", 32, 64), ("random", 8, 16), ("random", 4, 64), ("random", 32, 64),
])  # fmt: skip
def test_a_group_limit_clumps_the_load_of_ranks(rule: str, ranks: int, tokens: int) -> None:
    experts, k, groups, limit, draws = 256, 8, 8, 4, 300
    random = np.random.default_rng(7)
    largest = []
    for _ in range(draws):
        score = random.random((tokens, experts))
        each = np.sort(score.reshape(tokens, groups, -1), axis=2)
        best = each[:, :, -2:].sum(axis=2) if rule == "top2" else random.random((tokens, groups))
        allowed = np.zeros((tokens, groups), bool)
        np.put_along_axis(allowed, np.argsort(-best, axis=1)[:, :limit], True, axis=1)
        masked = np.where(np.repeat(allowed, experts // groups, axis=1), score, -1.0)
        picks = np.argsort(-masked, axis=1)[:, :k]
        largest.append(np.bincount((picks * ranks // experts).ravel(), minlength=ranks).max() * ranks / (tokens * k))
    router = Router(float(experts), float(k), groups, limit, rule)
    assert float(busiest_rank(Routing(), router, float(tokens), float(ranks))) == pytest.approx(
        np.mean(largest), rel=0.025
    )
    free = float(busiest_rank(Routing(), Router(float(experts), float(k)), float(tokens), float(ranks)))
    assert np.mean(largest) > 1.01 * free


def test_a_drawn_popularity_is_a_mean_over_layers_and_says_how_sure_it_is() -> None:
    router, routing = Router(256.0, 8.0), parse("dirichlet:0.1")
    tokens, ranks = 4096.0, 64
    random = np.random.default_rng(5)
    found = []
    for _ in range(60):  # other layers than the tool's
        weight = random.dirichlet(np.full(256, 0.1)) + 1e-12
        share = popularity._picked(weight / weight.sum(), 8.0)
        counts = random.binomial(int(tokens), share)[random.permutation(256)]
        found.append(counts.reshape(ranks, -1).sum(axis=1).max() * ranks / (tokens * 8.0))
    said, sure = float(busiest_rank(routing, router, tokens, float(ranks))), error(routing, router, ranks)
    assert 0.01 < sure < 0.08
    spread = np.std(found) / np.sqrt(len(found)) / np.mean(found)
    assert abs(said / np.mean(found) - 1.0) < 3.0 * np.hypot(sure, spread)


def test_a_file_with_fewer_busy_experts_than_a_token_picks_is_refused(tmp_path) -> None:
    (tmp_path / "few.csv").write_text("5,3,2" + ",0" * 13 + "\n")
    with pytest.raises(SpecError, match="layer 1: 3 experts have tokens, each token picks 8"):
        busiest_rank(parse(str(tmp_path / "few.csv")), Router(16.0, 8.0), 64.0, 4.0)


def test_low_latency_buffers_hold_every_expert_of_every_token() -> None:
    # DeepEP asks 2 x (send + receive) of 256 experts x 128 tokens x 7168 bf16 on any number of ranks.
    op = Exchange(128.0, 2.0 * 7168, 64.0, 1.0, Router(256.0, 8.0), Routing(), 1.2, "low_latency", "combine")
    assert op.workspace_bytes() == 4 * 256 * 128 * 2 * 7168
    assert replace(op, mode="normal").workspace_bytes() == pytest.approx(1.2 * 128 * 2 * 7168)
    assert replace(op, group=1.0).workspace_bytes() == 0.0
