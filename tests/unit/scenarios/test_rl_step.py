"""A step of reinforcement learning as a whole: laws of its phases, what options change, what is refused."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from simcost import api
from simcost.errors import SpecError
from simcost.files import folder
from simcost.scenarios.rl import engine

BASE = {
    "prompts": 32,
    "samples": 8,
    "isl": 256,
    "osl": "lognormal:1000:0.6",
    "max_osl": 4096,
    "minibatches": 4,
    "rollout": "tp=1",
    "train": "tp=1,recompute=full",
    "levers": False,
}


def ask(model="llama-3.1-8b", gpus=16, **changes):
    return api.rl(model, "h100", gpus, **{**BASE, **changes})


@pytest.fixture(scope="module")
def colocated():
    return ask()


def phase(result, name):
    return sum(row["time_s"] for row in result.tables["phases"] if row["phase"] == name)


def test_phases_add_up_to_the_step(colocated) -> None:
    rows, m = colocated.tables["phases"], colocated.metrics
    assert sum(row["time_s"] for row in rows) == pytest.approx(m["step_s"])
    assert rows[-1]["end_s"] == pytest.approx(m["step_s"])
    assert all(after["start_s"] == pytest.approx(before["end_s"]) for before, after in itertools.pairwise(rows))
    assert m["step_low_s"] < m["step_s"] < m["step_high_s"]
    assert m["gpu_hours_per_step"] == pytest.approx(m["step_s"] * 16 / 3600)
    assert m["tokens_per_s_per_gpu"] == pytest.approx(m["tokens_per_step"] / m["step_s"] / 16)


def test_an_update_is_a_training_step_of_the_same_sequences() -> None:
    equal = ask(osl=1000, max_osl=None)
    one = api.train("llama-3.1-8b", "h100", 16, global_batch=64, seq=1256, set={"plan.recompute": "full"}, levers=False)
    assert phase(equal, "update") == pytest.approx(4 * one.metrics["step_s"])
    assert equal.metrics["tokens_per_step"] == 256 * 1256


def test_every_answer_is_generated_and_trained(colocated) -> None:
    m = colocated.metrics
    assert m["tokens_per_step"] == pytest.approx(256 * (256 + m["mean_osl"]), rel=0.12)
    assert m["longest_osl"] <= 4096
    assert 0.0 < m["capped_fraction"] < 0.05


def test_a_step_without_reference_lacks_that_phase_alone(colocated) -> None:
    one = ask(kl=False)
    assert one.metrics["reference_s"] == 0
    assert colocated.metrics["step_s"] - one.metrics["step_s"] == pytest.approx(colocated.metrics["reference_s"])


def test_old_log_probs_are_left_out_on_policy(colocated) -> None:
    assert ask(minibatches=1).metrics["old_logprob_s"] == 0
    assert ask(minibatches=1, framework="verl").metrics["old_logprob_s"] > 0
    assert colocated.metrics["old_logprob_s"] > 0
    assert ask(minibatches=1, rollout_batch=4096).metrics["old_logprob_s"] > 0


def test_ppo_trains_a_critic_beside(colocated) -> None:
    one = ask(algorithm="ppo", train="tp=2,recompute=full,sequence_parallel=on")
    m = one.metrics
    assert m["critic_s"] == pytest.approx(m["update_s"] + m["old_logprob_s"], rel=1e-6)
    assert m["memory_peak_bytes"] > 0


def test_dapo_generates_what_it_throws_away(colocated) -> None:
    assert ask(algorithm="dapo", kept=0.5).metrics["rollout_s"] > 1.05 * colocated.metrics["rollout_s"]


def test_dpo_generates_nothing() -> None:
    one = ask(algorithm="dpo", samples=2, prompts=512, rollout=None)
    assert one.metrics["rollout_s"] == one.metrics["sync_s"] == 0
    assert {row["phase"] for row in one.tables["phases"]} == {"reference", "advantage", "update"}


def test_pools_wait_for_each_other_or_run_at_once() -> None:
    turn, ahead = (
        ask(placement="disaggregated:8", train="tp=2,recompute=full", asynchrony=each) for each in ("off", "one-step")
    )
    sides = [
        sum(row["time_s"] for row in ahead.tables["phases"] if row["pool"] == pool) for pool in ("rollout", "trainer")
    ]
    assert ahead.metrics["step_s"] == pytest.approx(max(sides) + ahead.metrics["sync_s"])
    assert ahead.metrics["wait_s"] == pytest.approx(max(sides) - min(sides))
    assert turn.metrics["step_s"] == pytest.approx(sum(sides) + turn.metrics["sync_s"])
    assert (turn.metrics["staleness_updates"], ahead.metrics["staleness_updates"]) == (1.5, 1.0)


def test_partial_rollouts_cut_the_tail(colocated) -> None:
    assert ask(asynchrony="partial").metrics["rollout_s"] < colocated.metrics["rollout_s"]


def test_a_longer_tail_takes_longer_at_the_same_mean(colocated) -> None:
    even, long = (ask(osl=each, max_osl=None).metrics for each in (1000, "lognormal:1000:1.0"))
    assert even["rollout_s"] < colocated.metrics["rollout_s"] < long["rollout_s"]


def test_rewards_extend_the_step_by_what_is_left(colocated) -> None:
    few = ask(reward="4s:16")
    assert few.metrics["reward_s"] == pytest.approx(4 * 256 / 16 - colocated.metrics["rollout_s"], rel=0.25)
    assert few.metrics["step_s"] == pytest.approx(colocated.metrics["step_s"] + few.metrics["reward_s"])


def test_turns_wait_for_tools() -> None:
    quick, slow = (
        ask(osl=250, max_osl=None, turns=3, tool_tokens=64, tool_wait=each).metrics for each in ("1ms", "30s")
    )
    assert slow["rollout_s"] == pytest.approx(quick["rollout_s"] + 2 * 30.0, rel=0.15)
    assert slow["rollout_busy_fraction"] < 0.5 < quick["rollout_busy_fraction"]
    assert quick["prefix_hit"] > 0.8


def test_agents_that_run_ahead_hide_their_tools() -> None:
    """Partial rollouts beat whole ones, and rollouts that never end beat one step off; tools cost less in both."""
    agents = {"osl": "lognormal:200:0.6", "max_osl": 1024, "turns": 3, "tool_tokens": 64}
    pools = {"placement": "disaggregated:8", "train": "tp=2,recompute=full"}
    found = {
        (mode, wait): ask(**agents, **more, asynchrony=mode, tool_wait=wait).metrics
        for mode, more in (("off", {}), ("partial", {}), ("one-step", pools), ("full:1", pools))
        for wait in ("1ms", "exponential:10s")
    }
    for ahead, whole in (("partial", "off"), ("full:1", "one-step")):
        costs = [
            found[mode, "exponential:10s"]["rollout_s"] - found[mode, "1ms"]["rollout_s"] for mode in (ahead, whole)
        ]
        assert 0 < costs[0] < 0.5 * costs[1]
        for wait in ("1ms", "exponential:10s"):
            assert found[ahead, wait]["step_s"] <= found[whole, wait]["step_s"]


def test_memory_that_is_short_within_its_interval_is_a_note() -> None:
    one = ask(train="tp=1")
    assert not one.fits
    assert not one.metrics["fits"]
    assert any("nearest change that fits: --train recompute=full" in note for note in one.warnings)


def test_a_run_is_its_steps(colocated) -> None:
    m = ask(steps=100, price=2.0).metrics
    assert m["gpu_hours"] * m["goodput"] == pytest.approx(100 * colocated.metrics["gpu_hours_per_step"])
    assert m["usd"] == pytest.approx(2.0 * m["gpu_hours"])
    assert m["days"] == pytest.approx(m["gpu_hours"] / 16 / 24)
    assert "goodput" not in colocated.metrics


def test_failures_of_a_run_are_those_of_training() -> None:
    """The same checkpoint and the same goodput as a run of `train` by the same plan; pools fail as often as all their GPUs."""
    failing = {"mtbf": "500h", "restart": "20min", "checkpoint_rate": "1 GB/s", "checkpoint_interval": "1h"}
    of_rl = ask(steps=100, **failing)
    one = api.train(
        "llama-3.1-8b",
        "h100",
        16,
        global_batch=64,
        set={"plan.recompute": "full"},
        tokens="1T",
        levers=False,
        **failing,
    )
    names = ("goodput", "mtbf_s", "checkpoint_interval_s", "checkpoint_write_s", "checkpoint_bytes", "restart_s")
    assert [of_rl.metrics[name] for name in names] == [one.metrics[name] for name in names]
    assert 0.5 < of_rl.metrics["goodput"] < 0.95
    assert any("goodput" in note and "all its numbers were given" in note for note in of_rl.warnings)
    assert api.ask("rl", of_rl.inputs).metrics == of_rl.metrics
    pools = ask(steps=100, placement="disaggregated:8", train="tp=2,recompute=full", **failing)
    assert pools.metrics["mtbf_s"] == of_rl.metrics["mtbf_s"] == 500 * 3600 / 16


def test_a_checkpoint_waits_for_the_end_of_a_step() -> None:
    often = ask(steps=100, mtbf="1h", checkpoint_rate="1 TB/s").metrics  # Daly's would be within a step
    assert often["checkpoint_interval_s"] == often["step_s"]


def test_levers_and_splits_are_steps_of_their_own() -> None:
    one = ask(placement="disaggregated:8", asynchrony="one-step", train="tp=2,recompute=full", levers=True)
    rows = {row["change"]: row for row in one.tables["levers"]}
    other = ask(placement="disaggregated:8", asynchrony="one-step", train="tp=2,recompute=full", kl=False)
    assert rows["--no-kl"]["step_s"] == pytest.approx(other.metrics["step_s"])
    (same,) = (row for row in one.tables["split"] if row["rollout_gpus"] == 8)
    assert same["step_s"] == pytest.approx(one.metrics["step_s"])
    assert all(row["rollout_gpus"] + row["trainer_gpus"] == 16 for row in one.tables["split"])


def test_asked_again_it_answers_the_same(colocated) -> None:
    assert api.ask("rl", colocated.inputs).metrics == colocated.metrics
    assert ask(seed=2).metrics["rollout_s"] != colocated.metrics["rollout_s"]


def test_routing_replay_stores_and_sends() -> None:
    one = ask(
        "qwen3-30b-a3b",
        32,
        train="ep=8,recompute=full",
        rollout="tp=2",
        routing_replay=True,
        reward_model="llama-3.2-1b",
    )
    (row,) = one.tables["routing replay"]
    assert row["mask_bytes_per_token"] == 384
    assert row["mask_step_bytes"] == pytest.approx(384 * (one.metrics["tokens_per_step"] - 32 * 8))
    assert 0 < one.metrics["replay_s"] == pytest.approx(row["mask_sent_s"])
    assert row["choice_share"] < 0.05
    assert one.metrics["reward_s"] > 0  # of a dense model, which has no masks
    with pytest.raises(SpecError, match="has experts"):
        ask(routing_replay=True)


def test_a_timeline_holds_every_phase(tmp_path) -> None:
    path = tmp_path / "step.trace.json"
    one = ask(timeline=path)
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    shown = {event["name"] for event in events if event["ph"] == "X"}
    assert {"rollout", "update", "weight sync"} <= shown
    assert sum(event["dur"] for event in events if event["ph"] == "X") == pytest.approx(
        one.metrics["step_s"] * 1e6, rel=1e-6
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"placement": "disaggregated:16"}, "no GPU of 16 is left for the trainer"),
        ({"asynchrony": "one-step"}, "needs --placement disaggregated:N"),
        ({"asynchrony": "ful"}, "did you mean 'full'"),
        ({"rollout_batch": 1500}, "whole multiple"),
        ({"turns": 2}, "--tool-tokens"),
        ({"set": {"plan.tp": 2}}, "use --rollout tp=2 or --train tp=2"),
        ({"train": "tp=1,dp=4"}, "follows from --gpus"),
        ({"rollout": "tp"}, "write sizes"),
        ({"osl": "lognormal:1000"}, "lognormal:MEAN:SIGMA"),
        ({"reference_every": 400, "kl": False}, "needs a reference model"),
        ({"mtbf": "500h"}, "--mtbf applies to a training run: state its length by --steps"),
        ({"steps": 10, "checkpoint_interval": "1s"}, "checkpoints are written between steps"),
        ({"micro_batch_tokens": "4k"}, "the longest sequence has 4,352 tokens"),
        ({"micro_batch_tokens": "8k", "micro_batch": 2}, "state one of them"),
        ({"micro_batch_tokens": "8k", "packing": False}, "needs a trainer that packs"),
        (
            {"train": "tp=1,recompute=full", "osl": 8000, "max_osl": None, "micro_batch": 4},
            "nearest change that fits: --micro-batch 2",
        ),
        (
            {"train": "tp=1", "osl": "uniform:1:8000", "max_osl": None},
            "nearest change that fits: --train recompute=full",
        ),
    ],
)
def test_what_cannot_be_is_one_line(changes, said) -> None:
    with pytest.raises(SpecError) as refused:
        ask(**changes)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_terms_of_a_framework_come_to_decode_and_to_the_trainer(tmp_path) -> None:
    """Equal answers of one replica a GPU: 1 ms in each of their steps, 10 us in each kernel of log-probs and updates."""
    table = (folder("workloads") / "rl-stacks" / "plain.toml").read_text(encoding="utf-8")
    own = table.replace("host_decode_s = { value = 0.0", "host_decode_s = { value = 0.001")
    own = own.replace("host_kernel_s = { value = 0.0", "host_kernel_s = { value = 1e-5")
    own = own.replace("step_spread = { value = 0.0", "step_spread = { value = 0.3")
    (tmp_path / "mine.toml").write_text(own, encoding="utf-8")
    equal = {"osl": 1000, "max_osl": None}
    plain, mine = ask(**equal), ask(**equal, framework=str(tmp_path / "mine.toml"))
    more = {name: mine.metrics[f"{name}_s"] - plain.metrics[f"{name}_s"] for name in ("rollout", "update", "reference")}
    assert more["rollout"] == pytest.approx(1.0, rel=0.01)  # 1,000 steps
    # 32 layers of about 11 kernels forward, of log-probs once a micro-batch; of updates forward, again and backward.
    assert 3.0 < more["update"] / more["reference"] < 4.0
    assert more["reference"] > 32 * 8 * 1e-5
    ratios = [one.metrics["step_high_s"] / one.metrics["step_s"] for one in (plain, mine)]
    assert ratios[1] > math.exp(1.64 * 0.3) > ratios[0]


def test_a_trainer_that_pads_takes_longer() -> None:
    """Answers of which few reach the cap: every sequence is as long as the longest."""
    packed, padded = ask(), ask(packing=False)
    m = [one.metrics for one in (packed, padded)]
    assert m[1]["update_s"] > 1.8 * m[0]["update_s"]
    assert m[1]["old_logprob_s"] > 1.8 * m[0]["old_logprob_s"]
    assert m[1]["rollout_s"] == m[0]["rollout_s"]
    equal = {"osl": 1000, "max_osl": None, "minibatches": 1}
    same = [phase(ask(**equal, packing=each), "update") for each in (True, False)]
    assert same[0] == pytest.approx(same[1])  # nothing to pad


def test_a_micro_batch_of_twice_the_room(colocated) -> None:
    """The smallest goes without saying; twice the room halves the number, takes more memory, and the same work at another shape."""
    one, two = (ask(micro_batch_tokens=times * 4352) for times in (1, 2))
    assert one.metrics == colocated.metrics
    assert [each.metrics["micro_batches"] for each in (one, two)] == [2, 1]
    assert two.metrics["update_s"] == pytest.approx(one.metrics["update_s"], rel=0.1)
    held = [
        max(row["other_bytes"] for row in each.tables["memory by phase"] if row["phase"] == "update")
        for each in (one, two)
    ]
    assert held[1] > 1.3 * held[0]


def test_micro_batches_of_so_many_sequences_as_they_are(colocated) -> None:
    """Of 64 answers in an update, 16 ranks take four each: two by two, or one by one, whose kernels are the most and smallest. Equal sequences have nothing to pad."""
    one, two = (ask(micro_batch=b) for b in (1, 2))
    assert [each.metrics["micro_batches"] for each in (one, two)] == [4, 2]
    assert one.metrics["mean_micro_batch_tokens"] == pytest.approx(two.metrics["mean_micro_batch_tokens"] / 2, rel=0.01)
    assert one.metrics["update_s"] > two.metrics["update_s"]
    assert one.metrics["rollout_s"] == colocated.metrics["rollout_s"]
    said = next(note for note in two.warnings if "a micro-batch of" in note)
    assert "2 sequences without padding" in said
    assert "set another" not in said
    equal = {"osl": 1000, "max_osl": None, "micro_batch": 2}
    bare, padded = (ask(**equal, packing=each) for each in (True, False))
    assert bare.metrics["update_s"] == pytest.approx(padded.metrics["update_s"])
    with pytest.raises(SpecError, match="must be a multiple of 128"):
        ask(micro_batch=8)


def test_padded_micro_batches_are_training_steps_of_as_many_sequences() -> None:
    equal = ask(osl=1000, max_osl=None, packing=False, micro_batch=2)
    one = api.train(
        "llama-3.1-8b",
        "h100",
        16,
        global_batch=64,
        micro_batch=2,
        seq=1256,
        set={"plan.recompute": "full"},
        levers=False,
    )
    assert phase(equal, "update") == pytest.approx(4 * one.metrics["step_s"])
    with pytest.raises(SpecError, match=r"the 64 answers of a minibatch must be a multiple of 128 \(micro-batch x 16"):
        ask(packing=False, micro_batch=8)


def test_the_search_for_an_engine_prices_the_one_that_fits(monkeypatch) -> None:
    """Of Qwen3-32B one H100 holds the weights, but not in a half: memory decides, and one plan has step times."""
    asked = []
    monkeypatch.setattr(engine, "_STEPS", {})
    real = engine.steps_of
    monkeypatch.setattr(engine, "steps_of", lambda w, *rest: asked.append(float(w.plan.tp)) or real(w, *rest))
    found = ask(model="qwen3-32b", gpus=32, rollout=None, train="tp=8,recompute=full,sequence_parallel=on")
    assert asked == [2.0]
    assert found.inputs["plan"]["rollout"] == "tp=2"
