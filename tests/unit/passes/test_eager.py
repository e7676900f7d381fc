"""Elementwise kernels operator by operator, as PyTorch's eager mode runs them: what stays, how many there are, what they move."""

from __future__ import annotations

from typing import Any

import pytest
from trainkit import job, kept_per_token, passes

from simcost.program import runs
from simcost.training import step
from simcost.training.split import ATTENTION as CORES
from simcost.training.split import ELEMENTWISE

H, F = 4096.0, 14336.0  # widths of Llama-3-8B
EAGER, FUSED = {"elementwise": "eager"}, {"elementwise": "fused"}


def kept(flags: dict[str, str], again: tuple[str, ...] = ()) -> float:
    return kept_per_token(job("llama-3-8b", flags=flags), again)


def test_what_autograd_keeps_of_a_llama_layer() -> None:
    """A norm keeps its rows in fp32 and the normed rows (4h + 2h) where a fused one keeps its input (2h); SwiGLU keeps the
    activated gate (2f) beside both halves (PyTorch, derivatives.yaml: mul keeps its factors, pow its base, silu its input)."""
    assert kept(EAGER) - kept(FUSED) == 2.0 * 4.0 * H + 2.0 * F


def test_recomputing_norms_and_activations_leaves_what_fused_kernels_keep() -> None:
    for again in (("layernorm",), ("activation",), ("layernorm", "activation")):
        more = kept(EAGER, again) - kept(FUSED, again)
        assert more == 8.0 * H * ("layernorm" not in again) + 2.0 * F * ("activation" not in again)


def test_a_layernorm_is_one_kernel_and_gelu_too() -> None:
    eager, fused = (passes(job("gpt3-175b", flags=flags)) for flags in (EAGER, FUSED))
    assert eager.kept == fused.kept
    count = [sum(float(times) for _, times in runs(each.forward)) for each in (eager, fused)]
    assert count[0] - count[1] == 2.0  # both residual sums


def test_kernels_and_bytes_of_an_rms_norm() -> None:
    """Per element 36 B forward and 76 B on the way back in eager mode (fp32 between casts), beside the residual sum."""
    one = job("llama-3-8b", flags=EAGER)
    found = passes(one)
    mine = [
        part
        for part in _parts(found.forward)
        if getattr(part, "tag", "") == "attention_norm" and hasattr(part, "parts")
    ]
    assert [len(each.parts) for each in mine] == [9]  # the sum, and the norm's eight

    def moved(name: str, program: Any) -> float:
        each = [call.op.work().bytes * times for call, times in runs(program) if call.tag.split(":")[0] == name]
        return float(sum(each)) / (one.recipe.seq * H)

    assert moved("attention_norm", found.forward) == pytest.approx(6.0 + 36.0, abs=0.01)
    assert moved("attention_norm", found.input) == pytest.approx(6.0 + 76.0, abs=0.01)


def test_the_flag_changes_the_step_and_compiled_runs_as_fused() -> None:
    took = {
        how: float(step.run(job("llama-3-8b", flags={"elementwise": how})).seconds)
        for how in ("eager", "fused", "compiled")
    }
    assert took["eager"] > 1.05 * took["fused"] == pytest.approx(1.05 * took["compiled"])


def test_experts_stay_measured_whole() -> None:
    one = passes(job("mixtral-8x7b", flags=EAGER))
    assert any(getattr(part, "kernel", "") == "experts" for part in _parts(one.forward))


def _parts(program: Any) -> list[Any]:
    inner = [each for part in getattr(program, "parts", ()) for each in _parts(part)]
    return [program, *inner]


@pytest.mark.parametrize(("hw", "by"), [("h200", 1.65), ("a100", 1.0)])
def test_flash_attention_2_is_slower_on_hopper_alone(hw: str, by: float) -> None:
    """arXiv 2407.08608 prints 1.5 to 2.0 forward and 1.5 to 1.75 backward on an H100."""
    new, old = (step.run(job("llama-3-8b", hw=hw, flags={"attention": how})) for how in ("flash", "flash-2"))
    cores = [float(each.cost.kinds[CORES]) for each in (new, old)]
    assert cores[1] / cores[0] == pytest.approx(by, abs=0.05 if by > 1.0 else 1e-9)
    assert float(old.cost.kinds[ELEMENTWISE]) == pytest.approx(float(new.cost.kinds[ELEMENTWISE]))
