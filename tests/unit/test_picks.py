"""Engines' tables beside a profile: what picks may say, how rows of several tables become one curve's, how a sibling's are scaled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simcost.calibration import coverage, store, tables
from simcost.calibration import rows as files
from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.provenance import Basis

H200, H100 = hardware.load("h200"), hardware.load("h100")
BF16 = {"x": "bf16", "w": "bf16", "compute": "bf16"}
HEAD = "family,kind,engine,tables,how\n"
ROW = "gemm,bf16-bf16-bf16,{},{},own\n"


def folder(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "picks.csv").write_text(HEAD + "".join(lines))
    return tmp_path


@pytest.mark.parametrize(("text", "said"), [
    ("family,kind\n", "columns must be family,kind,engine,tables,how"), (HEAD + "gemm,x,vllm\n", "picks.csv:2: not as many cells"),
    (HEAD + "gemm,x,vllm,,own\n", "picks.csv:2: needs a table"),
    (HEAD + "gemm,x,vllm,vllm/1,1,own,more\n", "not as many cells"),
])  # fmt: skip
def test_a_bad_table_of_picks_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "picks.csv").write_text(text)
    with pytest.raises(SpecError, match=said) as error:
        tables.picks(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_picks_that_are_missing_or_no_text_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"picks.csv: No such file"):
        tables.picks(tmp_path)
    (tmp_path / "picks.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"picks.csv"):
        tables.picks(tmp_path)


def test_verdicts_are_read_whole_or_not_at_all(tmp_path: Path) -> None:
    said = tables.verdicts(H200.tables)
    assert said["gemm", "bf16-fp8_block-fp8_block", "vllm", "0.24.0"].startswith("starts at 57 us")
    (tmp_path / "verdicts.csv").write_text("family,kind\n")
    with pytest.raises(SpecError, match=r"verdicts.csv: columns must be family,kind,engine"):
        tables.verdicts(str(tmp_path))


def test_a_query_of_a_broken_folder_is_one_line(tmp_path: Path) -> None:
    home = folder(tmp_path, ROW.format("vllm", "vllm/9.9"))
    device = replace(H200, tables=str(home))
    with pytest.raises(SpecError, match=r"vllm/9.9/gemm/bf16-bf16-bf16.csv: No such file"):
        store.Store(device).find("gemm", BF16, "vllm")


def test_an_engine_is_answered_by_its_pick_and_any_by_all_that_differ(tmp_path: Path) -> None:
    home = str(
        folder(
            tmp_path,
            ROW.format("sglang", "sglang/2"),
            ROW.format("trtllm", "sglang/2"),
            ROW.format("vllm", "vllm/1 sglang/2"),
        )
    )
    assert [p.tables for p in tables.chosen(home, "gemm", "bf16-bf16-bf16", "vllm")] == [("vllm/1", "sglang/2")]
    assert [p.tables for p in tables.chosen(home, "gemm", "bf16-bf16-bf16", "any")] == [
        ("sglang/2",),
        ("vllm/1", "sglang/2"),
    ]
    (borrowed,) = tables.chosen(home, "gemm", "bf16-bf16-bf16", "trtllm")
    assert borrowed.substitute
    assert borrowed.own
    assert tables.chosen(home, "gemm", "bf16-bf16-bf16", "torch") == ()
    assert tables.chosen("", "gemm", "bf16-bf16-bf16", "any") == ()
    assert tables.answering(home, "gemm", "bf16-bf16-bf16", "sglang/2") == ["sglang", "trtllm", "vllm"]
    assert tables.named(home, "vllm") == ["sglang/2", "vllm/1"]
    assert tables.named(home, "torch") == []


def test_a_library_answers_whatever_engine_is_asked(tmp_path: Path) -> None:
    home = str(folder(tmp_path, ROW.format("any", "nccl/2")))
    for engine in ("any", "vllm", "trtllm"):
        (pick,) = tables.chosen(home, "gemm", "bf16-bf16-bf16", engine)
        assert not pick.substitute


def write(path: Path, groups: tuple[float, ...], seconds: float) -> Path:
    family = families()["collective"]
    size, group = (a.ravel() for a in np.meshgrid(2.0 ** np.arange(10, 16), groups))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(files.written(family, Rows({"bytes": size, "group": group}, np.full(len(size), seconds))))
    return path


def test_what_the_first_table_lacks_comes_from_the_others(tmp_path: Path) -> None:
    labels = {"what": "all_reduce", "backend": "custom"}
    one = write(tmp_path / "a" / "collective" / "all_reduce-custom.csv", (2.0, 4.0), 1e-5)
    two = write(tmp_path / "b" / "collective" / "all_reduce-custom.csv", (4.0, 8.0), 2e-5)
    rows, parts, table = tables.joined("collective", labels, H200, [(None, one), (None, two)])
    assert (parts.tolist(), table.tolist()) == ([2.0, 4.0, 8.0], [0.0, 0.0, 1.0])
    by_group = {group: set(rows.seconds[rows.numbers["group"] == group]) for group in (2.0, 4.0, 8.0)}
    assert by_group == {2.0: {1e-5}, 4.0: {1e-5}, 8.0: {2e-5}}


def test_a_siblings_rows_are_scaled_by_the_ratio_of_lights_and_starts_are_kept() -> None:
    m = np.array([1.0, 16384.0, 16.0])
    numbers = {
        "batch": np.ones(3),
        "m": m,
        "n": np.array([128.0, 16384.0, 32768.0]),
        "k": np.array([128.0, 16384.0, 32768.0]),
    }
    rows = Rows(numbers, np.array([4e-6, 1e-2, 1e-3]))
    found = tables.scaled("gemm", BF16, rows, H100, H200)
    assert found.seconds[0] == 4e-6  # a start-up
    assert found.seconds[1] == pytest.approx(1e-2)  # compute: the same rate
    assert found.seconds[2] == pytest.approx(1e-3 * 3.35 / 4.8, rel=1e-3)  # bytes
    assert tables.light("gemm", BF16, rows, H200)[1] == pytest.approx(2 * 16384**3 / 989e12, rel=0.01)


def test_a_spread_that_nothing_tells_is_the_familys_middle_and_then_the_middle_of_all() -> None:
    known = tables.apart("gemm", "bf16-bf16-bf16")
    assert 0.0 < known.engine[1] < 0.5
    middle = tables.apart("gemm", "bf16-int4-bf16")
    assert middle == tables.spreads()["gemm", ""]
    assert tables.apart("gather", "bf16").engine == (tables.OTHER, tables.OTHER)


def test_every_shipped_pick_names_tables_that_ship_and_every_table_is_named() -> None:
    for name in hardware.names():
        home = hardware.load(name).tables
        if not home:
            continue
        for (family, which), picks in tables.picks(Path(home)).items():
            for pick in picks:
                assert all(path.is_file() for _, path in tables.paths(home, family, which, pick)), (
                    name,
                    family,
                    which,
                    pick,
                )
        for run in tables.versions(home):
            for family in families():
                for which in run.kinds(family):
                    assert coverage.answers(hardware.load(name), run, family, which), (name, run.name, family, which)


def test_measurements_none_tables_or_a_run_are_what_they_say(tmp_path: Path) -> None:
    none, only = (hardware.load("h200", {"measurements": what}) for what in ("none", "tables"))
    assert (none.tables, none.measurements, none.sibling) == ("", (), None)
    assert only.tables == H200.tables
    found = store.Store(only).find("gemm", BF16, "vllm")
    assert found is not None
    assert found.basis is Basis.FITTED
    assert [voice.name for voice in found.voices] == ["h200/vllm/0.24.0"]
    with pytest.raises(SpecError, match="no measurement run 'mine'"):
        hardware.load("h200", {"measurements": "mine"})
    with pytest.raises(SpecError) as error:
        hardware.load("h200", {"measurements": "non"})
    assert str(error.value) == (
        "h200/profile.toml: no measurement run 'non': write tables (only tables of engines), none (only the roofline) or the name of "
        "a run (there are no runs here); did you mean 'none'?"
    )
