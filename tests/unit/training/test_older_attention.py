"""Attention of stacks that run FlashAttention-2: slower on Hopper, as measured on Ampere, and said of Blackwell."""

from __future__ import annotations

import pytest
from trainkit import job

from simcost.cost import older_attention
from simcost.hardware import load as hardware
from simcost.provenance import Kind
from simcost.training import step
from simcost.training.split import ATTENTION
from simcost.training.stack import load


@pytest.mark.parametrize("hw", ["h100", "h200", "h800", "h20", "h100-96gb", "gh200"])
def test_parts_of_hopper_run_it_at_the_published_ratios(hw: str) -> None:
    found = older_attention.of(hardware.load(hw))
    assert found is not None
    assert found.forward == pytest.approx((1.5 * 2.0) ** 0.5)
    assert found.gradient == pytest.approx((1.5 * 1.75) ** 0.5)


@pytest.mark.parametrize("hw", ["a100", "l40s", "l4", "mi300x", "b200", "b100", "gaudi3"])
def test_other_devices_keep_what_is_measured(hw: str) -> None:
    assert older_attention.of(hardware.load(hw)) is None


def test_who_runs_it() -> None:
    said = {
        name: load(name).flags["attention"] for name in ("torchtitan", "llm-foundry", "megatron-core-te", "nemo-24")
    }
    assert said == {"torchtitan": "flash-2", "llm-foundry": "flash-2", "megatron-core-te": "flash", "nemo-24": "flash"}
    one = job("llama-3-8b", hw="h100", stack="torchtitan")
    assert one.older == older_attention.ON_HOPPER
    assert any("FlashAttention-2" in note for note in one.notes)
    for attention in ("flash", "unfused"):
        assert job("llama-3-8b", hw="h100", stack="torchtitan", flags={"attention": attention}).older is None


def test_only_attention_takes_longer() -> None:
    """A whole step: attention forward (twice where it is recomputed) and backward by their ratios, all else as before."""
    parts = {}
    for kernel in ("flash", "flash-2"):
        one = step.run(job("llama-3-8b", hw="h100", stack="torchtitan", flags={"attention": kernel}))
        parts[kernel] = dict(one.path.kinds)
    new, old = parts["flash"], parts["flash-2"]
    assert older_attention.FORWARD[0] < old[ATTENTION] / new[ATTENTION] < older_attention.FORWARD[1]
    for name in new:
        if name != ATTENTION:
            assert old[name] == pytest.approx(new[name], rel=1e-9)


def test_notes_say_it() -> None:
    hopper, blackwell = (older_attention.note(hardware.load(hw)) for hw in ("h200", "b200"))
    assert hopper is not None
    assert "1.73 times" in hopper
    assert hopper.kind is Kind.TRANSFERRED
    assert blackwell is not None
    assert "no source says" in blackwell
    assert older_attention.note(hardware.load("a100")) is None
