"""simcost: what does this transformer cost on this hardware, why, and what if I change it?"""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Annotated, Any

from simcost import streams
from simcost.cli import goals, progress
from simcost.cli import options as o
from simcost.cli.answers import asking
from simcost.cli.declared import LOOSE, Argument, Commands, Option
from simcost.cli.line import direct
from simcost.cli.output import emit
from simcost.cli.pictures.also import also, ready
from simcost.cli.tools import completion

app = Commands(__doc__)
listing = Commands("List what ships: models, hardware, engines, scaling laws.")
showing = Commands("Show one model, device or scaling law in full, or the memory of model and device together.")
app.add("list", listing)
app.add("show", showing, short_help="One model, device or law in full; memory term by term.")
app.add("calibrate", "simcost.cli.calibrate:app")
app.add("validate", "simcost.cli.validate:app")
listing.later("scaling-laws", "simcost.cli.scaling_laws:listed")
showing.later("scaling-law", "simcost.cli.scaling_laws:shown")


@listing.command("models")
def list_models(format: o.Format = "", output: o.Out = None, strict: o.Strict = False) -> int:
    """Models of the zoo with parameters, cache and weight bytes."""
    from simcost import api

    return emit(api.list_models(), format, output, strict)


@listing.command("hardware")
def list_hardware(format: o.Format = "", output: o.Out = None, strict: o.Strict = False) -> int:
    """Device profiles with peaks, memory, links, price, and the measurements or the similar device that they use."""
    from simcost import api

    return emit(api.list_hardware(), format, output, strict)


@listing.command("engines")
def list_engines(format: o.Format = "", output: o.Out = None, strict: o.Strict = False) -> int:
    """Values of --engine: whose kernels they use, which versions, and on which devices measurements ship."""
    from simcost import api

    return emit(api.list_engines(), format, output, strict)


@showing.command("model")
def show_model(
    name: o.ModelArgument, set: o.Set = None, iso: o.Iso = None, assume_llama: o.AssumeLlama = False, isl: o.Isl = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Exact parameters, active counts by convention, cache, weight bytes, layers, training FLOPs per token."""
    from simcost import api, grammar

    said = [*(["model.assume_llama=true"] if assume_llama else []), *([] if iso is None else [f"model.iso={iso}"])]
    sets = grammar.assignments([*(set or []), *said])
    return emit(api.show_model(name, sets, isl), format, output, strict, details)


@showing.command("hardware")
def show_hardware(
    name: Annotated[str, Argument(help="Profile name, or a profile.toml.", autocompletion=o.hardware_names)],
    set: o.Set = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False,
) -> int:  # fmt: skip
    """Every fact with its source, every assumption with its reason, and the measurements or the similar device that are used."""
    from simcost import api, grammar

    return emit(api.show_hardware(name, grammar.assignments(set or [])), format, output, strict)


@showing.command("memory", epilog=o.KEYS, planned=True)
def show_memory(
    model: o.ModelArgument, hw: o.Hw, batch: o.Batch = None, context: o.Context = None, engine: o.Engine = None, set: o.Set = None,
    gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """Memory of a GPU term by term, as an engine divides it, and how many requests and tokens its pool holds."""
    from simcost import api, grammar

    result = api.show_memory(model, hw, batch, context, grammar.assignments(set or [], engine), gpus, nodes)
    return emit(result, format, output, strict, details)


@app.command(epilog=o.KEYS, planned=True, short_help="One decode step: TPOT, throughput, memory, price.")
def decode(
    model: o.ModelOrAxis = None, hw: o.HwOrAxis = None, batch: o.Batch = None, context: o.Context = None, prefill_tokens: o.PrefillTokens = None, prefill_past: o.PrefillPast = None, engine: o.Engine = None,
    set: o.Set = None, vary: o.Vary = None, solve: o.Solve = None, goal: o.For = None, price: o.Price = None, gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """One decode step: time per output token, throughput, memory, price."""
    from simcost import api, grammar

    sets = grammar.assignments(set or [], engine)
    result = goals.solved(solve, goal, vary, lambda path, aim: api.solve(
        model, hw, path, aim, "decode", batch, context, None, None, sets, price, gpus, nodes,
        prefill_tokens=prefill_tokens, prefill_past=prefill_past,
    )) or api.decode(
        model, hw, batch, context, sets, grammar.axes(vary or []), price, gpus, nodes,
        prefill_tokens=prefill_tokens, prefill_past=prefill_past,
    )  # fmt: skip
    return emit(result, format, output, strict, details)


@app.command(epilog=o.KEYS, planned=True, short_help="One prefill step: TTFT, throughput, memory, price.")
def prefill(
    model: o.ModelOrAxis = None, hw: o.HwOrAxis = None, isl: o.Isl = None, batch: o.Batch = None, past: o.Past = None, images: o.Images = None, video_frames: o.VideoFrames = None, engine: o.Engine = None, set: o.Set = None, vary: o.Vary = None, solve: o.Solve = None, goal: o.For = None,
    price: o.Price = None, gpus: o.Gpus = None, nodes: o.Nodes = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
) -> int:  # fmt: skip
    """One prefill step: time to first token, throughput, memory, price."""
    from simcost import api, grammar

    seen = {"images": images, "video_frames": video_frames}
    sets = grammar.assignments(
        [*(set or []), *(f"{key}={value}" for key, value in seen.items() if value is not None)], engine
    )
    result = goals.solved(solve, goal, vary, lambda path, aim: api.solve(
        model, hw, path, aim, "prefill", batch, None, isl, past, sets, price, gpus, nodes,
    )) or api.prefill(model, hw, isl, batch, past, sets, grammar.axes(vary or []), price, gpus, nodes)  # fmt: skip
    return emit(result, format, output, strict, details)


app.later(
    "compare",
    "simcost.cli.compare:compare",
    epilog=o.KEYS,
    planned=True,
    short_help="Designs side by side, and the terms that differ.",
)


app.later(
    "explain",
    "simcost.cli.answers.explain:explain",
    epilog=o.KEYS,
    planned=True,
    short_help="Every op of a step, or one of them in full.",
)
app.later(
    "plans",
    "simcost.cli.plans:plans",
    epilog=o.KEYS,
    planned=True,
    short_help="Every way to split a design over devices, best first.",
)


@app.command(epilog=o.KEYS, short_help="Where attention overtakes the MLP, by length.")
def crossover(
    model: o.Model, hw: o.Hw = "h200", engine: o.Engine = None, set: o.Set = None, format: o.Format = "", output: o.Out = None, strict: o.Strict = False, details: o.Details = False,
    plot: o.Plot = None,
) -> int:  # fmt: skip
    """Where attention O(N²d) overtakes the MLP O(Nd²), and KV reads overtake weight reads."""
    from simcost import api, grammar

    ready(plot)
    result = api.crossover(model, hw, grammar.assignments(set or [], engine))
    also(result, plot, "crossover")
    return emit(result, format, output, strict, details)


app.later(
    "sensitivity",
    "simcost.cli.goals:sensitivity",
    epilog=o.KEYS,
    planned=True,
    short_help="Which numbers change a metric most.",
)
app.later(
    "sweep",
    "simcost.cli.sweep:sweep",
    epilog=o.KEYS,
    planned=True,
    short_help="A map of designs and the front of two metrics.",
)
app.later(
    "schedule", "simcost.cli.schedule:schedule", short_help="Pipeline schedules from given durations, drawn and timed."
)
app.later(
    "train",
    "simcost.cli.train:train",
    epilog=o.KEYS,
    planned=True,
    short_help="A training step and run: time, MFU, memory, price.",
)
app.later(
    "serve",
    "simcost.cli.serve:serve",
    epilog=o.KEYS,
    planned=True,
    short_help="Under load: TTFT, TPOT, throughput, what limits them, $.",
)
app.later("recipe", "simcost.cli.recipe:recipe", short_help="A training recipe, stage by stage: GPU hours, $, days.")
app.later(
    "rl",
    "simcost.cli.rl:rl",
    epilog=o.KEYS,
    planned=True,
    short_help="A step of reinforcement learning, phase by phase.",
)
app.later(
    "think",
    "simcost.cli.think:think",
    epilog=o.KEYS,
    planned=True,
    short_help="Thinking budgets: tokens, latency, $ of a solved query.",
)
app.later(
    "distill",
    "simcost.cli.distill:distill",
    epilog=o.KEYS,
    planned=True,
    short_help="Train a small model from a large one: which way is cheapest.",
)
app.later("loss", "simcost.cli.scaling_laws:loss", short_help="Training loss and optimal sizes by published laws.")
app.later(
    "trace",
    "simcost.cli.tools.trace:trace",
    True,
    epilog=o.KEYS,
    short_help="A profiler's trace beside the prediction.",
)
app.later("schema", "simcost.cli.tools.schema:schema", short_help="JSON Schema of results and of plan files.")


app.later("diff", "simcost.cli.answers.diff:diff", short_help="What changed between two results, term by term.")
app.later(
    "cite",
    "simcost.cli.answers.cite:cite",
    short_help="The sources of a result, also as BibTeX.",
    context_settings=LOOSE,
)


@app.command(short_help="Keys that --set and --vary can name.")
def keys(
    groups: o.Groups = None, format: o.Format = "", output: o.Out = None,
    schema: Annotated[bool, Option("--schema", help="Print the JSON Schema of a file of these settings.")] = False,
) -> int:  # fmt: skip
    """Keys that --set and --vary can name: values, default, condition and meaning."""
    if schema:
        import json

        from simcost.api import schemas
        from simcost.cli.output import write

        write(output, json.dumps(schemas.plan(groups or ()), indent=2) + "\n")
        return 0
    from simcost import api

    return emit(api.keys(*(groups or ())), format, output)


def main(argv: list[str] | None = None) -> None:
    """Run; every error that a user can cause is one line on stderr and exit code 2."""
    gc.set_threshold(_COLLECTED)
    streams.prepare()
    code = completion.completing(run)(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains again at exit
        code = code or (0 if isinstance(error, BrokenPipeError) else _fail(f"cannot write: {error.strerror or error}"))
    if threading.active_count() == 1 and "multiprocessing" not in sys.modules:
        sys.stderr.flush()
        os._exit(code)  # nothing is left to do: to take the modules apart would cost a fifth of a query
    sys.exit(code)


# A frame this large gets a block of the interpreter's stack that has room for all frames above it: at the end of a small block every call
# there would ask the system for a block and give it back, which costs imports a tenth of a question.
_ROOM = 40_000
main.__code__ = main.__code__.replace(co_stacksize=_ROOM)

_INTERRUPTED = 130  # exit code of shells for what Ctrl-C ended
_COLLECTED = 100_000  # objects between two searches for circles: a query makes few


def run(argv: list[str]) -> int:
    """The exit code of one command."""
    from simcost.errors import SimcostError

    progress.listen()
    try:
        code = _answered(argv)
    except SimcostError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return 0
    except SystemExit as error:  # Typer ends the process itself when nobody reads on
        if isinstance(error.__context__, BrokenPipeError):
            return 0
        raise
    except OSError as error:
        return _fail(streams.refused(error))
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except Exception as error:
        # Typer brings click's errors from click itself or from its own copy, by version: known by what they can do.
        if type(error).__name__ == "Abort":
            if isinstance(error.__cause__, EOFError):  # click takes it for a closed terminal
                raise error.__cause__ from None
            return _fail("interrupted", _INTERRUPTED)
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(f"{error}\n")
            return 0
        from simcost.cli.help import hints

        return _fail(hints.of(error.format_message(), argv, app))
    if code == _INTERRUPTED:  # Typer answers Ctrl-C by this code and says nothing
        return _fail("interrupted", code)
    return code if isinstance(code, int) else 0


def _answered(words: list[str]) -> Any:
    """What a command line answers. Raises what its command raises, and the parser's errors."""
    simple = None if completion.ASKED in os.environ else direct.line(app, words)
    if simple is not None:
        return simple()
    from simcost.cli.line import parser

    return parser.run(app, words)


asking.runs[:] = [_answered]


def _fail(message: str, code: int = 2) -> int:
    from simcost.errors import line

    sys.stderr.write(f"simcost: {line(message)}\n")
    return code


if __name__ == "__main__":
    main()
