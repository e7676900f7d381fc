"""Measurement runs beside a profile: which are there, what their records say, and in which order they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.hardware import runs
from simcost.hardware.siblings import siblings

HEAD = 'schema = 1\nkind = "measured"\n'


def run(home: Path, name: str, record: str | None = HEAD, rows: bool = False) -> Path:
    """A run beside home/profile.toml."""
    folder = home / "measurements" / name
    (folder / "gemm").mkdir(parents=True)
    if record is not None:
        (folder / "run.toml").write_text(record)
    if rows:
        (folder / "gemm" / "bf16.csv").write_text("m,n,k,seconds\n")
    return folder


@pytest.mark.parametrize(("record", "kind"), [
    (HEAD, "measured"), ('schema = 1\nkind = "imported"\n', "imported"), ('kind = "imported"\nschema = 1\n', "imported"),
    ('# edited\nschema = 1\nkind = "measured"\n', "measured"), (HEAD + "garbage below", "measured"),
])  # fmt: skip
def test_two_lines_say_what_a_run_is_and_an_edited_record_is_read_whole(tmp_path: Path, record: str, kind: str) -> None:
    assert runs.kind(run(tmp_path, "one", record)) == kind


@pytest.mark.parametrize(("record", "said"), [
    (None, "missing: restore it"), ("schema = 2\nkind = 'measured'\n", "schema must be 1, not 2"), ("kind = 'measured'\n", "schema must be 1, not None"),
    ("schema = true\nkind = 'measured'\n", "schema must be 1, not True"), ("schema = 1\nkind = 'guessed'\n", "kind must be one of measured, imported, not 'guessed'"),
    ("schema = 1\n", "not None"), ("schema = \n", "not valid TOML"), ("", "schema must be 1"),
])  # fmt: skip
def test_a_record_that_says_nothing_is_one_line(tmp_path: Path, record: str | None, said: str) -> None:
    home = run(tmp_path, "one", record)
    with pytest.raises(SpecError) as error:
        runs.kind(home)
    assert str(error.value).startswith(str(home / "run.toml"))
    assert said in str(error.value)


def test_a_whole_record_is_strict_where_two_lines_are_not(tmp_path: Path) -> None:
    home = run(tmp_path, "one", HEAD + "garbage below")
    assert runs.kind(home) == "measured"
    with pytest.raises(SpecError, match="not valid TOML"):
        runs.record(home)


def test_runs_are_folders_with_a_record_or_with_rows(tmp_path: Path) -> None:
    for name, record, rows in (("a", HEAD, False), ("b", None, True), ("c", None, False), (".hidden", HEAD, True)):
        run(tmp_path, name, record, rows)
    assert list(runs.beside(tmp_path / "profile.toml")) == ["a", "b"]
    assert runs.beside(tmp_path / "elsewhere" / "profile.toml") == {}


def test_own_runs_answer_before_imported_ones_each_by_name(tmp_path: Path) -> None:
    for name, kind in (("a", "imported"), ("b", "measured"), ("c", "imported"), ("d", "measured")):
        run(tmp_path, name, f'schema = 1\nkind = "{kind}"\n')
    found = runs.beside(tmp_path / "profile.toml")
    assert [Path(home).name for home in runs.ordered(found, None, "toy")] == ["b", "d", "a", "c"]
    assert [Path(home).name for home in runs.ordered(found, ["c", "b"], "toy")] == ["c", "b"]
    assert runs.ordered(found, [], "toy") == ()


def test_a_run_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    run(tmp_path, "isolated")
    found = runs.beside(tmp_path / "profile.toml")
    with pytest.raises(
        SpecError, match=r"^toy: no measurement run 'isolate': .* \(isolated\); did you mean 'isolated'\?$"
    ):
        runs.ordered(found, ["isolate"], "toy")
    with pytest.raises(SpecError, match=r"there are no runs here"):
        runs.ordered({}, ["isolated"], "toy")


def test_a_run_without_its_record_does_not_answer(tmp_path: Path) -> None:
    run(tmp_path, "a")
    run(tmp_path, "b", None, rows=True)
    found = runs.beside(tmp_path / "profile.toml")
    with pytest.raises(SpecError, match="restore it, or move the rows"):
        runs.ordered(found, None, "toy")
    assert len(runs.ordered(found, ["a"], "toy")) == 1


def test_the_machines_drift_is_the_worst_of_its_own_runs_in_sigmas(tmp_path: Path) -> None:
    homes = tuple(
        run(tmp_path, name, f'schema = 1\nkind = "{kind}"\nsentinel_drift = {drift}\n\n[machine]\nname = "x"\n')
        for name, kind, drift in (("a", "measured", 0.02), ("b", "measured", 0.064), ("c", "imported", 0.5))
    )
    # 80 % of a normal distribution lie within 1.2816 sigma.
    for home in homes[:2]:
        assert runs.drift(homes, home) == pytest.approx(0.064 / 1.2816)
    assert runs.drift(homes, homes[2]) == 0.0
    assert runs.drift(homes[:1], homes[0]) == pytest.approx(0.02 / 1.2816)


@pytest.mark.parametrize("value", ["true", '"much"', "-0.1", "11", "nan"])
def test_a_drift_that_is_none_is_one_line(tmp_path: Path, value: str) -> None:
    home = run(tmp_path, "one", f"{HEAD}sentinel_drift = {value}\n")
    with pytest.raises(SpecError, match=r"run.toml: sentinel_drift = .* must be a number in \[0, 10\]"):
        runs.drift((home,), home)


def test_a_record_without_a_drift_has_none(tmp_path: Path) -> None:
    home = run(tmp_path, "one")
    assert runs.drift((home,), home) == 0.0


def test_tables_of_engines_are_a_folder_with_picks(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    assert runs.tables(profile) == ""
    (tmp_path / "tables").mkdir()
    assert runs.tables(profile) == ""
    (tmp_path / "tables" / "picks.csv").write_text("family\n")
    assert runs.tables(profile) == str(tmp_path / "tables")


@pytest.mark.parametrize(("device", "others"), [
    ("h100", ("h200",)), ("h200", ("h100",)), ("b200", ("gb200", "b300", "gb300")), ("gb300", ("b200", "gb200", "b300")),
    ("a100", ()), ("h20", ()), ("toy", ()), ("H100", ()),
])  # fmt: skip
def test_siblings_are_the_other_parts_of_an_architecture(device: str, others: tuple[str, ...]) -> None:
    assert siblings(device) == others
    assert all(device in siblings(other) for other in others)
