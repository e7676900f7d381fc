"""A run from start to end on this CPU; stopped, resumed, refused; and the same for the one call of a first GPU run."""

# ruff: noqa: E402 -- without torch the file is skipped before the rest is imported

from __future__ import annotations

import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from rankkit import ranks

from benchmarks.gpu import __main__
from simcost.api import decode
from simcost.calibration import held_out
from simcost.calibration import rows as tables
from simcost.calibration.family import families
from simcost.errors import SimcostError, SpecError
from simcost.hardware import load as hardware
from simcost.measure.machine import target
from simcost.measure.points import kinds
from simcost.measure.sampling import target as sampled
from simcost.measure.sampling.probe import Sentinel
from simcost.measure.sampling.visit import Visits
from simcost.measure.session import collectives, kernels, layers, link_profile
from simcost.measure.session.event import Event
from simcost.measure.session.kernels import measure, question
from simcost.measure.session.quality import judged, looks, quality, together
from simcost.measure.torch_layers import build, time_cuda

ROOT = Path(__file__).parents[2]
HUNG_S = 900.0  # a process that takes longer hangs, however many others use the machine


def done(home, **more) -> list[Event]:
    asked = {"device": "cpu", "mode": "quick", "models": []}
    given = {"budget_s": None, "resume": False, "out": home}
    for name, value in more.items():
        (given if name in ("budget_s", "resume", "seed") else asked)[name] = value
    return list(measure(question(**asked), **given))


def rows(home) -> dict[str, int]:
    found = {}
    for path in sorted(home.glob("*/*.csv")):
        found[f"{path.parent.name}/{path.stem}"] = len(tables.read(path, families()[path.parent.name]))
    return found


def test_a_quick_run_writes_rows_that_load_and_says_who_measured(tmp_path, monkeypatch):
    home, real, clock = tmp_path / "run", Visits.time, [0.0]

    def visited(self, point):
        clock[0] += 0.4  # s, whoever else uses the machine
        return real(self, point)

    monkeypatch.setattr(Visits, "time", visited)
    monkeypatch.setattr(kernels.time, "monotonic", lambda: clock[0])
    events = done(home, budget_s=6.0, formats=["bf16"])
    record = tables.load_run(home).record
    assert record["kind"] == "measured"
    assert record["environment"]["torch"] == torch.__version__
    assert record["environment"]["threads"] == 1
    assert record["environment"]["cpu_capability"]
    assert record["state"] in ("budget reached", "complete")
    assert record["quality"] in ("good", "noisy", "poor")
    assert record["rates"]["bytes_per_s"] > 1e8
    assert record["launch"]["eager_s"] > 0
    found = rows(home)
    assert 10 <= sum(found.values()) <= 16  # 6 s of visits of 0.4 s; some may be more than one of a point
    assert {name: kind["rows"] for name, kind in record["kinds"].items() if "dropped" not in kind} == found
    assert all(kind["kernels"] for name, kind in record["kinds"].items() if kind["rows"])
    assert not [name for name, kind in record["kinds"].items() if "dropped" in kind]
    steps = [event for event in events if event.family]
    assert [event.done for event in steps] == sorted(event.done for event in steps)
    assert events[-1].note.endswith(str(home))
    assert steps[-1].eta_s is not None
    assert {name.split("/")[0] for name in found} >= {
        "gemm",
        "attention_decode",
        "attention_prefill",
    }  # what matters most


def test_a_run_goes_on_where_it_stopped_and_measures_nothing_twice(tmp_path, monkeypatch):
    home = tmp_path / "run"
    real, seen = Visits.time, []

    def some(self, point):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(point.key)
        return real(self, point)

    monkeypatch.setattr(Visits, "time", some)
    with pytest.raises(KeyboardInterrupt):
        done(home, families=["gather", "router"])
    assert sum(rows(home).values()) == 5
    assert tables.load_run(home).record["state"] == "stopped"
    monkeypatch.setattr(Visits, "time", real)
    with pytest.raises(SpecError, match="continue it with --resume"):
        done(home, families=["gather", "router"])
    kept = {path: path.read_text() for path in home.glob("*/*.csv")}
    next(iter(kept)).open("a").write("12,")  # and the machine died while it wrote
    events = done(home, families=["gather", "router"], resume=True)
    assert any("cut off" in event.note for event in events)
    for path, text in kept.items():
        assert set(text.splitlines()) <= set(path.read_text().splitlines())
    counts = set(rows(home).values())
    assert min(counts) >= held_out.LEAST
    assert tables.load_run(home).record["state"] == "complete"
    held = {path: path.read_text().splitlines() for path in home.glob("*/*.csv")}
    again = done(home, families=["gather", "router"], resume=True)
    tried = [
        event for event in again if event.family
    ]  # what a slow machine leaves out is tried again; nothing that has a row
    for path, lines in held.items():
        assert set(lines) <= set(path.read_text().splitlines())
    assert sum(rows(home).values()) <= sum(len(lines) - 1 for lines in held.values()) + len(tried)
    record = tables.load_run(home).record
    assert {kind["rows"] for kind in record["kinds"].values()} == set(rows(home).values())


def test_a_run_of_another_machine_is_not_resumed(tmp_path, monkeypatch):
    home = tmp_path / "run"
    done(home, families=["gather"], formats=["fp32"])
    monkeypatch.setattr(target, "allowed", lambda: 2)
    with pytest.raises(SpecError, match=r"threads = 1, here it is 2"):
        done(home, families=["gather"], resume=True, threads=2)
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(SpecError, match=r"measured with torch = '.*', here it is '1.0'"):
        done(home, families=["gather"], resume=True)


def test_a_disk_that_fills_up_ends_the_run_with_one_line_and_keeps_the_rows(tmp_path, monkeypatch):
    home, real = tmp_path / "run", kernels.Folder.append
    calls = []

    def filling(self, point, timing):
        calls.append(point)
        if len(calls) > 3:
            from simcost.measure.points.folder import fault

            raise fault(self.file(point.kind), OSError(28, "No space left on device"))
        real(self, point, timing)

    monkeypatch.setattr(kernels.Folder, "append", filling)
    with pytest.raises(SpecError, match="No space left on device"):
        done(home, families=["gather"])
    assert sum(rows(home).values()) == 3


def test_several_passes_leave_one_row_a_point(tmp_path, monkeypatch):
    home = tmp_path / "run"
    monkeypatch.setitem(kinds.SIZES, "standard", kinds.Mode(6, 6, 6, 6, 3, 0.01, 0.1))
    done(home, mode="standard", families=["gather"], formats=["fp32"])
    (path,) = home.glob("*/*.csv")
    read = tables.read(path, families()["gather"])
    assert len({tuple(row) for row in zip(*read.numbers.values(), strict=True)}) == len(read)
    samples = [int(line.split(",")[-2]) for line in path.read_text().splitlines()[1:]]
    assert max(samples) > 15  # of three visits


def test_threads_and_denormals_are_as_before_afterwards(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        done(tmp_path / "run", families=["gather"], formats=["fp32"], budget_s=0.1, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.is_grad_enabled()


def test_without_torch_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SimcostError, match=r"pip install 'simcost\[measure\]'"):
        done(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_run_module_is_imported_without_torch():
    code = "import sys; sys.modules['torch'] = None; import simcost.measure.session.kernels, benchmarks.gpu.__main__, simcost.measure.session.collectives"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize(("more", "said"), [
    ({"mode": "quik"}, "did you mean 'quick'"),
    ({"device": "gpu"}, "--device must be cpu, cuda or cuda:INDEX"),
    ({"device": "cuda:x"}, "--device must be"),
    ({"device": "cuda"}, "sees no CUDA device"),
    ({"families": ["gemms"]}, "did you mean 'gemm'"),
    ({"formats": ["fp8"]}, "fp8 is only emulated on this CPU"),
    ({"formats": ["bf61"]}, "no format 'bf61'"),
    ({"models": ["lama"]}, "unknown model 'lama'"),
    ({"threads": 10_000}, "--threads 10000: this process may use"),
])  # fmt: skip
def test_what_cannot_be_measured_is_one_line_before_anything_is_written(tmp_path, monkeypatch, more, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SpecError) as error:
        done(tmp_path / "run", **more)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_device_index_beyond_the_last_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SpecError, match=r"cuda:7: there are only 2 \(cuda:0 to cuda:1\)"):
        sampled.find("cuda:7")


def test_quality_words_follow_dirt_and_drift():
    assert quality(False, 0.1, 0.05) == "good"
    assert quality(False, 0.4, 0.05) == "noisy"
    assert quality(True, 0.0, 0.05) == "noisy"
    assert quality(True, 0.0, 0.2) == "poor"
    assert quality(False, 0.7, 0.0) == "poor"


def test_a_resumed_run_is_as_disturbed_as_all_its_visits():
    sentinel = Sentinel(None, *looks({"sentinel_product_s": ["1e-3", "1e-3"], "sentinel_copy_s": ["2e-3"]}))
    assert (sentinel.product, sentinel.copy) == ([1e-3, 1e-3], [2e-3])
    assert together({}, []) == (0, 0.0)
    assert together({}, [0.0, 0.5]) == (2, 0.25)
    assert together({"visits": 30, "dirty_share": 0.8}, [0.0] * 10) == (40, pytest.approx(0.6))
    uncounted = {"dirty_share": 0.8, "kinds": {"a/b": {"rows": 20}, "a/c": {"rows": 10}}}
    assert together(uncounted, [0.0] * 10) == (40, pytest.approx(0.6))
    found = judged(False, *together({"visits": 30, "dirty_share": 0.8}, [0.0] * 10), sentinel)
    assert (found["quality"], found["visits"], found["dirty_share"]) == ("noisy", 40, 0.6)
    with pytest.raises(SpecError, match="must be lists of numbers"):
        looks({"sentinel_copy_s": ["soon"]})


def test_the_record_of_a_resumed_run_is_of_all_sessions(tmp_path, monkeypatch):
    home, real = tmp_path / "run", Visits.time

    def noisy(self, point):
        timing, note = real(self, point)
        self.dirty[-1:] = [1.0] if timing is not None else []
        return timing, note

    monkeypatch.setattr(Visits, "time", noisy)
    done(home, families=["gather"], formats=["fp32"])
    first = tables.load_run(home).record
    assert (first["dirty_share"], first["quality"]) == (1.0, "poor")
    monkeypatch.setattr(Visits, "time", real)
    done(home, families=["gather", "router"], formats=["fp32"], resume=True)
    both = tables.load_run(home).record
    assert both["visits"] > first["visits"]
    assert both["dirty_share"] * both["visits"] >= first["visits"] - 0.1
    assert both["sentinel_product_s"][: len(first["sentinel_product_s"])] == first["sentinel_product_s"]
    assert len(both["sentinel_copy_s"]) > len(first["sentinel_copy_s"])
    assert both["started"] == first["started"]
    assert both["kinds"].keys() > first["kinds"].keys()


def test_a_processor_has_no_rates_of_formats_that_it_lacks(tmp_path):
    done(tmp_path / "run", families=["gather"], budget_s=0.1)
    assert set(tables.load_run(tmp_path / "run").record["rates"]) == {
        "bytes_per_s", "bf16_flops_per_s", "fp32_flops_per_s",
    }  # fmt: skip


def test_the_one_call_of_a_gpu_run_works_dry(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        kernels.time, "monotonic", time.process_time
    )  # its shares of time, whoever else uses the machine
    assert __main__.main(["--out", str(tmp_path), "--dry"]) == 0
    text = (tmp_path / "report.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "failed" not in text
    titles = [line.split(" (")[0] for line in text.splitlines() if line.startswith("## ")]
    assert titles[0] == "## Environment"
    assert titles[-1] == "## Table"
    assert len(titles) == 12
    assert "gemm/bf16-bf16-bf16" in text
    assert rows(tmp_path / "run")


def test_a_full_run_times_layers_of_every_kind_that_fit_its_device():
    specs = __main__.layers(__main__.MODELS)
    assert len(specs) >= 12
    assert len({one.name for one in specs}) == len(specs)
    for some in (specs[:8], specs):  # a run that is cut short has all kinds too
        assert {one.kind for one in some} == {"dense", "moe", "mla", "mla+moe"}
        assert {one.stage for one in some} == {"prefill", "decode"}
    for one in specs:
        sites = build._sections(one, torch.device("cpu"))[1]
        assert sum(build.needed_bytes(one, sites)) < 30e9  # with one copy: in 0.6 of 80 GB


def test_a_layer_that_fails_on_a_device_does_not_end_the_run(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("CUDA error: an illegal instruction\nmore")

    monkeypatch.setattr(build, "build", lambda *a, **k: None)
    monkeypatch.setattr(time_cuda, "measure", broken)
    monkeypatch.setattr(layers, "find", lambda *a: None)
    monkeypatch.setattr(layers, "answers", lambda name: None)
    monkeypatch.setattr(
        layers, "Log", lambda *a: types.SimpleNamespace(left_out=[], look=lambda: None, write=lambda word: None)
    )
    events = list(layers.measure_in_situ("cuda:0", __main__.layers(["llama-3.1-70b"])[:2], tmp_path))
    events = [event for event in events if event.note]
    assert [event.done for event in events] == [1, 2]
    assert all("RuntimeError: CUDA error: an illegal instruction" in event.note for event in events)


def test_the_one_call_says_in_one_line_that_there_is_no_gpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert __main__.main(["--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("error: cuda: torch")


def test_collectives_of_two_processes_become_rows(tmp_path):
    out, home = tmp_path / "rows", tmp_path / "rows" / "measurements" / "collectives"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "simcost.measure.session.collectives", "--out", str(out), "--mode", "standard", "--most", "16 kB"]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HUNG_S)
    assert found.returncode == 0, found.stderr[-2000:]
    assert rows(home) == {
        "collective/all_gather-gloo": 11, "collective/all_reduce-gloo": 11, "collective/all_to_all-gloo": 11,
        "collective/reduce_scatter-gloo": 11, "p2p/gloo": 11,
    }  # fmt: skip
    record = tables.load_run(home).record
    assert record["environment"]["ranks"] == 2
    sent = tables.read(home / "collective" / "all_to_all-gloo.csv", families()["collective"])
    assert sent.numbers["bytes"].min() == 128  # of 256, half stays at home
    assert f"use them with --hw {out}" in found.stdout
    device = hardware.load(str(out))
    assert device.scaleup.domain == 2
    assert device.measurements == (str(home),)
    answer = decode("qwen3-8b", str(out), batch=2, context=64, set={"plan.tp": 2}).metrics
    assert answer["share_transferred"] > 0  # gloo's rows, where the query asks for NCCL's
    first, second = ranks(out)
    assert (first.ended(HUNG_S), second.ended(HUNG_S)) == (2, 2)
    assert "were measured here before; add to them with --resume, or choose another folder" in first.stderr.read()


def test_collectives_stop_at_their_budget_and_go_on_where_they_stopped(tmp_path):
    out, home = tmp_path / "rows", tmp_path / "rows" / "measurements" / "collectives"
    assert [one.ended(HUNG_S) for one in ranks(out, "--mode", "quick", "--budget", "0.1s")] == [0, 0]
    first = {path: path.read_text().splitlines() for path in home.glob("*/*.csv")}
    record = tables.load_run(home).record
    assert record["state"] == "budget reached"
    assert 0 < sum(len(lines) - 1 for lines in first.values()) < 5 * 6
    assert record["quality"] in ("good", "noisy", "poor")
    assert [one.ended(HUNG_S) for one in ranks(out, "--mode", "quick", "--resume")] == [0, 0]
    assert sum(rows(home).values()) == 5 * len(collectives.sizes(6, 4e3))
    for path, lines in first.items():
        assert set(lines) <= set(path.read_text().splitlines())  # nothing was measured twice
    both = tables.load_run(home).record
    assert both["state"] == "complete"
    assert both["started"] == record["started"]
    assert both["all_reduce_s"][: len(record["all_reduce_s"])] == record["all_reduce_s"]


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_rank_that_leaves_is_one_line_of_the_first_and_costs_no_row(tmp_path, signal_):
    out = tmp_path / "rows"
    first, second = ranks(out, "--mode", "full", "--most", "256 MB")  # longer than any delay of the signal
    for _ in range(3):
        assert first.stdout.readline()
    second.signal(signal_)
    if signal_ == signal.SIGINT:
        first.signal(signal_)  # a terminal tells both
        assert second.stderr.read() == ""
    said = first.stderr.read()
    assert first.ended(HUNG_S) == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "continue with --resume" in said
    assert sum(rows(out / "measurements" / "collectives").values()) >= 3
    assert tables.load_run(out / "measurements" / "collectives").record["state"] == "stopped"


def test_more_ranks_than_gpus_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SimcostError, match="--nproc-per-node 4: this machine has 2 GPUs, one per rank"):
        collectives._device(torch)


def test_a_link_is_stated_once_and_leaves_the_rest_of_a_profile_alone(tmp_path):
    text = (ROOT / "tests" / "replay" / "cpu" / "profile.toml").read_text()
    link = link_profile.Link(3.2e9, 4.5e-5, 2, "gloo")
    found = link_profile.linked(text, link, "here")
    assert set(text.splitlines()) <= set(found.splitlines())
    assert link_profile.linked(found, replace(link, rate=1e9), "here") == found
    (tmp_path / "profile.toml").write_text(found)
    device = hardware.load(str(tmp_path))
    assert device.scaleup.bandwidth == pytest.approx(3.2e9)
    assert device.assumption("hop_latency") == pytest.approx(4.5e-5)
    for wrong in ("[sources]\n", "= 3"):
        with pytest.raises(SpecError, match="here: "):
            link_profile.linked(wrong, link, "here")


def test_collectives_alone_are_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert collectives.main(["--out", str(tmp_path / "x")]) == 2
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().err
    assert collectives.sizes(19, 64e6)[0] == 256
    assert collectives.sizes(19, 64e6)[-1] == pytest.approx(64e6, rel=0.01)
