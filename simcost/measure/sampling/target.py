"""Finding the device that is measured, and its formats by running a tiny product in each, never by version.

Most likely to be wrong: a build of torch whose product works in a format that its other kernels have not; their points are dropped then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.measure.machine.target import CUDA_FORMATS, MEMORY_SHARE, Target, failure, processor, wanted_formats
from simcost.measure.machine.torch import need_torch
from simcost.units import parse


def find(device: str, threads: int | None = None, formats: Sequence[str] | None = None) -> Target:
    """The target that a device name means ("cpu", "cuda", "cuda:1"), with the formats that work on it. Raises SpecError for a
    device, a format or cores that are not there, SimcostError without torch."""
    torch = need_torch()
    if device == "cpu":
        return processor(threads, formats)
    index = _cuda_index(device, torch)
    name = f"cuda:{index}"
    free, _ = torch.cuda.mem_get_info(index)
    properties = torch.cuda.get_device_properties(index)
    cache = float(getattr(properties, "L2_cache_size", 0)) or parse("64 MB", "bytes")
    absent = _absent(torch, name)
    wanted = wanted_formats(formats, CUDA_FORMATS, device)
    have = tuple(f for f in wanted if f not in absent)
    if formats is not None and len(have) < len(wanted):
        missing = next(f for f in wanted if f in absent)
        raise SpecError(f"{name}: no {missing}: {absent[missing]}")
    if not have:
        raise SpecError(f"{name}: no product works here, in bf16: {absent[wanted[0]]}")
    return Target(name, threads or torch.get_num_threads(), 1.25 * MEMORY_SHARE * free, 2.0 * cache, have, absent)


def _cuda_index(device: str, torch: Any) -> int:
    head, _, tail = device.partition(":")
    if head != "cuda" or (tail and not tail.isdigit()) or (":" in device and not tail):
        raise SpecError(f"--device must be cpu, cuda or cuda:INDEX, not {device!r}{nearest(device, ('cpu', 'cuda'))}")
    if not torch.cuda.is_available():
        raise SpecError(f"{device}: torch {torch.__version__} sees no CUDA device")
    index, count = int(tail or 0), torch.cuda.device_count()
    if index >= count:
        raise SpecError(f"{device}: there {'is' if count == 1 else 'are'} only {count} (cuda:0 to cuda:{count - 1})")
    return index


def _absent(torch: Any, name: str) -> dict[str, str]:
    """Formats whose smallest product fails here, and why in a few words."""
    from simcost.measure.kernels.products import probe  # torch is imported with it

    found: dict[str, str] = {}
    for format_ in CUDA_FORMATS:
        why = failure(lambda f=format_: probe(f, name), torch)  # type: ignore[misc]
        if why:
            found[format_] = why
    return found
