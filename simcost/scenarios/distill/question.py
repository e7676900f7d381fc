"""What is asked of a distillation, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost import settings
from simcost.distillation.variants import Amount
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.serving.lengths import Lengths

# A month of a gigabyte in an object store, assumed where nobody states it: list price of Amazon S3 Standard, first 50 TB, us-east-1 (aws.amazon.com/s3/pricing).
STORAGE_USD = 0.023
TEXTS = ("given", "teacher")
_GIGABYTE = 1_000_000_000.0
_LEAST_KEPT = 1e-6


@frozen
class Storage:
    """What bytes cost: USD of a byte that is kept for as long as it is, and of one that is sent. stated: whether the user states the first."""

    usd_per_byte: float
    sent_usd_per_byte: float
    months: float
    stated: bool


@frozen
class Asked:
    """A question. sets: of the student's training; teacher_sets, rollout_sets: of the plans that write and read; top_k: logits that are kept of a token; layers: hidden states
    that are matched; maps: whether there is a map between tokenizers that differ; rl: a run of reinforcement learning beside it, its figures by name, None where none is asked for."""

    teacher: Any
    student: Any
    hw: str
    teacher_hw: str
    isl: Any
    osl: Lengths
    student_osl: Lengths
    amount: Amount
    phase: Mapping[str, Any]
    sets: Mapping[str, Any]
    teacher_sets: Mapping[str, Any]
    rollout_sets: Mapping[str, Any]
    stack: str | None
    price: float | str | None
    teacher_price: float | str | None
    top_k: int
    layers: int
    maps: bool
    storage: Storage
    rl: Mapping[str, Any] | None
    stated: Mapping[str, Any]


def amount(samples: Any, tokens: float | None, isl: float, osl: float, epochs: Any, kept: Any, texts: str) -> Amount:
    """How much is trained. Raises SpecError for what is not said once, and for what is no number."""
    if (samples is None) == (tokens is None):
        raise SpecError(
            "state how much is trained, with either --samples (prompts with their answers) or --tokens (of an epoch)"
        )
    if texts not in TEXTS:
        raise SpecError(
            f"--texts must be given (they exist) or teacher (the teacher writes them), not {texts!r}{nearest(texts, TEXTS)}"
        )
    each = isl + osl
    number = float(settings.count("--samples", samples)) if samples is not None else float(tokens or 0.0) / each
    if number < 1.0:
        raise SpecError(f"--tokens = {tokens:,.0f} is less than one sample of {each:,.0f} tokens")
    share = positive("--kept", kept, 1.0)
    if share < _LEAST_KEPT:
        raise SpecError(f"--kept = {kept!r} must be at least {_LEAST_KEPT:g}, which is one text of a million")
    return Amount(number, isl, osl, positive("--epochs", epochs, 1000.0), share, texts == "teacher")


def storage(price: Any, months: Any, sent: Any) -> Storage:
    """Raises SpecError for prices that are none."""
    kept = STORAGE_USD if price is None else positive("--storage-price", price, _GIGABYTE, zero=True)
    time = positive("--storage-months", months, 1000.0, zero=True)
    return Storage(
        kept * time / _GIGABYTE,
        positive("--network-price", sent, _GIGABYTE, zero=True) / _GIGABYTE,
        time,
        price is not None,
    )


def positive(option: str, value: Any, most: float, zero: bool = False) -> float:
    """A number above 0 (`zero`: or 0) and at most `most`. Raises SpecError."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0.0 < value <= most or (zero and value == 0.0)):
        raise SpecError(
            f"{option} = {value!r} must be a number {'of at least' if zero else 'above'} 0 and at most {most:,.0f}"
        )
    return float(value)
