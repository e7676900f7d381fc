"""The activations of an engine's largest step on small designs by hand: inside a layer, at the sampler, at all times."""

from __future__ import annotations

from typing import Any

import pytest
from toykit import design, engine, multimodal

from simcost.dtypes import dtype
from simcost.model import activations
from simcost.model.spec import ModelSpec, from_config
from simcost.plan import Plan
from simcost.routing.router import Routing

BF16 = dtype("bf16")
H, F, V = 1024, 4096, 32000


def peak(model: ModelSpec, plan: Plan | None = None, entering: str = "bf16", **terms: Any) -> activations.Peak:
    return activations.peak(model, plan or Plan(), Routing("balanced"), BF16, (BF16, dtype(entering)), engine(**terms))


@pytest.mark.parametrize(("pp", "copies"), [(1.0, 4), (2.0, 6)])
def test_inside_a_layer_stand_its_buffers_and_copies_of_the_hidden_states(pp: float, copies: int) -> None:
    one = peak(design(), Plan(pp=pp))
    assert (one.hidden, one.inside, one.copies) == (2 * H, 2 * 3 * F, copies)
    assert one.bytes_of(1000.0, 0.0, 256.0) == 1000 * (2 * 3 * F + copies * 2 * H)


def test_at_the_sampler_stand_logits_of_the_sequences_that_it_samples() -> None:
    one = peak(design(intermediate_size=8), logit_bytes=10.0, sequence_bytes=100.0)
    each = V * (10 + 2) + 100
    assert one.bytes_of(64.0, 1.0, 256.0) == pytest.approx(64 * (each + 2 * H))
    assert one.bytes_of(1000.0, 1.0, 256.0) == pytest.approx(256 * each + 1000 * 2 * H)
    assert one.bytes_of(1000.0, 0.0, 256.0) < 0.2 * one.bytes_of(1000.0, 1.0, 256.0)


def test_what_stands_at_all_times_comes_on_top() -> None:
    tower = {
        "model_type": "pixtral",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "head_dim": 4,
    }
    terms = {"kept_logit_bytes": 4.0, "sequences": 100.0, "tower_bytes": 5.0}
    assert peak(design(), **terms).always == 100 * V * 4
    seeing = from_config(multimodal("mistral3", {"vision_config": tower}), "toy", "toy.json")
    hearing = from_config(multimodal("voxtral", {"audio_config": {"hidden_size": 64}}), "toy", "toy.json")
    assert peak(seeing, **terms).always == 100 * V * 4 + 5
    assert peak(hearing, **terms).always == 100 * V * 4  # the largest image is no sound


@pytest.mark.parametrize(("stay", "more"), [(True, 70.0), (False, 0.0)])
def test_buffers_of_experts_stay_or_share_a_layers_place(stay: bool, more: float) -> None:
    one = activations.Peak(1.0, 4.0, 10.0, 0.0, 7.0, 10.0, 0.0, 0.0, stay)
    assert one.bytes_of(10.0, 0.0, 1.0) == 100 + 40 + more
    assert one.bytes_of(1000.0, 0.0, 1.0) == 10_000 + 4_000 + more  # no more rows pass the experts at once


@pytest.mark.parametrize(
    ("sequences", "most", "sizes"), [(1, 512, 3.25), (128, 512, 3 + 31 + 1), (1000, 512, 51), (1000, 8, 4)]
)
def test_graphs_are_captured_for_so_many_batch_sizes(sequences: int, most: int, sizes: float) -> None:
    terms = engine(sequences=float(sequences), graph_sequences=float(most), graph_bytes=51.0, graph_layer_bytes=5.1)
    assert float(activations.captured(terms)) * 51 == pytest.approx(sizes)
    assert activations.graph_bytes(10.0, False, terms) == pytest.approx(sizes * 2.0)
