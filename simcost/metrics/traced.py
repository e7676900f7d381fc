"""Names of a profiler's trace beside a prediction. Times are of one step, of one rank."""

from __future__ import annotations

from simcost.metrics._words import NUMBER, TEXT, Rows

TRACE: Rows = (
    ("measured_step_s", "seconds", "", "from the start of the first kernel to the end of the last, over the steps; of an annotation the sum of its occurrences"),
    ("predicted_step_s", "seconds", "", "predicted time of the step: `tpot_s`, `ttft_s` or `step_s`"),
    ("predicted_step_low_s", "seconds", "", "lower end of the 90 % interval of `predicted_step_s`"),
    ("predicted_step_high_s", "seconds", "", "upper end of the 90 % interval of `predicted_step_s`"),
    ("kernel_s", "seconds", "", "time of all kernels together, those side by side too"),
    ("gap_s", "seconds", "", "time in which no kernel runs: launches, host code, waiting"),
    ("gap_share", "fraction", "", "part of the step in which no kernel runs"),
    ("communication_s", "seconds", "", "time in which a kernel of a link runs"),
    ("exposed_communication_s", "seconds", "", "the part of `communication_s` during which no other kernel runs"),
    ("hidden_communication_share", "fraction", "", "the part of `communication_s` that other kernels hide"),
    ("unmatched_s", "seconds", "", "time of kernels that no rule knows"),
    ("unmatched_share", "fraction", "", "part of `kernel_s` in kernels that no rule knows"),
    ("traced_steps", "count", "", "steps that the trace holds"),
    ("kernels_per_step", NUMBER, "", "kernels of a step"),
    ("kernel_name", TEXT, "", "whole name of a kernel"),
    ("kernel_names", "count", "", "names of kernels"),
    ("work", TEXT, "", "a kind of work, of `workloads/kernels/classes.toml`"),
    ("off_s", "seconds", "", "measured - predicted"),
    ("off_share", "fraction", "", "part of this row in the sum of all absolute differences"),
    ("predicted_times", "count", "", "how often the ops run in a step as predicted"),
    ("one_run_s", "seconds", "", "time of one run of a kernel"),
    ("found_by", TEXT, "", "how kernels were assigned to an op: sizes of a product, order in a layer, or the only op of its class"),
)  # fmt: skip
