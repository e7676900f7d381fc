"""The distill command: what it costs to teach a small model by a large one."""

from __future__ import annotations

from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Option
from simcost.cli.output import check, emit


def distill(
    teacher: Annotated[str, Option("--teacher", help=o.MODEL, autocompletion=o.model_names)],
    student: Annotated[str, Option("--student", help=o.MODEL, autocompletion=o.model_names)],
    hw: o.Hw,
    isl: Annotated[str, Option("--isl", metavar="<lengths>", help="Tokens of a prompt: a number, or a distribution as simcost serve takes it.")],
    osl: Annotated[str, Option("--osl", metavar="<lengths>", help="Tokens of an answer of the teacher.")],
    samples: Annotated[str | None, Option("--samples", metavar="<count>", help="Prompts with their answers that are trained on; or --tokens.")] = None,
    tokens: Annotated[str | None, Option("--tokens", help="Tokens of an epoch, in place of --samples: 4.3B.")] = None,
    epochs: Annotated[float, Option("--epochs", help="Number of times that each sample is trained on.")] = 1.0,
    kept: Annotated[float, Option("--kept", help="Share of the teacher's answers that is kept after selection.")] = 1.0,
    texts: Annotated[str, Option("--texts", help="Texts on which logits and hidden states are computed: given, or teacher (it writes them first).", autocompletion=o.starting(("given", "teacher")))] = "given",
    student_osl: Annotated[str | None, Option("--student-osl", metavar="<lengths>", help="Tokens of an answer of the student, where they differ.")] = None,
    top_k: Annotated[str, Option("--top-k", metavar="<count>", help="Logits per token that are stored or sent.")] = "256",
    layers: Annotated[str, Option("--layers", metavar="<count>", help="Layers whose hidden states are matched.")] = "1",
    cross_tokenizer: Annotated[bool, Option("--cross-tokenizer", help="Teacher and student have different vocabularies, and a map between them exists.")] = False,
    gpus: o.Gpus = None, nodes: o.Nodes = None, seq: o.Seq = None, global_batch: o.GlobalBatch = None, micro_batch: o.MicroBatch = None,
    teacher_hw: Annotated[str | None, Option("--teacher-hw", help="Device on which the teacher runs; default --hw.", autocompletion=o.hardware_names)] = None,
    teacher_plan: Annotated[str | None, Option("--teacher-plan", help="Plan of the teacher: tp=8,ep=8; default the smallest that fits.")] = None,
    rollout_plan: Annotated[str | None, Option("--rollout-plan", help="Plan of the student that writes: tp=2; default the smallest that fits.")] = None,
    storage_price: Annotated[float | None, Option("--storage-price", help="Price of storage in USD per GB and month; default 0.023, a list price.")] = None,
    storage_months: Annotated[float, Option("--storage-months", help="Months that bytes are kept.")] = 1.0,
    network_price: Annotated[float, Option("--network-price", help="Price in USD per GB that is sent.")] = 0.0,
    teacher_price: Annotated[str | None, Option("--teacher-price", metavar="<price>", help="Price of the teacher, as --price takes it; default --price, of another --teacher-hw its profile's.")] = None,
    rl: Annotated[str | None, Option("--rl", help="Also compare reinforcement learning of the student: steps=200,prompts=128,samples=16, max_osl where answers are cut.")] = None,
    engine: o.Engine = None, stack: o.Stack = None, set: o.Set = None, price: o.Price = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """A small model that learns from a large one: by its texts, its logits, its hidden states, or its scores of what the student writes; which is cheapest."""
    from simcost import api, grammar

    check(format, output)
    result = api.distill(
        teacher, student, hw, isl, osl, samples, tokens, epochs, kept, texts, student_osl, top_k, layers, cross_tokenizer, gpus, nodes, seq, global_batch, micro_batch,
        teacher_hw, teacher_plan, rollout_plan, grammar.assignments(set or []), engine, stack, price, teacher_price, storage_price, storage_months, network_price, rl,
    )  # fmt: skip
    return emit(result, format, output, strict, details)
