"""Every name that simcost prints, in metrics and in the columns of tables: unit, which way is better, what it means.

Tables, cells, ranking, JSON, the columns of `plans` and `compare`, and docs/metrics.md read this; a test asks every command for names that
stand nowhere here. Values are SI floats; units are dimensions of `units.show`.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

from simcost.metrics import answers, facts, judged, learning, recipes, steps, thinking, traced, training
from simcost.metrics._words import FLAG as FLAG
from simcost.metrics._words import NUMBER as NUMBER
from simcost.metrics._words import TEXT as TEXT
from simcost.metrics._words import Metric as Metric
from simcost.metrics._words import Section as Section
from simcost.metrics._words import section

SECTIONS = (
    section("prefill, decode, explain", steps.STEP, "Sizes of memory are those of the fullest GPU."),
    section("sweeps", steps.SWEEP, "A row is an operating point, with the metrics above."),
    section(
        "compare", steps.COMPARE,
        "Rows of `designs` hold the metrics of one decode step and of one prefill of `prefill_batch` prompts, by default one a replica of the attention and copy "
        "of the model, so that none is idle: `ttft_s` and the price of input are of that batch. Designs of one name are told apart by what was typed.",
    ),
    section(
        "plans", steps.PLANS,
        "A row is a plan at its best batch and overlap: its sizes, its metrics with the intervals of the ranked one and of the time, or its `reason`. Only metrics "
        "with a better side rank plans; `*_low` and `*_high` are the ends of the 90 % interval of the one that ranks. Batches are the best of all within memory and "
        "limits, to a 64th or one sequence a replica; of large clusters the best 64 splits are, and the others to a quarter of a power of two under a limit "
        "(decision 0020). Rows of `--phase serve` are fleets, with the metrics of `serve` at the load that they carry; `pareto` holds what no other plan and load of a device and mode beats.",
    ),
    section("sizes of a plan", steps.PLAN),
    section("tables of explain", steps.EXPLAIN),
    section("explain --op", steps.EXPLAIN_OP, "Beside columns of `ops`: formula, shape and bound of the kernel, the curves that time it (`docs/theory/calibration.md`), the rows nearest to it, the parts of its interval."),
    section("show model, list models", facts.MODEL),
    section("crossover", steps.CROSSOVER, "Rows of the forms of MLA stand by cached tokens (`past`)."),
    section(
        "decode and prefill with --solve", steps.SOLVE,
        "Beside the metrics of the step at the solved value; where no value reaches the goal, at the one that comes nearest ([theory/sensitivity.md](theory/sensitivity.md)).",
    ),
    section("sensitivity", steps.SENSITIVITY, "Numbers are ranked by elasticity. Beside them the metric itself ([theory/sensitivity.md](theory/sensitivity.md))."),
    section("show memory", facts.MEMORY),
    section(
        "serve", steps.SERVE,
        "Beside `ttft_s`, `tpot_s` (the first token left out), rates and prices, which stand for the load: TTFT with its queueing, prices at the utilisation that is reached.",
    ),
    section(
        "think", thinking.THINK,
        "A row is a budget or a level, with `tpot_s` and `utilisation` of the load. P50 and P95 are over queries ([theory/thinking.md](theory/thinking.md)).",
    ),
    section(
        "distill", thinking.DISTILL,
        "Rows of `variants` train on the same tokens ([theory/distillation.md](theory/distillation.md)).",
    ),
    section("schedule", training.SCHEDULE),
    section(
        "train", training.TRAIN,
        "Beside `step_s` with its interval, `mfu`, `bubble_fraction`, `fits`, `gpus` and the shares. Rows of `where the step goes` add up to the step. "
        "The rest of a step that ranks wait is in `bubble`; kinds of communication are what nothing hides.",
    ),
    section("train: the run", training.TRAIN_RUN),
    section("compare --phase train", training.TRAIN_COMPARE, "Beside them the metrics of `train`; parts of memory are those of the fullest rank."),
    section(
        "recipe", recipes.RECIPE,
        "Intervals hold those of the model and the ranges of assumptions; in all they are added as if they moved together ([theory/recipe.md](theory/recipe.md)).",
    ),
    section(
        "rl", learning.RL,
        "Beside `step_s` with its interval, `tokens_per_step`, `tokens_per_s_per_gpu`, `memory_peak_bytes`, `fits` and `gpus`. Times are of one step; rows of `phases` are those of a "
        "whole rollout where several steps share one ([theory/rl-step.md](theory/rl-step.md)).",
    ),
    section("trace", traced.TRACE, "Times are of one step and one rank. Beside them `busy_s`, in which a kernel runs, and `measured_s`, `predicted_s`, `error` and `covered` of what is compared ([howto/compare-a-trace.md](howto/compare-a-trace.md))."),
    section("show hardware, list hardware, list engines", facts.HARDWARE, "`show hardware` prints the keys of the profile with `_` for `.`."),
    section(
        "loss, list scaling-laws, show scaling-law", facts.LAWS,
        "Losses of different laws do not compare: each has its own data, tokenizer and recipe ([theory/scaling_laws.md](theory/scaling_laws.md)).",
    ),
    section(
        "diff", answers.DIFF,
        "Intervals are of each answer alone: most of their error is common to both, and `compare` cancels it. A term counts by its share of the step, so that what moved adds up.",
    ),
    section("cite", answers.CITE),
    section("keys", facts.KEYS),
    section("scores of validate and calibrate", judged.SCORES),
    section("validate blocks, validate memory, calibrate memory", judged.VALIDATE),
    section("validate training", judged.VALIDATE_TRAINING),
    section("validate serving", judged.VALIDATE_SERVING),
    section("validate recipes", judged.VALIDATE_RECIPES),
    section("calibrate", judged.CALIBRATE),
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
    for ending, word in (("_price_low", "least"), ("_price_high", "most")):
        of = _EXACT.get(name.removesuffix(ending))
        if of is not None and of.unit.startswith("usd") and name.endswith(ending):
            return Metric(
                name, of.unit, f"`{of.name}` at the {word} that was found of the price of a device", of.better
            )
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
