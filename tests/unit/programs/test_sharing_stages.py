"""Stages of models whose layers share keys and values, or weights: who reads whom, what a plan may cut, what a stage copies, what a hop carries, by hand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import simcost
from simcost import lower, pipeline, shared_layers
from simcost.dtypes import dtype
from simcost.estimate import stages
from simcost.model import count, load
from simcost.model.spec import ModelSpec, from_config
from simcost.passes.backward import reduction
from simcost.plan import Phase, Plan
from simcost.program import Call, calls
from simcost.query import make, workload
from simcost.routing.router import Routing
from simcost.sharding.shard import ROLES, View

BF16 = dtype("bf16")
ZAMBA2 = {
    "model_type": "zamba2", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 96,
    "mamba_expand": 2, "mamba_headdim": 16, "n_mamba_heads": 8, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_ngroups": 1, "adapter_rank": 8,
    "use_shared_attention_adapter": False, "num_mem_blocks": 2, "vocab_size": 128, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "layers_block_type": ["mamba", "hybrid", "hybrid", "mamba", "hybrid", "mamba", "hybrid", "hybrid"],
}  # fmt: skip
BLOCK = (
    128 * 3 * 128 + 128 * 64 + 3 * 64 * 96 + 3 * 64
)  # q, k, v and o of 4 heads of 32, an FFN of 96, norms of 128 and 64


@cache
def model(name: str) -> ModelSpec:
    return from_config(ZAMBA2, "small", "test") if name == "small" else load.load(name)


def broken(name: str, pp: float) -> list[str]:
    return [check.reason for check in shared_layers.checks(model(name), Plan(pp=pp)) if not check.ok]


def test_a_layer_reads_the_last_of_its_kind_with_keys_of_its_own() -> None:
    """Gemma 3n E4B: 20 of 35 layers have keys, Gemma 4 E2B: 15 of 35; every fifth sees all."""
    for name, own, period in (("gemma-3n-e4b", 20, 5), ("gemma-4-e2b", 15, 5)):
        found = shared_layers.written(model(name))
        for layer, writer in enumerate(found):
            full = (layer + 1) % period == 0
            alike = [other for other in range(own) if ((other + 1) % period == 0) == full]
            assert writer == (layer if layer < own else alike[-1])
    assert shared_layers.written(model("hunyuan-large")) == tuple(layer - layer % 2 for layer in range(64))
    assert shared_layers.written(model("gemma-3-27b")) == tuple(range(62))


@pytest.mark.parametrize(("name", "able"), [
    ("gemma-3n-e4b", {1, 2}),  # 18 and 17 layers: 18 and 19 write what 20 to 34 read
    ("gemma-4-e2b", {1}),  # 13 and 14 write what 15 to 34 read: no even cut leaves them together
    ("hunyuan-large", {1, 2, 4, 8, 16, 32}),  # pairs of 64 layers
    ("gemma-4-31b", {1, 2, 3, 4, 5, 6, 7, 8, 16, 32}),  # every layer has keys
])  # fmt: skip
def test_readers_stand_with_the_layer_that_writes(name: str, able: set[int]) -> None:
    for pp in (1, 2, 3, 4, 5, 6, 7, 8, 16, 32):
        reasons = broken(name, float(pp))
        assert (reasons == []) == (pp in able), (name, pp)
        assert all("vLLM refuses" in reason and "use pp" in reason for reason in reasons)


def test_the_rule_holds_plan_by_plan_and_chunk_by_chunk() -> None:
    (check,) = shared_layers.checks(model("hunyuan-large"), Plan(pp=np.array([1.0, 2.0, 3.0, 4.0, 64.0])))
    assert np.asarray(check.ok).tolist() == [True, True, False, True, False]
    assert any(
        "layer 1 reads" in check.reason
        for check in shared_layers.checks(model("hunyuan-large"), Plan(pp=16.0, vpp=4.0))
    )
    assert not any(
        "reads" in check.reason for check in lower.checks(model("hunyuan-large"), Plan(pp=2.0)) if not check.ok
    )
    with pytest.raises(simcost.errors.Infeasible, match="layer 18 reads the keys and values of layer 13"):
        simcost.decode("gemma-4-e2b", "h200", set={"plan.pp": 2})


def test_a_stage_copies_the_shared_blocks_that_it_uses() -> None:
    """Uses at 1, 2, 4, 6, 7 take blocks 0 1 0 1 0: two stages of four layers, and three of 3, 3, 2 layers."""
    spec = model("small")
    assert shared_layers.lent(spec) == (0, 1, 2, 3, 1, 5, 2, 1)
    whole = count.parameters(spec)["params_language"]
    for pp, copied in ((1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (8, [0, 0, 0, 0, 1, 0, 1, 1])):
        found = pipeline.stages(spec, pp)
        assert [sum(one.copied and one.stack is not None for one in stage.shared) for stage in found] == copied
        held = sum(sum(pipeline.weights(spec, stage, Plan()).values()) for stage in found)
        assert held == whole + sum(copied) * BLOCK + (pp > 1) * 128 * 64  # and the tied table
    assert [stage.name for stage in pipeline.stages(spec, 3)] == [
        "embedding, 3 layers", "3 layers, a copy of a shared block", "2 layers, copies of 2 shared blocks, head",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["zamba2-7b", "small"])
@pytest.mark.parametrize("pp", [1, 2, 3, 5, 7])
def test_stages_hold_the_model_and_its_copies_and_work_as_the_model(name: str, pp: int) -> None:
    spec, plan = model(name), Plan(tp=2.0)
    every = dict.fromkeys(ROLES, BF16)
    view = View(plan, Phase(2.0, 16.0, 0.0, routing=Routing("balanced")), BF16, BF16, every, every)
    found = pipeline.stages(spec, pp)
    held = [sum(pipeline.weights(spec, stage, plan).values()) for stage in found]
    (whole,) = (sum(pipeline.weights(spec, stage, plan).values()) for stage in pipeline.stages(spec, 1))
    copies = [w.count for stage in found for block in pipeline.copies(spec, stage) for w in block.weights(plan)]
    assert sum(held) == whole + sum(copies) >= whole
    assert sum(_flops(spec, stage, view) for stage in found) == pytest.approx(
        _flops(spec, pipeline.stages(spec, 1)[0], view)
    )
    kept = [pipeline.state_bytes(spec, stage, plan, 500.0, BF16) for stage in found]
    assert sum(kept) == pytest.approx(float(sum(n * b.state_bytes(500.0, plan, BF16) for n, b in spec.blocks())))


def _flops(spec: ModelSpec, stage: pipeline.Stage, view: View) -> float:
    def of(program: object, times: float) -> float:
        times *= float(getattr(program, "repeat", 1.0))
        if hasattr(program, "op"):
            return times * float(program.op.work().flops)
        return sum(of(part, times) for part in program.parts)  # type: ignore[attr-defined]

    return of(pipeline.programs(spec, stage, view).forward, 1.0)


def moves(spec: ModelSpec, pp: int, plan: Plan) -> list[list[Call]]:
    """The reductions of every stage, one call after the other."""
    every = dict.fromkeys(ROLES, BF16)
    view = View(plan, Phase(2.0, 16.0, 0.0, routing=Routing("balanced")), BF16, BF16, every, every)
    found = [pipeline.programs(spec, stage, view, True).reduction for stage in pipeline.stages(spec, pp, True)]
    return [list(calls(program)) for program in found if program is not None]


def summed(found: list[Call]) -> list[tuple[float, float, float]]:
    """(bytes, stages, ranks from one to the next) of the sums over stages."""
    ops = [call.op for call in found if call.tag == "gradients of shared weights"]
    assert all(op.kind == "all_reduce" for op in ops)
    return [(float(op.payload), float(op.group), float(op.stride)) for op in ops]


def test_gradients_of_copies_are_reduced_too() -> None:
    spec, plan = model("small"), Plan(pp=2.0, dp=2.0)
    (last,) = pipeline.stages(spec, 2, True)[1:]
    copied = list(calls(reduction(pipeline.copies(spec, last), plan, 4.0)))
    assert [call.tag for call in copied] == [
        "gradients inside a stage",
        "gradients of copies",
        "gradients of experts",
    ]
    found = moves(spec, 2, plan)[1]
    at = found.index(copied[1])
    assert found[at - 1 : at + 2] == copied


def test_gradients_of_shared_blocks_and_of_a_tied_table_are_summed_over_their_stages() -> None:
    """Uses at 1, 2, 4, 6, 7 take blocks 0 1 0 1 0. Two stages have both; of four, of two layers each, the first and the third, the second and the last ... use them so: stage 0 block 0, 1 block 1,
    2 block 0, 3 both."""
    spec, table = model("small"), 4.0 * 128 * 64
    assert [summed(stage) for stage in moves(spec, 1, Plan())] == [[]]
    both = [(4.0 * BLOCK, 2, 1)] * 2 + [(table, 2, 1)]
    assert [summed(stage) for stage in moves(spec, 2, Plan(pp=2.0))] == [both, both]
    first, second = (4.0 * BLOCK, 3, 1.5), (4.0 * BLOCK, 2, 2)  # on stages 0, 2, 3 and 1, 3
    found = [summed(stage) for stage in moves(spec, 4, Plan(pp=4.0, dp=2.0))]
    assert found == [[first, (table, 2, 3)], [second], [first], [first, second, (table, 2, 3)]]
    halves = moves(spec, 4, Plan(tp=2.0, pp=4.0))[3][-1].op  # of two ranks a stage, each with half of the table
    assert (halves.payload, halves.stride) == (table / 2, 6)  # type: ignore[union-attr]


def test_modules_of_multi_token_prediction_share_the_embedding_s_table() -> None:
    """DeepSeek-V3's head is its own; its MTP module stands on the last stage and looks tokens up there (Megatron Core). Llama-3.1-8B has neither, Gemma-3 27B a tied head."""
    table = 4.0 * 129280 * 7168
    found = [summed(stage) for stage in moves(model("deepseek-v3"), 4, Plan(pp=4.0, ep=2.0))]
    assert found == [[(table, 2, 6)], [], [], [(table, 2, 6)]]  # stages of two ranks
    assert not any(summed(stage) for stage in moves(model("llama-3.1-8b"), 4, Plan(pp=4.0)))
    assert [len(summed(stage)) for stage in moves(model("gemma-3-27b"), 3, Plan(pp=3.0))] == [1, 0, 1]


def test_a_tied_head_copies_the_token_table_alone() -> None:
    """Gemma 3n's table of per-layer vectors and its projections stay on the first stage."""
    w = workload(make("gemma-3n-e4b", "h200", True, {"batch": 1, "context": 512}, {"plan.pp": 2}, {}, None))
    spec, (first, last) = w.model, pipeline.stages(w.model, 2)
    table, kept = 262400 * 2048, [float(np.asarray(rank.held.loaded.checkpoint)) for rank in stages.ranks(w)]
    assert [
        sum(weight.count for b in pipeline.copies(spec, one) for weight in b.weights(Plan())) for one in (first, last)
    ] == [0, table]
    assert sum(kept) == 2 * (count.parameters(spec)["params_language"] + table)


def test_memory_of_the_fullest_stage_by_hand() -> None:
    """Zamba2-7B in bf16: 41 layers with uses at 6 and 11 and on to 35, then 40 with a copy of both blocks and the tied table again."""
    d, f, r, D, h = 3584, 14336, 128, 224, 32
    block = 2 * d * 3 * h * D + h * D * d + 3 * d * f + 3 * d
    use = d * d + r * (d + 2 * f)
    conv = 2 * d + 2 * 2 * 64
    mamba = d * (2 * d + conv + 112) + 5 * conv + 3 * 112 + 2 * d + 2 * d * d + d
    uses = [6, 11, 17, 23, 29, 35, 41, 47, 53, 59, 65, 71, 77]
    first = 32000 * d + 2 * block + sum(at < 41 for at in uses) * use + 41 * mamba
    last = 32000 * d + 2 * block + sum(at >= 41 for at in uses) * use + 40 * mamba + d
    w = workload(make("zamba2-7b", "h200", True, {"batch": 8, "context": 4096}, {"plan.pp": 2}, {}, None))
    kept = [rank.held for rank in stages.ranks(w)]
    assert [float(np.asarray(held.loaded.checkpoint)) for held in kept] == [2.0 * first, 2.0 * last]
    assert sum(first if i == 0 else last for i in range(2)) == 7_356_749_648 + 2 * block + 32000 * d
    found = simcost.decode("zamba2-7b", "h200", batch=8, context=4096, set={"plan.pp": 2})
    beside = float(np.asarray(kept[1].loaded.rotary + kept[1].loaded.allocator))
    assert (
        found.metrics["weight_bytes_per_gpu"] == 2.0 * last + beside
    )  # fuller: 7 uses keep a cache, on the first stage 6
    assert any("no SupportsPP" in note for note in w.notes)


@pytest.mark.parametrize(("name", "elements", "apart"), [
    ("llama-3.1-8b", 4096, 4096), ("zamba2-7b", 2 * 3584, 0), ("gemma-3n-e4b", 4 * 2048 + 35 * 256, 0), ("gemma-4-31b", 5376, 5376),
    ("deepseek-v4-flash", 4 * 4096, 0), ("olmo-2-7b", 4096, 0), ("granite-3-8b-base", 4096, 0), ("falcon-40b", 8192, 0),
])  # fmt: skip
def test_a_hop_carries_what_later_layers_need(name: str, elements: int, apart: int) -> None:
    """One residual stream; the embedding, all streams of AltUp, the per-layer vectors of all layers. Engines send `apart` what the last layer made and the next norm adds, but for layers that add at once."""
    assert shared_layers.hops(model(name), 2) == (elements,)
    for engine in ("vllm", "sglang", "trtllm"):
        assert sent(name, 2, engine) == {4 * (elements + apart) * 2: 1}  # half of eight rows, of two bytes


def test_hops_of_a_trainer_and_of_layers_that_add_at_once_have_one_tensor() -> None:
    assert shared_layers.hops(model("llama-3.1-8b"), 4, tensors=2.0) == (2 * 4096,) * 3
    ends = (0, 32, 0)  # into the head, whose norm adds too
    assert shared_layers.hops(model("llama-3.1-8b"), 3, ends, 2.0) == (2 * 4096, 2 * 4096)
    kimi = model("kimi-k3")
    assert shared_layers.hops(kimi, 4, tensors=2.0) == shared_layers.hops(kimi, 4)


def sent(name: str, pp: int, engine: str = "vllm") -> dict[float, float]:
    """Bytes of a hop inside the domain -> how many hops of a decode step of eight sequences carry so many."""
    w = workload(make(name, "h200", True, {"batch": 8, "context": 512}, {"plan.pp": pp, "engine": engine}, {}, None))
    found = {}
    for part in stages.passed(w).parts[0].parts:  # type: ignore[union-attr]
        send = next(iter(calls(part)))
        if send.tag == "send inside the domain":
            found[float(np.asarray(send.op.payload))] = float(part.repeat)  # type: ignore[union-attr]
    return found


def test_a_hop_carries_the_copies_of_attention_residuals_made_before_it() -> None:
    """Kimi-K3: layers 0, 12, ... 84 of 93 put a copy aside behind their attention. Stages of 11, 11, 12, 12, 12, 12, 12, 11 layers read one copy more each."""
    d = 7168
    assert [here.start for here in shared_layers.cut(93, 8)] == [0, 11, 22, 34, 46, 58, 70, 82]
    assert shared_layers.hops(model("kimi-k3"), 8) == tuple((2 + i) * d for i in (0, 1, 2, 3, 4, 5, 6))
    every = shared_layers.hops(model("kimi-k3"), 93)  # the hop into layer i carries those of layers below i
    assert every == tuple((1 + sum(made < layer for made in range(0, 93, 12))) * d for layer in range(1, 93))
    assert shared_layers.hops(model("kimi-k3"), 4) == (3 * d, 5 * d, 7 * d)
    ends = shared_layers.hops(
        model("kimi-k3"), 3, (0, 93, 0)
    )  # embedding and head alone: behind all layers stand 8 copies
    assert ends == (d, 9 * d)
    assert sent("kimi-k3", 4) == {2 * copies * d * 2: 1 for copies in (3, 5, 7)}  # two of eight rows


def test_plans_of_several_numbers_of_stages_count_the_hops_of_each() -> None:
    """Of Kimi-K3 the widths of 2 stages (5 vectors) are among those of 4 (3, 5, 7); each plan answers as if it were alone."""
    made = make("kimi-k3", "h200", True, {"batch": 8, "context": 512}, {"plan.pp": np.array([1.0, 2.0, 4.0])}, {}, None)
    w = workload(made)
    counts = {float(hop.elements) / 7168: np.asarray(hop.near + hop.far).tolist() for hop in stages._hops(w)}
    assert counts == {5.0: [0, 1, 1], 3.0: [0, 0, 1], 7.0: [0, 0, 1]}


INKLING2 = {
    "model_type": "inkling2_text", "hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 8, "vocab_size": 256, "unpadded_vocab_size": 250,
    "n_layers_per_attn_res_block": 3,
}  # fmt: skip


def test_a_hop_carries_the_states_of_all_blocks_before_it() -> None:
    """Inkling 2: layer 0, 3, ... puts the running sum aside behind its attention: a hop into layer i carries ceil(i/3) states and the sum."""
    spec = from_config(INKLING2, "inkling", "test")
    assert shared_layers.hops(spec, 12) == tuple(64 * (-(-layer // 3) + 1) for layer in range(1, 12))
    assert shared_layers.hops(spec, 2) == (64 * 3,)  # layer 6


def test_a_hop_carries_all_streams_of_gated_residuals() -> None:
    """Qwen4: hc_count = 4 streams."""
    config = {"model_type": "qwen4_exp_text", "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4, "vocab_size": 512,
              "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 64, "indexer_budget": 128, "indexer_compress_ratio": 4, "ple_layer_ids": []}  # fmt: skip
    assert shared_layers.hops(from_config(config, "qwen4", "test"), 4) == (4 * 256,) * 3


def test_no_hop_behind_the_last_use_of_zambas_blocks_carries_the_embedding() -> None:
    """Uses of Zamba2-7B: the last is layer 77 of 81."""
    assert shared_layers.hops(model("zamba2-7b"), 81) == (2 * 3584,) * 77 + (3584,) * 3
