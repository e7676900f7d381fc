"""simcost validate: predictions against measurements, here and now or published."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from simcost.cli import options as o
from simcost.cli.declared import Argument, Commands, Option
from simcost.cli.output import check, emit
from simcost.errors import SpecError

app = Commands("Score predictions against measurements.")


@app.command("blocks")
def blocks(
    hw: o.Hw,
    device: Annotated[str, Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    model: Annotated[
        list[str] | None, Option("--model", "-m", help="Layers of this model; repeat. Default: random designs.", autocompletion=o.model_names)
    ] = None,
    count: Annotated[int, Option("--blocks", help="Number of random designs.", min=1)] = 30,
    seed: Annotated[int, Option("--seed", help="Seed of the random designs; calibration uses 0.", min=1)] = 1,
    dtype: Annotated[str, Option("--dtype", help="bf16 or fp32.")] = "bf16",
    seconds: Annotated[float, Option("--seconds", help="Time per block.", min=0.05)] = 2.0,
    threads: Annotated[
        int | None, Option("--threads", help="CPU threads; default: those of the profile's rows, or 1.", min=1)
    ] = None,
    budget: Annotated[str | None, Option("--budget", help="Stop cleanly after this time, e.g. 8m.")] = None,
    backward: Annotated[bool, Option("--backward/--forward-only", help="Also measure training steps of the layers.")] = True,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Build real torch layers, measure them, and compare with the predictions and their intervals."""
    from simcost.cli.progress import told
    from simcost.measure.session import session
    from simcost.validation import blocks as scenario

    format = check(format, output)
    chosen = scenario.design(tuple(model or ()), count, seed, dtype, backward)
    result = scenario.validate(
        hw, chosen, device, seconds, threads, None, session.seconds(budget), progress=told(sys.stderr)
    )
    return emit(result, format, output)


@app.command("kernels")
def kernels(
    hw: Annotated[str | None, Argument(help="Only rows of this device.", autocompletion=o.hardware_names)] = None,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Published kernel timings that were not used in any fit: DeepGEMM, FlashAttention, FlashMLA, InferSim, DeepEP and others."""
    from simcost.validation.kernels import reference

    return emit(reference(hw), format, output)


@app.command("memory")
def memory(
    logs: Annotated[Path | None, Argument(help="CSV of start-up logs; default: those that ship.")] = None,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Start-up logs of vLLM, SGLang and TensorRT-LLM: weights, activations, pool and concurrency, printed against predicted."""
    from simcost.validation.memory import result

    return emit(result(logs), format, output)


@app.command("training")
def training(
    sources: Annotated[list[str] | None, Argument(help="Only rows of these sources; default: all.")] = None,
    folder: Annotated[Path | None, Option("--folder", help="Rows of a folder with sources.csv and models.csv; default: those that ship.")] = None,
    write: Annotated[bool, Option("--write", help="Write the coefficients of these sources into workloads/stacks.")] = False,
    format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Published training steps: time, memory and bubbles, cold and with the coefficients of their stacks, beside the errors of other predictors."""
    from simcost.validation.training.report import result

    format = check(format, output)
    return emit(result(tuple(sources or ()), None, folder, write), format, output)


@app.command("serving", planned=True)
def serving(
    rows: Annotated[Path | None, Argument(help="A benchmark of your own: CSV (docs/howto/validate-on-your-own-benchmark.md), or the JSON of vllm bench serve or of SGLang's bench_serving; or rows with the columns of aiconfigurator-core's silicon_sample.csv, default: those of the installed package (extra validate).")] = None,
    sample: Annotated[bool, Option("--sample/--no-sample", help="Compare with the silicon sample.")] = True,
    published: Annotated[bool, Option("--published/--no-published", help="Also compare with published measurements that ship.")] = True,
    peer: Annotated[str | None, Option("--peer", help="Python interpreter with aiconfigurator, whose predictions are shown beside; default: this one, if it has it.")] = None,
    plot: Annotated[Path | None, Option("--plot", help="Picture of predicted over measured TPOT: .png or .svg.")] = None,
    model: Annotated[str, Option("--model", help="Your benchmark: the model, where the file does not state it.", autocompletion=o.model_names)] = "",
    hw: Annotated[str, Option("--hw", help="Your benchmark: the device, where the file does not state it.", autocompletion=o.hardware_names)] = "",
    engine: o.Engine = None, set: o.Set = None, scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Measured serving of vLLM, SGLang and TensorRT-LLM beside predictions: the silicon sample by slice beside AIConfigurator's predictions, published rows by source, or a benchmark of your own."""
    from simcost import grammar
    from simcost.cli.progress import measured_out, scheduled
    from simcost.report.plot import ready
    from simcost.validation.serving import own, picture, report
    from simcost.validation.serving.lines import is_sample

    format = check(format, output)
    given = own.Given(model, hw, grammar.assignments(set or [], engine))
    if rows is not None and not is_sample(own.header(rows)):
        _unused("for a benchmark of your own", {"--no-sample": not sample, "--peer": peer, "--plot": plot})
        return emit(own.result(rows, given), format, output)
    _unused("without a benchmark of your own", {"--model": model, "--hw": hw, "--set": given.sets})
    if not sample:
        if not published:
            raise SpecError("--no-sample --no-published leaves nothing to compare with: leave one out")
        _unused("without the silicon sample", {"ROWS": rows, "--peer": peer, "--plot": plot})
        return emit(report.published_alone(), format, output)
    if plot:
        ready(plot)
    read = report.sample_of(rows)
    with scheduled(scheduler), measured_out() as progress:
        said = report.answers(read, report.shipped(peer, progress))
    if plot:
        name, first = next(iter(said.items()))
        picture.draw(first, plot, name)
    others = report.published_figures() if published and rows is None else ()
    return emit(report.result(read, said, others), format, output)


@app.command("recipes")
def recipes(
    write: Annotated[bool, Option("--write", help="Fit the terms of the host on these steps and write them into workloads/rl-stacks.")] = False,
    scheduler: o.Scheduler = None, format: o.Format = "", output: o.Out = None,
) -> int:  # fmt: skip
    """Published steps of reinforcement learning (NeMo-RL, verl and others) and published recipes beside predictions: the step, its phases and their order, GPU hours."""
    from simcost import api
    from simcost.cli.progress import measured_out, scheduled
    from simcost.validation.recipes import report

    format = check(format, output)
    with scheduled(scheduler), measured_out() as progress:
        rows, priced = report.gathered(api.recipe, progress)
    return emit(report.result(rows, priced, write), format, output)


def _unused(where: str, given: Mapping[str, object]) -> None:
    """Raises SpecError for an option that means nothing."""
    for name, value in given.items():
        if value:
            raise SpecError(f"{name} has no effect {where}: leave it out")
