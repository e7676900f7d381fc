"""Names of training: pipeline schedules, steps, runs, designs side by side."""

from __future__ import annotations

from simcost.metrics._words import FLAG, NUMBER, TEXT, Rows

SCHEDULE: Rows = (
    ("schedule", TEXT, "", "name of a pipeline schedule"),
    ("makespan_s", "seconds", "less", "from the start to the end of the last pass; with `--no-barrier` the longest span of a rank, from its first pass to its last"),
    ("ideal_s", "seconds", "", "occupied time of the busiest rank; a forward beside a backward counts once"),
    ("makespan_over_ideal", NUMBER, "less", "`makespan_s` / `ideal_s`"),
    ("bubble_fraction", "fraction", "less", "idle share of all ranks over `makespan_s`; of a rank its own"),
    ("lower_bound_s", "seconds", "", "no order ends earlier: over ranks, arrival of its first forward + its occupied time + the way back where both gradients run together; without a barrier `ideal_s`"),
    ("closed_form_s", "seconds", "", "`makespan_s` by the schedule's closed form, which plans are ranked by; a note says where it is exact"),
    ("peak_inflight", "count", "", "most chunks that a rank keeps: micro-batches of one virtual stage, from the start of their forward to the end of their input gradient"),
    ("peak_inflight_to_w", "count", "", "most chunks that a rank keeps until the end of their weight gradient"),
    ("ranks", "count", "", "pipeline ranks"),
    ("stages", "count", "", "virtual stages of all ranks"),
    ("best_bubble_fraction", TEXT, "", "the schedule with the least `bubble_fraction`"),
    ("rank", "count", "", "pipeline rank, from 0"),
    ("virtual_stages", TEXT, "", "virtual stages that a rank holds, or a pass runs through"),
    ("busy_s", "seconds", "", "occupied time"),
    ("idle_s", "seconds", "", "time of `makespan_s` in which the rank waits"),
    ("pass", TEXT, "", "a kind of pass on the critical path: what the last pass waited for, back to the start"),
    ("path_s", "seconds", "", "time of this kind of pass on the critical path"),
)  # fmt: skip

TRAIN: Rows = (
    ("hfu", "fraction", "more", "`mfu` with the FLOPs that recomputation adds"),
    ("tokens_per_s_per_gpu", "rate", "more", "tokens of a step / (time × devices)"),
    ("flops_per_s_per_gpu", "flops_per_s", "more", "`training_flops_per_token` × `tokens_per_s_per_gpu`"),
    ("exposed_communication", "fraction", "less", "part of the step in which the busiest rank runs nothing but communication, waits for other ranks not counted"),
    ("memory_peak_bytes", "memory", "less", "memory per GPU at the worst moment of the step, of the fullest rank: `memory_allocated_bytes`, the allocator's slack and the runtime"),
    ("host_memory_bytes", "memory", "less", "memory of the host that each GPU fills: a moving average of the weights that `plan.ema=host` keeps there"),
    ("memory_allocated_bytes", "memory", "less", "memory that PyTorch has allocated at that moment (`max_memory_allocated`)"),
    ("memory_capacity_bytes", "memory", "", "memory per GPU"),
    ("global_batch", "count", "", "sequences of a step"),
    ("micro_batches", "count", "", "micro-batches that a replica runs in a step"),
    ("tokens_per_step", "count", "", "tokens of a step"),
    ("usd_per_billion_tokens", "usd", "less", "devices × time × price per hour, for a billion training tokens; absent without a price"),
    ("run_tokens", "tokens", "", "tokens of the run, in whole steps"),
    ("run_steps", "count", "", "steps of the run"),
    ("run_s", "duration", "less", "time of the run, with checkpoints, failures and restarts"),
    ("run_gpu_hours", "gpu_hours", "less", "`run_s` × devices"),
    ("run_gpu_hours_low", "gpu_hours", "less", "lower end of the 90 % interval of `run_gpu_hours`"),
    ("run_gpu_hours_high", "gpu_hours", "less", "upper end of the 90 % interval of `run_gpu_hours`"),
    ("run_gpu_hours_of_steps", "gpu_hours", "less", "`run_gpu_hours` × `goodput`: GPU hours of the steps alone, as papers report them"),
    ("run_usd", "usd", "less", "`run_gpu_hours` × price per hour; absent without a price"),
    ("run_usd_low", "usd", "less", "lower end of the 90 % interval of `run_usd`"),
    ("run_usd_high", "usd", "less", "upper end of the 90 % interval of `run_usd`"),
    ("run_joules_assumed", "joules", "less", "energy of the run, by assumed shares of the TDP (`hw.assumed.power_*`); GPUs alone; absent without a TDP"),
    ("goodput", "fraction", "more", "part of the run's time in which its steps run ([theory/training-run.md](theory/training-run.md))"),
    ("mtbf_s", "duration", "more", "mean time between failures of all devices together"),
    ("checkpoint_interval_s", "duration", "", "time from one checkpoint to the next, by Young and Daly"),
    ("checkpoint_bytes", "bytes", "", "a checkpoint: weights and optimizer"),
    ("forward_s", "seconds", "", "forward passes of one micro-batch through all virtual stages of a rank"),
    ("backward_s", "seconds", "", "gradients of inputs and weights of one micro-batch through all virtual stages of a rank, with recomputation"),
    ("parameter_bytes", "memory", "", "weights that a rank holds, with those that it gathers for a while"),
    ("gradient_bytes", "memory", "", "gradients that add up over micro-batches"),
    ("optimizer_bytes", "memory", "", "moments and master weights"),
    ("activation_bytes", "memory", "", "tensors that wait for backward passes, at the worst moment"),
    ("other_bytes", "memory", "", "temporary tensors, buffers, the allocator's slack and the runtime"),
    ("change", TEXT, "", "one change of the question, as `--set` or an option takes it"),
    ("change_of_step", "change", "less", "time of the step with it over the time without it, less 1"),
)  # fmt: skip

TRAIN_RUN: Rows = (
    ("checkpoint_write_s", "seconds", "less", "time to write a checkpoint, in which nothing trains"),
    ("restart_s", "seconds", "less", "time from a failure to the next step"),
    ("speedup", NUMBER, "more", "tokens per second over those of the first number of GPUs that can run"),
    ("efficiency", "fraction", "more", "`speedup` over the ratio of GPUs"),
)  # fmt: skip

TRAIN_COMPARE: Rows = (
    ("speed_versus_best", "change", "", "of a row: its `tokens_per_s_per_gpu` over that of the fastest design, less 1"),
    ("speed_probability_behind", "probability", "", "of a row: the *probability of the difference*: that it is slower than the fastest; null for the fastest itself"),
    ("speed_best_or_tied", FLAG, "", "of a row: the fastest design, or one tied with it"),
    ("activation_bytes_per_token_per_layer", "bytes", "less", "what a rank keeps of a token in a layer for backward passes, the mean over layers"),
    ("best_tokens_per_s_per_gpu", TEXT, "", "the design with the most `tokens_per_s_per_gpu`"),
    ("tied_tokens_per_s_per_gpu", TEXT, "", "designs *tied* with it; absent where none is"),
    ("best_usd_per_billion_tokens", TEXT, "", "the design with the least `usd_per_billion_tokens`"),
    ("tied_usd_per_billion_tokens", TEXT, "", "designs *tied* with the least `usd_per_billion_tokens`, by time or by the range of prices; absent where none is"),
    ("best_memory_peak_bytes", TEXT, "", "the design with the least `memory_peak_bytes`"),
    ("best_training_flops_per_token", TEXT, "", "the design with the least `training_flops_per_token`"),
)  # fmt: skip
