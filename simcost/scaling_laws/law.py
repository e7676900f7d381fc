"""A published law as data: its formula's name and coefficients, what it counts, where it was fitted, and how far it was off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from simcost.frozen import frozen

VERIFIED = "verified"
ONE_PASS = "one"
FITTED, PUBLISHED = "fitted", "published"
EXTENTS = (FITTED, PUBLISHED)


@frozen
class Coefficient:
    """A fitted number and its standard error; 0 where the source states none."""

    value: float
    error: float = 0.0


@frozen
class Range:
    """Where a law holds: (least, most) by the name of a variable (`ranges.VARIABLES`), and who says so."""

    bounds: Mapping[str, tuple[float, float]]
    source: str


@frozen
class Params:
    """What a law calls the size of a model. `count`: "total", "active", or "flops" (non-embedding FLOPs of a token). `vocabulary`, `router`: whether
    embeddings and head, and routers, are counted."""

    count: str
    vocabulary: bool
    router: bool
    why: str


@frozen
class Compute:
    """Training FLOPs of a token by the law's own count: a number a parameter that a token uses (as `Params` counts it, active ones), another for those
    of routers. `unit`: FLOPs of the unit in which an allocation is written."""

    flops_per_param: float
    flops_per_router_param: float
    unit: float
    why: str


@frozen
class Law:
    """`form`: a key of `forms.FORMS`. `compute`: None where the law has no tokens to trade for parameters, for the reason `no_compute`. `residual`: RMS
    error of the loss that the source states, the larger of fit and held-out runs [nats]. `dense`: the same source's law of dense models."""

    name: str
    title: str
    form: str
    certainty: str
    source: Mapping[str, str]
    definitions: Mapping[str, str]
    params: Params
    compute: Compute | None
    no_compute: str
    coefficients: Mapping[str, Coefficient]
    residual: float | None
    error_source: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    dense: Law | None = None

    @property
    def values(self) -> dict[str, float]:
        """Coefficients without their errors."""
        return {name: each.value for name, each in self.coefficients.items()}

    @property
    def states_error(self) -> bool:
        """Whether the source states an error from which an interval can be made."""
        return self.residual is not None or any(each.error for each in self.coefficients.values())

    @property
    def dense_only(self) -> bool:
        """Whether the law was fitted on dense models alone."""
        return self.ranges[FITTED].bounds.get("experts") == (1.0, 1.0)

    @property
    def trains_once(self) -> bool:
        """Whether the law's tokens are training tokens, each seen once; else those of a dataset that is passed many times."""
        return self.definitions["passes"] == ONE_PASS

    @property
    def predicts_loss(self) -> bool:
        """Whether the law gives a loss; others give sizes or ratios of compute alone."""
        return self.form not in ("allocation", "leverage")
