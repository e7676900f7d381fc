"""Options that commands share, and the completion of names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def model_names(incomplete: str) -> list[str]:
    """Zoo names for shell completion."""
    from simcost.model.load import names

    return [name for name in names() if name.startswith(incomplete)]


def hardware_names(incomplete: str) -> list[str]:
    """Profile names for shell completion."""
    from simcost.hardware.load import names

    return [name for name in names() if name.startswith(incomplete)]


MODEL = "Zoo name, Hugging Face repository of one, config.json or its directory."
Model = Annotated[str, typer.Option("--model", help=MODEL, autocompletion=model_names)]
ModelArgument = Annotated[str, typer.Argument(help=MODEL, autocompletion=model_names)]
Hw = Annotated[str, typer.Option("--hw", help="Profile name, or a profile.toml.", autocompletion=hardware_names)]
Batch = Annotated[int, typer.Option("--batch", help="Sequences in all, over all replicas.")]
Context = Annotated[int, typer.Option("--context", help="Tokens that the new token attends to, itself included.")]
Isl = Annotated[int, typer.Option("--isl", help="New tokens a sequence (input sequence length).")]
Past = Annotated[int, typer.Option("--past", help="Tokens already in the cache (chunked prefill).")]
PrefillTokens = Annotated[
    int | None,
    typer.Option(
        "--prefill-tokens",
        help="A mixed step: so many tokens of a prompt come in beside the new ones, on every attention replica.",
    ),
]
PrefillPast = Annotated[
    int | None, typer.Option("--prefill-past", help="Tokens of that prompt that are cached already; default 0.")
]
# Where --phase chooses: None tells a length that was not given from one that the other phase would pass over.
OfDecode = Annotated[
    int | None,
    typer.Option("--context", help="decode: tokens that the new token attends to, itself included; default 4096."),
]
OfPrefill = Annotated[
    int | None,
    typer.Option("--isl", help="prefill: new tokens a sequence (input sequence length); default 4096."),
]
PastOfPrefill = Annotated[
    int | None, typer.Option("--past", help="prefill: tokens already in the cache (chunked prefill); default 0.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="path=value: model.kv_lora_rank=1024, hw.memory.bandwidth='6 TB/s' or x1.5, plan.tp=8."),
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
Vary = Annotated[list[str] | None, typer.Option("--vary", help="path=a,b,c: several make their product.")]
Gpus = Annotated[
    int | None, typer.Option("--gpus", help="Devices of the cluster: the plan must fit, copies of it fill it.")
]
Nodes = Annotated[int | None, typer.Option("--nodes", help="The same in nodes (scale-up domains) of the profile.")]
Price = Annotated[float | None, typer.Option("--price", help="USD per device and hour, instead of the profile's.")]
Format = Annotated[
    str, typer.Option("--format", help="console, csv, markdown or json; default: by the suffix of -o, else console.")
]
Out = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead of the terminal.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 when the design does not fit.")]
