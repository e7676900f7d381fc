"""Answers are of the files as they stand now: after an edit that changes neither size nor time, and in another folder where the same path is another file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import simcost
from simcost.calibration import tables
from simcost.files import folder
from simcost.learning import stack as frameworks
from simcost.scaling_laws import load as laws
from simcost.training import optimizer, precision, stack

HEAD = "batch,m,n,k,seconds\n"
ROWS = "".join(f"1,{m},4096,4096,{2e-5 + m * 6e-8:.4e}\n" for m in range(8, 8 * 30, 8))


def edit(path: Path, old: str, new: str) -> None:
    """In place, of one size and one time."""
    text = path.read_text()
    assert old in text
    assert len(old) == len(new)
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(10**18, 10**18))


def tpot(**more: object) -> float:
    asked = {"model": "llama-3.1-8b", "hw": "h200", "context": 512, **more}
    return float(simcost.decode(asked.pop("model"), asked.pop("hw"), **asked).metrics["tpot_s"])


def copied(kind: str, name: str) -> Callable[[Path], None]:
    return lambda home: shutil.copy(folder("workloads") / kind / name, home / name)


def profile(home: Path) -> None:
    (home / "mine").mkdir()
    shutil.copy(folder("hwprofiles") / "h200" / "profile.toml", home / "mine")


def rows(home: Path) -> None:
    profile(home)
    path = home / "mine" / "measurements" / "run" / "gemm" / "bf16-bf16-bf16.csv"
    path.parent.mkdir(parents=True)
    path.write_text(HEAD + ROWS)
    (path.parents[1] / "run.toml").write_text('schema = 1\nkind = "imported"\ntitle = "mine"\n')


def picks(home: Path) -> None:
    (home / "picks.csv").write_text("family,kind,engine,tables,how\ngemm,x,vllm,vllm/1,own\n")


CASES: dict[str, tuple[Callable[[Path], object], str, str, str, Callable[[], object]]] = {
    "model": (copied("models", "llama-3.1-8b.json"), "llama-3.1-8b.json", '"num_hidden_layers": 32', '"num_hidden_layers": 16', lambda: tpot(model="llama-3.1-8b.json")),
    "a folder with a config": (
        lambda home: ((home / "m").mkdir(), shutil.copy(folder("workloads") / "models" / "llama-3.1-8b.json", home / "m" / "config.json")),
        "m/config.json", '"num_hidden_layers": 32', '"num_hidden_layers": 16', lambda: tpot(model="m"),
    ),
    "profile": (profile, "mine/profile.toml", '"4.8 TB/s"', '"2.4 TB/s"', lambda: tpot(hw="mine")),
    "rows": (rows, "mine/measurements/run/gemm/bf16-bf16-bf16.csv", "4096,4096,2.", "4096,4096,9.", lambda: tpot(hw="mine")),
    "picks": (picks, "picks.csv", "vllm/1", "vllm/2", lambda: str(tables.picks(Path(".")))),
    "optimizer": (copied("optimizers", "adamw.toml"), "adamw.toml", "AdamW", "AdamX", lambda: optimizer.load("./adamw.toml").title),
    "precision": (copied("precisions", "bf16.toml"), "bf16.toml", "BF16 with", "BF61 with", lambda: precision.load("./bf16.toml").title),
    "stack": (copied("stacks", "torchtitan.toml"), "torchtitan.toml", "torchtitan", "torchtitin", lambda: stack.load("./torchtitan.toml").title),
    "framework": (copied("rl-stacks", "verl.toml"), "verl.toml", "verl, whose", "vorl, whose", lambda: frameworks.load("./verl.toml").title),
    "scaling law": (copied("scaling_laws", "krajewski-2024.toml"), "krajewski-2024.toml", "Krajewski", "Krajewsky", lambda: laws.load("./krajewski-2024.toml").title),
    "routing": (
        lambda home: (home / "r.csv").write_text(("9," * 4 + "1,1,1,1\n") * 32), "r.csv", "9,9,9,9,1,1,1,1", "1,1,1,1,1,1,1,1",
        lambda: tpot(model="mixtral-8x7b", batch=8, set={"routing": "r.csv"}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_edit_and_another_folder_show(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, name, old, new, ask = CASES[case]
    for home in ("here", "there"):
        (tmp_path / home).mkdir()
        make(tmp_path / home)
        os.utime(tmp_path / home / name, ns=(10**18, 10**18))
    edit(tmp_path / "there" / name, old, new)
    monkeypatch.chdir(tmp_path / "here")
    first = ask()
    monkeypatch.chdir(tmp_path / "there")
    second = ask()
    monkeypatch.chdir(tmp_path / "here")
    assert ask() == first != second
    edit(Path(name), old, new)
    assert ask() == second
    edit(Path(name), new, old)
    assert ask() == first
