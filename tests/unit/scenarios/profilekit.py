"""Traces as Kineto writes them, of steps that a test makes up: names of kernels from public profiles of vLLM and PyTorch on H200."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KERNELS = {
    "gemm": "nvjet_tst_64x8_64x16_4x1_v_bz_TNT",
    "reduce": "void cublasLt::splitKreduce_kernel<32, 16, int, __nv_bfloat16>(cublasLt::cublasSplitKParams<float>)",
    "core": "void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<2, cute::tuple<cute::C<1> > > > >(T::Params)",
    "combine": "void cutlass::device_kernel<flash::FlashAttnFwdCombine<cute::tuple<cute::C<8> > > >(T::Params)",
    "norm": "void vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>(c10::BFloat16*, long)",
    "rope": "void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)",
    "cache": "void vllm::reshape_and_cache_flash_kernel<__nv_bfloat16, __nv_bfloat16>(__nv_bfloat16 const*)",
    "act": "void vllm::act_and_mul_kernel<c10::BFloat16, &vllm::silu_kernel<c10::BFloat16>, true>(c10::BFloat16*)",
    "reduce_ranks": "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>(vllm::RankData*)",
    "gather_ranks": "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)",
    "embed": "void at::native::vectorized_gather_kernel<16, long>(char*, char*)",
    "sample": "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps<float> > >(float)",
}  # fmt: skip
LAYER = (
    ("norm", 3.0), ("gemm", 12.0), ("rope", 2.5), ("cache", 2.0), ("core", 150.0), ("combine", 4.0), ("gemm", 9.0), ("reduce_ranks", 6.0), ("norm", 3.0), ("gemm", 34.0), ("act", 3.0), ("gemm", 20.0),
    ("reduce", 1.0), ("reduce_ranks", 6.0),
)  # fmt: skip
HEAD = (("norm", 3.0), ("gemm", 140.0), ("gather_ranks", 30.0), ("sample", 10.0))


class Recorder:
    """Events of a GPU, one kernel after another. [us]"""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = 5_202_450_531_209.0

    def kernel(
        self,
        name: str,
        time: float,
        gap: float = 1.0,
        stream: int = 7,
        cat: str = "kernel",
        start: float | None = None,
        device: int = 0,
    ) -> None:
        begin = self.now if start is None else start
        self.events.append(
            {
                "ph": "X", "cat": cat, "name": KERNELS.get(name, name), "pid": device, "tid": stream, "ts": begin, "dur": time,
                "args": {"External id": len(self.events), "device": device, "stream": stream, "correlation": len(self.events)},
            }
        )  # fmt: skip
        if start is None:
            self.now += time + gap

    def mark(self, name: str, start: float, cat: str = "gpu_user_annotation") -> None:
        self.events.append(
            {"ph": "X", "cat": cat, "name": name, "pid": 0, "tid": 7, "ts": start, "dur": self.now - start, "args": {}}
        )


def llama(steps: int = 2, layers: int = 32) -> Recorder:
    """Decode steps of Llama 3.1 8B on one of two H200, as vLLM's kernels run them."""
    made = Recorder()
    for step in range(steps):
        start = made.now
        made.kernel("Memcpy HtoD (Pageable -> Device)", 1.5, cat="gpu_memcpy")
        for name, time in (("embed", 3.0), ("reduce_ranks", 6.0), *LAYER * layers, *HEAD):
            made.kernel(name, time)
        made.mark(f"ProfilerStep#{step + 3}", start)
        made.now += 300.0
    return made


def document(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H200"}], "distributedInfo": {"backend": "nccl", "rank": 1, "world_size": 2},
        "traceEvents": [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python"}}, *events, {"ph": "i", "s": "g", "name": "Record Window End", "ts": 1}],
        "traceName": "step.json", "displayTimeUnit": "ms", "baseTimeNanoseconds": 1_790_857_026_000_000_000,
    }  # fmt: skip


def written(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(document(events), indent=2), encoding="utf-8")
    return path
