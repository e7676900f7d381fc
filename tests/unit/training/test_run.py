"""A run's steps, GPU-hours, money and energy: published runs, the three ways to ask, ramps, and strong scaling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.errors import Infeasible, SpecError
from simcost.training import run
from simcost.training.run import Rates, Step

# DeepSeek-V3 (arXiv 2412.19437 table 1, 2505.09343 table 4): 19.926 s a step of 15,360 sequences of 4,096 on 2,048 H800.
V3 = Step(19.926, 15360.0 * 4096.0, 2048.0, 18.0, 22.0)
H800 = Rates(2.0, 700.0)


def test_deepseek_v3_takes_2_664_thousand_h800_hours() -> None:
    whole = run.of_tokens(V3, 14.8e12, H800)
    assert whole.gpu_hours == pytest.approx(2.664e6, rel=0.01)
    assert whole.usd == pytest.approx(5.328e6, rel=0.01)
    assert whole.usd_low == pytest.approx(whole.usd * 18.0 / 19.926)
    assert whole.usd_high == pytest.approx(whole.usd * 22.0 / 19.926)
    assert whole.joules == pytest.approx(whole.gpu_hours * 3600.0 * 700.0)
    trillion = run.of_tokens(V3, 1e12)
    assert trillion.gpu_hours == pytest.approx(180e3, rel=0.01)
    assert trillion.seconds / 86400.0 == pytest.approx(3.7, rel=0.01)
    assert trillion.usd is None
    assert trillion.joules is None


def test_llama_2_and_llama_65b_at_their_published_rates() -> None:
    """LLaMA-65B: 380 tokens a second and A100, 1.4 T tokens, 1,022,362 hours (arXiv 2302.13971 §2.4, table 15)."""
    step = Step(4e6 / (380.0 * 2048.0), 4e6, 2048.0)
    assert run.of_tokens(step, 1.4e12).gpu_hours == pytest.approx(1022362.0, rel=2e-3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 10**6), st.floats(1e-3, 1e3), st.integers(1, 10**5), st.floats(0.3, 1.0))
def test_tokens_time_and_money_are_one_run(steps: int, seconds: float, gpus: int, goodput: float) -> None:
    step, rates = Step(seconds, 4e6, float(gpus)), Rates(3.0, 700.0, goodput)
    whole = run.of_tokens(step, steps * 4e6, rates)
    assert whole.steps == steps
    assert run.of_usd(step, whole.usd, rates).steps == steps
    assert run.of_seconds(step, whole.seconds, rates).steps == steps
    assert whole.seconds * goodput == pytest.approx(steps * seconds)
    assert whole.joules == pytest.approx(whole.seconds * gpus * 700.0)


def test_a_budget_is_never_overdrawn() -> None:
    money = np.array([1e3, 1e5, 5.328e6])
    found = run.of_usd(V3, money, H800)
    assert np.all(found.usd <= money)
    assert np.all(found.usd + V3.gpus * V3.seconds / 3600.0 * 2.0 > money)
    part = run.of_tokens(V3, 1.0)
    assert (part.steps, part.tokens) == (1.0, V3.tokens)


def test_a_whole_number_of_steps_stays_one_in_floats() -> None:
    """2.1 / 0.7 is 3.0000000000000004 in floats, and 0.3 / 0.1 is 2.9999999999999996: three steps both."""
    assert 2.1 / 0.7 > 3.0
    assert run.of_tokens(Step(1.0, 0.7, 1.0), 2.1).steps == 3.0
    assert 0.3 / 0.1 < 3.0
    assert run.of_seconds(Step(0.1, 4e6, 8.0), 0.3).steps == 3.0
    assert run.of_usd(Step(0.1, 4e6, 3600.0), 0.3, Rates(1.0)).steps == 3.0


@pytest.mark.parametrize("goodput", [1.0, 0.5, 0.8])
def test_a_budget_pays_for_the_time_that_is_lost_too(goodput: float) -> None:
    """A step of 10 s on 720 GPUs at 2 USD an hour is 4 USD of training, 4 / goodput with failures: 1,000 USD are 250 such steps, and 1,000 s a tenth of the time as steps."""
    step, rates = Step(10.0, 4e6, 720.0), Rates(2.0, goodput=goodput)
    found = run.of_usd(step, 1000.0, rates)
    assert found.steps == pytest.approx(250.0 * goodput)
    assert found.usd == pytest.approx(1000.0)
    within = run.of_seconds(step, 1000.0, rates)
    assert within.steps == pytest.approx(100.0 * goodput)
    assert within.seconds == pytest.approx(1000.0)


def test_the_smallest_budget_is_of_one_step() -> None:
    step = Step(10.0, 4e6, 720.0)
    assert run.of_usd(step, 4.0, Rates(2.0)).steps == 1.0
    assert run.of_seconds(step, 10.0).steps == 1.0
    with pytest.raises(SpecError, match="too small for one step"):
        run.of_seconds(step, 9.99)


def test_a_ramp_may_begin_with_one_sequence_and_take_all_of_a_run() -> None:
    """From 1 to 3 sequences by 1: half of the 1,000 samples with each; of 1,000 x 8 tokens nothing is left for the last."""
    assert run.ramp(1, 1, 1000.0, 3, 8000.0, 8.0) == ((4000.0, 1), (4000.0, 2), (0.0, 3))
    with pytest.raises(SpecError, match="longer than the run"):
        run.ramp(1, 1, 1000.0, 3, 7999.0, 8.0)
    with pytest.raises(SpecError, match="from 0"):
        run.ramp(0, 1, 1000.0, 3, 8000.0, 8.0)


def test_arrays_and_scalars_agree() -> None:
    steps = Step(np.array([10.0, 20.0]), 4e6, np.array([1024.0, 512.0]))
    both = run.of_tokens(steps, 1e12, H800)
    for i in range(2):
        one = run.of_tokens(Step(float(steps.seconds[i]), 4e6, float(steps.gpus[i])), 1e12, H800)
        assert (both.usd[i], both.joules[i], both.gpu_hours_low[i]) == (one.usd, one.joules, one.gpu_hours_low)


def test_a_ramp_keeps_every_token() -> None:
    """DeepSeek-V3 grows from 3,072 to 15,360 sequences over the first 469 B tokens: here in 16 rises of 768."""
    stages = run.ramp(3072, 768, 469e9 / 4096.0, 15360, 14.8e12, 4096.0)
    assert [batch for _, batch in stages] == [*range(3072, 15360, 768), 15360]
    assert sum(tokens for tokens, _ in stages) == pytest.approx(14.8e12)
    assert sum(tokens for tokens, _ in stages[:-1]) == pytest.approx(469e9)
    timed = [(tokens, Step(19.926 * batch / 15360.0 + 1.0, batch * 4096.0, 2048.0)) for tokens, batch in stages]
    whole, parts = run.ramped(timed, H800), [run.of_tokens(step, tokens, H800) for tokens, step in timed]
    for name in ("tokens", "steps", "seconds", "gpu_hours", "usd", "usd_high", "joules"):
        assert getattr(whole, name) == pytest.approx(sum(getattr(part, name) for part in parts))
    assert 14.8e12 <= whole.tokens < 14.8e12 + sum(step.tokens for _, step in timed)
    assert run.ramp(512, 128, 1e6, 512, 1e12, 4096.0) == ((1e12, 512),)


@pytest.mark.parametrize(("first", "increment", "samples", "last", "said"), [
    (3072, 1000, 1e6, 15360, "in whole steps of 1000"), (15360, 768, 1e6, 3072, "in whole steps of 768"),
    (3072, 0, 1e6, 15360, "in whole steps of 0"), (3072, 768, 1e12, 15360, "longer than the run"),
])  # fmt: skip
def test_a_ramp_that_does_not_arrive_is_refused(
    first: int, increment: int, samples: float, last: int, said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        run.ramp(first, increment, samples, last, 14.8e12, 4096.0)


def test_strong_scaling_of_a_step_with_a_fixed_part() -> None:
    """Amdahl: 40 s of work on one GPU's share of 1,024, and 2 s that do not shrink; 4,000 GPUs cannot run."""

    def step(gpus: float) -> Step:
        if gpus == 4000.0:
            raise Infeasible("plan: 4000 GPUs divide nothing")
        return Step(40.0 * 1024.0 / gpus + 2.0, 4e6, gpus)

    found = run.strong_scaling((1024.0, 2048.0, 4000.0, 4096.0), step, 1e12, lambda gpus: Rates(2.0))
    assert [row.reason for row in found] == ["", "", "plan: 4000 GPUs divide nothing", ""]
    assert [row.speedup for row in found if row.run] == pytest.approx([1.0, 42.0 / 22.0, 42.0 / 12.0])
    assert [row.efficiency for row in found if row.run] == pytest.approx([1.0, 21.0 / 22.0, 10.5 / 12.0])
    spent = [row.run.usd for row in found if row.run]
    assert spent == sorted(spent)
    assert spent[-1] / spent[0] == pytest.approx(12.0 / 10.5)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: run.of_tokens(V3, 0.0), "tokens must be a number above 0, not 0"),
    (lambda: run.of_tokens(V3, float("nan")), "tokens must be"),
    (lambda: run.of_usd(V3, 1e6, Rates()), "needs a price"),
    (lambda: run.of_usd(V3, 1.0, H800), "the budget is too small for one step"),
    (lambda: run.of_seconds(V3, 1.0), "the time is too small for one step"),
    (lambda: run.of_tokens(V3, 1e12, Rates(goodput=1.2)), "at most 1"),
    (lambda: run.of_tokens(V3, 1e12, Rates(goodput=0.0)), "goodput must be"),
    (lambda: run.of_tokens(Step(20.0, 4e6, 8.0, 21.0, 22.0), 1e12), "must hold its time"),
    (lambda: run.ramped([]), "at least one stage"),
])  # fmt: skip
def test_what_is_no_run_is_refused_in_one_line(call, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        call()
