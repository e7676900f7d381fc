"""Who measured: device, software, clocks. A resumed run must meet the same device, torch and threads.

Most likely to be wrong: clocks and power are one reading, not an average. Sources: torch's own queries, NVML where the
package `nvidia-ml-py` is installed, else nvidia-smi, /proc/cpuinfo.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from simcost.errors import SpecError
from simcost.measure.machine.nvidia_smi import Smi
from simcost.measure.machine.target import Target
from simcost.measure.machine.torch import need_torch, optional
from simcost.units import parse

_MILLI = parse("1 ms", "seconds")
NOT_READ = "not read: neither nvidia-ml-py nor nvidia-smi answers, so a throttled run is not noticed"
MUST_MATCH = ("device", "device_name", "torch", "threads")


def record(target: Target) -> dict[str, Any]:
    """Flat strings and numbers for run.toml."""
    torch = need_torch()
    found: dict[str, Any] = {
        "device": target.name,
        "device_name": device_name(target.name),
        "torch": str(torch.__version__),
        "threads": target.threads,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "formats": list(target.formats),
    }
    if target.absent:
        found["formats_absent"] = [f"{name}: {why}" for name, why in target.absent.items()]
    found |= _cuda(target, torch) if target.cuda else _cpu()
    return found


def device_name(device: str) -> str:
    """The part's own name, of "cpu" or a CUDA device."""
    return _cpu_name() if device == "cpu" else str(need_torch().cuda.get_device_name(device))


def _cpu() -> dict[str, Any]:
    clock = _cpu_clock()
    return {} if clock is None else {"clock_hz": clock}


def _cpuinfo(key: str) -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return [line.split(":", 1)[1].strip() for line in file if line.startswith(key) and ":" in line]
    except OSError:
        return []


def _cpu_name() -> str:
    names = _cpuinfo("model name")
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_clock() -> float | None:
    clocks = [float(value) for value in _cpuinfo("cpu MHz")]
    return parse(f"{max(clocks):.3f} MHz", "hertz") if clocks else None


def _cuda(target: Target, torch: Any) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(target.name)
    major, minor = torch.cuda.get_device_capability(target.name)
    found: dict[str, Any] = {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "compute_capability": f"{major}.{minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": int(getattr(properties, "L2_cache_size", 0)),
        "sdpa_order": sdpa_order(torch),
    }
    for name in ("triton", "flashinfer"):
        module = optional(name)
        if module is not None:
            found[name] = str(getattr(module, "__version__", "unknown"))
    found |= gauge(target.name).read()
    return found


def sdpa_order(torch: Any) -> list[str]:
    """Attention backends that this build lets run, as its own switches say."""
    cuda = torch.backends.cuda
    switches = {
        "cudnn": getattr(cuda, "cudnn_sdp_enabled", None),
        "flash": getattr(cuda, "flash_sdp_enabled", None),
        "efficient": getattr(cuda, "mem_efficient_sdp_enabled", None),
        "math": getattr(cuda, "math_sdp_enabled", None),
    }
    return [name for name, enabled in switches.items() if enabled is not None and enabled()]


class Gauge:
    """Clocks and power of one CUDA device, by NVML or else by nvidia-smi; reads nothing on a CPU or where there is
    neither. `source` says which."""

    def __init__(self, name: str) -> None:
        self._nvml: Any = optional("pynvml") if name.startswith("cuda") else None
        self._handle: Any = None
        self._smi: Smi | None = None
        self.source = ""
        if self._nvml is not None:
            self._handle = self._asked(lambda n: _handle(n, name))
        if self._handle is not None and self.clock() is None:
            self._handle = None  # a slice of a board has a handle and no clock
        if self._handle is not None:
            self.source = "NVML"
        elif name.startswith("cuda"):
            self._smi = Smi(str(_physical(name)))
            self.source = "nvidia-smi" if self._smi.text("clocks.sm") else NOT_READ

    def _asked(self, question: Callable[[Any], Any]) -> Any:
        """The answer, or None: NVML has error types of its own, and a board that does not answer has no reading."""
        try:
            return question(self._nvml)
        except Exception:
            return None

    def clock(self) -> float | None:
        """SM clock now. [Hz]"""
        return self._clock("clocks.sm", lambda n: n.nvmlDeviceGetClockInfo(self._handle, n.NVML_CLOCK_SM))

    def top(self) -> float | None:
        """The highest SM clock that the board has. [Hz]"""
        return self._clock("clocks.max.sm", lambda n: n.nvmlDeviceGetMaxClockInfo(self._handle, n.NVML_CLOCK_SM))

    def _clock(self, field: str, question: Callable[[Any], Any]) -> float | None:
        if self._handle is not None:
            megahertz = self._asked(question)
        else:
            megahertz = None if self._smi is None else self._smi.number(field)
        return parse(f"{megahertz} MHz", "hertz") if megahertz else None

    def read(self) -> dict[str, Any]:
        """Clocks [Hz], power [W] and driver of the board, as far as it says them, and by which way; {} on a CPU."""
        if not self.source:
            return {}
        found = {
            "clock_source": self.source,
            "clock_hz": self.clock(),
            "top_clock_hz": self.top(),
            "memory_clock_hz": self._clock(
                "clocks.mem", lambda n: n.nvmlDeviceGetClockInfo(self._handle, n.NVML_CLOCK_MEM)
            ),
            **(self._by_nvml() if self._handle is not None else self._by_smi()),
        }
        return {key: value for key, value in found.items() if value is not None}

    def _by_nvml(self) -> dict[str, Any]:
        h = self._handle
        driver = self._asked(lambda n: n.nvmlSystemGetDriverVersion())
        return {
            "driver": driver.decode() if isinstance(driver, bytes) else driver,
            "power_w": _watts(self._asked(lambda n: n.nvmlDeviceGetPowerUsage(h))),
            "power_limit_w": _watts(self._asked(lambda n: n.nvmlDeviceGetEnforcedPowerLimit(h))),
        }

    def _by_smi(self) -> dict[str, Any]:
        if self._smi is None:
            return {}
        return {
            "driver": self._smi.text("driver_version"),
            "power_w": self._smi.number("power.draw"),
            "power_limit_w": self._smi.number("enforced.power.limit"),
        }


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts * _MILLI


def _handle(nvml: Any, name: str) -> Any:
    nvml.nvmlInit()
    board = _physical(name)
    return nvml.nvmlDeviceGetHandleByUUID(board) if isinstance(board, str) else nvml.nvmlDeviceGetHandleByIndex(board)


def _physical(name: str) -> int | str:
    """NVML and nvidia-smi count all boards, torch those of CUDA_VISIBLE_DEVICES, which may name them by UUID."""
    index = int(name.partition(":")[2] or 0)
    entries = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    if index >= len(entries):
        return index
    if entries[index].startswith(("GPU-", "MIG-")):
        return entries[index]
    return int(entries[index]) if entries[index].isdigit() else index


@cache
def gauge(name: str) -> Gauge:
    """The gauge of a device ("cpu", "cuda:0"), one for each in the process."""
    return Gauge(name)


def same(mine: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> None:
    """Compares two records of an environment. Raises SpecError naming the first key of MUST_MATCH that differs."""
    for key in MUST_MATCH:
        if str(theirs.get(key)) != str(mine.get(key)):
            raise SpecError(
                f"{where}: measured with {key} = {theirs.get(key)!r}, here it is {mine.get(key)!r}: "
                "--resume needs the same environment: measure into another folder"
            )
