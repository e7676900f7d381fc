"""Stages of a pipeline together run, hold and keep what the model does: every module once, the embedding first, MTP and the head last."""

from __future__ import annotations

from collections import Counter

import pytest
from lawkit import BF16, SOME, model, view, weighted, work

from simcost import pipeline
from simcost.dtypes import dtype
from simcost.lower import modules, step
from simcost.model import count
from simcost.ops.collective import Collective
from simcost.passes import backward
from simcost.pipeline import Stage
from simcost.plan import Plan
from simcost.program import Program, calls

PLAN = Plan(mla_form="expanded", dp=2.0)
SIZES = [1, 2, 3, 7]


def stages(name: str, pp: int, training: bool = False) -> list[Stage]:
    return pipeline.stages(model(name), min(pp, len(model(name).order)), training)


def programs(name: str, pp: int, training: bool = False) -> list[pipeline.Programs]:
    at = view(2.0, 256.0, 0.0, PLAN)
    return [pipeline.programs(model(name), stage, at, training) for stage in stages(name, pp, training)]


@pytest.mark.parametrize("pp", SIZES)
@pytest.mark.parametrize("name", SOME)
def test_every_module_stands_once_where_it_belongs(name: str, pp: int) -> None:
    for training in (False, True):
        held = stages(name, pp, training)
        found: Counter[str] = Counter()
        for stage in held:
            found.update(dict(stage.held))
        assert found == {module.key: module.count for module in modules(model(name), training)}
        assert [stage.first for stage in held] == [True] + [False] * (len(held) - 1)
        assert [stage.last for stage in held] == [False] * (len(held) - 1) + [True]
        drafts = [sum(n for key, n in stage.held if key.startswith("mtp")) for stage in held]
        assert drafts == [0] * (len(held) - 1) + [len(model(name).mtp) if training else 0]


@pytest.mark.parametrize("pp", SIZES)
@pytest.mark.parametrize("name", SOME)
def test_stages_forward_are_the_step(name: str, pp: int) -> None:
    whole = work(step(model(name), view(2.0, 256.0, 0.0, PLAN)))
    parts = [work(each.forward) for each in programs(name, pp)]
    assert sum(part.flops for part in parts) == pytest.approx(whole.flops)
    assert sum(part.bytes for part in parts) == pytest.approx(whole.bytes)
    assert all(each.input_gradients is None and each.reduction is None for each in programs(name, pp))


@pytest.mark.parametrize("pp", SIZES)
@pytest.mark.parametrize("name", SOME)
def test_weights_by_role_are_the_model_s_and_its_copies(name: str, pp: int) -> None:
    plan, spec = Plan(), model(name)
    known = count.parameters(spec)
    for training in (False, True):
        found: Counter[str] = Counter()
        for stage in stages(name, pp, training):
            found.update({role: float(n) for role, n in pipeline.weights(spec, stage, plan, training).items()})
        total = known["params_language"] + (known["params_mtp"] if training else 0.0)
        table = spec.vocab_size * spec.hidden_size  # on the last stage too, for a tied head and MTP modules
        total += table * ((spec.head.tied or (training and len(spec.mtp) > 0)) and len(stages(name, pp)) > 1)
        assert sum(found.values()) == pytest.approx(float(total), rel=1e-9)
        assert ("experts" in found) == any(block.router is not None for _, block in spec.blocks())


@pytest.mark.parametrize("pp", SIZES)
@pytest.mark.parametrize("name", SOME)
def test_states_of_stages_are_the_model_s(name: str, pp: int) -> None:
    spec, plan = model(name), Plan()
    parts = [pipeline.state_bytes(spec, stage, plan, 5000.0, BF16) for stage in stages(name, pp)]
    whole = sum(n * block.state_bytes(5000.0, plan, BF16) for n, block in spec.blocks())
    assert sum(parts) == pytest.approx(float(whole))


@pytest.mark.parametrize("pp", [1, 3])
@pytest.mark.parametrize("name", SOME)
def test_gradients_of_stages_are_twice_the_products(name: str, pp: int) -> None:
    """Attention cores, which compute their scores again, and the routers' scores, apart."""

    def products(program: Program | None) -> float:
        assert program is not None
        families = ("gemm", "grouped_gemm")
        ops = ((op, n) for call, n in weighted(program) for op in getattr(call.op, "parts", (call.op,)))
        return sum(float(op.work().flops) * n for op, n in ops if op.family in families)

    for each in programs(name, pp, training=True):
        forward = products(each.forward)
        assert products(each.input_gradients) == pytest.approx(forward)
        assert products(each.weight_gradients) == pytest.approx(forward)


@pytest.mark.parametrize("sums", [None, "bf16"])
@pytest.mark.parametrize("name", SOME)
def test_gradients_of_all_stages_are_reduced_once(name: str, sums: str | None) -> None:
    """What copies send of a stage is every parameter of it, in the format of the sums: fp32 where nobody says another."""
    spec, at, kind = model(name), view(2.0, 256.0, 0.0, PLAN), None if sums is None else dtype(sums)
    each = 4.0 if kind is None else kind.bits / 8.0
    for stage in stages(name, 3, training=True):
        moves = pipeline.programs(spec, stage, at, True, kind).reduction
        assert moves is not None
        sent = sum(
            float(call.op.payload) * n
            for call, n in weighted(moves)
            if isinstance(call.op, Collective) and call.tag in ("gradients of copies", "gradients of experts")
        )
        held = sum(pipeline.weights(spec, stage, PLAN, True).values())
        assert sent == pytest.approx(each * float(held) / float(PLAN.replicas * PLAN.cp))


def test_the_passes_of_a_stage_run_back_to_front() -> None:
    (stage,) = stages("llama-3.1-8b", 1, training=True)
    found = pipeline.programs(model("llama-3.1-8b"), stage, view(1.0, 128.0, 0.0, PLAN), training=True)
    assert found.input_gradients is not None
    ahead, behind = ([call.tag for call in calls(program)] for program in (found.forward, found.input_gradients))
    assert ahead.index("qkv_proj") < ahead.index("down_proj") < ahead.index("lm_head")
    first, then, last = (behind.index(f"{tag}:input_grad") for tag in ("lm_head", "down_proj", "qkv_proj"))
    assert first < then < last
    assert backward.INPUT == "input"
