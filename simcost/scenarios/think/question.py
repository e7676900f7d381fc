"""What is asked of thinking, as typed values: a model, perhaps a larger one beside it, and a longer training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.scaling_laws import evaluate, load
from simcost.scaling_laws.law import FITTED
from simcost.scenarios import sizes
from simcost.scenarios.serve import question as serve
from simcost.scenarios.serve.question import Simulation
from simcost.scenarios.think import lengths, prices
from simcost.scenarios.think.lengths import BUDGET, WHOLE, Said
from simcost.scenarios.think.prices import Prices
from simcost.scenarios.think.side import Question
from simcost.thinking import accuracy, parallel
from simcost.thinking.parallel import Parallel

SERVING = (
    "drafts",
    "acceptance",
    "draft_model",
    "prefill_pool",
    "decode_pool",
)  # options of `serve`, of each model its own


@frozen
class Where:
    """Where models are served. hw: None for a price list alone; of `users` and `rate` (queries) one is not None; hit: share of a prompt in the prefix cache; serving: those of SERVING that are stated for the first model."""

    hw: str | None
    isl: Any
    users: Any
    rate: Any
    sets: Mapping[str, Any]
    price: float | str | None
    hit: float
    serving: Mapping[str, Any]


@frozen
class Pretrain:
    """A longer pre-training of the model, to the loss of the larger one. tokens, larger_tokens: both were trained on; train: sizes of the step that
    trains; law: a scaling law, "" for all; extent: how far laws reach."""

    tokens: float
    larger_tokens: float
    train: Mapping[str, Any]
    law: str
    extent: str


@frozen
class Asked:
    """A question. stated: as an answer repeats it; larger: None where no larger model is asked about."""

    model: Any
    own: Question
    larger: Question | None
    larger_model: Any
    pretrain: Pretrain | None
    events: Simulation | None
    where: Where
    stated: Mapping[str, Any]


def asked(
    model: Any, where: Where, said: Said, how: Any, price_list: Any, accuracy_file: Any, versus: Mapping[str, Any], pretrain: Mapping[str, Any],
    events: Simulation | None, stated: Mapping[str, Any],
) -> Asked:  # fmt: skip
    """A checked question. versus: model, said, plan, price_list, accuracy, serving; pretrain: tokens, larger_tokens, train, law, extent. Raises SpecError for what is
    not said, for what means nothing here, and for files that are malformed."""
    strategy = parallel.parse(how)
    own = _side(
        model,
        where,
        said,
        strategy,
        prices.read("--usd-per-million", price_list),
        accuracy_file,
        {},
        "--",
        where.serving,
    )
    if events is not None and own.serve is None:
        raise SpecError("--events simulates a fleet: add --hw")
    larger = None
    if versus["model"] is None:
        alone = [name for name, value in versus.items() if value is not None and name not in ("said", "serving")]
        alone += [name for name in ("osl", "of") if getattr(versus["said"], name) is not None]
        alone += versus["serving"]
        if alone:
            raise SpecError(f"--versus-{alone[0].replace('_', '-')} needs a larger model: add --versus")
    else:
        larger = _larger(own, where, said, strategy, versus)
    if events is not None and any(
        each is not None and each.serve is not None and each.serve.pools for each in (own, larger)
    ):
        raise SpecError("--events cannot simulate pools: leave out --prefill-pool and --decode-pool")
    return Asked(model, own, larger, versus["model"], _pretrain(pretrain, own, larger), events, where, stated)


def _side(
    model: Any, where: Where, said: Said, how: Parallel, listed: Prices | None, file: Any, more: Mapping[str, Any], prefix: str, serving: Mapping[str, Any],
) -> Question:  # fmt: skip
    name = model if isinstance(model, str) else "model"
    answers = lengths.answers(said, name.rpartition("/")[2], prefix)
    served = None
    if where.hw is not None:
        users, rate = ([each] if each is not None else None for each in (where.users, where.rate))
        if users is None and rate is None:
            raise SpecError("state the load: --concurrency (queries at the same time) or --rate (queries per second)")
        sets = {**where.sets, **more}
        try:
            served = serve.asked(
                model, where.hw, where.isl, 1, users, rate, sets, where.hit, price=where.price, **serving
            )
        except SpecError as error:
            raise type(error)(_OWN.sub(prefix, str(error))) from None
    else:
        _unserved(where, more, serving, prefix)
        serve.share("--prefix-hit", where.hit, below_one=True)
        if listed is None:
            raise SpecError(f"state where answers are made (--hw), or their price ({prefix}usd-per-million IN:OUT)")
    of_file = None if file is None else accuracy.read(str(file), how, f"{prefix}accuracy")
    if of_file is not None and answers.key == WHOLE:
        raise SpecError(f"{prefix}accuracy is by budget or level: add --budget or --levels")
    return Question(name, answers, served, listed, of_file, serve.lengths_of("--isl", str(where.isl)), where.hit, how)


_OWN = re.compile(rf"--(?=({'|'.join(SERVING).replace('_', '-')})\b)")  # where an option of a model is named


def _unserved(where: Where, more: Mapping[str, Any], serving: Mapping[str, Any], prefix: str) -> None:
    """Raises SpecError for what only a fleet reads."""
    named = {"--concurrency": where.users, "--rate": where.rate, "--price": where.price}
    named |= {f"{prefix}{name.replace('_', '-')}": value for name, value in serving.items()}
    stated = [option for option, value in named.items() if value is not None]
    stated += [f"--set {path}" for path in {**where.sets, **more}]
    if stated:
        raise SpecError(f"{stated[0]} applies to a fleet: state --hw, or leave it out with a price list")


def _larger(own: Question, where: Where, said: Said, how: Parallel, versus: Mapping[str, Any]) -> Question:
    """The larger model: lengths as the first one's unless it has its own, sizes over those of the first."""
    other: Said = versus["said"]
    mine = Said(
        said.osl if other.osl is None else other.osl, said.levels if other.osl is None else None, said.budgets, other.of,
        said.benchmark if other.osl is None else None, said.sigma if other.osl is None else None, said.most, said.after,
    )  # fmt: skip
    listed = prices.read("--versus-usd-per-million", versus["price_list"])
    if (listed is None) != (own.prices is None):
        raise SpecError(
            "--usd-per-million and --versus-usd-per-million must be given together: a price list cannot be compared with a fleet"
        )
    return _side(
        versus["model"],
        where,
        mine,
        how,
        listed,
        versus["accuracy"],
        sizes.read("--versus-plan", versus["plan"]),
        "--versus-",
        versus["serving"],
    )


def _pretrain(given: Mapping[str, Any], own: Question, larger: Question | None) -> Pretrain | None:
    """Raises SpecError for a part without the others."""
    evaluate.check_extent(given["extent"])
    if given["tokens"] is None:
        stated = [name for name in ("larger_tokens", "train", "law") if given[name] is not None]
        stated += ["law-range"] if given["extent"] != FITTED else []
        if stated:
            option = {"larger_tokens": "versus-tokens"}.get(stated[0], stated[0])
            raise SpecError(f"--{option} needs a longer pre-training: state --pretrain-tokens")
        return None
    if larger is None or own.accuracy is None or larger.accuracy is None:
        raise SpecError(
            "--pretrain-tokens needs --accuracy, --versus and --versus-accuracy: longer training makes the model as accurate as the larger one"
        )
    if own.serve is None or given["train"] is None:
        raise SpecError("--pretrain-tokens needs --hw and --train, the plan that trains: gpus=64,tp=8,global_batch=512")
    if own.answers.labels != larger.answers.labels:
        raise SpecError("--pretrain-tokens needs the same budgets or levels of both models")
    law = given["law"] or ""
    if law and law not in load.names():
        raise SpecError(
            f"--law {law}: is not a published scaling law ({', '.join(load.names())}){nearest(law, load.names())}"
        )
    tokens = float(given["tokens"])
    return Pretrain(
        tokens, float(given["larger_tokens"] or tokens), sizes.read("--train", given["train"]), law, given["extent"]
    )


__all__ = ["BUDGET", "Asked", "Pretrain", "Where", "asked"]
