"""The CUDA side without a device: what is asked of torch and NVML, in which order, and what becomes of the answers."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from simcost.errors import SimcostError
from simcost.measure import capture, cuda_timing, environment, target, visits
from simcost.measure.bench import Bench
from simcost.measure.gpu_lab import gemm
from simcost.measure.kernels import grouped, products
from simcost.measure.probe import Sentinel
from simcost.measure.target import Target, alive
from simcost.measure.timing import Timing


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
        monkeypatch.setattr(capture, "_refused", {})

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
    with pytest.raises(capture.Uncapturable, match="RuntimeError in capture"):
        capture.captured(board.call, "slow kind")
    assert (board.stream, board.underway, len(board.released)) == ("main", None, 1)
    board.captures = True
    tried = board.log.count("call")
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="slow kind")[1] == "eager (RuntimeError in capture)"
    assert board.log.count("capture") == 1
    assert board.log.count("call") > tried
    assert cuda_timing.timed([board.call], 0.01, "cuda:0", what="another kind")[1] == "graph"


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

    with pytest.raises(capture.Uncapturable, match="OutOfMemoryError in capture"):
        capture.captured(full, "kind")
    assert capture.captured(board.call, "kind")


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
    gauge = environment.Gauge("cuda:0")
    assert gauge.clock() is None
    assert gauge.read() == {}


def test_nvml_counts_all_boards(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert environment._physical("cuda:1") == 5
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment._physical("cuda:1") == 1


CPU = Target("cpu", 1, 1e9, 2e6, ("bf16", "fp32"), {})


def test_a_point_is_timed_again_under_an_unsteady_clock_then_dropped_and_counted(monkeypatch):
    found = iter([(Timing(1e-3, 1e-3, 1e-3, 7, dirty), "graph") for dirty in (1.0, 1.0, 1.0, 0.0)])
    monkeypatch.setattr(visits, "time_kernel", lambda *a: next(found))
    state = visits.Visits(Bench(CPU, 0), 0.002, 1.0, lambda op: 1e-3)
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


def test_running_out_of_memory_skips_the_point_only(monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(visits, "build", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    state = visits.Visits(Bench(CPU, 0), 0.002, 1.0, lambda op: 1e-3)
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
