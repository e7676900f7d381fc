"""The CUDA side without a device: what is asked of torch and NVML, in which order, and what becomes of the answers."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend

from benchmarks.gpu import __main__
from benchmarks.gpu import sections as gpu_sections
from benchmarks.gpu.bench import Lab, core, gemm
from simcost.errors import SimcostError, SpecError
from simcost.measure.kernels import grouped, products
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine import environment, nvidia_smi
from simcost.measure.machine import target as machine_target
from simcost.measure.machine.target import CUDA_FORMATS, Target, alive
from simcost.measure.points import anchors, design, kinds
from simcost.measure.points.sobol import space
from simcost.measure.sampling import probe, target, visit
from simcost.measure.sampling.probe import Sentinel, time_kernel
from simcost.measure.session import layers
from simcost.measure.timing import cuda as cuda_timing
from simcost.measure.timing import cuda_graph, deadline
from simcost.measure.timing.buffers import Bench
from simcost.measure.timing.cpu import Timing
from simcost.measure.torch_layers import time_cuda
from simcost.measure.torch_layers.section import SDPA
from simcost.measure.triton_kernels import grids


class Board:
    """A host that queues and a device that works [ms]: a launch takes `launch` of the host, a replay `replay` and a
    call `call_` of the device, times `slow`. What ran is written down."""

    def __init__(self, monkeypatch, launch=0.0, replay=2.0, call=3.0) -> None:
        self.host, self.free, self.log, self.captures = 0.0, 0.0, [], True
        self.launch, self.replay, self.call_, self.slow = launch, replay, call, lambda: 1.0
        cuda, board = torch.cuda, self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                self.at = max(board.host, board.free)

            def synchronize(self):
                board.host = max(board.host, self.at)

            def elapsed_time(self, other):
                return other.at - self.at

        class Graph:
            def replay(self):
                board.work(board.replay)
                board.log.append("replay")

        @contextmanager
        def graph(_, pool):
            board.underway, board.stream = pool, "capture"
            board.log.append("capture")
            yield
            if not board.captures:  # as torch 2.11 leaves it: its stream stays, the allocator waits for the end
                raise RuntimeError("operation failed due to a previous error during capture")
            board.underway, board.stream = None, "main"

        def empty_cache():
            if board.underway is not None:
                raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

        def end(device, pool):
            if board.stuck or board.underway != pool:
                raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
            board.underway = None

        self.underway, self.stream, self.stuck, self.released = None, "main", False, []
        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name, value in {
            "Event": Event, "CUDAGraph": Graph, "graph": graph, "Stream": lambda: stream, "stream": lambda s: nullcontext(),
            "current_stream": lambda: stream, "synchronize": lambda *a: None, "device": lambda d: nullcontext(),
            "current_device": lambda: 0,
            "set_stream": lambda s: setattr(board, "stream", "main"), "graph_pool_handle": lambda: (0, len(board.log)),
            "empty_cache": empty_cache,
        }.items():  # fmt: skip
            monkeypatch.setattr(cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda d, p: board.released.append(p), raising=False)
        monkeypatch.setattr(cuda_graph, "_refused", {})

    def work(self, ms):
        self.host += self.launch
        self.free = max(self.host, self.free) + ms * self.slow()

    def call(self):
        self.work(self.call_)
        self.log.append("call")


def test_a_graph_holds_all_copies_and_is_replayed_after_warming_up(monkeypatch):
    board = Board(monkeypatch)
    timing, how = cuda_timing.timed([board.call] * 4, 0.05, "cuda:0")
    assert how == "graph"
    assert timing.seconds == pytest.approx(0.0005)  # 2 ms for four calls
    assert board.log[:8] == ["call"] * 3 + ["capture"] + ["call"] * 4
    assert timing.samples == cuda_timing.MOST
    assert board.log.count("replay") >= cuda_timing.MOST + 20.0 / 2.0  # 20 ms of warming up


@pytest.mark.parametrize("launch", [0.005, 0.01, 0.02])
def test_no_sample_holds_the_way_of_a_launch(monkeypatch, launch):
    """A graph of 30 us: between stamps on an idle stream it read 35 to 50."""
    board = Board(monkeypatch, launch, replay=0.03)
    timing, how = cuda_timing.timed([board.call] * 3, 0.05, "cuda:0")
    assert how == "graph"
    assert timing.seconds == pytest.approx(1e-5)
    assert board.log.count("replay") >= cuda_timing.MOST * 34  # samples of a millisecond or more


class Clocks:
    """A board's clock: idle, and rising while it works."""

    def __init__(self, board, after_ms, low=345e6, high=1980e6) -> None:
        self.board, self.after, self.low, self.high = board, after_ms, low, high

    def clock(self):
        return self.low if self.board.free < self.after else self.high

    def top(self):
        return 1980e6


def test_an_idle_board_is_warmed_until_its_clock_is_up(monkeypatch):
    board = Board(monkeypatch)
    clocks = Clocks(board, 70.0)
    monkeypatch.setattr(cuda_timing, "gauge", lambda name: clocks)
    board.slow = lambda: 1980e6 / clocks.clock()
    timing, _ = cuda_timing.timed([board.call] * 4, 0.05, "cuda:0")
    assert timing.seconds == pytest.approx(0.0005)
    assert timing.dirty == 0.0


def test_times_under_a_low_or_a_moving_clock_are_dirty(monkeypatch):
    board = Board(monkeypatch)
    monkeypatch.setattr(cuda_timing, "gauge", lambda name: Clocks(board, 1e9))  # never up
    assert cuda_timing.timed([board.call], 0.05, "cuda:0")[0].dirty == 1.0
    assert cuda_timing.unsteady(1980e6, 1700e6, None)  # fell
    assert cuda_timing.unsteady(1500e6, 1980e6, None)  # rose: the first samples are slow
    assert cuda_timing.unsteady(345e6, 345e6, 1980e6)
    assert not cuda_timing.unsteady(1400e6, 1390e6, 1980e6)  # a power limit, kept all along
    assert not cuda_timing.unsteady(None, None, None)


def test_what_cannot_be_captured_runs_eagerly_and_says_so(monkeypatch):
    board = Board(monkeypatch)
    board.captures = False
    timing, how = cuda_timing.timed([board.call] * 2, 0.01, "cuda:0")
    assert how == "eager (RuntimeError in capture)"
    assert timing.seconds == pytest.approx(0.003)
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", graph=False)[1] == "eager"


def test_a_failed_capture_leaves_nothing_behind_and_is_not_tried_again(monkeypatch):
    board = Board(monkeypatch)
    board.captures = False
    with pytest.raises(cuda_graph.Uncapturable, match="RuntimeError in capture"):
        cuda_graph.captured(board.call, "slow kind")
    assert (board.stream, board.underway, len(board.released)) == ("main", None, 1)
    board.captures = True
    tried = board.log.count("call")
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="slow kind")[1] == "eager (RuntimeError in capture)"
    assert board.log.count("capture") == 1
    assert board.log.count("call") > tried
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="another kind")[1] == "graph"


def test_a_backend_that_cannot_be_captured_leaves_the_others_their_graphs(monkeypatch):
    board = Board(monkeypatch)
    bench = SimpleNamespace(cuda=True, target=SimpleNamespace(name="cuda:0"))
    kind = core("gqa", "bf16", 1, 1, 63, 4, 4, 64, 64).kind
    board.captures = False
    assert time_kernel(Kernel([board.call], lambda: 0.0, 1.0, "sdpa math"), bench, 0.01, kind)[1].startswith("eager")
    board.captures = True
    assert time_kernel(Kernel([board.call], lambda: 0.0, 1.0, "sdpa cudnn"), bench, 0.01, kind)[1] == "graph"
    assert time_kernel(Kernel([board.call], lambda: 0.0, 1.0, "sdpa math"), bench, 0.01, kind)[1].startswith("eager")
    cuda_graph.forget()
    assert time_kernel(Kernel([board.call], lambda: 0.0, 1.0, "sdpa math"), bench, 0.01, kind)[1] == "graph"


def test_refusals_end_where_rows_begin_even_those_of_all_captures(monkeypatch):
    board = Board(monkeypatch)
    board.captures, board.stuck = False, True
    cuda_timing.timed([board.call], 0.01, "cuda:0", what="exploration")
    board.captures, board.stuck, board.underway = True, False, None
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="row")[1] == "eager (a failed capture before)"
    cuda_graph.forget()
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="row")[1] == "graph"


def test_attention_backends_are_explored_without_a_capture(tmp_path, monkeypatch):
    lab = Lab(CPU, tmp_path, True, deadline.NEVER)
    graphs = []
    monkeypatch.setattr(
        lab, "time", lambda kernel, kind: graphs.append(kernel.graph) or (Timing(1.0, 1.0, 1.0, 1, 0.0), "")
    )
    point = core("gqa", "bf16", 1, 16, 0, 4, 2, 32, 32)
    for backend in (SDPBackend.MATH, None):
        gpu_sections._backend(lab, point, backend)
    list(gpu_sections.formats(lab))
    assert graphs == [False] * 4


@pytest.mark.parametrize(("each", "samples"), [(1e-3, 15), (3e-3, 7), (0.02, 3), (0.9, 3), (1.5, 1)])
def test_a_long_play_has_few_samples(each, samples):
    assert cuda_timing._samples(each, 0.02) == samples


def test_a_call_of_seconds_is_played_five_times_and_no_more(monkeypatch):
    board = Board(monkeypatch, replay=2000.0, call=2000.0)
    monkeypatch.setattr(cuda_timing.time, "monotonic", lambda: board.free / 1e3)
    timing, how = cuda_timing.timed([board.call], 0.02, "cuda:0")
    assert (how, timing.samples) == ("graph", 1)
    assert timing.seconds == pytest.approx(2.0)
    assert board.log.count("replay") == 4  # two of warming up, two of sampling
    assert board.log.count("call") == 2  # one before the capture, one in it


def test_where_a_failed_capture_cannot_be_undone_nothing_is_captured_any_longer(monkeypatch):
    board = Board(monkeypatch)
    board.captures, board.stuck = False, True
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="one")[1] == "eager (RuntimeError in capture)"
    board.captures = True
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="two")[1] == "eager (a failed capture before)"


def test_a_capture_without_memory_may_be_tried_with_a_smaller_point(monkeypatch):
    board = Board(monkeypatch)

    def full():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(cuda_graph.Uncapturable, match="OutOfMemoryError in capture"):
        cuda_graph.captured(full, "kind")
    assert cuda_graph.captured(board.call, "kind")


@pytest.mark.parametrize(("major", "bf16", "fp16"), [(8, False, False), (9, True, False), (10, True, False)])
def test_grouped_products_are_captured_where_they_ask_the_host_for_nothing(monkeypatch, major, bf16, fp16):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    there = torch.device("cuda:0")
    assert grouped.capturable(there, "bf16") == bf16
    assert grouped.capturable(there, "fp16") == fp16
    assert grouped.capturable(there, "fp8_block")
    assert not grouped.fast(torch.device("cpu"), "bf16")


@pytest.fixture
def device(monkeypatch):
    """A made-up device 0 on which only wide formats and fp8 by tensor work."""
    cuda = torch.cuda
    properties = SimpleNamespace(L2_cache_size=60 * 10**6, multi_processor_count=132, total_memory=141 * 10**9)
    for name, value in {
        "is_available": lambda: True, "device_count": lambda: 1, "mem_get_info": lambda i: (100e9, 141e9),
        "get_device_properties": lambda i: properties, "get_device_name": lambda i: "Made-up 9000",
        "get_device_capability": lambda i: (9, 0), "synchronize": lambda *a: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(cuda, name, value)

    def probe(format_, name):
        if format_ not in ("bf16", "fp16", "tf32", "fp8"):
            raise RuntimeError(f"no {format_} kernel\nfor this device")

    monkeypatch.setattr(products, "probe", probe)


def test_formats_are_found_by_trying_them(device):
    found = target.find("cuda")
    assert found.name == "cuda:0"
    assert found.formats == ("bf16", "fp16", "tf32", "fp8")
    assert found.absent["nvfp4"] == "RuntimeError: no nvfp4 kernel"
    assert found.rotate == 120e6
    assert 20e9 < found.memory < 30e9
    with pytest.raises(SimcostError, match="cuda:0: no fp8_block: RuntimeError: no fp8_block kernel"):
        target.find("cuda:0", None, ["fp8_block"])


def test_the_record_names_board_clocks_and_what_is_absent(device, monkeypatch):
    nvml = SimpleNamespace(
        NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, nvmlInit=lambda: None, nvmlDeviceGetHandleByIndex=lambda i: i,
        nvmlSystemGetDriverVersion=lambda: b"580.1", nvmlDeviceGetClockInfo=lambda h, which: 1980 if which == 1 else 3201,
        nvmlDeviceGetMaxClockInfo=lambda h, which: 2010, nvmlDeviceGetPowerUsage=lambda h: 350_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda h: 700_000,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    environment.gauge.cache_clear()
    found = environment.record(target.find("cuda"))
    assert environment.gauge("cuda:0").top() == 2010e6
    environment.gauge.cache_clear()
    assert found["device_name"] == "Made-up 9000"
    assert found["driver"] == "580.1"
    assert found["clock_hz"] == 1980e6
    assert found["power_w"] == pytest.approx(350.0)
    assert found["compute_capability"] == "9.0"
    assert any(line.startswith("nvfp4: RuntimeError") for line in found["formats_absent"])


def test_a_board_that_does_not_answer_has_no_reading(monkeypatch):
    def refuse(*_):
        raise OSError("NVML: unknown error")

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(nvmlInit=refuse))
    monkeypatch.setattr(nvidia_smi.shutil, "which", lambda name: None)
    gauge = environment.Gauge("cuda:0")
    assert gauge.clock() is None
    assert gauge.top() is None
    assert gauge.read() == {"clock_source": environment.NOT_READ}
    assert gauge.source.startswith("not read: ")
    assert environment.Gauge("cpu").read() == {}


LINE = "1755, 1980, 3201, 352.40, 700.00, 580.95"


def saying(*lines: str) -> list[str]:
    return [sys.executable, "-uc", f"import time\nfor line in {lines!r}: print(line)\ntime.sleep(60)"]


def test_without_nvml_nvidia_smi_keeps_saying_the_clock(monkeypatch):
    found = nvidia_smi.Smi("0", saying("no devices", LINE))
    monkeypatch.setattr(environment, "Smi", lambda board: found)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gauge = environment.Gauge("cuda:0")
    try:
        assert (gauge.source, gauge.clock(), gauge.top()) == ("nvidia-smi", 1755e6, 1980e6)
        assert gauge.read() == {
            "clock_source": "nvidia-smi", "clock_hz": 1755e6, "top_clock_hz": 1980e6, "memory_clock_hz": 3201e6,
            "driver": "580.95", "power_w": 352.4, "power_limit_w": 700.0,
        }  # fmt: skip
        found._now = lambda: found._at + 3.0  # it has stopped saying anything
        assert gauge.clock() is None
    finally:
        found.close()


def test_what_nvidia_smi_does_not_know_is_no_number():
    found = nvidia_smi.Smi("0", saying(LINE.replace("1755", "[N/A]")))
    assert found.number("clocks.sm") is None
    assert found.number("clocks.max.sm") == 1980.0
    found.close()
    assert nvidia_smi.Smi("0", ["/nowhere/nvidia-smi"]).text("clocks.sm") is None
    assert nvidia_smi.Smi("0", [sys.executable, "-c", ""]).text("clocks.sm") is None


def test_a_board_named_by_uuid_is_asked_by_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-12, GPU-34")
    assert environment._physical("cuda:1") == "GPU-34"
    seen = []
    nvml = SimpleNamespace(nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=seen.append)
    environment._handle(nvml, "cuda:0")
    assert seen == ["GPU-12"]


def test_nvml_counts_all_boards(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert environment._physical("cuda:1") == 5
    assert environment._physical("cuda") == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment._physical("cuda:1") == 1


CPU = Target("cpu", 1, 1e9, 2e6, ("bf16", "fp32"), {})


def test_a_point_is_timed_again_under_an_unsteady_clock_then_dropped_and_counted(monkeypatch):
    found = iter([(Timing(1e-3, 1e-3, 1e-3, 7, dirty), "graph") for dirty in (1.0, 1.0, 1.0, 0.0)])
    monkeypatch.setattr(visit, "time_kernel", lambda *a: next(found))
    state = visit.Visits(Bench(CPU, 0), 0.002, 1.0, lambda op: 1e-3)
    timing, note = state.time(gemm("fp32", 8, 64, 64))
    assert timing is None
    assert "the clock moved by more than a tenth, or was low" in note
    assert state.time(gemm("fp32", 8, 64, 64))[0] is not None


def test_a_device_that_disappears_is_one_line(monkeypatch):
    def gone(*_, **__):
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronous")

    monkeypatch.setattr(torch, "ones", gone)
    with pytest.raises(SimcostError, match=r"cuda:0: the device no longer answers .*; rows are kept") as error:
        alive(Target("cuda:0", 1, 1e9, 1e8, ("bf16",), {}))
    assert "\n" not in str(error.value)


def test_without_any_product_that_works_one_line_says_so(device, monkeypatch):
    def broken(format_, name):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(products, "probe", broken)
    with pytest.raises(SpecError, match="cuda:0: no product works here, in bf16: RuntimeError: no kernel image"):
        target.find("cuda")


def test_a_point_without_memory_is_tried_again_when_the_pools_are_given_back(monkeypatch):
    real, bench, log = visit.build, Bench(CPU, 0), []

    def full_once(*given):
        log.append("build")
        if len(log) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*given)

    monkeypatch.setattr(visit, "build", full_once)
    monkeypatch.setattr(bench, "release", lambda: log.append("release"))
    state = visit.Visits(bench, 0.002, 1.0, lambda op: 1e-3)
    assert state.time(gemm("fp32", 8, 64, 64))[0] is not None
    assert log == ["build", "release", "build"]
    assert not state.skipped


def test_a_sentinel_without_memory_costs_no_row(monkeypatch):
    bench, tries = Bench(CPU, 0), []

    def seconds(point, bench):
        tries.append(point)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(probe, "_seconds", seconds)
    sentinel = Sentinel(bench)
    assert sentinel.look() == "no memory for the sentinel"
    assert len(tries) == 2
    assert sentinel.product == sentinel.copy == []
    monkeypatch.setattr(probe, "_seconds", lambda point, bench: 1.0)
    assert sentinel.look() == ""
    assert (sentinel.product, sentinel.copy) == ([1.0], [1.0])


def test_memory_that_is_given_back_is_the_devices_again(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    bench = Bench(CPU, 0)
    bench.release()
    assert not emptied
    bench.target = Target("cuda:0", 1, 1e9, 1e8, ("bf16",), {})
    bench.release()
    assert emptied == [1]


H200 = Target("cuda:0", 1, 2.8e10, 1.2e8, CUDA_FORMATS, {})
RATES = design.Rates({"bf16": 7e14, "fp16": 7e14, "tf32": 4e14, "fp32": 5e13, "fp8": 7e14}, 3.5e12)


def standard() -> design.Design:
    specs = anchors.load(__main__.MODELS)
    wanted = kinds.kinds(H200, "standard")
    return design.design(wanted, specs, H200, kinds.sized("standard", True), "standard", RATES, 0)


def test_every_grid_of_ours_is_one_that_cuda_launches():
    """Latent prefill of 1,024 tokens and 128 heads has 131,072 rows; off the grid there are more."""
    seen = 0
    off_grid = [point for kind in kinds.kinds(H200, "full") if kind.table.get("layout") == "latent"
                for point, _ in zip(space(kind, True, 3), range(200), strict=False)]  # fmt: skip
    for point in [*standard().points, *off_grid]:
        x = [int(v) for v in point.numbers]
        if point.kind.table.get("layout") == "latent":
            batch, rows = x[0], x[1] * x[3]
            grids.parts(rows, 16, batch, 64)
            grids.join(rows, batch)
            seen = max(seen, rows)
        if point.kind.family == "grouped_gemm":
            grids.tiles(x[0], 16, x[2], x[3], 128)
    assert seen > grids.LIMITS[1]
    with pytest.raises(ValueError, match="1 x 65536 is more than CUDA launches"):
        grids.join(1, 65536)


def test_a_prefix_of_the_standard_points_is_a_design_and_windows_and_fp32_are_in_it():
    points = standard().points
    whole = {point.kind for point in points}
    names = {str(kind) for kind in whole}
    for name in ("gemm/fp32-fp32-fp32", "gemm/fp32-fp32-tf32", "attention_prefill/bf16-bf16-bf16-window-core"):
        assert name in names
    assert all(point.numbers[7] > 0 for point in points if point.kind.table.get("layout") == "window")
    for share in (0.2, 0.5):
        part = points[: int(share * len(points))]
        for kind in whole:
            total = sum(point.kind == kind for point in points)
            assert sum(point.kind == kind for point in part) == pytest.approx(share * total, abs=1.5)
        anchored = [point.origin != "space" for point in part if str(point.kind) == "gemm/fp8-fp8-fp8"]
        assert 0.3 < sum(anchored) / len(anchored) < 0.7


def test_fp8_experts_by_blocks_run_wherever_there_is_fp8():
    """torch's own block-scaled product is of one architecture, our kernel is not."""
    formats = tuple(name for name in CUDA_FORMATS if name != "fp8_block")
    ada = Target("cuda:0", 1, 1e10, 1e8, formats, {"fp8_block": "RuntimeError: sm_90 only"})
    names = {str(kind) for kind in kinds.kinds(ada, "standard")}
    for name in ("grouped_gemm/fp8_block-fp8_block-fp8_block", "experts/bf16-fp8_block-fp8_block-gated",
                 "stream/quantise-bf16-fp8_block"):  # fmt: skip
        assert name in names
    assert "gemm/fp8_block-fp8_block-fp8_block" not in names
    assert "fp8_block" in design.anchored_formats(ada, "standard")
    ampere = Target("cuda:0", 1, 1e10, 1e8, ("bf16", "fp16"), {"fp8": "no", "fp8_block": "no"})
    assert not [kind for kind in kinds.kinds(ampere, "standard") if "fp8" in kind.name]
    asked = Target("cuda:0", 1, 1e10, 1e8, ("fp8",), {})  # by somebody who wants that one, on a Hopper
    assert not [kind for kind in kinds.kinds(asked, "standard") if "fp8_block" in kind.name]


def test_a_visit_on_a_device_is_short_enough_for_a_whole_pass():
    assert kinds.sized("standard", True).visit_s == kinds.VISIT_CUDA
    assert kinds.sized("standard", False) == kinds.mode("standard")


class Odd(Exception):
    """As Triton's errors of compiling and launching: of no narrower type."""


def test_a_layer_whose_kernel_does_not_compile_is_left_out(monkeypatch):
    from simcost.measure.torch_layers import build

    def broken(*_, **__):
        raise Odd("out of resource: shared memory")

    monkeypatch.setattr(build, "build", broken)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(layers, "answers", lambda name: None)
    one = __main__.layers(["llama-3.1-70b"])[0]
    with pytest.raises(SpecError, match="Odd: out of resource: shared memory"):
        layers.measure_block(one, "cuda:0")

    def gone(name):
        raise SimcostError(f"{name}: the device no longer answers")

    monkeypatch.setattr(layers, "answers", gone)
    with pytest.raises(SimcostError, match="no longer answers") as error:
        layers.measure_block(one, "cuda:0")
    assert not isinstance(error.value, SpecError)  # it ends the section


def test_a_block_runs_under_the_first_backend_that_takes_all_of_it(monkeypatch):
    block = SimpleNamespace(kit=SimpleNamespace(core=""), spec=SimpleNamespace(backward=False))
    under = []

    @contextmanager
    def pinning(backends):
        under.append(backends[0])
        yield
        under.pop()

    def once(block):
        block.kit.core = block.kit.core or SDPA
        if under[-1] in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
            raise RuntimeError("No available kernel. Aborting execution.")

    monkeypatch.setattr(time_cuda, "sdpa_kernel", pinning)
    monkeypatch.setattr(time_cuda, "_once", once)
    with time_cuda.pinned(block):
        assert under == [SDPBackend.EFFICIENT_ATTENTION]
        assert block.kit.core == "sdpa efficient"
    assert not under
    monkeypatch.setattr(time_cuda, "_once", lambda block: (_ for _ in ()).throw(RuntimeError("nothing\nruns")))
    with pytest.raises(RuntimeError, match="no attention backend runs this layer: RuntimeError: nothing"), \
            time_cuda.pinned(block):  # fmt: skip
        pass


def sections(monkeypatch, tmp_path, *wanted: __main__.Part) -> list[str]:
    monkeypatch.setattr(__main__, "parts", lambda models, mode: list(wanted))
    return [
        line
        for line in __main__._sections(Lab(CPU, tmp_path, True, deadline.after(10.0)), [], "quick")
        if line[0] == "-"
    ]


def failing(lab):
    yield "one"
    raise Odd("a kernel")


def test_a_section_that_fails_or_takes_too_long_leaves_the_others_theirs(monkeypatch, tmp_path):
    clock = [0.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: clock[0])

    def slow(lab):
        for step in lab.each(range(9)):
            clock[0] += 2.0
            yield str(step)

    def table(lab):
        yield f"{lab.ends.left_s > 1.0}"

    found = sections(
        monkeypatch,
        tmp_path,
        __main__.Part("a", failing, 0.3),
        __main__.Part("b", slow, 0.3),
        __main__.Part(__main__.TABLE, table, 0.4),
    )
    monkeypatch.undo()
    assert found == [
        "- one", "- failed: Odd: a kernel", "- 0", "- 1", "- 2", "- cut short after 3 of 9: its share of the time is spent",
        "- True",
    ]  # fmt: skip


def test_the_table_is_written_when_the_device_is_gone(monkeypatch, tmp_path):
    def gone(target):
        raise SimcostError("cuda:0: the device no longer answers")

    monkeypatch.setattr(machine_target, "alive", gone)
    said = []
    monkeypatch.setattr(__main__, "parts", lambda models, mode: [
        __main__.Part("a", failing, 0.3), __main__.Part("b", lambda lab: iter(["never"]), 0.3),
        __main__.Part(__main__.TABLE, lambda lab: iter(["the table"]), 0.4)])  # fmt: skip
    with pytest.raises(SimcostError, match="no longer answers"):
        said.extend(__main__._sections(Lab(CPU, tmp_path, True, deadline.NEVER.part(10.0)), [], "quick"))
    assert [line for line in said if line[0] == "-"] == [
        "- one", "- cuda:0: the device no longer answers", "- the table",
    ]  # fmt: skip


def test_shares_are_of_one_whole_and_rows_come_before_what_explores():
    wanted = __main__.parts(__main__.MODELS, "standard")
    assert sum(part.share for part in wanted) == pytest.approx(1.0)
    titles = [part.title for part in wanted]
    assert titles[-1] == __main__.TABLE
    assert titles.index("Rows") < titles.index("Blocks") < titles.index("MLA decode")
    assert float(__main__.BUDGET + __main__.GRACE) < 600.0


def test_a_run_that_hangs_is_ended_with_its_table(tmp_path, capsys):
    from simcost.measure.session.kernels import measure, question

    list(measure(question("cpu", "quick", [], ["gather"], formats=["fp32"]), None, False, tmp_path / "run"))
    (tmp_path / "report.md").write_text("## Rows\n")
    ended = []
    __main__.watchdog(tmp_path, 0.01, ended.append).join(20.0)
    assert ended == [__main__.TIMED_OUT]
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("## Rows\n\n## Table (the run hung and was ended)")
    assert "- gather/fp32-fp32: " in text
    assert "quality" in capsys.readouterr().out
    __main__.watchdog(tmp_path / "none", 0.01, ended.append).join(20.0)
    assert len(ended) == 2  # without rows, or a folder, it ends all the same


def test_running_out_of_memory_skips_the_point_only(monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(visit, "build", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    state = visit.Visits(Bench(CPU, 0), 0.002, 1.0, lambda op: 1e-3)
    for _ in range(5):
        assert state.time(gemm("fp32", 8, 64, 64)) == (None, "")
    assert state.skipped["out of device memory"] == 5
    assert not state.dropped


def test_a_sentinel_forgives_one_burst_but_no_drift():
    bench = Bench(CPU, 0)
    steady = Sentinel(bench, [1.0, 1.01, 0.99, 1.0, 1.6, 1.0, 1.0, 1.01], [1.0] * 8)
    assert steady.drift < 0.02
    assert steady.moved(1.0) == pytest.approx(0.6)
    assert Sentinel(bench, [1.0 + 0.1 * i for i in range(10)], [1.0] * 10).drift > 0.2
    assert Sentinel(bench).drift == 0.0
