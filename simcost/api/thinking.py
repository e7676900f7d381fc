"""Thinking budgets: tokens, latency, energy and USD of answers by level or cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost import grammar, units
from simcost.api.arguments import Count, Model, Sets, cluster, sets_of, unboxes
from simcost.api.serving import rate_of
from simcost.errors import SpecError
from simcost.result import Result

Quantity = float | str


@unboxes
def think(
    model: Model, hw: str | None = None, isl: Count | None = None, osl: Count | None = None, levels: str | Sequence[str] | None = None,
    budget: Count | Sequence[Count] | None = None, lengths_of: str | None = None, benchmark: str | None = None, sigma: float | None = None,
    max_osl: Count | None = None, answer: Count | None = None, concurrency: Count | None = None, rate: float | str | None = None,
    usd_per_million: str | Sequence[float] | None = None, parallel: str = "single", accuracy: str | None = None,
    versus: Model | None = None, versus_osl: Count | None = None, versus_lengths_of: str | None = None, versus_plan: str | None = None,
    versus_usd_per_million: str | Sequence[float] | None = None, versus_accuracy: str | None = None,
    pretrain_tokens: Quantity | None = None, versus_tokens: Quantity | None = None, train: str | None = None, law: str | None = None, law_range: str = "fitted",
    gpus: Count | None = None, nodes: Count | None = None, set: Sets | None = None, engine: str | None = None, price: float | str | None = None,
    prefix_hit: float = 0.0, events: bool = False, requests: Count | None = None, seed: int | None = None,
    drafts: int = 0, acceptance: float | None = None, draft_model: Model | None = None, prefill_pool: str | None = None, decode_pool: str | None = None,
    versus_drafts: int = 0, versus_acceptance: float | None = None, versus_draft_model: Model | None = None,
    versus_prefill_pool: str | None = None, versus_decode_pool: str | None = None,
) -> Result:  # fmt: skip
    """Answers under budgets: tokens, latency, energy and USD of a query as mean, P50 and P95, and the share that is cut. Lengths: `osl`, a number or a distribution,
    or `levels` of published data (`lengths_of`: of another model's name; `benchmark`; `sigma` of the log where it is not published). `budget`: caps, each a row, of
    which `answer` tokens follow a cut thought; `max_osl`: one cap on all. A fleet on `hw` at `concurrency` or `rate` of queries, or a price list `usd_per_million`
    ("0.28:0.42": prompts, answers; cached prompts as a third). `drafts`, `acceptance`, `draft_model`: speculative decoding, and `prefill_pool`, `decode_pool`: instances of each phase, all as `serve` takes them; of the larger model those that begin with `versus_`. `parallel`: "best:8", "majority:16", "tree:16:4:8". `accuracy`: a CSV by budget or level, for the price
    of a solved query. `versus`: a larger model with lengths, plan, prices and accuracy of its own. `pretrain_tokens` on which the model was trained (the larger one on
    `versus_tokens`): how many queries pay a training that is longer, by the plan `train` ("gpus=64,tp=8,global_batch=512") and scaling laws. Raises SpecError for missing
    or wrong input, Infeasible for a plan that breaks a rule."""
    from simcost.scenarios.serve.question import Simulation
    from simcost.scenarios.think.lengths import Said
    from simcost.scenarios.think.question import Where, asked
    from simcost.scenarios.think.result import result

    if isl is None:
        raise SpecError("--isl must be the tokens of a prompt: a number or a distribution")
    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    users = None if concurrency is None else grammar.read("phase.batch", concurrency)
    serving = {
        "drafts": drafts or None,
        "acceptance": acceptance,
        "draft_model": draft_model,
        "prefill_pool": prefill_pool,
        "decode_pool": decode_pool,
    }
    larger = {
        "drafts": versus_drafts or None, "acceptance": versus_acceptance, "draft_model": versus_draft_model, "prefill_pool": versus_prefill_pool,
        "decode_pool": versus_decode_pool,
    }  # fmt: skip
    where = Where(hw, isl, users, rate_of(rate), sets, price, prefix_hit, _stated(serving))
    for name, value in (("requests", requests), ("seed", seed)):
        if value is not None and not events:
            raise SpecError(f"--{name} needs --events, which simulates request by request")
    run = None
    if events:
        run = Simulation(
            None if requests is None else grammar.read("phase.batch", requests), 1 if seed is None else seed
        )
    stated = {
        "model": model, "hw": hw, "isl": isl, "osl": osl, "levels": levels, "budget": budget, "lengths_of": lengths_of, "benchmark": benchmark, "sigma": sigma,
        "max_osl": max_osl, "answer": answer, "concurrency": users, "rate": rate, "usd_per_million": usd_per_million, "parallel": None if parallel == "single" else parallel, "accuracy": accuracy,
        "versus": versus, "versus_osl": versus_osl, "versus_lengths_of": versus_lengths_of, "versus_plan": versus_plan,
        "versus_usd_per_million": versus_usd_per_million, "versus_accuracy": versus_accuracy, "pretrain_tokens": pretrain_tokens, "versus_tokens": versus_tokens,
        "train": train, "law": law, "law_range": law_range if pretrain_tokens is not None else None, "prefix_hit": prefix_hit or None, "events": events or None,
        "requests": requests, "seed": seed, **serving, **{f"versus_{name}": value for name, value in larger.items()},
    }  # fmt: skip
    said = Said(osl, levels, budget, lengths_of, benchmark, sigma, max_osl, answer)
    other = {
        "model": versus, "said": Said(osl=versus_osl, of=versus_lengths_of), "plan": versus_plan, "price_list": versus_usd_per_million, "accuracy": versus_accuracy, "serving": _stated(larger),
    }  # fmt: skip
    longer = {
        "tokens": tokens_of("--pretrain-tokens", pretrain_tokens), "larger_tokens": tokens_of("--versus-tokens", versus_tokens), "train": train, "law": law, "extent": law_range,
    }  # fmt: skip
    return result(asked(model, where, said, parallel, usd_per_million, accuracy, other, longer, run, stated))


def _stated(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def tokens_of(option: str, value: Any) -> float | None:
    """Training tokens: a number, or "15T". Raises SpecError."""
    if value is None:
        return None
    found = units.parse(value, "tokens", option) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0.0 < found < 1e18:
        raise SpecError(f"{option} = {value!r} must be a number of training tokens above 0")
    return float(found)
