"""Options that commands share, and the completion of names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from simcost import metrics, settings


def model_names(incomplete: str) -> list[str]:
    """Zoo names for shell completion."""
    from simcost.model.load import names

    return [name for name in names() if name.startswith(incomplete)]


def hardware_names(incomplete: str) -> list[str]:
    """Profile names for shell completion."""
    from simcost.hardware.load import names

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


MODEL = "Zoo name, Hugging Face repository of one, config.json or its directory."
Model = Annotated[str, typer.Option("--model", help=MODEL, autocompletion=model_names)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL, autocompletion=model_names)]
Hw = Annotated[str, typer.Option("--hw", help="Profile name, or a profile.toml.", autocompletion=hardware_names)]
Hws = Annotated[
    str,
    typer.Option("--hw", help="Profile names, or profile.toml files: h100,h200,b200.", autocompletion=hardware_lists),
]
_PHASE = settings.of("phase")
# Under the options of a command that takes --set: one paragraph a group of keys.
KEYS = "\n\n".join((
    "Keys of --set and --vary (simcost keys says what each takes):",
    "plan: " + ", ".join(settings.of("plan")),
    "step: " + ", ".join(_PHASE),
    "engine, engine.<its setting>, hw.<profile key>, model.<config key>",
))  # fmt: skip


def _help(key: str, before: str = "", after: str = "") -> str:
    """The meaning of a key of the step as a sentence."""
    text = f"{before}{_PHASE[key].meaning}{after}."
    return text[:1].upper() + text[1:] if not before else text


Batch = Annotated[int, typer.Option("--batch", help=_help("batch"))]
Context = Annotated[int, typer.Option("--context", help=_help("context"))]
Isl = Annotated[int, typer.Option("--isl", help=_help("isl"))]
Past = Annotated[int, typer.Option("--past", help=_help("past"))]
PrefillTokens = Annotated[int | None, typer.Option("--prefill-tokens", help=_help("prefill_tokens"))]
PrefillPast = Annotated[int | None, typer.Option("--prefill-past", help=_help("prefill_past", after="; default 0"))]
# Where --phase chooses: None tells a length that was not given from one that the other phase would pass over.
OfDecode = Annotated[int | None, typer.Option("--context", help=_help("context", "decode: ", "; default 4096"))]
OfPrefill = Annotated[int | None, typer.Option("--isl", help=_help("isl", "prefill: ", "; default 4096"))]
PastOfPrefill = Annotated[int | None, typer.Option("--past", help=_help("past", "prefill: ", "; default 0"))]
Phase = Annotated[str, typer.Option("--phase", help="decode or prefill.", autocompletion=starting(settings.STEPS))]
Set = Annotated[
    list[str] | None,
    typer.Option(
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
    typer.Option(
        "--engine",
        help="Whose kernels: vllm, sglang, trtllm, torch (our own measurements); default any, their middle, kernel by kernel.",
        autocompletion=engine_names,
    ),
]
Vary = Annotated[
    list[str] | None,
    typer.Option("--vary", help="path=a,b,c: several make their product.", autocompletion=assignments),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric", help="What to rank by; default tokens a second and GPU.", autocompletion=starting(metrics.ranking())
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Argument(
        help=f"{', '.join(settings.ROOTS[:-1])} or {settings.ROOTS[-1]}; default all.",
        autocompletion=starting(settings.ROOTS),
    ),
]
Gpus = Annotated[
    int | None, typer.Option("--gpus", help="Devices of the cluster: the plan must fit, copies of it fill it.")
]
Counts = Annotated[str, typer.Option("--gpus", help="Devices to use, all of them: 8, or each of 1,2,4,8.")]
Nodes = Annotated[int | None, typer.Option("--nodes", help="The same in nodes (scale-up domains) of the profile.")]
Price = Annotated[float | None, typer.Option("--price", help="USD per device and hour, instead of the profile's.")]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="console, csv, markdown or json; default: by the suffix of -o, else console.",
        autocompletion=starting(("console", "csv", "markdown", "json")),
    ),
]
Out = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead of the terminal.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 when the design does not fit.")]
