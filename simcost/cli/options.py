"""Options that commands share, and the completion of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from simcost import metrics, settings
from simcost.cli.declared import Argument, Option


def model_names(incomplete: str) -> list[str]:
    """Zoo names for shell completion."""
    from simcost.model.load import names

    return [name for name in names() if name.startswith(incomplete)]


def hardware_names(incomplete: str) -> list[str]:
    """Profile names for shell completion."""
    from simcost.hardware.load import names

    return [name for name in names() if name.startswith(incomplete)]


def recipe_names(incomplete: str) -> list[str]:
    """Names of recipes for shell completion."""
    from simcost.scenarios.recipe.file import names

    return [name for name in names() if name.startswith(incomplete)]


def hardware_lists(incomplete: str) -> list[str]:
    """The same after the last comma of several."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in hardware_names(last)]


def families(incomplete: str) -> list[str]:
    """Kernel classes for shell completion."""
    from simcost.calibration.family import families as found

    return [name for name in found() if name.startswith(incomplete)]


def starting(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Completion among fixed words."""
    known = tuple(words)

    def of(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return of


def assignments(incomplete: str) -> list[str]:
    """`path=` for shell completion, and after it the values that a key names; after a comma the next one."""
    from simcost.dtypes import names as formats

    path, equals, values = incomplete.partition("=")
    if not equals:
        return [f"{one.path}=" for one in settings.EVERY if one.path.startswith(path) and "<" not in one.path]
    before, comma, last = values.rpartition(",")
    known = next((one for one in settings.EVERY if path in (one.path, f"{one.root}.{one.key}")), None)
    words = () if known is None else formats() if known.kind == settings.FORMAT else known.choices
    return [f"{path}={before}{comma}{word}" for word in words if word.startswith(last)]


MODEL = "Zoo name, Hugging Face repository of one, config.json, GGUF file, or a directory of one."
Model = Annotated[str, Option("--model", help=MODEL, autocompletion=model_names)]
ModelArgument = Annotated[str, Argument(help=MODEL, autocompletion=model_names)]
Hw = Annotated[str, Option("--hw", help="Profile name, or a profile.toml.", autocompletion=hardware_names)]
ModelOrAxis = Annotated[
    str | None, Option("--model", help=MODEL + " --vary model=... takes several.", autocompletion=model_names)
]
HwOrAxis = Annotated[
    str | None,
    Option("--hw", help="Profile name, or a profile.toml; --vary hw=... takes several.", autocompletion=hardware_names),
]
Hws = Annotated[
    str,
    Option("--hw", help="Profile names, or profile.toml files: h100,h200,b200.", autocompletion=hardware_lists),
]
_PHASE = settings.of("phase")
# Under the options of a command that takes --set: one paragraph a group of keys.
KEYS = "\n\n".join((
    "Keys of --set and --vary (simcost keys says what each takes):",
    "plan: " + ", ".join(settings.of("plan")),
    "step: " + ", ".join(_PHASE),
    "engine, engine.<its setting>, hw.<profile key>, model.<config key>",
))  # fmt: skip


def count(key: str, before: str = "") -> Any:
    """The option of a key of the step: a count, None where it is not given."""
    one = _PHASE[key]
    text = f"{before}{one.meaning}" + (f"; default {one.default}" if one.default != "0" or before else "")
    more = "; 64k is 65,536" if key in ("context", "isl") else ""
    return Option(f"--{key.replace('_', '-')}", metavar="<count>", help=f"{text[:1].upper()}{text[1:]}{more}.")


Batch = Annotated[str | None, count("batch")]
Context = Annotated[str | None, count("context")]
Isl = Annotated[str | None, count("isl")]
Past = Annotated[str | None, count("past")]
Images = Annotated[str | None, count("images")]
VideoFrames = Annotated[str | None, count("video_frames")]
PrefillTokens = Annotated[str | None, count("prefill_tokens")]
PrefillPast = Annotated[str | None, count("prefill_past")]
# Where --phase chooses: a length that the other phase would pass over is an error.
OfDecode = Annotated[str | None, count("context", "decode: ")]
OfPrefill = Annotated[str | None, count("isl", "prefill: ")]
PastOfPrefill = Annotated[str | None, count("past", "prefill: ")]
Phase = Annotated[str, Option("--phase", help="decode or prefill.", autocompletion=starting(settings.STEPS))]
Drafts = Annotated[int, Option("--drafts", help="Speculative decoding: tokens proposed per step, by the design's MTP module or by --draft-model.")]  # fmt: skip
Acceptance = Annotated[float | None, Option("--acceptance", help="Probability that a draft is accepted if those before it are.")]  # fmt: skip
DraftModel = Annotated[str | None, Option("--draft-model", help="Model that proposes tokens.", autocompletion=model_names)]  # fmt: skip
PrefillPool = Annotated[str | None, Option("--prefill-pool", metavar="<n:sizes>", help="Disaggregated: number and plan of the instances that prefill, 4:tp=8,ep=8.")]  # fmt: skip
DecodePool = Annotated[str | None, Option("--decode-pool", metavar="<n:sizes>", help="Disaggregated: number and plan of the instances that decode, 2:dp_attention=16,ep=16.")]  # fmt: skip
Mtbf = Annotated[str | None, Option("--mtbf", help="Of the run: mean time between failures of one GPU: 50000h; default Llama 3's.")]  # fmt: skip
Restart = Annotated[str | None, Option("--restart", help="Of the run: time from a failure to the next step: 15min; default 10 min, assumed.")]  # fmt: skip
CheckpointRate = Annotated[str | None, Option("--checkpoint-rate", help="Of the run: bytes that all ranks together write per second: '200 GB/s'; default 122 MB/s per GPU, Llama 3's.")]  # fmt: skip
CheckpointInterval = Annotated[str | None, Option("--checkpoint-interval", help="Of the run: training between two checkpoints: 1h; default the best one (Daly).")]  # fmt: skip
MicroBatch = Annotated[str | None, count("micro_batch")]
GlobalBatch = Annotated[str | None, count("global_batch")]
Seq = Annotated[str | None, count("seq")]


def stacks(incomplete: str) -> list[str]:
    """Training stacks for shell completion."""
    from simcost.training.stack import names

    return [name for name in names() if name.startswith(incomplete)]


def conventions(incomplete: str) -> list[str]:
    """Conventions of training FLOPs for shell completion."""
    from simcost.model.flops import conventions as known

    return [name for name in known() if name.startswith(incomplete)]


Scheduler = Annotated[
    str | None,
    Option("--scheduler", metavar="<address>", help="Workers of Dask distributed that do the work: tcp://host:port, or local:4 for processes here (extra 'scale')."),
]  # fmt: skip
Stack = Annotated[
    str | None,
    Option(
        "--stack",
        help="Training framework and its version; default megatron-core-te. --set stack.<flag>=... changes a flag of it.",
        autocompletion=stacks,
    ),
]
FlopsConvention = Annotated[
    str | None,
    Option(
        "--flops-convention", help="How MFU counts FLOPs: reference (causal, the default), palm, megatron, torchtitan, 6n and others.", autocompletion=conventions,
    ),
]  # fmt: skip
RunTokens = Annotated[
    str | None,
    Option("--tokens", help="train: also price a run of this many tokens: 14.8T, 300B."),
]
Set = Annotated[
    list[str] | None,
    Option(
        "--set",
        help="path=value: model.kv_lora_rank=1024, hw.memory.bandwidth='6 TB/s' or x1.5, plan.tp=8; `simcost keys` lists them.",
        autocompletion=assignments,
    ),
]


def engine_names(incomplete: str) -> list[str]:
    """What --engine may be, for shell completion."""
    from simcost.hardware.engines import choices

    return [name for name in choices() if name.startswith(incomplete)]


Engine = Annotated[
    str | None,
    Option(
        "--engine",
        help="Engine whose kernels are timed: vllm, sglang, trtllm, or torch (our own measurements); default any, the mean of all engines, kernel by kernel.",
        autocompletion=engine_names,
    ),
]
Vary = Annotated[
    list[str] | None,
    Option(
        "--vary", help="path=a,b,c: try each value; several --vary try all combinations.", autocompletion=assignments
    ),
]
Iso = Annotated[
    str | None,
    Option("--iso", help="What a swap of --set keeps equal by solving for one width: params, active, flops or kv."),
]
AssumeLlama = Annotated[
    bool,
    Option("--assume-llama", help="Read an unknown model_type as Llama's, also where its keys do not prove it."),
]
Variant = Annotated[
    list[str] | None,
    Option(
        "--variant",
        help="A variant of the first model: attention=gqa:8,ffn=dense,iso=params; hw=h20,plan.tp=16; engine=vllm; model=... takes another model.",
    ),
]
Metric = Annotated[
    str | None,
    Option(
        "--metric",
        help="Metric that ranks the plans: usd, tpot, mfu or a full name; default tokens per second and GPU. With --phase serve: usd, gpus or throughput; default usd where --rate is stated.",
        autocompletion=starting(metrics.ranking()),
    ),
]
Solve = Annotated[
    str | None,
    Option(
        "--solve", help="Number to solve for, with --for: hw.memory.bandwidth, plan.tp, batch, model.num_hidden_layers.",
        autocompletion=assignments,
    ),
]  # fmt: skip
For = Annotated[
    str | None,
    Option(
        "--for",
        help="Goal of --solve: tpot=20ms (at most), 'tpot<=20ms', usd=0.5, 'output_tokens_per_s_per_gpu>=100'.",
    ),
]
Groups = Annotated[
    list[str] | None,
    Argument(
        help=f"{', '.join(settings.ROOTS[:-1])} or {settings.ROOTS[-1]}; default all.",
        autocompletion=starting(settings.ROOTS),
    ),
]
Gpus = Annotated[
    str | None,
    Option(
        "--gpus", metavar="<count>", help="GPUs of the cluster: the plan must fit on them; the others run copies of it."
    ),
]
Nodes = Annotated[
    str | None,
    Option("--nodes", metavar="<count>", help="The size of the cluster in nodes (scale-up domains of the profile)."),
]
Counts = Annotated[
    str,
    Option(
        "--gpus",
        metavar="<count>",
        help="Number of devices to use: 8, or each of 1,2,4,8; with --phase serve the number available, default: as many as needed.",
    ),
]
Price = Annotated[
    str | None,
    Option(
        "--price",
        metavar="<price>",
        help="USD per device and hour, instead of the profile's; or one of its prices: low, high, marketplace; or a file.csv.",
        autocompletion=starting(("low", "typical", "high", "marketplace", "reserved_1y")),
    ),
]
Format = Annotated[
    str,
    Option(
        "--format",
        help="console, csv, markdown or json; default: by the suffix of -o, else console.",
        autocompletion=starting(("console", "csv", "markdown", "json")),
    ),
]
Out = Annotated[
    Path | None,
    Option(
        "-o",
        "--output",
        help="Write to this file, in the format of its suffix or of --format; .png, .svg and .pdf draw a figure, .html is a report; - is stdout.",
    ),
]
Plot = Annotated[Path | None, Option("--plot", help="Also draw to this .png, .svg, .pdf or .html (extra 'plot').")]
Strict = Annotated[bool, Option("--strict", help="Exit with 3 when the design does not fit.")]
Order = Annotated[
    str,
    Option(
        "--order",
        help="Order of the rows: time (the longest first) or execution.",
        autocompletion=starting(("time", "execution")),
    ),
]
Op = Annotated[
    str | None,
    Option("--op", help="One kernel in full, by its name or the end of it: formula, curves with parameters, nearest measured rows, parts of its interval."),
]  # fmt: skip
Top = Annotated[str | None, Option("--top", metavar="<count>", help="Show only this many of the longest rows.")]
Details = Annotated[
    bool,
    Option(
        "--details",
        help="Show all on the console: also terms, metrics, notes and sources that the short page leaves out.",
    ),
]
