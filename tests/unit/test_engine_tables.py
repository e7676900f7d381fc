"""`calibrate import aiconfigurator` on a package of a few small tables: what is written, that it is whole or not at all, and the same again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simcost.calibration import tables
from simcost.calibration.importers import _comm, _tables, aiconfigurator
from simcost.calibration.rows import load_run
from simcost.errors import SpecError
from simcost.scenarios.calibrate.engine_tables import import_aiconfigurator

Frames = dict[str, list[dict[str, Any]]]


def reduced(kernel: str, times: float, shift: int = 0) -> list[dict[str, Any]]:
    """All-reduces over 2, 4 and 8 ranks at 0.7 of the link of a Hopper, `times` as slow."""
    rows = []
    for group in (2, 4, 8):
        for size in 2 ** np.arange(10 + shift, 30):
            seconds = (2.0 * (group - 1) / group * 2.0 * size / 450e9 / 0.7 + 6e-6) * times
            rows.append(
                {
                    "num_gpus": group,
                    "message_size": int(size),
                    "allreduce_dtype": "bfloat16",
                    "kernel_source": kernel,
                    "latency": seconds * 1e3,
                }
            )
    return rows


PLACE = "h200_sxm/comm/{}/custom_allreduce_perf.parquet"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Frames]:
    """(data folder, its tables, which a test may change)."""
    frames: Frames = {
        PLACE.format("vllm/0.24.0"): reduced("vLLM", 1.0), PLACE.format("vllm/0.9.1"): reduced("vLLM", 1.1),
        PLACE.format("sglang/0.5.14"): reduced("SGLang", 1.05),
    }  # fmt: skip
    data = tmp_path / "data"

    def read(path: Path, needed: tuple[str, ...]) -> Any:
        return pd.DataFrame(frames[str(path.relative_to(data))])

    for name in frames:
        (data / name).parent.mkdir(parents=True)
        (data / name).touch()
    for module in (aiconfigurator, _tables, _comm):
        monkeypatch.setattr(module, "read_table", read)
    return data, frames


def contents(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_tables_picks_and_verdicts_are_written_and_every_verdict_is_told(
    package: tuple[Path, Frames], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = import_aiconfigurator(["h200_sxm"], out, package[0])
    home = out / "h200" / "tables"
    assert sorted(p.name for p in home.iterdir()) == ["picks.csv", "sglang", "verdicts.csv", "vllm"]
    assert [row["table"] for row in result.tables["verdicts"]] == [
        "collective/all_reduce-custom sglang 0.5.14", "collective/all_reduce-custom vllm 0.24.0", "collective/all_reduce-custom vllm 0.9.1",
    ]  # fmt: skip
    assert [row["picked_by"] for row in result.tables["verdicts"]] == ["sglang", "trtllm vllm", ""]
    with (home / "verdicts.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["sound"] * 3
    run = load_run(home / "vllm" / "0.24.0")
    assert (run.record["engine"], run.record["engine_version"], run.record["kind"]) == ("vllm", "0.24.0", "imported")
    assert not (home / "vllm" / "0.9.1").exists()  # nothing names it
    assert {pick.engine for pick in tables.picks(home)["collective", "all_reduce-custom"]} == {
        "sglang",
        "trtllm",
        "vllm",
    }
    assert (out / "spread.csv").is_file()


def test_the_same_package_gives_the_same_bytes(package: tuple[Path, Frames], tmp_path: Path) -> None:
    told: list[tuple[float, float, str]] = []
    one, two = tmp_path / "one", tmp_path / "two"
    import_aiconfigurator([], one, package[0], 1, lambda *each: told.append(each))
    import_aiconfigurator([], two, package[0], 1)
    import_aiconfigurator([], two, package[0], 1)  # over what stands there
    assert contents(one) == contents(two)
    done = [done / total for done, total, _ in told]
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_a_version_that_is_replaced_goes(package: tuple[Path, Frames], tmp_path: Path) -> None:
    data, frames = package
    out = tmp_path / "out"
    import_aiconfigurator(["h200_sxm"], out, data)
    newer = PLACE.format("vllm/0.30.0")
    frames[newer] = reduced("vLLM", 0.98)
    (data / newer).parent.mkdir(parents=True)
    (data / newer).touch()
    import_aiconfigurator(["h200_sxm"], out, data)
    home = out / "h200" / "tables"
    assert [path.name for path in (home / "vllm").iterdir()] == ["0.30.0"]
    assert "vllm/0.30.0" in (home / "picks.csv").read_text()
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["run.toml", "picks.csv", "verdicts.csv", "all_reduce-custom.csv"])
def test_a_disk_that_refuses_leaves_what_stood_there(
    name: str, package: tuple[Path, Frames], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, frames = package
    out = tmp_path / "out"
    import_aiconfigurator(["h200_sxm"], out, data)
    before = contents(out)
    frames[PLACE.format("vllm/0.24.0")] = reduced("vLLM", 0.9)
    real = Path.write_text

    def full(self: Path, text: str, *args: Any, **kwargs: Any) -> int:
        if self.name == name:
            raise OSError(28, "No space left on device")
        return real(self, text, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SpecError, match="No space left on device"):
        import_aiconfigurator(["h200_sxm"], out, data)
    assert contents(out) == before


def test_a_place_that_is_something_else_and_a_package_that_is_none_are_one_line(
    package: tuple[Path, Frames], tmp_path: Path
) -> None:
    foreign = tmp_path / "out" / "h200" / "tables" / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("two years of work")
    with pytest.raises(SpecError, match=r"h200/tables: exists but has no picks.csv"):
        import_aiconfigurator(["h200_sxm"], tmp_path / "out", package[0])
    assert foreign.read_text() == "two years of work"
    with pytest.raises(SpecError, match=r"unknown system 'h200'.*did you mean 'h200_sxm'"):
        import_aiconfigurator(["h200"], tmp_path / "out", package[0])
    with pytest.raises(SpecError, match="no tables of aiconfigurator-core"):
        import_aiconfigurator([], tmp_path / "out", tmp_path / "empty")


def test_a_slow_table_is_told_and_another_speaks_for_its_engine(package: tuple[Path, Frames], tmp_path: Path) -> None:
    data, frames = package
    for version in ("0.24.0", "0.9.1"):
        frames[PLACE.format(f"vllm/{version}")] = reduced("vLLM", 6.0)
    result = import_aiconfigurator(["h200_sxm"], tmp_path / "out", data)
    unsound = {row["table"]: row["verdict"] for row in result.tables["verdicts"] if row["verdict"] != "sound"}
    assert result.metrics["unsound"] == len(unsound)
    picks = (tmp_path / "out" / "h200" / "tables" / "picks.csv").read_text()
    assert "collective,all_reduce-custom,vllm,sglang/0.5.14,no sound table of this engine: sglang's is used" in picks
