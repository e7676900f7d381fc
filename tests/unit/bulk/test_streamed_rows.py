"""Rows that go to a file block by block are those of one table in memory, byte for byte, whatever the blocks; an interrupted sweep goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bulkkit import CASES, EndsAfter, query_of

from simcost.bulk import plan, run
from simcost.bulk.journal import home_of
from simcost.bulk.run import Ways
from simcost.errors import NotModelled, SpecError, listeners
from simcost.report.text import as_csv
from simcost.scenarios import design_map, sweep


@pytest.fixture(autouse=True)
def no_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tables in memory mark ties."""
    monkeypatch.setattr("simcost.scenarios.goals.map_ties.MOST", 0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few points, which end inside of axes."""
    monkeypatch.setattr("simcost.bulk.dealer._FIRST", 7)
    monkeypatch.setattr("simcost.bulk.dealer._MOST", 37)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("blocks", ["one", "small"])
def test_bytes_and_words_are_those_of_the_table(name: str, blocks: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:  # fmt: skip
    if blocks == "small":
        request.getfixturevalue("small")
    query, out = query_of(CASES[name]), tmp_path / "x.csv"
    expected = design_map.result(query)
    found = run.result(query, None, out)
    assert out.read_bytes() == as_csv(expected).encode()
    for field in ("metrics", "warnings", "references", "verdict", "inputs", "fits"):
        assert getattr(found, field) == getattr(expected, field), field
    assert not home_of(out).exists()


def test_the_cases_are_of_each_kind() -> None:
    first = {name: plan.made(query_of(case), None, {})[0].first for name, case in CASES.items()}
    assert [first[name] for name in ("runs first", "cannot first", "short first")] == [
        plan.RUNS,
        plan.CANNOT,
        plan.SHORT,
    ]


def test_an_interrupted_sweep_goes_on_and_gives_the_same_bytes(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    said: list[str] = []
    monkeypatch.setattr("simcost.errors.listeners", [lambda text, about: said.append(text)])
    assert listeners is not None
    query, out = query_of(CASES["runs first"]), tmp_path / "x.csv"
    with pytest.raises(KeyboardInterrupt):
        run.result(query, None, out, Ways(EndsAfter(5)))
    kept = sorted(home_of(out).glob("*.part"))
    assert len(kept) == 5
    assert not out.exists()
    kept[1].write_bytes(kept[1].read_bytes()[:-1])  # what a full disk may leave
    before = {path.name: path.stat().st_mtime_ns for path in kept}
    told: list[tuple[float, float, str]] = []
    run.result(query, None, out, Ways(progress=lambda *each: told.append(each)))
    assert out.read_bytes() == as_csv(design_map.result(query)).encode()
    told = [each for each in told if each[1] == 720.0]
    assert told[0][0] == sum(int(name[13:25]) - int(name[:12]) for name in before) - _points(kept[1].name)
    assert told[-1][0] == 720.0
    assert [text for text in said if text.startswith("continues: ")]


def _points(name: str) -> int:
    return int(name[13:25]) - int(name[:12])


@pytest.mark.parametrize(
    "change", [{"vary": {"batch": [1, 2]}}, {"model": "mistral-7b-v0.3"}, {"phase": "prefill", "vary": {"batch": [1, 2]}}]
)  # fmt: skip
def test_another_question_does_not_go_on_from_these_parts(small: None, change: dict[str, Any], tmp_path: Path) -> None:
    case, out = CASES["runs first"], tmp_path / "x.csv"
    with pytest.raises(KeyboardInterrupt):
        run.result(query_of(case), None, out, Ways(EndsAfter(1)))
    with pytest.raises(SpecError, match="parts of an interrupted sweep of another question: remove the folder"):
        run.result(query_of({**case, **change}), None, out)
    assert len(list(home_of(out).glob("*.part"))) == 1


def test_other_files_or_another_version_do_not_go_on_either(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    from simcost.model import load

    said = load.load_config("llama-3.1-8b")[2]
    config.write_text(json.dumps(said))
    case, out = {"model": str(config), "vary": CASES["runs first"]["vary"]}, tmp_path / "x.csv"
    with pytest.raises(KeyboardInterrupt):
        run.result(query_of(case), None, out, Ways(EndsAfter(1)))
    config.write_text(json.dumps({**said, "intermediate_size": 2 * said["intermediate_size"]}))
    with pytest.raises(SpecError, match="of other model, device or measurement files"):
        run.result(query_of(case), None, out)
    config.write_text(json.dumps(said))
    with monkeypatch.context() as changed:
        changed.setattr("simcost.scale.fingerprint.here", lambda: {"simcost": "9.9"})
        with pytest.raises(SpecError, match="of another version of simcost or its data"):
            run.result(query_of(case), None, out)
    run.result(query_of(case), None, out)
    assert out.read_bytes() == as_csv(design_map.result(query_of(case))).encode()


def test_a_structure_without_an_answer_that_shows_late_is_rows_with_the_reason(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The first point of each structure is priced before all others; here one fails at its last block alone."""
    real = sweep.block

    def block(query: Any, w: Any, shape: Any, extra: Any = None) -> Any:
        if w.model.name == "mistral-7b-v0.3" and float(w.phase.batch.max()) >= 64.0:
            raise NotModelled("mistral-7b-v0.3: a batch of 64 is too much for this test")
        return real(query, w, shape, extra)

    monkeypatch.setattr(sweep, "block", block)
    case = {
        "model": None,
        "vary": {"model": ["llama-3.1-8b", "mistral-7b-v0.3"], "batch": [1, 2, 4, 64], "context": [100, 200]},
    }
    query, out = query_of(case), tmp_path / "x.csv"
    found = run.result(query, None, out)
    expected = design_map.result(query)
    assert out.read_bytes() == as_csv(expected).encode()
    assert found.metrics["points_feasible"] == 8


def test_a_process_that_computes_other_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simcost.bulk import block

    query = query_of(CASES["runs first"])
    whole, _ = plan.made(query, None, {})
    whole.probes[0] = "0" * 16
    with pytest.raises(SpecError, match="computes different numbers for the same point"):
        block.priced(block.task(whole.packed(), [(0, 0, 1)], block.CSV))


def test_nothing_is_left_where_no_point_can_be_run(tmp_path: Path) -> None:
    query, out = query_of({"vary": {"model.attention": ["nonsense:3"], "batch": [1, 2]}}), tmp_path / "x.csv"
    with pytest.raises(SpecError) as table:
        design_map.result(query)
    with pytest.raises(SpecError) as streamed:
        run.result(query, None, out)
    assert str(streamed.value) == str(table.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_and_a_second_writer_are_refused(tmp_path: Path) -> None:
    from simcost.bulk.journal import Journal

    query, out = query_of(CASES["prefill"]), tmp_path / "x.csv"
    home_of(out).mkdir()
    (home_of(out) / "mine.txt").write_text("mine")
    with pytest.raises(SpecError, match="was not made by simcost"):
        run.result(query, None, out)
    (home_of(out) / "mine.txt").unlink()
    with Journal(out).alone(), pytest.raises(SpecError, match="another simcost process is writing there now"):
        run.result(query, None, out)


def test_parquet_holds_the_same_rows(small: None, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    query, out = query_of(CASES["cannot first"]), tmp_path / "x.parquet"
    run.result(query, None, out)
    found = parquet.read_table(out).to_pylist()
    rows = design_map.result(query).tables["sweep"]
    assert len(found) == len(rows) == 18
    for row, expected in zip(found, rows, strict=True):
        assert {name: row[name] for name in expected} == expected
        assert all(row[name] is None for name in row if name not in expected and name not in _NAMED), row
    assert found[0]["model"] == "llama-3.1-8b"


_NAMED = ("model", "hw", "engine", "plan", "set", "phase", "simcost", "content")
