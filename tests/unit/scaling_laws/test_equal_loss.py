"""Widths of equal loss: the solver that `--iso loss` calls."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.model import load as models
from simcost.scaling_laws import counts, equal, evaluate, load, optimum
from simcost.scaling_laws.counts import Counts
from simcost.scaling_laws.equal import equal_loss

REFIT, GRANULAR, ROUTED = (load.load(name) for name in ("besiroglu-2024", "krajewski-2024", "clark-2022-s-base"))


def dense(width: float) -> Counts:
    """24 blocks of 12 width² parameters."""
    return counts.dense(24 * 12 * float(width) ** 2)


def moe(width: float, experts: float = 64.0, fine: float = 8.0, hidden: float = 512.0, layers: float = 8.0) -> Counts:
    """Attention of `hidden`, experts · fine of that width, fine of a token."""
    attention, expert = layers * 4 * hidden**2, layers * 2 * hidden * float(width)
    return Counts(
        attention + experts * fine * expert, attention + fine * expert, experts=experts * fine, active_experts=fine
    )


@pytest.mark.parametrize("width", [640, 1024, 2048, 3008, 6144])
@pytest.mark.parametrize("law", [REFIT, load.load("hoffmann-2022")], ids=lambda law: law.name)
def test_the_same_design_comes_back(law, width):
    found = equal_loss(law, dense(width), dense, 20e9, (64, 16384), multiple=64)
    assert (found.width, found.residual, found.widths) == (width, 0.0, (width,))
    assert found.loss == evaluate.loss(law, dense(width), 20e9).nats
    assert found.reasons == ()
    # Coefficients alone tell every other width apart; without any error there is nothing to say.
    assert (found.narrowest, found.widest) == ((width, width) if law is REFIT else (None, None))


def test_equal_compute_at_the_optimum_is_the_design_itself():
    best = optimum.optimal_width(REFIT, dense, 1e21, (64, 16384), multiple=64)
    closed = optimum.optimum(REFIT, 1e21)
    assert dense(best.width - 64).total < closed.params < dense(best.width + 64).total
    assert best.loss == pytest.approx(closed.loss, abs=1e-4)
    assert best.low < best.loss < best.high
    found = equal_loss(REFIT, dense(best.width), dense, best.tokens, (64, 16384), multiple=64, at="compute")
    assert best.width in found.widths
    # A design beside the optimum has a twin on the other side, however near.
    near = equal_loss(
        REFIT,
        dense(best.width + 8),
        dense,
        1e21 / counts.flops_per_token(REFIT, dense(best.width + 8)),
        (64, 16384),
        multiple=1,
        at="compute",
    )
    assert best.width + 8 in near.widths


def test_a_compute_whose_best_width_is_not_asked_for():
    assert "end of the widths" in optimum.optimal_width(REFIT, dense, 1e21, (1500, 2500)).reasons[0]
    silent = optimum.optimal_width(REFIT, dense, 1e26, (1024, 2048), multiple=64)
    assert silent.width is None
    assert "tokens" in silent.reasons[0]


def test_the_answer_is_the_nearest_multiple():
    given = dense(2050)
    for multiple in (1, 64, 256):
        found = equal_loss(REFIT, given, dense, 20e9, (64, 16384), multiple=multiple)
        assert found.width % multiple == 0
        residuals = [
            evaluate.difference(REFIT, (given, 20e9), (dense(found.width + step * multiple), 20e9)).nats
            for step in (-1, 0, 1)
        ]
        assert found.residual == residuals[1]
        assert abs(residuals[1]) <= min(abs(residuals[0]), abs(residuals[2]))


@pytest.mark.parametrize("tokens", [5e9, 20e9, 60e9])
def test_equal_compute_has_a_width_on_either_side(tokens):
    given = dense(2048)
    found = equal_loss(REFIT, given, dense, tokens, (64, 16384), multiple=1, at="compute")
    assert 2048 in found.widths
    assert len(found.widths) == 2
    assert found.width == min(found.widths)
    spent = tokens * counts.flops_per_token(REFIT, given)
    assert found.tokens * counts.flops_per_token(REFIT, dense(found.width)) == pytest.approx(spent)
    assert abs(found.residual) < 2e-5
    lost = [
        evaluate.loss(REFIT, dense(each), spent / counts.flops_per_token(REFIT, dense(each))).nats
        for each in found.widths
    ]
    assert lost == pytest.approx([found.loss, found.loss], abs=2e-5)


def test_a_moe_as_good_as_a_dense_model():
    given = counts.dense(1e9)
    found = equal_loss(GRANULAR, given, moe, 60e9, (8, 4096))
    assert found.width is not None
    assert abs(found.residual) < 0.002
    twin, _ = equal.dense_params(GRANULAR, moe(found.width), 60e9)
    assert twin == pytest.approx(1e9, rel=0.02)
    # Fewer parameters a token, more in all.
    assert moe(found.width).active < given.active < moe(found.width).total
    # What the law cannot tell apart lies around it.
    assert found.narrowest < found.width < found.widest
    for edge, beyond in ((found.narrowest, found.narrowest - 1), (found.widest, found.widest + 1)):
        inside, outside = (evaluate.difference(GRANULAR, (given, 60e9), (moe(each), 60e9)) for each in (edge, beyond))
        assert inside.low <= 0 <= inside.high
        assert not outside.low <= 0 <= outside.high


def test_routed_experts_against_dense_width():
    def routed(width: float) -> Counts:
        return Counts(1.0, 100 * float(width) ** 2, experts=64.0)

    found = equal_loss(ROUTED, counts.dense(459.33e6), routed, 130e9, (100, 3000))
    assert found.width == 1000  # 100 M parameters a token
    assert (found.low, found.high, found.narrowest, found.widest) == (None, None, None, None)


JOINT = load.load("ludziejewski-2025")


@pytest.mark.parametrize("width", [640, 1024, 2048])
def test_the_joint_law_gives_the_same_dense_design_back(width):
    found = equal_loss(JOINT, dense(width), dense, 20e9, (64, 16384), multiple=64)
    assert (found.width, found.residual) == (width, 0.0)
    assert found.narrowest <= width <= found.widest


@pytest.mark.parametrize("experts", [2, 4, 8])
def test_a_swap_of_dense_ffn_for_experts(experts):
    """Eight layers of Llama-3.2-1B against 16 of half their width with experts: as `--iso loss` joins model and law."""

    def mixture(width: float) -> Counts:
        changes = {
            "hidden_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 8, "intermediate_size": int(width),
            "num_local_experts": experts, "num_experts_per_tok": 1,
        }  # fmt: skip
        return counts.of(models.load("mixtral-8x7b", changes), 4096)

    given = counts.of(models.load("llama-3.2-1b", {"num_hidden_layers": 8}), 4096)
    found = equal_loss(JOINT, given, mixture, 40e9, (256, 65536), multiple=64)
    assert found.width is not None, found.reasons
    assert found.width % 64 == 0
    assert abs(found.residual) < 0.002
    # At as many tokens, fewer parameters a token and more in all.
    assert mixture(found.width).active < given.active < mixture(found.width).total
    assert found.narrowest <= found.width <= found.widest
    twin, _ = equal.dense_params(JOINT, mixture(found.width), 40e9)
    assert twin == pytest.approx(given.total, rel=0.02)


def test_more_experts_need_less_width():
    given = counts.dense(1e9)
    widths = [
        equal_loss(
            JOINT, given, lambda width, e=e: moe(width, e, 1.0, 1024.0, 16.0), 40e9, (256, 65536), multiple=8
        ).width
        for e in (2.0, 4.0, 8.0)
    ]
    assert widths == sorted(widths, reverse=True)


def test_out_of_range_there_is_no_width_but_a_reason():
    far = equal_loss(REFIT, dense(20000), dense, 20e9, (64, 16384))
    assert (far.width, far.loss) == (None, None)
    assert far.reasons == ("parameters: 115.2 B (fitted: 57.3 M to 16.2 B)",)
    thin = equal_loss(REFIT, dense(2048), dense, 20e9, (64, 256), multiple=64)
    assert thin.width is None
    assert thin.loss is not None
    assert thin.reasons[0] == "at width 64: parameters: 1.18 M (fitted: 57.3 M to 16.2 B)"
    apart = equal_loss(REFIT, dense(2048), dense, 20e9, (512, 1024), multiple=64)
    assert apart.width is None
    assert "no width in the range of the law has equal loss: +" in apart.reasons[0]
    bare = equal_loss(load.load("abnar-2025"), dense(2048), dense, 20e9, (64, 1024))
    assert bare.width is None
    assert "not verified" in bare.reasons[0]
    assert equal.dense_params(ROUTED, Counts(1.0, 800e6, experts=512.0), 130e9)[1] == (
        "the dense model would be above the range (fitted: 15 M to 900 M parameters)",
    )


def test_the_range_of_widths_is_found_to_the_last_multiple():
    # The widest that the law knows is 7,499: 24 · 12 · 7,499² is just below 16.2 B.
    found = equal_loss(REFIT, dense(7490), dense, 20e9, (64, 100000))
    assert found.width == 7490


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"at": "params"}, "equal tokens or compute, not 'params'"),
        ({"widths": (70, 100), "multiple": 64}, "no multiple of 64"),
        ({"widths": (200, 100)}, "no multiple of 1"),
        ({"law": ROUTED, "at": "compute", "tokens": 130e9, "given": counts.dense(1e8)}, "no tokens to trade"),
        ({"law": load.load("llama-3-2024")}, "does not give a loss"),
    ],
)  # fmt: skip
def test_questions_that_cannot_be(arguments, said):
    asked = {"law": REFIT, "given": dense(2048), "to": dense, "tokens": 20e9, "widths": (64, 16384), **arguments}
    with pytest.raises(SpecError, match=said):
        equal_loss(**asked)


def test_a_swap_of_a_real_design():
    """MHA for GQA costs Llama-3.2-1B 6.3 M parameters a layer; 1,024 columns of its FFN are as many."""

    def swapped(width: float) -> Counts:
        return counts.of(
            models.load("llama-3.2-1b", {"num_key_value_heads": 32, "intermediate_size": int(width)}), 4096
        )

    found = equal_loss(REFIT, counts.of(models.load("llama-3.2-1b"), 4096), swapped, 100e9, (1024, 16384), multiple=64)
    assert (found.width, found.residual) == (8192 - 1024, 0.0)


def test_what_laws_count_of_a_moe():
    model = models.load("deepseek-v3")
    found = counts.of(model, 4096)
    routed = 58 * 256 * 7168
    assert found.router == pytest.approx(routed + 58 * 256)  # with the correction bias
    assert found.vocabulary == 2 * 129280 * 7168
    assert (found.experts, found.active_experts, found.shared_experts) == (256, 8, 1)
    assert found.width_granularity == 7
    said = found.variables
    assert (said["granularity"], said["expansion"], said["activation"], said["sparsity"]) == (
        9,
        257 / 9,
        9 / 257,
        1 - 8 / 256,
    )
    assert found.notes == ("deepseek-v3: 3 of its FFN layers are dense: no law is known for a mixture of both",)
    # 6 a parameter that computes, and attention over all pairs: 6 · 4,096 · 61 · 128 · (192 + 128).
    plain = found.active - found.vocabulary
    assert found.model_flops == pytest.approx(6 * plain + 6 * 4096 * 61 * 128 * (192 + 128), rel=1e-3)
    assert counts.size(REFIT.params, found) == found.total
    assert counts.size(GRANULAR.params, found) == found.total - found.vocabulary - found.router
    assert counts.size(ROUTED.params, found) == found.active - found.vocabulary - found.router


def test_tied_tables_count_once():
    found = counts.of(models.load("llama-3.2-1b"), 4096)
    assert found.vocabulary == 128256 * 2048
    assert found.total == found.active == 1235814400
    assert (found.experts, found.variables["sparsity"]) == (1, 0)


def test_m_of_deepseeks_own_7_b():
    """arXiv 2401.02954, Eq. 2: 72 n d² + 12 n d l. Its 7 B has 30 layers of 4,096; our count is exact where the formula takes 4 d for the FFN."""
    layers, width, length = 30, 4096, 4096
    config = models.load("llama-2-7b", {"num_hidden_layers": layers})
    found = counts.of(config, length)
    assert found.model_flops == pytest.approx(72 * layers * width**2 + 12 * layers * width * length, rel=0.01)
    assert np.isfinite(found.total)
