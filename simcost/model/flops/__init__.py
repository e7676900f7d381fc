"""Training FLOPs of a token under every published convention, what recomputation adds, and MFU and HFU from them.

A backward pass has twice the FLOPs of its forward. Most likely to be wrong: the recomputation of a published HFU, which
is rarely said in full. Source of each convention: `conventions.py`; derivation: docs/theory/training-flops.md.
"""

from __future__ import annotations

from simcost.errors import SpecError, nearest
from simcost.hardware.profile import Device
from simcost.model.flops.conventions import ALIASES, CONVENTIONS, FULL, NONE, SELECTIVE, Convention, Forward
from simcost.model.spec import ModelSpec
from simcost.num import Num

RECOMPUTE = (NONE, SELECTIVE, FULL)


def conventions() -> dict[str, Convention]:
    """Every convention by the name that `--flops-convention` takes."""
    return dict(CONVENTIONS)


def named(name: str) -> Convention:
    """A convention by its name or another name of it. Raises SpecError for one that is none, with the nearest."""
    found = CONVENTIONS.get(ALIASES.get(name, name))
    if found is None:
        near = nearest(name, (*CONVENTIONS, *ALIASES))
        raise SpecError(f"flops convention '{name}' is not one of {', '.join(CONVENTIONS)}{near}")
    return found


def flops_per_token(model: ModelSpec, seq: Num, convention: str = "reference", mtp: bool = True) -> Num:
    """Training FLOPs of a token of sequences of `seq` tokens, forward and backward. `mtp`: whether the run trains the
    model's MTP modules; only a convention that counts them asks. Raises SpecError for an unknown convention,
    NotModelled for a mixer that the convention does not define. [FLOP]"""
    how = named(convention)
    return _total(how, how.forward(model, seq, mtp), how.recomputed)


def hardware_flops_per_token(
    model: ModelSpec, seq: Num, recompute: str = NONE, convention: str = "reference", mtp: bool = True
) -> Num:
    """The same with what is recomputed. `recompute`: "full" runs the forward of every layer once more, "selective" that
    of attention cores. FlashAttention's backward computes its scores again, which no convention here counts. Raises
    SpecError for another word, or a convention whose figure has another recomputation in it. [FLOP]"""
    how = named(convention)
    if recompute not in RECOMPUTE:
        raise SpecError(f"recompute '{recompute}' is not one of {', '.join(RECOMPUTE)}{nearest(recompute, RECOMPUTE)}")
    if how.recomputed not in (NONE, recompute):
        raise SpecError(f"flops convention '{how.name}' is defined for recompute={how.recomputed} only")
    return _total(how, how.forward(model, seq, mtp), recompute)


def converted(stated: Num, model: ModelSpec, seq: Num, given: str, wanted: str, mtp: bool = True) -> Num:
    """An MFU, or a rate of FLOPs, that is stated in the convention `given`, in the convention `wanted`."""
    return stated * flops_per_token(model, seq, wanted, mtp) / flops_per_token(model, seq, given, mtp)


def mfu(flops_of_token: Num, tokens_per_s: Num, devices: Num, peak: Num) -> Num:
    """Share of the dense peak [FLOP/s of one device] that all devices use at `tokens_per_s` together: MFU of model
    FLOPs of a token."""
    return flops_of_token * tokens_per_s / (devices * peak)


def hfu(hardware_flops_of_token: Num, tokens_per_s: Num, devices: Num, peak: Num) -> Num:
    """The same of hardware FLOPs: HFU."""
    return mfu(hardware_flops_of_token, tokens_per_s, devices, peak)


def peak(device: Device, compute: str) -> Num:
    """The peak that an MFU stands over: dense, of the format in which the large GEMMs compute ("bf16", "fp8").
    Published fp8 runs take either (DeepSeek-V3, torchtitan: bf16; NeMo, llm-foundry: fp8). Raises SpecError where the
    profile states none. [FLOP/s]"""
    return device.peak(compute)


def _total(how: Convention, forward: Forward, recompute: str) -> Num:
    again: Num = 0.0 if recompute == NONE else forward.core
    if recompute == FULL:
        again = again + forward.layers + (forward.ends if how.ends_again else 0.0)
    return 3.0 * (forward.layers + forward.core + forward.ends) + again
