"""Failures and checkpoints of a run: what is taken where nobody states it, and Daly's model by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.plan import Plan
from simcost.scenarios.train import failures
from simcost.scenarios.train.failures import RESTART_S, STORAGE_PER_GPU, Failures, kept, note
from simcost.training.goodput import LLAMA3_GPU_MTBF_S

SIZE = 1e12  # bytes of a checkpoint
GPUS = 1024.0


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of 1,024 GPUs, with a checkpoint of a terabyte."""
    monkeypatch.setattr(failures, "checkpoint", lambda job: SIZE)
    return SimpleNamespace(plan=Plan(dp=GPUS))


def test_defaults_are_llama_3s_and_ten_minutes(job: Any) -> None:
    """1,024 of 16,384 GPUs write 125 GB/s of the 2 TB/s: 8 s. 54 days with 419 interruptions on 16 times as many GPUs: one
    in 49.5 h."""
    found = kept(job, Failures())
    assert found.write_s == pytest.approx(SIZE / (2e12 / 16.0))
    assert found.mtbf_s == pytest.approx(16.0 * 54.0 * 86400.0 / 419.0)
    assert found.restart_s == RESTART_S == 600.0
    assert STORAGE_PER_GPU * 16384.0 == 2e12
    # Daly's interval is Young's, sqrt(2 C M), up to a few percent where a write is short beside the time between failures.
    assert found.interval_s == pytest.approx(math.sqrt(2.0 * 8.0 * found.mtbf_s), rel=0.01)
    # What is lost, to the first order: a write each interval, and half an interval and a restart each failure.
    lost = 8.0 / found.interval_s + (found.interval_s / 2.0 + 600.0) / found.mtbf_s
    assert 1.0 - found.share == pytest.approx(lost, rel=0.02)


def test_what_is_stated_stands(job: Any) -> None:
    said = Failures(mtbf_s=1e7, restart_s=120.0, checkpoint_rate=5e10, checkpoint_interval_s=1800.0)
    found = kept(job, said)
    assert (found.mtbf_s, found.restart_s, found.write_s, found.interval_s) == (1e7 / GPUS, 120.0, 20.0, 1800.0)
    assert kept(job, said, gpus=2.0 * GPUS).mtbf_s == 1e7 / (2.0 * GPUS)  # others stop it too
    assert kept(job, said, gpus=2.0 * GPUS).write_s == 20.0
    assert kept(job, Failures(), gpus=2.0 * GPUS).write_s == kept(job, Failures()).write_s  # its own ranks write


def test_a_checkpoint_waits_for_the_end_of_a_step(job: Any) -> None:
    daly = float(kept(job, Failures()).interval_s)
    assert kept(job, Failures(), step_s=daly / 2.0).interval_s == daly
    assert kept(job, Failures(), step_s=2.0 * daly).interval_s == 2.0 * daly
    assert kept(job, Failures(checkpoint_interval_s=60.0), step_s=60.0).interval_s == 60.0
    with pytest.raises(SpecError, match=r"--checkpoint-interval = 60 s: a step takes 90 s"):
        kept(job, Failures(checkpoint_interval_s=60.0), step_s=90.0)


def test_options_without_a_run_are_refused_by_their_names() -> None:
    for name, option in (
        ("mtbf_s", "--mtbf"),
        ("restart_s", "--restart"),
        ("checkpoint_rate", "--checkpoint-rate"),
        ("checkpoint_interval_s", "--checkpoint-interval"),
    ):
        with pytest.raises(SpecError, match=rf"^{option} applies to a training run: state its length by --tokens$"):
            Failures(**{name: 5.0}).need("--tokens")
    Failures().need("--tokens")
    assert Failures(restart_s=0.0, mtbf_s=1.0).stated() == {"mtbf_s": 1.0, "restart_s": 0.0}


def test_a_note_names_what_nobody_stated(job: Any) -> None:
    found = kept(job, Failures())
    text = str(note(Failures(), found, job))
    assert text.startswith(f"goodput {found.share:.1%}: a GPU fails every {LLAMA3_GPU_MTBF_S / 3600.0:,.0f} h")
    assert "a restart takes 600 s (--restart; assumed)" in text
    assert "checkpoints are written at 125 GB/s" in text
    assert f"every {found.interval_s:,.0f} s (--checkpoint-interval; Daly)" in text
    every = Failures(mtbf_s=1e7, restart_s=1.0, checkpoint_rate=1e9, checkpoint_interval_s=60.0)
    assert str(note(every, found, job)).endswith(": all its numbers were given")
    one = Failures(mtbf_s=1e7, checkpoint_rate=1e9, checkpoint_interval_s=60.0)
    assert str(note(one, found, job)).endswith(": a restart takes 600 s (--restart; assumed)")


def test_metrics_by_name(job: Any) -> None:
    found = kept(job, Failures(mtbf_s=1e7, restart_s=120.0, checkpoint_rate=5e10, checkpoint_interval_s=1800.0))
    assert failures.metrics(found, SIZE) == {
        "goodput": pytest.approx(float(found.share)), "mtbf_s": 1e7 / GPUS, "checkpoint_interval_s": 1800.0, "checkpoint_write_s": 20.0,
        "checkpoint_bytes": SIZE, "restart_s": 120.0,
    }  # fmt: skip
