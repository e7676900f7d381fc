"""Files of traces: read in pieces as if at once, packed or not, and one line for each that is none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from profilekit import document, llama

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.scenarios.profiled import events, names, stream
from simcost.scenarios.profiled.titles import short

LINE = ("--model", "llama-3.1-8b", "--hw", "h200", "--tp", "2", "--batch", "64")


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_pieces_read_as_the_whole(
    chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_CHUNK", chunk)
    whole = document(
        [
            {"ph": "X", "name": 'a "}],é\\', "ts": 12.5, "dur": -1e3, "args": {"list": [[], {}]}},
            {},
            {"ph": "M", "n": 123456},
        ]
    )
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(whole, indent=indent), encoding="utf-8")
    found = list(stream.events(path))
    assert [one for key, one in found if key == "event"] == whole["traceEvents"]
    assert {key: one for key, one in found if key != "event"} == {
        key: one for key, one in whole.items() if key != "traceEvents"
    }


def test_a_bare_list_and_a_packed_file(tmp_path: Path) -> None:
    made = llama(layers=1).events
    bare, packed = tmp_path / "list.json", tmp_path / "trace.json.gz"
    bare.write_text(json.dumps(made), encoding="utf-8")
    packed.write_bytes(gzip.compress(json.dumps(document(made)).encode()))
    one, other = events.read(bare), events.read(packed)
    assert one.names == other.names
    assert one.own.tolist() == other.own.tolist()
    assert (one.title, other.title, other.rank) == ("", "NVIDIA H200", "1")


KERNEL: dict[str, Any] = {"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 1}


@pytest.mark.parametrize(("text", "said"), [
    ("", "neither an object nor a list of events"), ("hello", "neither an object nor a list of events"), ("{", "it is cut off"), ("{}", "it has no 'traceEvents'"), ('{"traceEvents": 3}', "'3' where [ belongs"),
    ('{"traceEvents": [{"ph": "X"', "it is cut off"), ('{"traceEvents": [{} {}]}', "'{' where , or ] belongs"), ('{"a": 1 "b": 2}', "belongs"), ("[]", "has no kernel and no operator"), ('{"traceEvents": [1, "x", null]}', "has no kernel and no operator"),
    ('{"traceEvents": [' + "[" * 100_000, "nested too deeply"), ('[{"ph": "X", "ts": ' + "9" * 5000 + "}]", "too many digits"), (json.dumps([{**KERNEL, "ts": "soon"}]), "has ts = 'soon', which is not a time"),
    (json.dumps([{**KERNEL, "dur": -1}]), "has dur = -1, which is not a time"), (json.dumps([{**KERNEL, "dur": None}]), "has dur = None"), ('[{"ph":"X","cat":"kernel","name":"k","ts":1e999,"dur":1}]', "has ts = inf"),
    ('[{"ph":"X","cat":"kernel","name":"k","ts":NaN,"dur":1}]', "has ts = nan"), (json.dumps([KERNEL]), "it marks no step of torch.profiler"),
])  # fmt: skip
def test_what_is_no_trace_is_one_line(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text, encoding="utf-8")
    assert run(["trace", str(path), *LINE]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err
    assert "trace.json" in shown.err


def test_broken_bytes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.json.gz"
    whole = gzip.compress(json.dumps(document(llama(layers=4).events)).encode())
    for content in (
        whole[:2000],
        whole[:400] + b"\0" * 200 + whole[600:],
        b"\x1f\x8b" + bytes(range(256)),
        b"\xff\xfe{\0",
        b"\x80\x81",
    ):
        path.write_bytes(content)
        assert run(["trace", str(path), *LINE]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    for other in (tmp_path / "none.json", tmp_path):
        assert run(["trace", str(other), *LINE]) == 2
        assert str(other) in capsys.readouterr().err


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(document(llama(layers=4).events)), encoding="utf-8")
    for module, name, most, said in (
        (events, "MOST", 20, "more than 20 kernels"), (events, "MOST_NAMES", 5, "more than 5 names"), (stream, "LARGEST", 10_000, "MiB of text"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, most)
            with pytest.raises(SpecError, match=said):
                events.read(path)
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b'{"a": "' + b"x" * (20 << 20)))
    with pytest.raises(SpecError, match="does not end, or is longer than 16 MiB"):
        events.read(bomb)


def test_the_command_prints_what_differs_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(document(llama().events)), encoding="utf-8")
    assert run(["trace", str(path), *LINE, "--context", "4k"]) == 0
    out = capsys.readouterr().out
    assert "kinds of work" in out
    assert "off" in out.partition("kinds of work")[2]
    assert max(map(len, out.splitlines())) <= 80
    assert run(["trace", str(path), *LINE, "-o", str(tmp_path / "trace.csv")]) == 0
    assert "off_s" in (tmp_path / "trace.csv").read_text(encoding="utf-8").partition("\n")[0]


def test_files_of_the_first_kineto(tmp_path: Path) -> None:
    """PyTorch 1.8 and 1.9: categories in capitals, streams by words, steps as operators, the devices under another key."""
    event: dict[str, Any] = {"ph": "X", "pid": 0, "tid": "stream 7"}
    args = {"device": 0, "stream": 7, "external id": 57, "theoretical occupancy %": 0}
    made = [
        {**event, "cat": "Operator", "name": "ProfilerStep#5", "tid": "24572", "ts": 1, "dur": 90, "args": {}},
        {
            **event,
            "cat": "Operator",
            "name": "aten::mm",
            "tid": "24572",
            "ts": 2,
            "dur": 9,
            "args": {"External id": 57},
        },
        {**event, "cat": "Runtime", "name": "cudaLaunchKernel", "tid": "24610", "ts": 3, "dur": 3, "args": args},
        {**event, "cat": "Kernel", "name": "volta_sgemm_128x32_nt", "ts": 30, "dur": 3, "args": args},
        {
            **event,
            "cat": "Kernel",
            "name": "void at::native::reduce_kernel<512>(int)",
            "ts": 40,
            "dur": 2,
            "args": args,
        },
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"computeProperties": [{"id": 0, "name": "Tesla V100"}], "traceEvents": made}))
    found = simcost.trace(path, "llama-3.1-8b", "v100", phase="prefill", isl=128, set={"plan.activation_dtype": "fp16"})
    work = {row["work"]: row["measured_s"] for row in found.tables["kinds of work"]}
    assert (work["matrix products"], work["elementwise"]) == pytest.approx((3e-6, 2e-6))
    assert found.metrics["traced_steps"] == 1
    assert any("1 step (1 x ProfilerStep#) of GPU kernels: Tesla V100" in str(note) for note in found.warnings)


@pytest.mark.parametrize(("name", "shown", "work", "part"), [
    ("_ZN5aiter24add_rmsnorm_quant_kernelIDF16bLi64EEEvPT0_PT_", "add_rmsnorm_quant_kernel IDF16bLi64EEEv...", "elementwise", ""),
    ("_ZN7ck_tile6kentryILi1ENS_12Rmsnorm2dFwdINS_8sequenceIJLi1EEEEEEEv", "Rmsnorm2dFwd INS_8sequenceIJLi1EEEEEEEv", "elementwise", ""),
    ("_Z11some_kernelv", "some_kernel v", "", ""), ("_ZNS_8sequence", "_ZNS_8sequence", "", ""), ("_ZN99short", "_ZN99short", "", ""),
    ("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x32x64_MI16x16x1_SN_LDSB1", "Cijk_Alik MT256x32x64", "matrix products", ""),
    ("void paged_attention_ll4mi_reduce_kernel<__hip_bfloat16, 128>(float*)", "paged_attention_ll4mi_reduce_kernel<__h...", "attention", names.BEFORE),
    ("create_flashinfer_kv_indices_triton", "create_flashinfer_kv_indices_triton", "attention", names.AFTER),
    ("_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x256x1_swiglu", "_matmul_ogs_NNT_bf16xbf16xmxfp4_16x128x...", "experts", ""),
    ("_combined_routing_memset", "_combined_routing_memset", "experts", ""), ("_finalize_matmul_scatter_bf16", "_finalize_matmul_scatter_bf16", "experts", ""),
    ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::Copy<int, long> >(int)", "multi_tensor_apply_kernel<Copy<int, lon...", "elementwise", ""),
    ("void (anonymous namespace)::store_kvcache<2048l>((anonymous namespace)::Params)", "store_kvcache<2048l>", "elementwise", ""),
])  # fmt: skip
def test_names_of_rocm_and_of_graphs(name: str, shown: str, work: str, part: str) -> None:
    """Kernels of decode steps by SGLang and vLLM on a gfx942, as AMD-AGI/TraceLens publishes them."""
    assert short(name) == shown
    rule = names.rules().rule(name)
    assert (rule.of if rule else "", rule.part if rule else "") == (work, part)
