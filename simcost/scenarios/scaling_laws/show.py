"""list scaling-laws, show scaling-law: what was published, over which range, with which error."""

from __future__ import annotations

from simcost.result import Result, Row
from simcost.scaling_laws import forms, load, ranges
from simcost.scaling_laws.law import EXTENTS, FITTED, VERIFIED, Law, Range

_SIZES = {"total": "all parameters", "active": "parameters that a token uses", "flops": "FLOPs of a token"}


def listed() -> Result:
    """Every law, one row each."""
    rows: list[Row] = [
        {
            "scaling_law": law.name, "gives": gives(law), "covers": covers(law), "certainty": law.certainty, "params_range": _span(law, "params"),
            "tokens_range": _span(law, "tokens"), "flops_range": _span(law, "training_flops"), "residual": law.residual, "paper": law.source["paper"],
        }
        for law in load.every()
    ]  # fmt: skip
    said = tuple(f"{law.name}: {ranges.unverified(law)}" for law in load.every() if law.certainty != VERIFIED)
    return Result(
        "list scaling-laws",
        {},
        {"laws": len(rows)},
        {"scaling laws": rows},
        said,
        ("workloads/scaling_laws/<name>.toml",),
    )


def shown(name: str) -> Result:
    """One law in full. Raises SpecError for an unknown name."""
    law = load.load(name)
    what: list[Row] = [
        {"what_it_is": key, "meaning": text}
        for key, text in (
            ("formula", forms.WRITTEN[law.form]), ("size", f"{counted(law)}: {law.params.why}"),
            ("compute", law.no_compute if law.compute is None else law.compute.why), *law.definitions.items(), ("error", law.error_source),
            *((key, text) for key, text in law.source.items()),
        )
    ]  # fmt: skip
    tables = {"coefficients": _coefficients(law), "ranges": _ranges(law), "what it says": what}
    if law.dense is not None:
        tables["coefficients of dense models"] = _coefficients(law.dense)
        tables["ranges"] += [{**row, "extent": f"dense, {row['extent']}"} for row in _ranges(law.dense)]
    notes = () if law.certainty == VERIFIED else (f"gives no number: {ranges.unverified(law)}",)
    metrics = {} if law.residual is None else {"residual": law.residual}
    return Result(
        "show scaling-law", {"scaling_law": law.name}, metrics, tables, notes, (f"{law.source['paper']}, {law.source['where']}",),
        f"{law.title}: {gives(law)} of {covers(law)}",
    )  # fmt: skip


def gives(law: Law) -> str:
    """What a law gives, in words."""
    return {"allocation": "compute-optimal sizes", "leverage": "compute against dense"}.get(law.form, "loss")


def covers(law: Law) -> str:
    """Which designs a law covers, in words."""
    if law.dense_only:
        return "dense"
    # A law with an expert term says of a dense model what it says of one expert; others state a formula for each.
    return "MoE and dense" if law.dense is not None or law.form in ("routed", "sparse", "joint") else "MoE"


def counted(law: Law) -> str:
    """What a law counts as the size of a model, in words."""
    if law.params.count == "flops":
        return "non-embedding FLOPs of a token"
    without = [word for word, has in (("embeddings", law.params.vocabulary), ("routers", law.params.router)) if not has]
    return _SIZES[law.params.count] + (f" without {' and '.join(without)}" if without else "")


def _span(law: Law, name: str) -> str:
    bounds = law.ranges[FITTED].bounds.get(name)
    return "" if bounds is None else ranges.span(name, bounds, law.params.count == "flops")


def _coefficients(law: Law) -> list[Row]:
    return [
        {"coefficient": name, "value": each.value, "stated": f"{each.value:.12g}", "standard_error": each.error or None}
        for name, each in law.coefficients.items()
    ]


def _ranges(law: Law) -> list[Row]:
    return [row for holds in EXTENTS if holds in law.ranges for row in _bounds(law, holds, law.ranges[holds])]


def _bounds(law: Law, holds: str, limits: Range) -> list[Row]:
    return [
        {
            "extent": holds, "variable": ranges.VARIABLES[name], "stated": ranges.span(name, bounds, law.params.count == "flops"), "least": bounds[0],
            "most": bounds[1], "source": limits.source,
        }
        for name, bounds in limits.bounds.items()
    ]  # fmt: skip
