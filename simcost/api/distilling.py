"""Distillation: a small model that learns from a large one, way by way."""

from __future__ import annotations

from typing import Any

from simcost import grammar
from simcost.api.arguments import Count, Model, Sets, cluster, count, sets_of, unboxes
from simcost.api.thinking import tokens_of
from simcost.errors import SpecError, nearest
from simcost.result import Result

Quantity = float | str


@unboxes
def distill(
    teacher: Model, student: Model, hw: str, isl: Count, osl: Count, samples: Count | None = None, tokens: Quantity | None = None, epochs: float = 1.0,
    kept: float = 1.0, texts: str = "given", student_osl: Count | None = None, top_k: Count = 256, layers: Count = 1, cross_tokenizer: bool = False,
    gpus: Count | None = None, nodes: Count | None = None, seq: Count | None = None, global_batch: Count | None = None, micro_batch: Count | None = None,
    teacher_hw: str | None = None, teacher_plan: str | None = None, rollout_plan: str | None = None, set: Sets | None = None, engine: str | None = None,
    stack: str | None = None, price: float | str | None = None, teacher_price: float | str | None = None,
    storage_price: float | None = None, storage_months: float = 1.0, network_price: float = 0.0, rl: str | None = None,
) -> Result:  # fmt: skip
    """A student that learns from a teacher on `samples` of a prompt and an answer (or so many `tokens` an epoch), `epochs` times: by its texts (`kept`: share of them that stays
    after selection), its logits (inside the step, or `top_k` of a token or all of them stored), hidden states of `layers` layers, or by scores of what the student writes itself
    (`student_osl`: where its answers have another length). Prices GPU-hours, USD, bytes kept and sent. The student trains on `gpus` or `nodes` of `hw` by `set`; `teacher_plan`,
    `rollout_plan`: "tp=8,ep=8" of those who write, the smallest that fits where None. `texts`: "given", or "teacher" where logits and features are of texts that it writes too.
    `storage_price`: USD per GB and month, `network_price` a GB that is sent. `rl`: "steps=200,prompts=128,samples=16", a run of reinforcement learning of the student to stand beside.
    Raises SpecError for missing or wrong input, Infeasible for what cannot run."""
    from simcost.scenarios import sizes
    from simcost.scenarios.distill.question import Asked, amount, storage
    from simcost.scenarios.distill.result import result
    from simcost.scenarios.serve.question import lengths_of

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    if "plan.gpus" not in sets:
        raise SpecError("state how many GPUs train the student, with --gpus or --nodes")
    prompt, answer = lengths_of("--isl", str(isl)), lengths_of("--osl", str(osl))
    own = answer if student_osl is None else lengths_of("--student-osl", str(student_osl))
    shared = {path: value for path, value in sets.items() if path == "engine" or path.startswith("hw.")}
    ours = {path: value for path, value in sets.items() if path.startswith("model.")}
    of_teacher = {
        **({} if teacher_hw else shared),
        **({"engine": engine} if engine else {}),
        **sizes.read("--teacher-plan", teacher_plan),
    }
    of_rollout = {**shared, **ours, **sizes.read("--rollout-plan", rollout_plan)}
    much = amount(
        None if samples is None else grammar.read("phase.batch", samples), tokens_of("--tokens", tokens), prompt.mean, answer.mean, epochs, kept, texts
    )  # fmt: skip
    given = {
        "teacher": teacher, "student": student, "hw": hw, "isl": isl, "osl": osl, "samples": samples, "tokens": tokens, "epochs": epochs, "kept": kept, "texts": texts,
        "student_osl": student_osl, "top_k": top_k, "layers": layers, "cross_tokenizer": cross_tokenizer or None, "seq": seq, "global_batch": global_batch,
        "micro_batch": micro_batch, "teacher_hw": teacher_hw, "teacher_plan": teacher_plan, "rollout_plan": rollout_plan, "stack": stack, "price": price,
        "teacher_price": teacher_price, "storage_price": storage_price, "storage_months": storage_months, "network_price": network_price, "rl": rl, "engine": engine,
        "set": {path: value for path, value in sets.items() if engine is None or path != "engine"},
    }  # fmt: skip
    learned = None
    if rl is not None:
        answers = osl if student_osl is None else student_osl
        learned = _learned(rl, student, hw, isl, answers, sets, rollout_plan, stack, price)
    return result(Asked(
        teacher, student, hw, teacher_hw or hw, isl, answer, own, much, {"micro_batch": micro_batch, "global_batch": global_batch, "seq": seq}, sets, of_teacher, of_rollout,
        stack, price, price if teacher_price is None and teacher_hw is None else teacher_price, count("--top-k", top_k), count("--layers", layers), cross_tokenizer,
        storage(storage_price, storage_months, network_price), learned, {name: value for name, value in given.items() if value is not None},
    ))  # fmt: skip


def _learned(
    said: str, student: Any, hw: str, isl: Any, osl: Any, sets: dict[str, Any], rollout_plan: str | None, stack: str | None, price: float | str | None
) -> dict[str, Any]:  # fmt: skip
    """A run of reinforcement learning on the GPUs that train the student: its figures, what was said, and notes on its plans. It trains by the smallest plan that fits, for its
    sequences are as long as the longest answer. Raises SpecError and Infeasible."""
    from simcost.api.learning import rl

    counts = _counts(said)
    own = {path: value for path, value in sets.items() if path == "plan.gpus" or not path.startswith("plan.")}
    found = rl(
        student, hw, isl=isl, osl=osl, **counts, rollout=rollout_plan, set=own, stack=stack, price=price, levers=False
    )
    plans = [note for note in found.warnings if "the smallest plan that fits" in note]
    return {**found.metrics, **counts, "notes": plans}


_COUNTS = ("steps", "prompts", "samples")


def _counts(said: str) -> dict[str, Any]:
    """The numbers of a run. Raises SpecError for a name that is none, and for one that is missing."""
    pairs = [part.partition("=") for part in str(said).split(",")]
    found = {name.strip(): value.strip() for name, _, value in pairs}
    known = (*_COUNTS, "max_osl")
    strange = next((name for name in found if name not in known), None)
    if strange is not None or len(found) < len(pairs):
        what = (
            f"'{strange}' is not one of {', '.join(known)}{nearest(strange, known)}"
            if strange is not None
            else "a name is given twice"
        )
        raise SpecError(f"--rl {said}: {what}")
    missing = [name for name in _COUNTS if not found.get(name)]
    if missing:
        raise SpecError(f"--rl {said}: missing {', '.join(missing)}, as in steps=200,prompts=128,samples=16")
    return found
