"""Routings as users write them: what is read, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simcost import api
from simcost.cost.exchange import resolved
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.ops.exchange import Exchange
from simcost.routing import skewed as popularity
from simcost.routing.load import busiest_expert, busiest_rank, error, most_touched, most_visited, touched, visited
from simcost.routing.read import parse
from simcost.routing.router import Router, Routing, by_layer, check_layers


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
    even, skewed = ["100"] * 8, ["600", *["100"] * 7]
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
    with pytest.raises(SpecError, match=r"tokens.csv:1: 8 experts, the model has 256"):
        touched(routing, Router(256.0, 8.0), 10.0, 256.0)


def test_a_skewed_router_costs_time_and_memory_and_copies_help(tmp_path: Path) -> None:
    def step(routing: str, spare: int = 0) -> dict[str, float]:
        # low-latency buffers have a slot for everything, whoever is busiest
        sets = {"plan.ep": 32, "plan.redundant_experts": spare, "routing": routing, "plan.all_to_all": "normal"}
        # Normal kernels wait on the host, whose launches would outlast the device.
        sets |= {"plan.cuda_graph": "off", "hw.assumed.eager_launch": "1 us"}
        return api.decode("deepseek-v3", "h800", batch=4096, context=2048, set=sets).metrics

    even, random, skewed, mended = step("balanced"), step("random"), step("zipf:0.8"), step("zipf:0.8", 32)
    assert even["tpot_s"] < random["tpot_s"] < skewed["tpot_s"]
    assert mended["tpot_s"] < skewed["tpot_s"]
    assert skewed["activation_bytes_per_gpu"] > random["activation_bytes_per_gpu"]
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
    with pytest.raises(SpecError, match=r"few.csv:1: 3 experts have tokens, each token picks 8"):
        busiest_rank(parse(str(tmp_path / "few.csv")), Router(16.0, 8.0), 64.0, 4.0)


def test_low_latency_buffers_hold_every_expert_of_every_token() -> None:
    # DeepEP asks 2 x (send + receive) of 256 experts x 128 tokens x 7168 bf16 on any number of ranks.
    op = Exchange(
        128.0, 64 * 128.0, 2.0 * 7168, 64.0, 1.0, Router(256.0, 8.0), Routing("balanced"), "low_latency", "combine"
    )
    assert op.workspace_bytes() == 4 * 256 * 128 * 2 * 7168
    # The others hold what the busiest rank receives: every distinct token, or every row.
    came = replace(op, mode="normal").workspace_bytes() / (128 * 2 * 7168)
    assert came == pytest.approx(visited(Routing(), op.router, 64.0))
    assert replace(op, mode="nccl").workspace_bytes() == pytest.approx(8 * 128 * 2 * 7168)
    assert replace(op, group=1.0).workspace_bytes() == 0.0
    worst = replace(op, mode="normal", routing=Routing("zipf", 3.0)).workspace_bytes()
    assert worst == pytest.approx(64 * 128 * 2 * 7168, rel=1e-3)  # every token, and never more


def counted(tmp_path: Path, *lines: str) -> Routing:
    (tmp_path / "counts.csv").write_text("\n".join(lines) + "\n")
    return parse(str(tmp_path / "counts.csv"))


def test_measured_picks_are_not_picked_again(tmp_path: Path) -> None:
    router = Router(256.0, 8.0)
    tenth = counted(tmp_path, ",".join(["255", *["9"] * 255]))  # one expert has 10 % of the picks
    assert popularity.inclusion(tenth, 256, 8.0)[0][0] == pytest.approx(0.8)
    assert busiest_expert(tenth, router, 1e6) == pytest.approx(25.6, rel=0.005)
    random, weight = np.random.default_rng(2), np.arange(1.0, 257.0) ** -0.8
    picks = np.argsort(random.exponential(size=(40_000, 256)) / weight, axis=1)[:, :8]
    count = np.bincount(picks.ravel(), minlength=256)
    file = counted(tmp_path, ",".join(map(str, count)))
    assert busiest_expert(file, router, 1e6) == pytest.approx(count.max() / count.mean(), rel=0.005)
    # A group limit of the model is in the counts already.
    assert busiest_rank(file, Router(256.0, 8.0, 8, 4, "top2"), 1e6, 64.0) == busiest_rank(file, router, 1e6, 64.0)


def test_counts_that_no_such_router_makes_are_refused(tmp_path: Path) -> None:
    router = Router(16.0, 4.0)
    rounded = counted(tmp_path, ",".join(["252", *["50"] * 15]))  # 25.15 % for a largest share of 25 %
    assert sum(popularity.inclusion(rounded, 16, 4.0)[0]) == pytest.approx(4.0)
    impossible = counted(tmp_path, "", ",".join(["50"] * 16), "", ",".join(["50", "50", "400", *["50"] * 13]))
    with pytest.raises(SpecError, match=r"counts.csv:4, expert 3: 34.78% of the picks; .* more than 25.00%"):
        touched(impossible, router, 10.0, 16.0)


def test_lines_and_columns_count_from_one_and_blank_lines_count(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"counts.csv:4, expert 1: 'x' is not"):
        counted(tmp_path, "1,2", "", "", "x,2")
    with pytest.raises(SpecError, match=r"counts.csv:4: 3 experts, line 2 has 2"):
        counted(tmp_path, "", "1,2", "", "1,2,3")


def test_a_file_has_one_line_or_one_a_layer(tmp_path: Path) -> None:
    one, three = counted(tmp_path, "1,2,3"), counted(tmp_path, "1,2,3", "", "3,2,1", "1,1,1")
    for fine, layers in ((one, 1), (one, 58), (three, 3), (three, 0), (Routing(), 58)):
        check_layers(fine, layers)
    with pytest.raises(SpecError, match=r"counts.csv: 3 lines; give one for all layers, or 58"):
        check_layers(three, 58)
    assert [line.places[0].rpartition(":")[2] for line in by_layer(three)] == ["1", "3", "4"]
    assert [line.shares for line in by_layer(three)] == [(share,) for share in three.shares]
    assert by_layer(Routing()) == [Routing()]


@pytest.mark.parametrize("mode", ["normal", "low_latency", "nccl"])
def test_one_token_is_sent_once_whoever_receives(mode: str) -> None:
    """64 ranks on 8 nodes, one of which has one token: no link carries more than its copies."""
    for routing in (Routing(), Routing("balanced"), Routing("zipf", 1.0)):
        op = Exchange(1.0, 1.0, 100.0, 64.0, 1.0, Router(256.0, 8.0), routing, mode, "dispatch")
        found = resolved(op, hardware.load("h800"))
        assert 0.0 < found.near_bytes + found.far_bytes <= 8.0 * 100.0


@pytest.mark.parametrize("routing", ["random", "zipf:1"])
def test_a_step_takes_longer_the_more_tokens_it_has(routing: str) -> None:
    found = [
        api.decode("deepseek-v3", "h800", nodes=8, batch=batch, context=4096, set={"plan.ep": 64, "routing": routing})
        for batch in (1, 2, 8, 33, 64, 65, 256)
    ]
    times = [float(one.metrics["tpot_s"]) for one in found]
    assert times == sorted(times)


@pytest.mark.parametrize("s", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("limit", [8, 4])
def test_a_receiver_gets_no_token_twice(s: float, limit: int) -> None:
    router, routing = Router(256.0, 8.0, 8, limit, "top2"), Routing("zipf", s)
    for tokens in (1.0, 64.0, 1e6):
        for ranks in (2.0, 8.0, 64.0):
            share, mean = most_visited(routing, router, tokens, ranks), visited(routing, router, ranks) / ranks
            assert mean * 0.98 <= share <= 1.0
            assert busiest_rank(routing, router, tokens, ranks) <= ranks * min(1.0, 256.0 / ranks / 8.0)


LAWS = [parse(text) for text in ("balanced", "random", "zipf:0.5", "zipf:2", "dirichlet:1")]


@pytest.mark.parametrize("routing", LAWS, ids=str)
@pytest.mark.parametrize("router", [Router(256.0, 8.0), Router(256.0, 8.0, 8, 4, "top2"), Router(16.0, 1.0)], ids=str)
def test_the_rank_that_runs_most_experts_runs_no_fewer_than_the_mean_and_holds_them(
    routing: Routing, router: Router
) -> None:
    tokens, ranks = 4.0 ** np.arange(0, 7)[:, None], np.array([1.0, 2.0, 4.0, 16.0])
    held = router.experts / ranks
    found, mean = most_touched(routing, router, tokens, ranks), touched(routing, router, tokens, held)
    assert np.all(found >= mean - 1e-9)
    assert np.all(found <= np.minimum(held, tokens * router.top_k) + 1e-9)
    assert np.all(found[:, 0] == mean[:, 0])  # one rank: not a bit moves
    assert np.all(np.diff(found, axis=0) >= -1e-9 * held)  # more tokens, more experts
    assert np.all(np.diff(found, axis=1) <= 1e-9 * held[1:])  # fewer held, fewer run
    one = most_touched(routing, router, 16.0, 4.0)
    assert one == pytest.approx(float(found[2, 2]), rel=1e-12)
