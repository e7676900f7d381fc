"""Names of reinforcement learning: a step, its phases, its memory, its levers."""

from __future__ import annotations

from simcost.metrics._words import NUMBER, TEXT, Rows

RL: Rows = (
    ("rollout_s", "seconds", "less", "from the first prompt to the last token of the longest answer of the slowest replica"),
    ("reward_s", "seconds", "less", "from the last answer to the last verdict; with a reward model its prefill passes too"),
    ("old_logprob_s", "seconds", "less", "forward passes that give log-probs of the policy that made the answers; 0 where one update of fresh answers needs none"),
    ("reference_s", "seconds", "less", "forward passes of the reference model, its weights brought in and out"),
    ("critic_s", "seconds", "less", "forward passes and updates of the critic"),
    ("update_s", "seconds", "less", "all updates of the policy"),
    ("sync_s", "seconds", "less", "new weights from the trainer to the engine"),
    ("offload_s", "seconds", "less", "states to the host's memory before the rollout, and back"),
    ("advantage_s", "seconds", "less", "advantages of all tokens"),
    ("host_s", "seconds", "less", "the host between rollout and training: answers collected, batched and sent; assumed"),
    ("wait_s", "seconds", "less", "time that the pool which waits longer stands idle in a step"),
    ("tokens_per_gpu_hour", "count", "more", "`tokens_per_step`, prompts and answers, over GPU-hours of a step"),
    ("gpu_hours_per_step", NUMBER, "less", "`step_s` × devices, in hours"),
    ("usd_per_step", "usd", "less", "`gpu_hours_per_step` × price per hour; absent without a price"),
    ("mean_osl", "count", "", "tokens of an answer on average, as the cap leaves it"),
    ("longest_osl", "count", "", "tokens of the longest answer of a rollout, the mean over draws"),
    ("capped_fraction", "fraction", "less", "part of the answers that `--max-osl` cuts"),
    ("steps", "count", "", "steps of the run"),
    ("gpu_hours", "gpu_hours", "less", "GPUs × time, of a run, or of a recipe and its stages"),
    ("days", NUMBER, "less", "days of the run"),
    ("usd", "usd", "less", "`gpu_hours` × price per hour; absent without a price"),
    ("pool", TEXT, "", "who runs it: all GPUs, the rollout's, the trainer's, or CPUs"),
    ("start_s", "seconds", "", "when it starts"),
    ("end_s", "seconds", "", "when it ends"),
    ("engine_weight_bytes", "memory", "", "weights of the engine"),
    ("kv_pool_bytes", "memory", "", "the engine's pool of caches beside what else stays"),
)  # fmt: skip
