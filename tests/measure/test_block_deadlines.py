"""A torch block that is timed ends in time, or is refused before it begins."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from layerkit import SMALL_GQA, spec

from simcost.errors import SpecError
from simcost.estimate.layer import of_model
from simcost.measure.points.design import Rates
from simcost.measure.session import layers
from simcost.measure.timing import deadline
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers import bounds, build, time_cpu
from simcost.measure.torch_layers.times import BlockTime
from simcost.model import load as models
from simcost.plan import Phase


def late(seconds: float, monkeypatch) -> deadline.Deadline:
    """A clock that only blocks move: both of this module's and of blocks_time's."""
    monkeypatch.setattr(deadline.time, "monotonic", lambda: CLOCK[0])
    monkeypatch.setattr(time_cpu, "now", lambda: CLOCK[0])
    monkeypatch.setattr(time_cpu, "switches", lambda: 0)  # whoever else runs here
    CLOCK[0] = 100.0
    return deadline.Deadline(100.0 + seconds)


CLOCK = [0.0]


def slow(seconds: float, monkeypatch) -> tuple[build.TorchBlock, list[int]]:
    """A block whose passes take so long, and how often it ran forward."""
    block, seen = build.build(spec(SMALL_GQA), copies=1), []
    real = build.TorchBlock.forward

    def forward(self, copy, s):
        seen.append(copy)
        CLOCK[0] += seconds
        return real(self, copy, s)

    def section_pass(block, book):
        forward(block, 0, block.inputs())
        for section in block.sections:
            book.situ[section.name].append((seconds, False))

    monkeypatch.setattr(build.TorchBlock, "forward", forward)
    monkeypatch.setattr(time_cpu, "_situ_pass", section_pass)
    return block, seen


def test_a_long_block_is_warm_after_one_pass_and_ends_in_time(monkeypatch) -> None:
    said: list[str] = []
    until = late(20.0, monkeypatch)
    block, seen = slow(3.0, monkeypatch)
    (found,) = time_cpu.measure(block, 2.0, False, until, said.append)
    assert len(seen) == 1 + 2 * 2 + 1  # a pass to warm up, two rounds of two, and a look at its experts: 3 s each
    assert found.whole.samples == 2  # of five, without a deadline
    assert said[0].endswith("1 copies; warming up")
    assert "round 2 of 5, 6 s each" in said[-1]


def test_sections_alone_are_the_first_to_go_and_what_cannot_end_in_time_is_refused(monkeypatch) -> None:
    until = late(11.0, monkeypatch)
    block, seen = slow(3.0, monkeypatch)
    (found,) = time_cpu.measure(block, 2.0, True, until)
    assert found.isolated_s is None
    assert len(seen) == 1 + 2 + 1
    until = late(8.0, monkeypatch)
    with pytest.raises(SpecError, match="small: a round takes 6 s, 5 s are left"):
        time_cpu.measure(block, 2.0, True, until)


def test_a_disturbed_block_is_not_tried_again_past_its_deadline(monkeypatch) -> None:
    until, tries = late(10.0, monkeypatch), []

    def disturbed(block, seconds, isolated, until, say):
        tries.append(1)
        CLOCK[0] += 4.0
        return [BlockTime(spec(SMALL_GQA), "forward", Timing(1.0, 1.0, 1.0, 5, 0.9))]

    monkeypatch.setattr(time_cpu, "measure", disturbed)
    monkeypatch.setattr(bounds, "refuse_late", lambda spec, until: None)
    layers.measure_block(spec(SMALL_GQA), seconds=0.01, until=until)
    assert len(tries) == 2
    layers.measure_block(spec(SMALL_GQA), seconds=0.01)
    assert len(tries) == 2 + 1 + layers.RETRIES


def test_a_layer_that_cannot_fit_is_refused_before_it_is_built(monkeypatch) -> None:
    large = of_model(models.load("llama-3.1-70b"), Phase(1.0, 512.0, 0.0))[0]
    monkeypatch.setattr(build, "build", lambda *a, **k: pytest.fail("built"))
    monkeypatch.setattr(bounds, "_host", lambda dtype: Rates({"bf16": 1e12}, 1e10))
    with pytest.raises(SpecError, match=r"takes 2\.\d+ s or more, only 2 s are left"):
        bounds.refuse_late(large, late(2.0, monkeypatch))
    bounds.refuse_late(large, late(4.0, monkeypatch))
    bounds.refuse_late(large, deadline.NEVER)
