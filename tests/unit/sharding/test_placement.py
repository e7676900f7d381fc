"""Layers of uneven stages: by hand, by Megatron-LM's options, and by time, against every other way to cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost import pipeline, shared_layers
from simcost.errors import Infeasible, SpecError
from simcost.model import load
from simcost.sharding import placement


def test_deepseek_v3_on_16_stages_has_its_dense_layers_with_the_embedding() -> None:
    """61 layers: chunks of 4 MoE layers as in its trace, 3 dense layers on the first stage."""
    counts = placement.parse("even", 61, 16)
    assert counts == (3, 3, *[4] * 13, 3)
    stages = pipeline.stages(load.load("deepseek-v3"), 16, training=True)
    assert stages[0].layers == (3, 0)
    assert [stage.layers for stage in stages[2:15]] == [(0, 4)] * 13
    assert [stages[0].name, stages[-1].name] == ["embedding, 3 layers", "3 layers, 1 MTP, head"]


@pytest.mark.parametrize("text", ["15,16,16,14", "layers:15,16,16,14", " 15, 16,16 ,14"])
def test_counts_stand_in_the_order_of_stages(text: str) -> None:
    counts = placement.parse(text, 61, 4)
    assert counts == (15, 16, 16, 14)
    stages = pipeline.stages(load.load("deepseek-v3"), 4, training=True, layers=counts)
    assert [stage.layers for stage in stages] == [(3, 12), (0, 16), (0, 16), (0, 14)]
    assert [stage.first for stage in stages] == [True, False, False, False]
    assert [stage.last for stage in stages] == [False, False, False, True]


def test_a_stage_can_have_the_head_and_no_layer() -> None:
    stages = pipeline.stages(load.load("llama-3.1-8b"), 3, training=True, layers=(16, 16, 0))
    assert [stage.name for stage in stages] == ["embedding, 16 layers", "16 layers", "0 layers, head"]


# Megatron-LM's get_num_layers_to_build, by hand. slime trains GLM-5 (78 layers) with first 14, last 16, six of 8;
# a test of Megatron-LM cuts Moonlight's 27.
@pytest.mark.parametrize(("text", "layers", "pp", "vpp", "want"), [
    ("megatron", 32, 4, 1, (8, 8, 8, 8)),
    ("megatron:first=14,last=16", 78, 8, 1, (14, 8, 8, 8, 8, 8, 8, 16)),
    ("megatron:--decoder-first-pipeline-num-layers=13,--decoder-last-pipeline-num-layers=14", 27, 2, 1, (13, 14)),
    ("megatron:last=1", 61, 16, 1, (*[4] * 15, 1)),
    ("megatron:embedding,loss", 94, 16, 1, (5, *[6] * 14, 5)),
    ("megatron:account_for_loss_in_pipeline_split", 31, 4, 1, (8, 8, 8, 7)),
    # Two chunks a rank: chunk 0 of both ranks, then chunk 1.
    ("megatron:embedding,loss", 14, 2, 2, (3, 4, 4, 3)),
    ("megatron:first=4", 16, 2, 2, (2, 6, 2, 6)),
    ("megatron:first=4", 61, 4, 1, (4, 19, 19, 19)),
])  # fmt: skip
def test_megatron_places_layers_as_its_options_say(
    text: str, layers: int, pp: int, vpp: int, want: tuple[int, ...]
) -> None:
    assert placement.parse(text, layers, pp * vpp, pp) == want


@pytest.mark.parametrize(("text", "layers", "pp", "vpp", "said"), [
    ("15,16,16,15", 61, 4, 1, "the sum is 62, but the model has 61 layers: the nearest is 15,15,16,15"),
    ("1,1,999999999999", 6, 3, 1, "the sum is 1000000000001, but the model has 6 layers: the nearest is 1,1,4"),
    ("15,16,30", 61, 4, 1, "3 counts, but the pipeline has pp·vpp = 4 stages: 15,15,16,15 is even"),
    ("30,0,31", 61, 3, 1, "only the first and the last stage"),
    ("megatron", 61, 16, 1, "61 layers cannot be shared out evenly over pp = 16 ranks: 3,3,4"),
    ("megatron:last=14", 61, 4, 1, "47 layers are left for 3 ranks, and cannot be shared out evenly: the nearest"),
    ("megatron:first=3,last=4", 61, 2, 1, "first and last are 7 layers, but the model has 61"),
    ("megatron:first=3,last=100", 61, 4, 1, "first and last are 103 layers, but the model has 61"),
    ("megatron:first=3,loss", 61, 4, 1, "refuses first or last together with embedding or loss"),
    ("megatron:first=61,last=61", 61, 1, 1, "the same rank"),
    ("megatron", 12, 2, 4, "the 6 layers of rank 0 cannot be cut into vpp = 4 equal chunks"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_what_does(text: str, layers: int, pp: int, vpp: int, said: str) -> None:
    with pytest.raises(Infeasible, match=r"^plan\.stages=") as raised:
        placement.parse(text, layers, pp * vpp, pp)
    assert said in str(raised.value)


@pytest.mark.parametrize(("text", "said"), [
    ("evn", "did you mean 'even'?"), ("", "takes even, counts of layers"),
    ("15,16,-1,4", "takes even"), ("1.5,2", "takes even"),
    ("megatron:frist=3", "did you mean 'first'?"), ("megatron:first", "first=15"),
    ("megatron:loss=1", "takes no number"),
    ("megatron:first=3,first=3", "appears twice"), ("time", "no times of layers are known here"),
])  # fmt: skip
def test_what_is_no_form_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=r"^plan\.stages=") as raised:
        placement.parse(text, 61, 4)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_layers_that_read_a_cache_stay_with_the_one_that_wrote_it() -> None:
    model = load.load("hunyuan-large")  # pairs of layers
    assert len(pipeline.stages(model, 2, layers=(30, 34))) == 2
    with pytest.raises(Infeasible, match="layer 31 reads the keys and values of layer 30"):
        pipeline.stages(model, 2, layers=(31, 33))
    assert shared_layers.split(model, 2, (30, 34)) is None


def every_cut(n: int, pp: int, first: float, last: float) -> list[tuple[int, ...]]:
    """All counts: stages without layers only where embedding or head stand."""
    cuts = itertools.combinations_with_replacement(range(n + 1), pp - 1)
    found = [tuple(b - a for a, b in itertools.pairwise((0, *cut, n))) for cut in cuts]
    beside = [first if i == 0 else 0.0 for i in range(pp)]
    beside[-1] += last
    return [counts for counts in found if all(count or extra for count, extra in zip(counts, beside, strict=True))]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=8),
    st.integers(1, 4), st.sampled_from([0.0, 0.5, 20.0]), st.sampled_from([0.0, 3.0, 20.0]),
)  # fmt: skip
def test_the_longest_stage_is_as_short_as_any_cut_makes_it(
    costs: list[float], pp: int, first: float, last: float
) -> None:
    every = every_cut(len(costs), pp, first, last)
    if not every:
        with pytest.raises(Infeasible, match="cannot fill"):
            placement.by_time(costs, first, last, pp)
        return

    def stages(counts: tuple[int, ...]) -> list[float]:
        ends = [0, *itertools.accumulate(counts)]
        times = [sum(costs[a:b]) for a, b in itertools.pairwise(ends)]
        times[0] += first
        times[-1] += last
        return times

    found = placement.by_time(costs, first, last, pp)
    assert found in every
    best = min(max(stages(counts)) for counts in every)
    assert max(stages(found)) == pytest.approx(best, rel=1e-9, abs=1e-12)
    tied = [counts for counts in every if max(stages(counts)) <= best * (1.0 + 1e-9)]
    least = min(sum(time**2 for time in stages(counts)) for counts in tied)
    assert sum(time**2 for time in stages(found)) == pytest.approx(least, rel=1e-6, abs=1e-9)


def test_a_heavy_head_takes_the_place_of_layers() -> None:
    """32 equal layers, a head as long as four of them: the last of four stages gets five layers, the others nine."""
    assert placement.by_time([1.0] * 32, 0.0, 4.0, 4) == (9, 9, 9, 5)
    times = placement.Times((1.0,) * 32, 0.0, 4.0)
    assert placement.parse("time", 32, 4, times=times) == (9, 9, 9, 5)


def test_a_time_below_zero_is_refused() -> None:
    with pytest.raises(SpecError, match="at least 0"):
        placement.by_time([1.0, -1.0], 0.0, 0.0, 2)
    with pytest.raises(SpecError, match="at least 0"):
        placement.by_time([1.0, float("nan")], 0.0, 0.0, 2)
