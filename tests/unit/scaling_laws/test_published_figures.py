"""Laws give the figures that their papers print: tables, captions and examples, within the rounding of the printed coefficients."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.scaling_laws import counts, equal, evaluate, load, optimum
from simcost.scaling_laws.counts import Counts
from simcost.scaling_laws.forms import saturating

# arXiv 2203.15556: size, then FLOP and tokens of Table 3, and of the columns of Approach 3 in Table A3. The paper prints 1.26e24 for 175 B, where 6 N D is 1.26e25.
CHINCHILLA = [
    (400e6, 1.92e19, 8.0e9, 2.21e19, 9.2e9), (1e9, 1.21e20, 20.2e9, 1.62e20, 27.1e9), (10e9, 1.23e22, 205.1e9, 2.46e22, 410.1e9),
    (67e9, 5.76e23, 1.5e12, 1.71e24, 4.1e12), (175e9, 3.85e24, 3.7e12, 1.26e25, 12.0e12), (280e9, 9.90e24, 5.9e12, 3.52e25, 20.1e12),
    (520e9, 3.43e25, 11.0e12, 1.36e26, 43.5e12), (1e12, 1.27e26, 21.2e12, 5.65e26, 94.1e12),
]  # fmt: skip
# arXiv 2402.07871, Table 2: active parameters (E = 64), tokens, G, FLOP, loss.
GRANULAR = [
    (100e6, 4.37e9, 8, 2.95e18, 3.133), (1e9, 28.94e9, 16, 1.93e20, 2.491), (3e9, 72.90e9, 16, 1.41e21, 2.245), (7e9, 137.60e9, 32, 6.46e21, 2.076),
    (70e9, 941.07e9, 32, 4.16e23, 1.694), (300e9, 2.96e12, 64, 5.69e24, 1.503), (1e12, 7.94e12, 64, 4.97e25, 1.367),
]  # fmt: skip


def granular(active: float, fine: float, expansion: float = 64.0) -> Counts:
    """The shape of section 6: d_model = 64 blocks, 12 d_model² active parameters a block, a router of d_model E G."""
    blocks = (active / (12 * 64**2)) ** (1 / 3)
    width = 64 * blocks
    router = width * expansion * fine * blocks
    total = width**2 * (8 * expansion + 4) * blocks
    return Counts(total + router, active + router, router=router, experts=expansion * fine, active_experts=fine)


@pytest.mark.parametrize("row", CHINCHILLA, ids=lambda row: f"{row[0]:.0e}")
def test_chinchilla_sizes(row):
    size, flops, tokens, flops_3, tokens_3 = row
    first = optimum.optimum(load.load("hoffmann-2022-approach-1"), flops, extent="published")
    assert first.params == pytest.approx(size, rel=0.02)
    assert first.tokens == pytest.approx(tokens, rel=0.07)  # the paper rounds 1.43 T to 1.5 T
    third = optimum.optimum(load.load("hoffmann-2022"), flops_3, extent="published")
    assert third.params == pytest.approx(size, rel=0.07)
    assert third.tokens == pytest.approx(
        tokens_3, rel=0.11
    )  # sizes and tokens of the table spend up to 5 % less than its FLOP
    assert 6.0 * third.params * third.tokens == pytest.approx(flops_3, rel=1e-9)


def test_approach_three_puts_gophers_compute_into_40_b():
    assert optimum.optimum(load.load("hoffmann-2022"), 5.76e23, extent="published").params == pytest.approx(
        40e9, rel=0.01
    )


def test_the_refit_scales_as_it_says_and_trains_chinchilla():
    law = load.load("besiroglu-2024")
    best = optimum.optimum(law, np.array([1e20, 1e21]))
    assert np.log10(best.params[1] / best.params[0]) == pytest.approx(0.5126, abs=1e-4)
    chinchilla = optimum.optimum(law, 6 * 70e9 * 1.4e12, extent="published")
    assert chinchilla.params == pytest.approx(70e9, rel=0.05)
    assert 15 < chinchilla.tokens / chinchilla.params < 25


def test_llama_3_trains_402_b_on_16_55_t():
    best = optimum.optimum(load.load("llama-3-2024"), 3.8e25, extent="published")
    assert best.tokens == pytest.approx(16.55e12, rel=0.02)
    assert best.params == pytest.approx(402e9, rel=0.04)


def test_deepseek_spends_the_compute_that_it_has():
    law = load.load("deepseek-llm-2024")
    best = optimum.optimum(law, np.array([1e17, 1e19, 3e20]))
    assert best.params * best.tokens == pytest.approx(np.array([1e17, 1e19, 3e20]), rel=2e-3)
    # 7 B of the paper: 42.3 GFLOP a token on 2 T tokens; its law would take 470 B tokens for that compute.
    assert optimum.optimum(law, 42.3e9 * 2e12, extent="published").tokens == pytest.approx(470e9, rel=0.01)


def test_kaplan_at_one_petaflop_day():
    best = optimum.optimum(load.load("kaplan-2020-compute"), 8.64e19)
    assert (best.params, best.tokens) == pytest.approx((1.3e9, 2e10))
    # section 4.2: 5e3 N^0.74 tokens keep the loss within 2 % of that of endless data.
    law = load.load("kaplan-2020")
    short, endless = (evaluate.value(law, {"params": 1e9, "tokens": each}) for each in (5e3 * 1e9**0.74, 1e30))
    assert short / endless == pytest.approx(1.02, abs=0.003)


@pytest.mark.parametrize("row", GRANULAR, ids=lambda row: f"64x{row[0]:.0e}")
def test_granular_table_2(row):
    active, tokens, fine, flops, printed = row
    law, design = load.load("krajewski-2024"), granular(active, fine)
    assert counts.flops_per_token(law, design) * tokens == pytest.approx(flops, rel=0.005)
    assert evaluate.loss(law, design, tokens, "published").nats == pytest.approx(printed, abs=0.025)
    best = optimum.optimum(law, flops, design, "published")
    assert best.params == pytest.approx(counts.size(law.params, design), rel=0.03)
    assert best.tokens == pytest.approx(tokens, rel=0.03)


def test_granularity_grows_with_compute_as_in_table_2():
    law = load.load("krajewski-2024")
    for flops, printed in ((2.95e18, 8), (1.93e20, 16), (6.46e21, 32)):
        losses = {
            fine: float(optimum.optimum(law, flops, granular(1e9, fine), "published").loss)
            for fine in (1, 2, 4, 8, 16, 32, 64)
        }
        # Neighbours differ by less than the rounding of the coefficients.
        assert losses[printed] - np.nanmin(list(losses.values())) < 0.001


def test_a_dense_model_takes_twenty_times_the_compute():
    law = load.load("krajewski-2024")
    best = min(float(optimum.optimum(law, 1e20, granular(1e9, fine), "published").loss) for fine in (4, 8, 16))
    compute = np.geomspace(1e21, 1e22, 2001)
    enough = compute[optimum.optimum(law, compute, extent="published").loss <= best][0]
    assert enough / 1e20 == pytest.approx(20, rel=0.1)


# Effective parameter counts that a public program prints with the coefficients of S-BASE; the paper: 5 M with 128 experts are about 55 M.
@pytest.mark.parametrize(
    ("size", "experts", "printed"),
    [(50e6, 8, 105.73e6), (100e6, 64, 459.33e6), (300e6, 8, 554.00e6), (500e6, 8, 888.35e6)],
)
def test_effective_parameters_of_routed_models(size, experts, printed):
    law = load.load("clark-2022-s-base")
    found, why = equal.dense_params(law, Counts(1.0, size, experts=float(experts)), 130e9)
    assert found == pytest.approx(printed, rel=1e-4)
    assert why == ()


def test_a_small_routed_model_is_as_good_as_its_paper_says():
    law = load.load("clark-2022-s-base")
    routed, dense = (
        evaluate.value(law, {"params": size, "experts": experts}) for size, experts in ((5e6, 128.0), (55e6, 1.0))
    )
    assert routed == pytest.approx(dense, rel=0.005)


def test_routed_laws_say_of_one_expert_what_the_dense_law_says():
    # The dense fit of the same paper: (3.568e13 / N)^0.078.
    for name in ("clark-2022-s-base", "clark-2022-rl-r", "clark-2022-hash"):
        for size in (15e6, 130e6, 900e6):
            found = evaluate.loss(load.load(name), counts.dense(size), 130e9).nats
            assert found == pytest.approx((3.568e13 / size) ** 0.078, rel=0.02), name


def test_ling_leverage():
    law = load.load("tian-2025")
    example = Counts(1.0, 1.0, experts=418.0, active_experts=12.0, shared_experts=1.0, width_granularity=12.0)
    assert optimum.leverage(law, 1e22, example, "published")[0] == pytest.approx(7.0, rel=0.05)
    # Granularity has its best place near 12, at any compute.
    fine = np.linspace(2.0, 16.0, 141)
    swept = Counts(1.0, 1.0, experts=418.0, active_experts=12.0, shared_experts=1.0, width_granularity=fine)
    assert fine[np.argmax(optimum.leverage(law, 1e20, swept)[0])] == pytest.approx(12.0, abs=1.0)
    # All experts activated, as good as dense: within a tenth.
    full = Counts(1.0, 1.0, experts=4.0, active_experts=4.0, shared_experts=1.0, width_granularity=8.0)
    assert optimum.leverage(law, 1e20, full)[0] == pytest.approx(1.0, abs=0.1)


def test_the_saturating_count_ends_where_it_says():
    assert saturating(1.0, 1.847, 314.478) == pytest.approx(1.847)
    assert saturating(1e12, 1.847, 314.478) == pytest.approx(314.478, rel=1e-6)


def test_refused_laws_have_the_formula_of_their_paper():
    # arXiv 2501.12370, Eq. 6 written out; the file is refused for its range.
    law = load.load("abnar-2025")
    found = evaluate.value(law, {"params": 18.8e9, "tokens": 110.2e9, "sparsity": 0.98})
    said = (
        16612.50 / 18.8e9**0.5962
        + 5455.67 / 110.2e9**0.3954
        + 0.4598 / 0.02**-0.1666
        + 17.26 / (0.02**0.1603 * 18.8e9**0.1595)
        + 0.94
    )
    assert found == pytest.approx(said, rel=1e-12)
    refused = evaluate.loss(law, Counts(18.8e9, 1e9, experts=50.0), 110.2e9)
    assert np.isnan(refused.nats)
    assert "not verified" in refused.reasons[0]


# arXiv 2502.05172, Table 4: the joint law at a number of experts as m N^mu + n D^nu + c.
REDUCED = [
    (1, 30.3640, -0.1817, 53.9838, -0.1965), (2, 27.7982, -0.1780, 66.8401, -0.2065), (4, 24.8462, -0.1731, 87.7022, -0.2192),
    (8, 21.8330, -0.1676, 119.9126, -0.2338), (16, 19.0159, -0.1617, 167.5073, -0.2494), (32, 16.5424, -0.1557, 234.6726, -0.2652),
]  # fmt: skip
# Table 1: compute, experts, parameters of a token, tokens.
JOINT_OPTIMA = [
    (1e20, 1, 1.7e9, 9.7e9), (1e20, 8, 990e6, 17e9), (1e20, 32, 669e6, 24.9e9), (1e21, 1, 5.7e9, 29.3e9), (1e21, 4, 4.4e9, 38e9), (1e21, 16, 3.3e9, 51.2e9),
    (1e22, 1, 18.8e9, 88.6e9), (1e22, 2, 17.4e9, 96e9), (1e22, 8, 14.4e9, 115.8e9), (1e22, 32, 12.2e9, 136.9e9),
]  # fmt: skip


def switch(active: float, experts: float) -> Counts:
    """Appendix A: 4 + 9 E parts of a block, of which a token uses 13; tables left out."""
    return Counts(active * (4 + 9 * experts) / 13, active, experts=experts)


@pytest.mark.parametrize("row", REDUCED, ids=lambda row: f"E={row[0]}")
def test_the_joint_law_at_a_number_of_experts(row):
    experts, m, mu, n, nu = row
    law = load.load("ludziejewski-2025")
    for size, tokens in ((79e6, 1e9), (300e6, 16e9), (1e9, 5e10)):
        found = evaluate.value(law, {"params": size, "tokens": tokens, "experts": float(experts)})
        assert found == pytest.approx(m * size**mu + n * tokens**nu + 1.3637, abs=0.003)


@pytest.mark.parametrize("row", JOINT_OPTIMA, ids=lambda row: f"{row[0]:.0e}-{row[1]}")
def test_compute_optimal_mixtures(row):
    flops, experts, size, tokens = row
    best = optimum.optimum(load.load("ludziejewski-2025"), flops, switch(1.0, float(experts)), "published")
    assert best.params == pytest.approx(size, rel=0.02)
    assert best.tokens == pytest.approx(tokens, rel=0.02)


def test_mixtures_of_as_many_parameters_on_more_tokens():
    """Section 4.5: 1.1 B dense on 8 B tokens is worse than 2 experts, 1.1 B in all, on 16 B, and than 4 experts on 32 B."""
    law = load.load("ludziejewski-2025")
    dense, two, four = (
        (counts.dense(1.1e9), 8e9), (Counts(1.1e9, 709e6, experts=2.0), 16e9), (Counts(1.1e9, 426e6, experts=4.0), 32e9),
    )  # fmt: skip
    for better in (two, four):
        found = evaluate.difference(law, dense, better)
        assert found.high < 0
        assert found.probability > 0.95
