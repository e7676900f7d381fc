"""The crossover as a picture (extra `plot`)."""

from __future__ import annotations

from pathlib import Path

from simcost.errors import SpecError
from simcost.result import Result


def crossover(result: Result, path: Path) -> None:
    """FLOPs a token by length, attention against FFN, and contexts by batch; PNG or SVG by the file's suffix."""
    try:
        import matplotlib
    except ImportError:
        raise SpecError("--plot needs matplotlib: pip install 'simcost[plot]'") from None
    if path.suffix not in (".png", ".svg"):
        raise SpecError(f"--plot {path}: the name must end in .png or .svg")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter

    lengths = result.tables["prefill FLOPs by length"]
    reads = [row for row in result.tables["decode reads by batch"] if row["context"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    x = [row["length"] for row in lengths]
    left.loglog(x, [row["attention_core_flops_per_token"] for row in lengths], "o-", label="attention core, O(N²d)")
    left.loglog(x, [row["ffn_flops_per_token"] for row in lengths], "s-", label="FFN, O(Nd²)")
    meet = result.metrics["prefill_crossover_tokens"]
    if meet:
        left.axvline(meet, color="grey", linestyle=":")
        left.annotate(
            f"{meet:,} tokens", (meet, left.get_ylim()[0]), rotation=90, va="bottom", ha="right", color="grey"
        )
    left.set(xlabel="prefill length [tokens]", ylabel="FLOP a token", title=f"{result.inputs['model']}: prefill work")
    left.yaxis.set_major_formatter(EngFormatter())
    left.legend()
    right.loglog([row["batch"] for row in reads], [row["context"] for row in reads], "o-")
    right.set(
        xlabel="batch [sequences]", ylabel="context [tokens]", title="decode: KV reads equal weight reads on the line"
    )
    for axis in (left, right):
        axis.grid(True, which="major", alpha=0.3)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        figure.savefig(temporary, dpi=150)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SpecError(f"--plot {path}: {error.strerror or error}") from None
    finally:
        plt.close(figure)
