"""Every name that simcost prints, in metrics and in the columns of tables: unit, which way is better, what it means.

Tables, cells, ranking, JSON, the columns of `plans` and `compare`, and docs/metrics.md read this; a test asks every command for names that
stand nowhere here. Values are SI floats; units are dimensions of `units.show`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple

TEXT, FLAG, NUMBER = "text", "flag", ""  # dimensions without a unit
_FLAGS = ("more", "less", "headline", "step", "slowest", "plans", "compare", "best")


class Metric(NamedTuple):
    """One printed name. `unit`: a dimension ("seconds", "memory", ...), TEXT, FLAG, or NUMBER. `better`: "more", "less" or "" where neither
    is. `headline`: sweeps show it first. `error`: whose uncertainty it has: "step", the time of a step; "slowest", of prefill only its slowest
    pipeline stage; "" for what is exact. `plans`, `compare`: a column there. `best`: compare names the design with the least."""

    name: str
    unit: str
    meaning: str
    better: str = ""
    headline: bool = False
    error: str = ""
    plans: bool = False
    compare: bool = False
    best: bool = False


class Section(NamedTuple):
    """Names of one command or table; `note`: what a reader of them should know. The first is the time of a step and what it takes."""

    title: str
    note: str
    metrics: tuple[Metric, ...]


_STEP = (
    ("fits", FLAG, "headline", "whether the memory suffices"),
    ("ttft_s", "seconds", "less headline step plans compare best", "prefill: time of the step, and so to the first token, without queueing"),
    ("ttft_low_s", "seconds", "less step plans compare", "lower end of the 90 % interval of `ttft_s`"),
    ("ttft_high_s", "seconds", "less step plans compare", "upper end of the 90 % interval of `ttft_s`"),
    ("tpot_s", "seconds", "less headline step plans compare best", "decode: time of the step, and so of an output token"),
    ("tpot_low_s", "seconds", "less step plans compare", "lower end of the 90 % interval of `tpot_s`"),
    ("tpot_high_s", "seconds", "less step plans compare", "upper end of the 90 % interval of `tpot_s`"),
    ("speed_of_light_s", "seconds", "less headline", "least time by the datasheet, without overheads"),
    ("input_tokens_per_s", "rate", "more slowest", "prefill and a mixed step: new tokens of all prompts / time"),
    ("output_tokens_per_s", "rate", "more slowest", "decode: new tokens of all sequences / time"),
    ("input_tokens_per_s_per_gpu", "rate", "more headline slowest plans compare", "`input_tokens_per_s` / devices"),
    ("output_tokens_per_s_per_gpu", "rate", "more headline slowest plans compare", "`output_tokens_per_s` / devices"),
    ("output_tokens_per_s_per_user", "rate", "more step plans", "1 / `tpot_s`"),
    ("usd_per_million_input_tokens", "usd", "less headline slowest plans compare", "prefill: devices × time × price per hour, for a million tokens; absent without a price"),
    ("usd_per_million_output_tokens", "usd", "less headline slowest plans compare best", "decode: the same for output tokens"),
    ("joules_per_input_token_assumed", "joules", "less slowest", "prefill: every device at TDP all the time: an upper end, assumed; absent without a TDP"),
    ("joules_per_output_token_assumed", "joules", "less slowest", "decode: the same for output tokens"),
    ("flops_per_token", "flops", "", "model FLOPs of a new token, all ranks together"),
    ("mfu", "fraction", "more slowest plans", "model FLOPs of all new tokens / (time × devices × dense peak)"),
    ("gpus", "count", "", "devices of the plan"),
    ("weight_bytes_per_gpu", "memory", "less", "weights as the engine loads them on the fullest GPU, without MTP ([theory/memory.md](theory/memory.md))"),
    ("kv_bytes_per_gpu", "memory", "less", "what the batch's requests take of the pool of the cache, in whole pages"),
    ("activation_bytes_per_gpu", "memory", "less", "activations of the engine's largest step"),
    ("non_torch_bytes_per_gpu", "memory", "", "memory outside PyTorch: NCCL, all-reduce and All2All buffers"),
    ("cuda_graph_bytes_per_gpu", "memory", "", "CUDA graphs; 0 with `plan.cuda_graph=off`"),
    ("reserve_bytes_per_gpu", "memory", "", "what the engine's share leaves; negative where terms outside the share take more than that"),
    ("memory_used_bytes_per_gpu", "memory", "less headline plans", "sum of the six above"),
    ("memory_capacity_bytes_per_gpu", "memory", "", "capacity as torch prints it"),
    ("memory_short_bytes_per_gpu", "memory", "less", "what is missing; 0 when it fits"),
    ("kv_pool_bytes_per_gpu", "memory", "more", "pool of the cache: what the terms leave of the engine's share"),
    ("kv_pool_tokens", "count", "more", "tokens that the pool of one replica holds, each counted in every layer"),
    ("max_concurrency", NUMBER, "more", "requests of this length that all pools hold, not rounded"),
    ("max_batch", "count", "more headline plans compare", "largest batch over all replicas that fits at this length"),
    ("max_context", "count", "headline compare", "decode: longest context at which this batch fits; null when the cache stops growing or nothing limits it"),
    ("share_compute", "fraction", "", "part of the time in compute-bound kernels"),
    ("share_memory", "fraction", "", "part in memory-bound kernels"),
    ("share_wire", "fraction", "less", "part on links"),
    ("share_overhead", "fraction", "less", "part in overheads; the four add up to 1"),
    ("share_measured", "fraction", "more", "part that rests on rows at a measured shape"),
    ("share_fitted", "fraction", "", "part that rests on a curve through rows of this device"),
    ("share_transferred", "fraction", "", "part that rests on rows of a related kernel or a sibling device"),
    ("share_datasheet", "fraction", "", "part that rests on the datasheet alone"),
    ("share_assumed", "fraction", "less", "the rest; the five add up to 1"),
    ("mla_form", TEXT, "", "which form of MLA was taken: expanded or absorbed; only for models with MLA"),
    ("prompt_mla_form", TEXT, "", "the same of the prompt in a mixed step"),
    ("all2all", TEXT, "", "which exchange of tokens was taken, where a plan left it open"),
    ("overlap", TEXT, "", "which overlap was taken, where a plan left it open"),
)  # fmt: skip
_SWEEP = (
    ("points", "count", "", "operating points; of `plans` (plan, batch, overlap) points that were priced"),
    ("points_feasible", "count", "", "points that can be run"),
    ("points_on_front", "count", "", "points that no other beats in both metrics of a map (Pareto front)"),
    ("pareto", FLAG, "", "whether a point is one of them"),
    ("feasible", FLAG, "", "of a row: whether it can be run"),
    ("reason", TEXT, "", "why a row cannot be run, or does not fit"),
)  # fmt: skip
_PLANS = (
    ("plans", "count", "", "ways to split the devices"),
    ("plans_feasible", "count", "", "those that run, fit and keep the limits"),
    ("plans_tied", "count", "", "plans *tied* with the best one"),
    ("plan", TEXT, "", "of the best plan of a device, or of a number of GPUs: its sizes above 1, its overlap"),
    ("sequence_parallel", TEXT, "", "whether activations between tensor-parallel regions are cut over the tp ranks"),
    ("versus_best", "change", "", "of a row: its ranked metric over that of the best plan, less 1"),
    ("probability_behind", "probability", "", "of a row: the *probability of the difference*: that its ranked metric is worse than that of the best plan; null for the best itself"),
    ("best_or_tied", FLAG, "", "of a row: the best plan, or one tied with it"),
    ("vpp", "count", "", "virtual stages that each pipeline rank holds, of schedules that take several; 1 for the others"),
    ("micro_batch", "count", "", "sequences of a micro-batch of a replica"),
    ("recompute", TEXT, "", "what backward passes run again"),
    ("zero_stage", "count", "", "what data-parallel ranks share out: 1 the states of the optimizer, 3 weights and gradients too"),
    ("priced_by", TEXT, "", "of a plan of training: the executor, or closed forms, which have no interval"),
    ("seq", "count", "", "tokens of a sequence"),
    ("isl", "count", "", "new tokens of each prompt"),
    ("mode", TEXT, "", "of a fleet: aggregated, where every instance prefills and decodes, or disaggregated, where pools of instances do either"),
    ("instances", "count", "", "of an aggregated fleet: how many instances it has, each with a scheduler for every replica of its attention"),
    ("prefill_pool", TEXT, "", "of a disaggregated fleet: instances that prefill and their sizes, as `serve --prefill-pool` takes them"),
    ("decode_pool", TEXT, "", "the same of instances that decode"),
    ("fleet_usd_per_hour", "usd", "less", "price of all GPUs of a fleet for an hour"),
    ("usd_per_thousand_requests", "usd", "less", "price of a thousand requests at the utilisation that is reached"),
    ("batch_per_replica", NUMBER, "", "sequences that one replica of the attention decodes, on average"),
    ("within_limits_requests_per_s", "rate", "more", "the most requests that a fleet answers within the limits on `ttft_s` and `tpot_s`"),
    ("simcost", TEXT, "", "version of simcost that answered"),
)  # fmt: skip
_COMPARE = (
    ("designs", "count", "", "designs compared; their numbers are in the rows"),
    ("best_ttft_s", TEXT, "", "the design with the least `ttft_s`"),
    ("best_tpot_s", TEXT, "", "the design with the least `tpot_s`"),
    ("best_usd_per_million_output_tokens", TEXT, "", "the design with the least `usd_per_million_output_tokens`"),
    ("best_kv_bytes_per_token", TEXT, "", "the design with the least `kv_bytes_per_token`"),
    ("tied_ttft_s", TEXT, "", "designs *tied* with the least `ttft_s`; absent where none is"),
    ("tied_tpot_s", TEXT, "", "designs *tied* with the least `tpot_s`; absent where none is"),
    ("design", TEXT, "", "the design's name"),
    ("flops_per_token_at_*", "flops", "", "model FLOPs of a new token at that context"),
    ("prefill_batch", "count", "", "prompts of the prefill"),
    ("ttft_versus_best", "change", "", "of a row: its `ttft_s` over the least, less 1"),
    ("ttft_probability_slower", "probability", "", "of a row: the *probability of the difference*: that its `ttft_s` is longer than the least; null for the least itself"),
    ("ttft_best_or_tied", FLAG, "", "of a row: its `ttft_s` is the least, or tied with it"),
    ("tpot_versus_best", "change", "", "of a row: its `tpot_s` over the least, less 1"),
    ("tpot_probability_slower", "probability", "", "of a row: the *probability of the difference*: that its `tpot_s` is longer than the least; null for the least itself"),
    ("tpot_best_or_tied", FLAG, "", "of a row: its `tpot_s` is the least, or tied with it"),
    ("prefill_speed_of_light_s", "seconds", "", "`speed_of_light_s` of the prefill"),
    ("decode_speed_of_light_s", "seconds", "", "`speed_of_light_s` of the decode step"),
    ("term", TEXT, "", "what the designs do in common, or a term of memory"),
    ("*_s", "seconds", "", "time of the term in the design of that name"),
    ("spread_s", "seconds", "", "largest less smallest time of a term"),
    ("phase", TEXT, "", "prefill or decode"),
    ("kernels", TEXT, "", "a group of kernels"),
    ("uncalibrated_s", "seconds", "", "its time by the roofline alone"),
    ("calibrated_s", "seconds", "", "its time by measured rows"),
    ("moved_s", "seconds", "", "the difference"),
    ("ratio", NUMBER, "", "the ratio"),
)  # fmt: skip
_EXPLAIN = (
    ("part", TEXT, "", "the kind of layer; of a training step the kind of work"),
    ("op", TEXT, "", "the kernel's place in it"),
    ("shape", TEXT, "", "the kernel's dimensions"),
    ("bound", TEXT, "", "what sets its time: compute, memory, wire or overhead"),
    ("basis", TEXT, "", "what its time rests on"),
    ("times", "count", "", "how often it runs in a step"),
    ("order", "count", "", "position in the step, from 1"),
    ("step_s", "seconds", "", "of a kernel: time of all its runs in a step; of training: time of a step, optimizer included"),
    ("step_low_s", "seconds", "", "lower end of its 90 % interval"),
    ("step_high_s", "seconds", "", "upper end of its 90 % interval"),
    ("time_s", "seconds", "", "time of one run; of a link all exposed and hidden transfers of the step"),
    ("half_width", "fraction", "", "of a kernel: upper end of the 90 % interval / time - 1; of a curve: log of upper end / time"),
    ("scatter", "fraction", "", "how far rows near this shape lie from the curve"),
    ("share", "fraction", "", "part of the step's time"),
    ("light_s", "seconds", "", "least time by the datasheet"),
    ("kernel", TEXT, "", "kernel class and formats"),
    ("low_s", "seconds", "", "lower end of the 90 % interval"),
    ("high_s", "seconds", "", "upper end of the 90 % interval"),
    ("flops", "flops", "", "FLOPs of one run"),
    ("bytes", "bytes", "", "bytes moved in one run"),
    ("intensity", NUMBER, "", "FLOP / B"),
    ("formula", TEXT, "", "how FLOPs and bytes were counted, or what a sequence keeps"),
    ("source", TEXT, "", "where the formula, the fact or the rows come from"),
    ("transfer", TEXT, "", "what is sent"),
    ("tier", TEXT, "", "over which links"),
    ("sent_bytes", "bytes", "", "what the busiest rank receives in one run"),
    ("sent_step_bytes", "bytes", "", "what it receives in a step"),
    ("exposed_share", "fraction", "", "part of the transfer's time in which nothing else runs"),
    ("step_share", "fraction", "", "exposed part of the step's time"),
    ("table", TEXT, "", "device, engine and version of measured rows, or the kernel class and formats that were judged"),
    ("engines", TEXT, "", "whose kernels the table speaks for, or whose tables a device has"),
    ("rows", "count", "", "measured rows"),
    ("how", TEXT, "", "own table, stand-in, or library of all engines"),
    ("stage", TEXT, "", "pipeline stage, or of a measured layer the phase"),
    ("holds", TEXT, "", "what the stage holds"),
    ("used_bytes_per_gpu", "memory", "", "memory that a GPU of this stage uses"),
    ("room_bytes_per_gpu", "memory", "", "what is left; negative where it does not fit"),
    ("fullest", FLAG, "", "the stage with least room"),
    ("layer", TEXT, "", "layers with this router"),
    ("routing", TEXT, "", "how tokens choose experts"),
    ("tokens", "count", "", "tokens that the experts of all ranks see"),
    ("busiest_expert_load", NUMBER, "", "tokens of the busiest expert over the mean"),
    ("busiest_rank_load", NUMBER, "", "tokens of the busiest rank over the mean"),
    ("experts_touched_per_rank", NUMBER, "", "experts that receive a token, of the busiest rank"),
    ("experts_per_rank", "count", "", "experts that a rank holds"),
    ("ranks_visited", NUMBER, "", "ranks that a token is sent to"),
    ("nodes_visited", NUMBER, "", "nodes that a token is sent to"),
    ("busiest_node_tokens", NUMBER, "", "tokens that the busiest node receives over the mean"),
    ("simulation_error", "fraction", "", "of the busiest rank's load, against draws token by token"),
)  # fmt: skip
_MODEL = (
    ("params_total", "parameters", "", "parameters of the checkpoint without MTP: `params_language` + `params_towers`; null where a tower cannot be counted"),
    ("params_language", "parameters", "", "parameters of the language model, its embedding and head included"),
    ("params_towers", "parameters", "", "parameters of towers for images and sounds, their projectors included; null where one cannot be counted"),
    ("params_mtp", "parameters", "", "parameters of the MTP modules, without the shared embedding and head"),
    ("params_active_all", "parameters", "", "parameters of the language model that a token passes, embedding and head included"),
    ("params_active_no_embedding", "parameters", "", "the same without the embedding"),
    ("params_active_no_embedding_no_head", "parameters", "", "the same without embedding and head"),
    ("kv_elements_per_token", NUMBER, "", "elements of the cache that a token's layers without windows hold, as published"),
    ("kv_elements_per_token_written", NUMBER, "", "elements that a token writes"),
    ("kv_elements_per_token_growing", NUMBER, "", "elements by which the cache grows at long context"),
    ("kv_bytes_per_token", "bytes", "best", "`kv_elements_per_token` in the cache format"),
    ("weight_bytes", "bytes", "", "stored weights with scales, towers included, without MTP; null where a tower cannot be counted"),
    ("block", TEXT, "", "a block of the model, or a measured layer"),
    ("layers", "count", "", "layers with it"),
    ("params_per_layer", "parameters", "", "parameters of one"),
    ("weights", TEXT, "", "its weights"),
    ("keeps", TEXT, "", "what a sequence keeps in its layers"),
    ("of_tokens", TEXT, "", "tokens of a sequence for each of which it is kept; of a state the sequence as a whole"),
    ("kept_elements", NUMBER, "", "elements of all its layers, for a token or a sequence"),
    ("kept_bytes", "bytes", "", "the same in the cache format or the state's own, with scales"),
    ("convention", TEXT, "", "how training FLOPs are counted"),
    ("training_flops_per_token", "flops", "", "training FLOPs of a token by that convention"),
    ("models", "count", "", "models"),
    ("model", TEXT, "", "the model's name"),
    ("attention", TEXT, "", "kinds of attention"),
    ("ffn", TEXT, "", "kinds of FFN"),
)  # fmt: skip
_CROSSOVER = (
    ("prefill_crossover_tokens", "count", "", "prompt length from which attention-core FLOPs exceed the FFN's; null when they never do"),
    ("token_crossover_context", "count", "", "the same for the context of a single new token, plain (expanded) attention"),
    ("token_crossover_context_absorbed", "count", "", "the same when MLA runs absorbed, as decode does; only for models with MLA"),
    ("ffn_flops_per_token", "flops", "", "FFN of all layers, active experts only"),
    ("length", "count", "", "prompt length"),
    ("attention_core_flops_per_token", "flops", "", "attention cores of all layers, a token of a prompt of that length"),
    ("attention_share", "fraction", "", "attention cores' part of attention and FFN"),
    ("batch", "count", "", "sequences"),
    ("weight_bytes_read_per_gpu", "bytes", "", "weights that a decode step of that batch reads"),
    ("context", "count", "", "context at which it reads as many bytes of the cache"),
    ("context_x_batch", "count", "", "`context` × `batch`"),
    ("past", "count", "", "cached tokens"),
    ("queries", "count", "", "new tokens a sequence from which expanded MLA wins; null where that is no more than noise"),
    ("absorbed_surely_to", "count", "", "up to here absorbed MLA wins by more than the 90 % interval of the ratio"),
    ("expanded_surely_from", "count", "", "from here expanded MLA wins by more than that"),
)  # fmt: skip
_MEMORY = (
    ("bytes_per_gpu", "memory", "", "size of a term"),
    ("why", TEXT, "", "its source; of dropped rows the reason"),
    ("bytes_per_token", "bytes", "", "cache of a token in one layer of a kind"),
    ("tokens_held", "count", "", "tokens that a layer of a kind holds of a request"),
    ("request_bytes_per_gpu", "memory", "", "cache of a request in all layers of a kind"),
)  # fmt: skip
_HARDWARE = (
    ("peak_*", "flops_per_s", "", "dense peak in that format"),
    ("memory_capacity", "memory", "", "capacity"),
    ("memory_bandwidth", "bytes_per_s", "", "bandwidth of the memory"),
    ("price_usd_per_hour", "usd", "", "price of a device for an hour, quoted"),
    ("links_*_bandwidth", "bytes_per_s", "", "bandwidth of a device's links, one direction"),
    ("links_scaleup_domain", "count", "", "devices of a scale-up domain"),
    ("links_scaleup_reduces", FLAG, "", "1: switches reduce"),
    ("links_pcie_generation", "count", "", "generation of PCIe"),
    ("compute_sm_count", "count", "", "multiprocessors"),
    ("compute_boost_clock", "hertz", "", "boost clock"),
    ("compute_l2", "bytes", "", "size of the L2 cache"),
    ("power_tdp", "watts", "", "thermal design power"),
    ("key", TEXT, "", "the profile's key"),
    ("value", NUMBER, "", "its value in SI"),
    ("stated", TEXT, "", "its value as stated"),
    ("rows_from", TEXT, "", "a run, or the profile that lends rows"),
    ("kind", TEXT, "", "measured, imported or a stand-in; of a measured layer its class; of a table its formats"),
    ("kinds", "count", "", "kernel classes and formats"),
    ("quality", TEXT, "", "whether a run was disturbed"),
    ("spread", "fraction", "", "one standard deviation of a stand-in's log error"),
    ("expected_p90_error", "fraction", "", "P90 error to be expected of a stand-in"),
    ("hardware", TEXT, "", "a profile, or profiles"),
    ("title", TEXT, "", "the device's full name"),
    ("*_flops_per_s", "flops_per_s", "", "dense peak in that format, or a rate that was reached"),
    ("memory_bytes", "memory", "", "capacity"),
    ("memory_bytes_per_s", "bytes_per_s", "", "bandwidth of the memory"),
    ("scaleup_bytes_per_s", "bytes_per_s", "", "bandwidth of scale-up links, one direction"),
    ("domain", "count", "", "devices of a scale-up domain"),
    ("measured_rows", "count", "", "measured rows of a device"),
    ("like", TEXT, "", "the sibling that lends rows"),
    ("tdp_w", "watts", "", "thermal design power"),
    ("usd_per_hour", "usd", "", "price of a device for an hour"),
    ("engine", TEXT, "", "an engine"),
    ("stands_for", TEXT, "", "what its name means"),
    ("versions", TEXT, "", "versions of which tables ship"),
    ("stand_ins", TEXT, "", "engines whose tables answer, in this order, where its own are missing or unsound"),
)  # fmt: skip
_PLAN = (
    ("tp", "count", "", "tensor parallelism"),
    ("cp", "count", "", "context parallelism"),
    ("dp_attention", "count", "", "attention replicas that share experts"),
    ("pp", "count", "", "pipeline stages"),
    ("dp", "count", "", "copies of the model"),
    ("ep", "count", "", "expert parallelism"),
    ("etp", "count", "", "tensor parallelism within an expert"),
)
_SCORES = (
    ("n", "count", "", "predictions compared"),
    ("median_error", "fraction", "", "median of |predicted / measured - 1| on held-out rows"),
    ("p90_error", "fraction", "", "its 90 % quantile"),
    ("*_median_error", "fraction", "", "the same on the rows of that name"),
    ("*_p90_error", "fraction", "", "the same on the rows of that name, or on kernels of that class"),
    ("median_abs_error", "fraction", "", "median of |predicted / measured - 1|"),
    ("p90_abs_error", "fraction", "", "its 90 % quantile"),
    ("mean_abs_error", "fraction", "", "mean of |predicted / measured - 1|"),
    ("*_mean_abs_error", "fraction", "", "the same of the predictions of that name"),
    ("*_median_abs_error", "fraction", "", "the same of the term or the predictions of that name"),
    ("*_p90_abs_error", "fraction", "", "the same of the term or the predictions of that name"),
    ("bias", "fraction", "", "median of predicted / measured - 1"),
    ("*_bias", "fraction", "", "the same of the predictions of that name"),
    ("coverage", "fraction", "", "share of measurements inside their interval"),
    ("*_coverage", "fraction", "", "the same on the rows of that name"),
    ("*_n", "count", "", "predictions of that term compared"),
    ("error", "fraction", "", "predicted / measured - 1"),
    ("log_error", NUMBER, "", "log(predicted / measured)"),
    ("roofline_error", "fraction", "", "the same by the datasheet alone"),
    ("covered", FLAG, "", "inside its interval"),
    ("measured_s", "seconds", "", "time as measured"),
    ("predicted_s", "seconds", "", "time as predicted"),
    ("id", TEXT, "", "name of the measurement"),
    ("hw", TEXT, "", "device"),
    ("locator", TEXT, "", "where in the source"),
    ("numbers", TEXT, "", "dimensions of the kernel"),
    ("labels", TEXT, "", "its kind"),
    ("median_half_width", "fraction", "", "median half-width of the intervals"),
    ("within_bar", FLAG, "", "coverage lies between the bars"),
    ("looked_at", TEXT, "", "what a measurement was looked at for; empty: never"),
    ("looked_at_rows", "count", "", "measurements that were looked at before a decision"),
)  # fmt: skip
_VALIDATE_TRAINING = (
    ("judged", "count", "", "rows that are fitted and judged"),
    ("refused", "count", "", "rows that could not be predicted"),
    ("rows_of", TEXT, "", "rows that are fitted together, or a source"),
    ("group", TEXT, "", "what rows count for: judged, reported, repeat, drift, fine-tuning or simulated"),
    ("measure", TEXT, "", "figure that a bar is of"),
    ("bar", TEXT, "", "what it must reach"),
    ("passes", FLAG, "", "whether it does"),
    ("aim", FLAG, "", "an aim, which fails nothing"),
    ("peers", TEXT, "", "what other predictors reach on these rows"),
    ("micro_batch_error", "fraction", "", "of the slope of a step over its micro-batches"),
    ("bubble_micro_batches", NUMBER, "", "intercept of the same line, in micro-batches"),
    ("predicted_bubble_micro_batches", NUMBER, "", "the same as predicted"),
    ("off_micro_batches", NUMBER, "", "difference of the intercepts, in measured micro-batches"),
    ("stack", TEXT, "", "generation of the framework, of `workloads/stacks`"),
    ("split", TEXT, "", "how rows that make coefficients are parted from those that judge them"),
    ("n_fitted", "count", "", "rows that made the coefficients"),
    ("n_judged", "count", "", "rows that judge them"),
    ("factors", TEXT, "", "coefficients: factors on the seconds of a class of work"),
    ("error_left_out", "fraction", "", "median of |predicted / measured - 1| of rows that made no coefficient"),
    ("hash", TEXT, "", "of the rows that made the coefficients"),
)  # fmt: skip
_VALIDATE_SERVING = (
    ("answer", TEXT, "", "the predictor: unfitted or fitted, or another's name"),
    ("predictors", TEXT, "", "all of them"),
    ("slice", TEXT, "", "what the rows share: their family, engine, device or format, or why they stand apart"),
    ("asked", "count", "", "rows that ask a question"),
    ("answered", "fraction", "", "share of them that the predictor answers"),
    ("within_fifth", "fraction", "", "share whose error is at most 20 %"),
    ("spearman", NUMBER, "", "rank correlation of predicted and measured over the loads of a sweep, median of the sweeps"),
    ("sweeps", "count", "", "sweeps of at least six loads"),
    ("ttft_bias", "fraction", "", "`bias` of TTFT"),
    ("format", TEXT, "", "format of the served checkpoint's weights"),
    ("osl", "count", "", "output tokens of each request"),
    ("rule", TEXT, "", "rule by which rows are read, of `workloads/validation/serving/rules.toml`"),
    ("load", TEXT, "", "kind of load: max is more requests than fit, batch 1 one sequence; or the load itself"),
    ("quantity", TEXT, "", "what a figure is of: ttft, tpot, output or input (tokens a second)"),
    ("measured_tokens_per_s", "rate", "", "tokens a second as measured"),
    ("predicted_tokens_per_s", "rate", "", "the same as predicted"),
    ("reference", TEXT, "", "where a source is"),
    ("reported", "count", "", "rows that other measurements contradict"),
    ("apart", "count", "", "rows that judge nothing"),
    ("speculative", "count", "", "rows with drafts"),
    ("unpriced", "count", "", "rows of a model or a device that is not here"),
)  # fmt: skip
_VALIDATE = (
    ("logs", "count", "", "start-up logs judged"),
    ("left_out", "count", "", "logs that could not be judged"),
    ("terms", "count", "", "terms that a log prints"),
    ("terms_apart", "count", "", "terms that are further off than expected"),
    ("release", TEXT, "", "release of the engine"),
    ("printed", NUMBER, "", "a count as the engine printed it"),
    ("predicted", NUMBER, "", "the same as predicted"),
    ("printed_bytes_per_gpu", "memory", "", "a size as the engine printed it"),
    ("predicted_bytes_per_gpu", "memory", "", "the same as predicted"),
    ("off_bytes_per_gpu", "memory", "", "the difference"),
    ("median_off_bytes_per_gpu", "memory", "", "median of |difference|"),
    ("p90_off_bytes_per_gpu", "memory", "", "its 90 % quantile"),
    ("story", TEXT, "", "why it is so"),
    ("may_come_from", TEXT, "", "where a difference may come from"),
    ("blocks", "count", "", "layers timed without disturbance"),
    ("disturbed_blocks", "count", "", "layers that were disturbed: in no figure"),
    ("direction", TEXT, "", "forward or backward"),
    ("dtype", TEXT, "", "format of the layer"),
    ("worst_op", TEXT, "", "the op that is furthest off"),
    ("worst_op_measured_s", "seconds", "", "its time as measured"),
    ("worst_op_predicted_s", "seconds", "", "its time as predicted"),
    ("in_situ_s", "seconds", "", "sum of the ops timed inside the layer"),
    ("isolated_s", "seconds", "", "sum of the ops timed alone"),
    ("in_situ_error", "fraction", "", "`in_situ_s` / the whole layer - 1"),
    ("composition_error", "fraction", "", "`isolated_s` / `in_situ_s` - 1"),
    ("eager_s", "seconds", "", "the layer launched op by op"),
    ("graph_s", "seconds", "", "the layer as a CUDA graph"),
    ("samples", "count", "", "timings of a layer"),
    ("dirty", "fraction", "", "share of samples that were disturbed"),
    ("disturbed", FLAG, "", "too many samples were disturbed"),
    ("share_of_time", "fraction", "", "an op's part of all measured time"),
    ("gap_of_time", "fraction", "", "its part of all time that is missing or too much"),
)  # fmt: skip
_CALIBRATE = (
    ("curves", "count", "", "curves"),
    ("runs", "count", "", "tables and runs"),
    ("curve", TEXT, "", "kernel class and formats"),
    ("family", TEXT, "", "kernel class"),
    ("run", TEXT, "", "the table or run of its rows"),
    ("version", TEXT, "", "version of the engine"),
    ("answers", TEXT, "", "for which engines a curve answers: `any` for every one, `b300:vllm` for vLLM on another device that lacks a table; empty: others come before it"),
    ("tested", "count", "", "held-out rows"),
    ("width_over_error", NUMBER, "", "median half-width over the median error"),
    ("unused_rows", "count", "", "rows of the imported table that were thinned away: never seen by any curve"),
    ("excluded_rows", "count", "", "rows that an import left out though their work is known"),
    ("t0_s", "seconds", "", "start-up time of the form ([theory/calibration.md](theory/calibration.md))"),
    ("*_efficiency", "fraction", "", "share of the profile's rate that the form reaches"),
    ("half_bytes", "bytes", "", "bytes at which half of the rate is reached"),
    ("sharpness", NUMBER, "", "how sharply the form turns from one bound to the other"),
    ("half_sizes", TEXT, "", "sizes at which half of the rate is reached"),
    ("law", TEXT, "", "a law that predictions should keep"),
    ("device", TEXT, "", "the device of a law"),
    ("what", TEXT, "", "the question of a law, or what lends rows"),
    ("at", TEXT, "", "the worst place"),
    ("broken", "count", "", "places at which a law is broken"),
    ("less_s", "seconds", "", "time of what should be faster"),
    ("less_low_s", "seconds", "", "lower end of its interval"),
    ("less_high_s", "seconds", "", "upper end of its interval"),
    ("more_s", "seconds", "", "time of what should be slower"),
    ("more_low_s", "seconds", "", "lower end of its interval"),
    ("more_high_s", "seconds", "", "upper end of its interval"),
    ("beyond", NUMBER, "", "how far a law is broken, over the interval of the ratio"),
    ("pairs", "count", "", "stand-ins judged"),
    ("by", TEXT, "", "the profile that lends rows"),
    ("of", TEXT, "", "the table or run that was judged"),
    ("unsound", "count", "", "unsound kinds or tables"),
    ("dropped", TEXT, "", "rows that were left out: how many, and of an import why"),
    ("verdict", TEXT, "", "sound, or why not ([theory/soundness.md](theory/soundness.md))"),
    ("at_import", TEXT, "", "the verdict of the whole table, before it was thinned"),
    ("*_over_light", NUMBER, "", "median time over light: `tiny` below 5 us of light; from 20 us on bound by `compute` or `memory`"),
    ("falling_share", "fraction", "", "share of steps to a larger kernel at which the time falls by more than 2 %"),
    ("best", TEXT, "", "the fastest shipped table of the kind"),
    ("over_best", NUMBER, "", "how many times its time the rows take"),
    ("against", TEXT, "", "another shipped table of the kind"),
    ("times_*", NUMBER, "", "how many times its time the rows take, by class"),
    ("equal_shapes", "count", "", "shapes that both have"),
    ("by_its_curve", "count", "", "shapes at which its curve spoke"),
    ("worst", TEXT, "", "the worst of the dropped rows"),
    ("factor", NUMBER, "", "how many times its neighbours' time it takes"),
    ("do", TEXT, "", "what to do about it"),
    ("tables", TEXT, "", "tables: how many, or which"),
    ("written", "count", "", "tables that ship"),
    ("rows_in_table", "count", "", "rows of the whole table"),
    ("rows_left", "count", "", "rows after the filters"),
    ("above_datasheet", "count", "", "rows faster than the datasheet allows"),
    ("remark", TEXT, "", "what else is worth knowing"),
    ("picked_by", TEXT, "", "engines that a table speaks for"),
    ("engine_small", NUMBER, "", "error of the engine's own table on small kernels"),
    ("engine_large", NUMBER, "", "error of the engine's own table on large kernels"),
    ("sibling_small", NUMBER, "", "error of the sibling's table on small kernels"),
    ("sibling_large", NUMBER, "", "error of the sibling's table on large kernels"),
)  # fmt: skip


def _section(title: str, rows: tuple[tuple[str, str, str, str], ...], note: str = "") -> Section:
    return Section(title, note, tuple(_metric(*row) for row in rows))


def _metric(name: str, unit: str, flags: str, meaning: str) -> Metric:
    said = flags.split()
    if any(word not in _FLAGS for word in said):
        raise ValueError(f"{name}: {flags}")
    better = "more" if "more" in said else "less" if "less" in said else ""
    error = "step" if "step" in said else "slowest" if "slowest" in said else ""
    return Metric(
        name, unit, meaning, better, "headline" in said, error, "plans" in said, "compare" in said, "best" in said
    )


_KEYS = (
    ("keys", "count", "", "keys listed"),
    ("takes", TEXT, "", "the values that a key takes"),
    ("default", TEXT, "", "what holds where it is not set"),
    ("meaning", TEXT, "", "what it does"),
    ("needs", TEXT, "", "what must hold, or it has no effect"),
    ("aliases", TEXT, "", "other spellings"),
)

_SERVE = (
    ("concurrency", "count", "", "users who each send their next request when an answer ends"),
    ("rate_per_s", "rate", "", "requests that come a second"),
    ("queueing_s", "seconds", "less", "part of `ttft_s` before the prompt is touched"),
    ("itl_s", "seconds", "less", "time between two steps that bring tokens of an answer: `tpot_s` × tokens a step, which speculative decoding makes more than 1; absent, as `tpot_s`, where an answer is one token"),
    ("e2e_s", "seconds", "less", "from the request to the last token of its answer: `ttft_s` + (osl - 1) × `tpot_s`"),
    ("requests_per_s", "rate", "more", "requests that are answered, of the whole fleet"),
    ("output_tokens_per_s_low", "rate", "", "lower end of the 90 % interval of `output_tokens_per_s`; at a rate what comes, as far as the fleet can serve it"),
    ("output_tokens_per_s_high", "rate", "", "upper end of it"),
    ("running", NUMBER, "", "sequences that decode, of the whole fleet, on average"),
    ("queued", NUMBER, "less", "requests before their first token, of the whole fleet, on average"),
    ("kv_used_fraction", "fraction", "", "part of the pool of the cache that running sequences hold"),
    ("utilisation", "fraction", "", "`requests_per_s` / `capacity_requests_per_s`"),
    ("capacity_requests_per_s", "rate", "more", "most requests of these lengths that the fleet answers"),
    ("usd_per_million_cached_tokens", "usd", "less", "price of a million prompt tokens from the prefix cache: what they add to attention of the new ones"),
    ("figure", TEXT, "", "of a run request by request: time to the first token, between tokens of a request, between any two tokens, of a request in all, before a prompt is touched"),
    ("mean_s", "seconds", "", "its mean"),
    ("p50_s", "seconds", "", "its median"),
    ("p90_s", "seconds", "", "what 90 % of requests (of itl: of gaps) do not exceed"),
    ("p99_s", "seconds", "", "what 99 % do not exceed"),
    ("*_p50_s", "seconds", "", "`--events`: the median over requests of the time of that name"),
    ("*_p90_s", "seconds", "", "`--events`: what 90 % of requests do not exceed"),
    ("*_p99_s", "seconds", "", "`--events`: what 99 % of requests do not exceed"),
    ("kv_transfer_s", "seconds", "less", "disaggregated: from the end of a prefill to the cache of the prompt on its decode ranks"),
    ("limit", TEXT, "", "what keeps the fleet from more throughput at this load"),
)  # fmt: skip
_SCHEDULE = (
    ("schedule", TEXT, "", "name of a pipeline schedule"),
    ("makespan_s", "seconds", "less", "from the start to the end of the last pass; with `--no-barrier` the longest span of a rank, from its first pass to its last"),
    ("ideal_s", "seconds", "", "occupied time of the busiest rank; a forward beside a backward counts once"),
    ("makespan_over_ideal", NUMBER, "less", "`makespan_s` / `ideal_s`"),
    ("bubble_fraction", "fraction", "less", "idle share of all ranks over `makespan_s`; of a rank its own"),
    ("lower_bound_s", "seconds", "", "no order ends earlier: over ranks, arrival of its first forward + its occupied time + the way back where both gradients run together; without a barrier `ideal_s`"),
    ("closed_form_s", "seconds", "", "`makespan_s` by the schedule's closed form, which plans are ranked by; a note says where it is exact"),
    ("peak_inflight", "count", "", "most chunks that a rank keeps: micro-batches of one virtual stage, from the start of their forward to the end of their input gradient"),
    ("peak_inflight_to_w", "count", "", "the same to the end of their weight gradient"),
    ("ranks", "count", "", "pipeline ranks"),
    ("stages", "count", "", "virtual stages of all ranks"),
    ("best_bubble_fraction", TEXT, "", "the schedule with the least `bubble_fraction`"),
    ("rank", "count", "", "pipeline rank, from 0"),
    ("virtual_stages", TEXT, "", "virtual stages that a rank holds, or a pass runs through"),
    ("busy_s", "seconds", "", "occupied time"),
    ("idle_s", "seconds", "", "the rest of `makespan_s`"),
    ("pass", TEXT, "", "a kind of pass on the critical path: what the last pass waited for, back to the start"),
    ("path_s", "seconds", "", "its time on that path"),
)  # fmt: skip
_TRAIN = (
    ("hfu", "fraction", "more", "`mfu` with the FLOPs that recomputation adds"),
    ("tokens_per_s_per_gpu", "rate", "more", "tokens of a step / (time × devices)"),
    ("flops_per_s_per_gpu", "flops_per_s", "more", "`training_flops_per_token` × `tokens_per_s_per_gpu`"),
    ("exposed_communication", "fraction", "less", "part of the step in which the busiest rank runs nothing but communication, waits for other ranks not counted"),
    ("memory_peak_bytes", "memory", "less", "memory of a GPU at the worst moment of the step, of the fullest rank: `memory_allocated_bytes`, the allocator's slack and the runtime"),
    ("host_memory_bytes", "memory", "less", "memory of the host that a GPU fills: a moving average of the weights that `plan.ema=host` keeps there"),
    ("memory_allocated_bytes", "memory", "less", "what PyTorch has given out then (`max_memory_allocated`)"),
    ("memory_capacity_bytes", "memory", "", "memory of a GPU"),
    ("global_batch", "count", "", "sequences of a step"),
    ("micro_batches", "count", "", "micro-batches that a replica runs in a step"),
    ("tokens_per_step", "count", "", "tokens of a step"),
    ("usd_per_billion_tokens", "usd", "less", "devices × time × price per hour, for a billion training tokens; absent without a price"),
    ("run_tokens", "tokens", "", "tokens of the run, in whole steps"),
    ("run_steps", "count", "", "its steps"),
    ("run_s", "duration", "less", "its time, with checkpoints, failures and restarts"),
    ("run_gpu_hours", "gpu_hours", "less", "`run_s` × devices"),
    ("run_gpu_hours_low", "gpu_hours", "less", "lower end of its 90 % interval"),
    ("run_gpu_hours_high", "gpu_hours", "less", "upper end of its 90 % interval"),
    ("run_gpu_hours_of_steps", "gpu_hours", "less", "`run_gpu_hours` × `goodput`: what its steps alone take, as papers report it"),
    ("run_usd", "usd", "less", "`run_gpu_hours` × price per hour; absent without a price"),
    ("run_usd_low", "usd", "less", "lower end of its 90 % interval"),
    ("run_usd_high", "usd", "less", "upper end of its 90 % interval"),
    ("run_joules_assumed", "joules", "less", "every device at TDP all the time: an upper end, assumed; absent without a TDP"),
    ("goodput", "fraction", "more", "part of the run's time in which its steps run ([theory/training-run.md](theory/training-run.md))"),
    ("mtbf_s", "duration", "more", "mean time between failures of all devices together"),
    ("checkpoint_interval_s", "duration", "", "time from one checkpoint to the next, by Young and Daly"),
    ("checkpoint_bytes", "bytes", "", "a checkpoint: weights and optimizer"),
    ("forward_s", "seconds", "", "forward passes of one micro-batch through all virtual stages of a rank"),
    ("backward_s", "seconds", "", "gradients of inputs and weights of the same, with what is recomputed"),
    ("parameter_bytes", "memory", "", "weights that a rank holds, with those that it gathers for a while"),
    ("gradient_bytes", "memory", "", "gradients that add up over micro-batches"),
    ("optimizer_bytes", "memory", "", "moments and master weights"),
    ("activation_bytes", "memory", "", "tensors that wait for backward passes, at the worst moment"),
    ("other_bytes", "memory", "", "what passes make for a while, buffers, the allocator's slack and the runtime"),
    ("change", TEXT, "", "one change of the question, as `--set` or an option takes it"),
    ("change_of_step", "change", "less", "time of the step with it over the time without it, less 1"),
)  # fmt: skip
_TRAIN_RUN = (
    ("checkpoint_write_s", "seconds", "less", "time to write a checkpoint, in which nothing trains"),
    ("restart_s", "seconds", "less", "time from a failure to the next step"),
    ("speedup", NUMBER, "more", "tokens a second over those of the first number of GPUs that can run"),
    ("efficiency", "fraction", "more", "`speedup` over the ratio of GPUs"),
)  # fmt: skip
_TRAIN_COMPARE = (
    ("speed_versus_best", "change", "", "of a row: its `tokens_per_s_per_gpu` over that of the fastest design, less 1"),
    ("speed_probability_behind", "probability", "", "of a row: the *probability of the difference*: that it is slower than the fastest; null for the fastest itself"),
    ("speed_best_or_tied", FLAG, "", "of a row: the fastest design, or one tied with it"),
    ("activation_bytes_per_token_per_layer", "bytes", "less", "what a rank keeps of a token in a layer for backward passes, the mean over layers"),
    ("best_tokens_per_s_per_gpu", TEXT, "", "the design with the most `tokens_per_s_per_gpu`"),
    ("tied_tokens_per_s_per_gpu", TEXT, "", "designs *tied* with it; absent where none is"),
    ("best_memory_peak_bytes", TEXT, "", "the design with the least `memory_peak_bytes`"),
    ("best_training_flops_per_token", TEXT, "", "the design with the least `training_flops_per_token`"),
)  # fmt: skip
_LAWS = (
    ("laws", "count", "", "scaling laws that ship"),
    ("laws_of_loss", "count", "", "laws that give a loss of the design"),
    ("laws_of_sizes", "count", "", "laws that give compute-optimal sizes"),
    ("scaling_law", TEXT, "", "name of a published scaling law"),
    ("gives", TEXT, "", "what a law gives: loss, compute-optimal sizes, or compute against a dense model"),
    ("covers", TEXT, "", "designs that a law was fitted on"),
    ("certainty", TEXT, "", "whether independent texts confirm a law; one that is not verified gives no number"),
    ("paper", TEXT, "", "where a law was published"),
    ("params_range", TEXT, "", "parameters over which a law was fitted, as it counts them"),
    ("tokens_range", TEXT, "", "training tokens over which it was fitted"),
    ("flops_range", TEXT, "", "training compute over which it was fitted"),
    ("residual", NUMBER, "", "root mean square error of the loss that the source states [nats]; the larger of fit and held-out runs"),
    ("law_params", "parameters", "", "parameters of the design as the law counts them"),
    ("counted_as", TEXT, "", "what the law counts as the size of a model"),
    ("loss", NUMBER, "", "loss that a law expects [nats per token of its own tokenizer]"),
    ("loss_low", NUMBER, "", "lower end of its 90 % interval, by the errors that the source states"),
    ("loss_high", NUMBER, "", "upper end of the same"),
    ("dense_params", "parameters", "", "parameters of a dense model that has this loss by this law, on as many tokens"),
    ("training_flops", "training_flops", "", "training compute by the law's own count"),
    ("optimal_params", "parameters", "", "parameters of least loss for that compute"),
    ("optimal_flops_per_token", "flops", "", "the same in non-embedding FLOPs of a token, where a law counts those"),
    ("optimal_tokens", "tokens", "", "training tokens of least loss for that compute"),
    ("optimal_loss", NUMBER, "", "that loss [nats per token]"),
    ("tokens_over_optimal", NUMBER, "", "tokens of the design over `optimal_tokens`"),
    ("loss_over_optimal", NUMBER, "", "`loss` - `optimal_loss` [nats per token]"),
    ("dense_over_moe_flops", NUMBER, "", "training compute of a dense model of equal loss over that of the design, both compute-optimal"),
    ("dense_training_flops", "training_flops", "", "the former"),
    ("asked_for", TEXT, "", "what a law was asked for"),
    ("coefficient", TEXT, "", "a coefficient of the formula"),
    ("standard_error", NUMBER, "", "its standard error as the source states it"),
    ("extent", TEXT, "", "`fitted`: where the law was fitted; `published`: as far as the source itself used it; `dense`: of its dense models"),
    ("variable", TEXT, "", "what a range bounds"),
    ("least", NUMBER, "", "from here on"),
    ("most", NUMBER, "", "up to here"),
    ("what_it_is", TEXT, "", "a term of the law in words"),
)  # fmt: skip
_SOLVE = (
    ("solved", TEXT, "", "the value that reaches the goal, as it is read; null where none does, or all do"),
    ("solved_value", NUMBER, "", "the same in SI"),
    ("solved_value_low", NUMBER, "", "lower of both values at which an end of the metric's 90 % interval reaches the goal, SI; null where none does, or more than one"),
    ("solved_value_high", NUMBER, "", "upper of both"),
    ("reached", FLAG, "", "whether any value reaches the goal"),
    ("goal_value", NUMBER, "", "the goal in SI"),
    ("binds", TEXT, "", "goal or memory: what keeps the value from going on"),
    ("turn", TEXT, "", "a value at which the goal begins or ends to hold; listed where there is more than one"),
    ("turn_value", NUMBER, "", "the same in SI"),
    ("side", TEXT, "", "on which side of it the goal holds: below or above"),
    ("metric_there", TEXT, "", "the metric at it"),
    ("metric_value", NUMBER, "", "the same in SI"),
)  # fmt: skip
_SENSITIVITY = (
    ("numbers_varied", "count", "", "numbers of the question"),
    ("numbers_that_act", "count", "", "those that move the metric"),
    ("number", TEXT, "", "path of a number, as --set takes it"),
    ("elasticity", NUMBER, "", "ln of the ratio of the metric at both values / ln of the ratio of the values"),
    ("elasticity_low", NUMBER, "", "lower end of its 90 % interval"),
    ("elasticity_high", NUMBER, "", "upper end of its 90 % interval"),
    ("tied", FLAG, "", "the metrics at both values differ by less than what is unknown of their ratio (90 %)"),
    ("elasticity_below", NUMBER, "", "the same between the lower value and the present one; null where both sides agree"),
    ("elasticity_above", NUMBER, "", "the same between the present value and the higher one"),
    ("interval", TEXT, "", "its 90 % interval, as it is read"),
    ("tried", TEXT, "", "both values that were compared; where a side has none, the present value"),
    ("metric_at_both", TEXT, "", "the metric at both"),
    ("now", TEXT, "", "the present value"),
    ("rests_on", TEXT, "", "what the time at the higher value rests on"),
    ("less_value", NUMBER, "", "the lower value in SI"),
    ("more_value", NUMBER, "", "the higher value in SI"),
    ("metric_with_less", NUMBER, "", "the metric at the lower value in SI"),
    ("metric_with_more", NUMBER, "", "the metric at the higher value in SI"),
)  # fmt: skip

SECTIONS = (
    _section("prefill, decode, explain", _STEP, "Sizes of memory are those of the fullest GPU."),
    _section("sweeps", _SWEEP, "A row is an operating point, with the metrics above."),
    _section(
        "compare", _COMPARE,
        "Rows of `designs` hold the metrics of one decode step and of one prefill of `prefill_batch` prompts, by default one a replica of the attention and copy "
        "of the model, so that none is idle: `ttft_s` and the price of input are of that batch. Designs of one name are told apart by what was typed.",
    ),
    _section(
        "plans", _PLANS,
        "A row is a plan at its best batch and overlap: its sizes, its metrics with the intervals of the ranked one and of the time, or its `reason`. Only metrics "
        "with a better side rank plans; `*_low` and `*_high` are the ends of the 90 % interval of the one that ranks. Batches are the best of all within memory and "
        "limits, to a 64th or one sequence a replica; of large clusters the best 64 splits are, and the others to a quarter of a power of two under a limit "
        "(decision 0020). Rows of `--phase serve` are fleets, with the metrics of `serve` at the load that they carry; `pareto` holds what no other plan and load of a device and mode beats.",
    ),
    _section("sizes of a plan", _PLAN),
    _section("tables of explain", _EXPLAIN),
    _section("show model, list models", _MODEL),
    _section("crossover", _CROSSOVER, "Rows of the forms of MLA stand by cached tokens (`past`)."),
    _section(
        "decode and prefill with --solve", _SOLVE,
        "Beside the metrics of the step at the solved value; where no value reaches the goal, at the one that comes nearest ([theory/sensitivity.md](theory/sensitivity.md)).",
    ),
    _section("sensitivity", _SENSITIVITY, "Numbers are ranked by elasticity. Beside them the metric itself ([theory/sensitivity.md](theory/sensitivity.md))."),
    _section("show memory", _MEMORY),
    _section(
        "serve", _SERVE,
        "Beside `ttft_s`, `tpot_s` (the first token left out), rates and prices, which stand for the load: TTFT with its queueing, prices at the utilisation that is reached.",
    ),
    _section("schedule", _SCHEDULE),
    _section(
        "train", _TRAIN,
        "Beside `step_s` with its interval, `mfu`, `bubble_fraction`, `fits`, `gpus` and the shares. Rows of `where the step goes` add up to the step. "
        "The rest of a step that ranks wait is in `bubble`; kinds of communication are what nothing hides.",
    ),
    _section("train: the run", _TRAIN_RUN),
    _section("compare --phase train", _TRAIN_COMPARE, "Beside them the metrics of `train`; parts of memory are those of the fullest rank."),
    _section("show hardware, list hardware, list engines", _HARDWARE, "`show hardware` prints the keys of the profile with `_` for `.`."),
    _section(
        "loss, list scaling-laws, show scaling-law", _LAWS,
        "Losses of different laws do not compare: each has its own data, tokenizer and recipe ([theory/scaling_laws.md](theory/scaling_laws.md)).",
    ),
    _section("keys", _KEYS),
    _section("scores of validate and calibrate", _SCORES),
    _section("validate blocks, validate memory, calibrate memory", _VALIDATE),
    _section("validate training", _VALIDATE_TRAINING),
    _section("validate serving", _VALIDATE_SERVING),
    _section("calibrate", _CALIBRATE),
)  # fmt: skip
_EXACT = {metric.name: metric for section in SECTIONS for metric in section.metrics if "*" not in metric.name}
_PATTERNS = tuple(metric for section in SECTIONS for metric in section.metrics if "*" in metric.name)


@cache
def find(name: str) -> Metric | None:
    """The metric or column of that name; a pattern stands for names that hold a design, a format or a length; `_low` and `_high` after a name are
    the ends of its interval. None: printed nowhere."""
    known = _EXACT.get(name)
    if known is not None:
        return known
    end = {"_low": "lower", "_high": "upper"}.get(name[name.rfind("_") :])
    of = _EXACT.get(name[: name.rfind("_")])
    if end and of is not None and of.error:
        return Metric(name, of.unit, f"{end} end of the 90 % interval of `{of.name}`", of.better, error=of.error)
    matching = [metric for metric in _PATTERNS if fnmatchcase(name, metric.name)]
    # A time is one, whatever the design that its name begins with is called.
    return max(matching, key=lambda metric: (metric.name.startswith("*"), len(metric.name)), default=None)


def unit(name: str) -> str:
    """Dimension of a metric or column; NUMBER for a plain number, and for what is known nowhere, as the axes of a sweep."""
    known = find(name)
    return NUMBER if known is None else known.unit


def of_plans() -> list[str]:
    """Columns of `plans`, in order."""
    return [metric.name for metric in _every() if metric.plans]


def of_compare() -> list[str]:
    """Columns of `compare` that a step's metrics fill, in order."""
    return [metric.name for metric in _every() if metric.compare]


def headlines() -> list[str]:
    """What a sweep shows first, in order."""
    return [metric.name for metric in _every() if metric.headline]


def least() -> list[str]:
    """Those of which `compare` names the design with the least."""
    return [metric.name for metric in _every() if metric.best]


def ranking() -> list[str]:
    """Those of which more, or less, is better."""
    return [metric.name for metric in _every() if metric.better]


def error(name: str) -> str:
    """Whose uncertainty a metric has: "step", "slowest", or "" where it is exact."""
    known = find(name)
    return "" if known is None else known.error


def _every() -> Iterator[Metric]:
    return (metric for section in SECTIONS for metric in section.metrics)
