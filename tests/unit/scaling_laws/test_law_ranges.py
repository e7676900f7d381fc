"""Where laws speak, with which interval, for scalars and arrays alike."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.scaling_laws import counts, evaluate, load, optimum
from simcost.scaling_laws.counts import Counts
from simcost.scaling_laws.law import EXTENTS, FITTED, VERIFIED

LAWS = load.every()


@pytest.mark.parametrize(
    "law", [law for law in LAWS if law.predicts_loss and law.certainty == VERIFIED], ids=lambda law: law.name
)
def test_a_law_speaks_inside_its_range_and_nowhere_else(law):
    for part in (law, law.dense) if law.dense is not None else (law,):
        bounds = part.ranges[FITTED].bounds
        middle = {name: (low * high) ** 0.5 for name, (low, high) in bounds.items() if name in ("params", "tokens")}
        expansion, fine = bounds.get("expansion", (1.0, 1.0))[0], bounds.get("granularity", (1.0, 1.0))[1]
        for name in ("params", "tokens"):
            for at, inside in (
                (bounds[name][0], True),
                (bounds[name][1], True),
                (bounds[name][0] * 0.99, False),
                (bounds[name][1] * 1.01, False),
            ):
                point = {**middle, name: at}
                moe = part is law and law.dense is not None
                design = Counts(
                    point["params"],
                    point["params"],
                    experts=expansion * fine if moe else 1.0,
                    active_experts=fine if moe else 1.0,
                )
                found = evaluate.loss(law, design, point["tokens"])
                assert np.isfinite(found.nats) == inside, (name, at)
                assert bool(found.reasons) != inside


@pytest.mark.parametrize(
    "law",
    [law for law in LAWS if law.predicts_loss and "tokens" in law.ranges[FITTED].bounds],
    ids=lambda law: law.name,
)
def test_arrays_are_points(law):
    low, high = law.ranges[FITTED].bounds["params"]
    sizes = np.geomspace(low / 2, high * 2, 7)
    tokens = law.ranges[FITTED].bounds["tokens"][0]
    swept = evaluate.loss(law, counts.dense(sizes), tokens)
    for index, each in enumerate(sizes):
        one = evaluate.loss(law, counts.dense(float(each)), tokens)
        for name in ("nats", "low", "high"):
            np.testing.assert_allclose(getattr(swept, name)[index], getattr(one, name), rtol=1e-13)
    assert np.isnan(swept.nats[0])
    assert np.isnan(swept.nats[-1])


@pytest.mark.parametrize(
    "law",
    [law for law in LAWS if law.certainty == VERIFIED and law.predicts_loss and law.trains_once],
    ids=lambda law: law.name,
)
def test_loss_falls_with_size_and_tokens(law):
    bounds = (law.dense or law).ranges[FITTED].bounds
    sizes, tokens = np.geomspace(*bounds["params"], 20), np.geomspace(*bounds["tokens"], 20)
    assert np.all(np.diff(evaluate.loss(law, counts.dense(sizes), tokens[0]).nats) < 0)
    assert np.all(np.diff(evaluate.loss(law, counts.dense(sizes[0]), tokens).nats) <= 0)


def test_published_reaches_as_far_as_fitted():
    for law in LAWS:
        for name, (low, high) in law.ranges[FITTED].bounds.items():
            if EXTENTS[1] in law.ranges:
                wide = law.ranges[EXTENTS[1]].bounds[name]
                assert wide[0] <= low or law.form == "granular", (law.name, name)
                assert wide[1] >= high, (law.name, name)


def test_the_interval_is_that_of_the_stated_errors():
    law, size, tokens = load.load("besiroglu-2024"), 1e9, 2e10
    c, e = law.values, {name: each.error for name, each in law.coefficients.items()}
    n, d = size ** -c["alpha"], tokens ** -c["beta"]
    slopes = [
        e["E"],
        n * e["A"],
        d * e["B"],
        c["A"] * n * np.log(size) * e["alpha"],
        c["B"] * d * np.log(tokens) * e["beta"],
    ]
    found = evaluate.loss(law, counts.dense(size), tokens)
    assert (found.high - found.low) / 2 == pytest.approx(1.6449 * np.sqrt(np.sum(np.square(slopes))), rel=0.02)
    granular = load.load("krajewski-2024")
    found = evaluate.loss(granular, counts.dense(1e9), 20e9)
    assert (found.high - found.low) / 2 == pytest.approx(1.6449 * 0.019, rel=1e-4)
    bare = evaluate.loss(load.load("hoffmann-2022"), counts.dense(1e9), 20e9)
    assert np.isfinite(bare.nats)
    assert np.isnan(bare.low)


def test_a_difference_is_surer_than_its_ends():
    law = load.load("besiroglu-2024")
    small, large = (counts.dense(1e9), 2e10), (counts.dense(1.1e9), 2e10)
    found = evaluate.difference(law, small, large)
    alone = evaluate.loss(law, *small)
    assert found.nats == pytest.approx(evaluate.loss(law, *large).nats - alone.nats)
    assert found.high - found.low < 0.02 * (alone.high - alone.low)
    assert found.probability == pytest.approx(0.987, abs=0.002)
    back = evaluate.difference(law, large, small)
    assert back.nats == -found.nats
    assert back.probability == pytest.approx(1 - found.probability)
    same = evaluate.difference(load.load("krajewski-2024"), (counts.dense(1e9), 2e10), (counts.dense(1e9), 2e10))
    assert same.probability == pytest.approx(0.5)
    assert same.high == pytest.approx(1.6449 * 0.019 * 2**0.5, rel=1e-4)
    assert np.isnan(evaluate.difference(law, small, (counts.dense(1e12), 2e10)).probability)


def test_an_extrapolated_optimum_is_not_told():
    found = optimum.optimum(load.load("besiroglu-2024"), 1e25)
    assert np.isnan([found.params, found.tokens, found.loss]).all()
    assert found.reasons == (
        "its parameters would be above the range (fitted: 57.3 M to 16.2 B)", "its tokens would be above the range (fitted: 820 M to 318 B)",
    )  # fmt: skip


def test_laws_of_dense_models_say_nothing_of_a_moe():
    moe = Counts(7e9, 1e9, experts=64.0, active_experts=8.0)
    assert evaluate.loss(load.load("hoffmann-2022"), moe, 1e11).reasons == ("fitted on dense models alone",)
    assert optimum.optimum(load.load("llama-3-2024"), 1e21, moe).reasons == ("fitted on dense models alone",)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: evaluate.loss(load.load("llama-3-2024"), counts.dense(1e9), 1e10), "does not give a loss"),
        (lambda: optimum.optimum(load.load("kaplan-2020"), 1e20), "nothing of compute"),
        (lambda: optimum.optimum(load.load("clark-2022-hash"), 1e20), "130 B tokens"),
        (lambda: optimum.optimum(load.load("tian-2025"), 1e20), "does not give compute-optimal sizes"),
        (lambda: optimum.leverage(load.load("hoffmann-2022"), 1e20, counts.dense(1.0)), "does not compare compute"),
        (lambda: evaluate.loss(load.load("hoffmann-2022"), counts.dense(1e9), 1e10, "fited"), "did you mean 'fitted'"),
        (lambda: evaluate.loss(load.load("krajewski-2024"), Counts(1e9, 1e9, experts=np.array([1.0, 64.0])), 2e10), "dense and MoE"),
        (lambda: counts.size(load.load("deepseek-llm-2024").params, Counts(1e9, 1e9)), "model_flops"),
    ],
)  # fmt: skip
def test_questions_that_a_law_cannot_take(act, said):
    with pytest.raises(SpecError, match=said):
        act()
