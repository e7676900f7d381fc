"""`calibrate run` as it is asked for: what is wrong is said before anything is measured; a quick run ends within its minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from simcost.cli import app
from simcost.errors import SpecError
from simcost.measure.machine import cpu_profile
from simcost.measure.session import kernels, layers, session
from simcost.measure.session.event import Event
from simcost.measure.session.quality import sound, together
from simcost.measure.timing.cpu import moved

ROOT = Path(__file__).parents[2]
RECORD = 'schema = 1\nkind = "measured"\ntitle = "t"\n'
FOREIGN = [
    ('visits = "x"', "visits must be a count"), ("visits = -1", "visits must be a count"), ("visits = true", "visits must be"),
    ('dirty_share = "much"', "dirty_share must be a number from 0 to 1"), ("dirty_share = 7", "dirty_share must be"),
    ("dirty_share = nan", "a number must be finite, not nan"), ('environment = "here"', "environment must be a table"),
    ("kinds = 3", "kinds must be tables"), ('[kinds."gemm/x"]\nrows = "many"', "kinds must be tables"),
    ('[kinds."gemm/x"]\nkernels = 1', "kinds must be tables"), ("left_out = 1", "left_out must be a list of lines"),
    ("disturbed = [1]", "disturbed must be"), ("sentinel_copy_s = 5", "sentinel_product_s and sentinel_copy_s must be"),
    ("sentinel_product_s = [0.0]", "sentinel_product_s and sentinel_copy_s must be"),
]  # fmt: skip


def asked(out: Path, *more: str) -> list[str]:
    return ["calibrate", "run", "--device", "cpu", "--mode", "quick", "-o", str(out), *more]


def line(capsys: Any) -> str:
    err = str(capsys.readouterr().err)
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(("text", "said"), FOREIGN)
@pytest.mark.parametrize("name", ["isolated", "in-situ"])
def test_a_record_that_was_edited_is_one_line(tmp_path: Path, text: str, said: str, name: str, capsys: Any) -> None:
    home = tmp_path / "measurements" / name
    home.mkdir(parents=True)
    (home / "run.toml").write_text(RECORD + text + "\n")
    assert app.run(asked(tmp_path, "--resume")) == 2
    found = line(capsys)
    assert f"{home / 'run.toml'}: {said}" in found
    assert not (tmp_path / "profile.toml").exists()


def test_whoever_reads_such_a_record_later_refuses_it_too() -> None:
    for before in ({"visits": "x"}, {"dirty_share": "much"}, {"kinds": 3}):
        with pytest.raises(SpecError, match=r"run\.toml: "):
            together(before, [])
    sound({})
    sound(
        {
            "visits": 3,
            "dirty_share": 0,
            "kinds": {"a/b": {"rows": 2, "kernels": ["c"]}},
            "left_out": [],
            "disturbed": ["d"],
        }
    )


def test_an_unknown_model_is_said_before_anything_is_measured(tmp_path: Path, capsys: Any) -> None:
    assert app.run(asked(tmp_path / "x", "--model", "nosuch")) == 2
    assert "unknown model 'nosuch'" in line(capsys)
    assert not (tmp_path / "x").exists()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a session would measure, and for how long."""
    found: list[dict[str, Any]] = []

    def inside(device: str, blocks: list[Any], out: Path, budget: float | None, *_: Any, **__: Any) -> Iterator[Event]:
        found.append({"blocks": [spec.name for spec in blocks], "budget": budget})
        yield from ()

    def alone(asked: kernels.Question, budget: float | None, *_: Any) -> Iterator[Event]:
        found.append({"models": asked.models, "budget": budget})
        yield from ()

    monkeypatch.setattr(layers, "measure_in_situ", inside)
    monkeypatch.setattr(kernels, "measure", alone)
    monkeypatch.setattr(cpu_profile, "profile_text", lambda threads: "")
    return found


def job(out: Path, mode: str, *models: str) -> session.Job:
    return session.Job("cpu", mode, models, (), None, False, 1, 0, out)


def test_a_quick_run_ends_within_its_minute_and_has_no_time_for_layers(tmp_path: Path, calls: list[Any]) -> None:
    list(session.measured(job(tmp_path, "quick", "qwen3-8b")))
    assert [set(one) for one in calls] == [{"models", "budget"}]
    assert 0 < calls[0]["budget"] <= session.QUICK_S


def test_models_named_are_measured_inside_their_layers_too(tmp_path: Path, calls: list[Any]) -> None:
    events = list(session.measured(job(tmp_path, "standard", "qwen3-8b", "llama-3.1-70b")))
    inside, alone = calls
    assert inside["blocks"][0] == "qwen3-8b-0-b8-q1-p1023-bf16"
    assert sum(name.startswith("llama-3.1-70b") for name in inside["blocks"]) == 4
    assert [event.note for event in events if event.note.startswith("left out: llama-3.1-70b")]
    assert (inside["budget"], alone["budget"], alone["models"]) == (None, None, ("qwen3-8b", "llama-3.1-70b"))


def test_what_times_of_one_thing_say_of_the_machine() -> None:
    assert moved([], 0.8) == 0.0
    assert moved([1.0, 1.0, 1.0, 1.0, 3.0], 0.8) == 2.0
    assert moved([1.0, 1.1, 1.0, 1.0, 1.0, 1.0, 3.0], 0.8) == pytest.approx(0.1)
