"""Published training steps: what the files say is whole, and a fault in one is a line that names it."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.model import load as models
from simcost.model.count import parameters
from simcost.model.flops import flops_per_token
from simcost.validation.training import rows

HOME = rows.home()
EVERY = rows.every()
BY_ID = {row.id: row for row in EVERY}


def test_rows_have_the_figures_of_their_sources() -> None:
    found = BY_ID["korth-004"]
    assert (found.step_s, found.question.recompute, found.question.vpp, found.group) == (
        13.75,
        "selective:core_attn",
        3,
        "judged",
    )
    deepseek = BY_ID["dsv3isca-001"]
    assert (deepseek.step_s, deepseek.question.micro_batches, deepseek.question.dp) == (19.926, 120, 128)
    assert deepseek.parts == {"F": 1.13, "bubble": 2.06, "B": 1.99, "W": 0.48, "FB": 13.95, "optimizer": 0.29}
    assert sum(deepseek.parts.values()) == pytest.approx(deepseek.step_s, rel=0.002)
    assert BY_ID["simumax-008"].memory_bytes == 116738 * 2**20
    assert BY_ID["titan-001"].question.hw == "h100-96gb"


def test_the_files_hold_what_was_carried() -> None:
    count: dict[str, int] = defaultdict(int)
    for row in EVERY:
        count[row.source.name] += 1
    assert dict(count) == {
        "vtrain-multi": 76, "vtrain-single": 1008, "simumax": 44, "korthikanti": 8, "zerobubble": 48, "nemo2407": 18, "megatron-bridge": 211,
        "deepseek-v3": 2, "deepseek-v3-trace": 1, "mpt": 216, "bloom": 110, "torchtitan": 42, "internevo": 70, "megatron24": 9, "llama3": 2,
    }  # fmt: skip
    assert {row.group for row in EVERY} == set(rows.GROUPS)
    assert all(row.group == "simulated" for row in EVERY if row.source.name == "vtrain-single")
    assert all(row.locator and row.source.reference for row in EVERY)


def _printed(text: str) -> float:
    """Half a unit of the last printed digit, as a share: "14.6e9" is known to 0.05e9."""
    digits = text.split("e")[0]
    return 0.5 * 10.0 ** -len(digits.partition(".")[2]) / float(digits)


NAMED = rows.named_models(HOME)


@pytest.mark.parametrize("name", [name for name, model in NAMED.items() if model.parameters])
def test_models_have_the_parameters_that_their_sources_print(name: str) -> None:
    model = NAMED[name]
    spec = models.load(model.base, {key.removeprefix("model."): value for key, value in model.sets.items()})
    off = abs(float(parameters(spec)["params_total"]) / float(model.parameters) - 1.0)
    assert off <= max(0.01, 1.001 * _printed(model.parameters))


@pytest.mark.parametrize(("id", "flops"), [
    ("nemo2407-001", 3.268e10), ("nemo2407-002", 1.282e11), ("nemo2407-008", 5.141e10), ("nemo2407-009", 1.303e11), ("nemo2407-010", 2.104e12),
])  # fmt: skip
def test_models_without_a_printed_count_have_the_printed_flops(id: str, flops: float) -> None:
    """TFLOP/s over tokens/s, as NeMo 24.07 prints them: its formula counts all of the scores."""
    row = BY_ID[id]
    tokens = row.question.global_batch * row.question.seq / (row.step_s or 0.0) / row.question.gpus
    assert (row.tflops or 0.0) * 1e12 / tokens == pytest.approx(flops, rel=0.002)
    spec = models.load(
        row.question.model, {key.removeprefix("model."): value for key, value in row.question.sets.items()}
    )
    assert float(flops_per_token(spec, row.question.seq, "torchtitan")) == pytest.approx(flops, rel=0.005)


def test_every_model_of_a_row_loads() -> None:
    asked = {
        (row.question.model, tuple((k[6:], v) for k, v in row.question.sets.items() if k.startswith("model.")))
        for row in EVERY
    }
    for model, sets in asked:
        assert float(parameters(models.load(model, dict(sets)))["params_total"]) > 1e8


def test_a_question_that_a_source_asks_again_counts_once() -> None:
    """The newest at most DRIFT slower than the fastest; slower ones are drift, the others repeat."""
    groups: dict[object, list[rows.Row]] = defaultdict(list)
    for row in EVERY:
        if row.group in ("judged", "reported", "repeat", "drift") and row.step_s and row.source.name != "deepseek-v3":
            flags = () if row.source.name == "megatron-bridge" else tuple(row.question.flags.items())
            asked = replace(row.question, flags=(), sets=tuple(row.question.sets.items()))  # type: ignore[arg-type]
            groups[row.source.name, row.model, asked, flags].append(row)
    for each in groups.values():
        fastest = min(row.step_s or 0.0 for row in each)
        near = [row for row in each if (row.step_s or 0.0) <= (1.0 + rows.DRIFT) * fastest]
        counting = [row for row in each if row.group in ("judged", "reported")]
        assert len(counting) == 1
        assert counting[0] in near
        assert all(row.group == "drift" for row in each if row not in near)
        assert all(row.date <= counting[0].date for row in near if not any(one.memory_bytes for one in near))
    assert {"mbridge-228", "mbridge-264", "mbridge-293"} <= {row.id for row in EVERY if row.group == "drift"}


def test_zero_bubble_layers_leave_room_for_the_ends() -> None:
    for row in EVERY:
        if row.source.name == "zerobubble":
            layers = int(row.question.sets["model.n_layer"])
            assert (layers + 2) % row.question.pp == 0
            assert row.question.vpp == (
                (layers + 2) // row.question.pp if row.question.schedule == "interleaved" else 1
            )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources that may be broken."""
    home = tmp_path / "training"
    (home / "models").mkdir(parents=True)
    for name in ("korthikanti", "zerobubble", "models", "sources"):
        shutil.copy(HOME / f"{name}.csv", home)
    for path in (HOME / "models").glob("*.json"):
        shutil.copy(path, home / "models")
    with (home / "sources.csv").open(encoding="utf-8", newline="") as file:
        lines = [row for row in csv.reader(file) if row[0] in ("name", "korthikanti", "zerobubble")]
    with (home / "sources.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return home


def _edit(home: Path, name: str, old: str, new: str) -> None:
    path = home / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_folder_is_read(folder: Path) -> None:
    assert len(rows.read(folder)) == 56


@pytest.mark.parametrize(("name", "old", "new", "said"), [
    ("korthikanti.csv", "id,model", "id,modle", "korthikanti.csv: unknown column 'modle'.*did you mean 'model'"),
    ("korthikanti.csv", ",locator", "", "korthikanti.csv:2: not as many cells as the header"),
    ("korthikanti.csv", "korth-002,", "korth-001,", "korthikanti.csv:3: id 'korth-001' stands in korthikanti.csv:2 too"),
    ("korthikanti.csv", "korth-001,megatron-22b", "korth-001,megatron-23b", "korthikanti.csv:2: model 'megatron-23b' is neither in models.csv nor a name of the zoo"),
    ("korthikanti.csv", ",a100,8,", ",a101,8,", "korthikanti.csv:2: hw = 'a101' is not one of"),
    ("korthikanti.csv", ",fp16,", ",fp17,", "korthikanti.csv:2: precision = 'fp17' is not one of .*did you mean 'fp16'"),
    ("korthikanti.csv", ",full,", ",fully,", "korthikanti.csv:2: recompute = 'fully' is not one of"),
    ("korthikanti.csv", "selective:core_attn", "selective:core_atn", "recompute = 'core_atn' is not one of .*did you mean 'core_attn'"),
    ("korthikanti.csv", ",1.42,", ",0,", "korthikanti.csv:2: step_s = '0' must be a number above 0"),
    ("korthikanti.csv", ",1.42,step", ",,step", "korthikanti.csv:2: neither step_s nor memory_bytes is stated"),
    ("korthikanti.csv", ",2048,4,4,8", ",2048,4,6,8", "korthikanti.csv:2: 8 GPUs as tp 8, pp 1, cp 1 do not divide a batch of 6 in micro-batches of 4"),
    ("korthikanti.csv", ",judged,", ",judge,", "korthikanti.csv:2: group = 'judge' is not one of .*did you mean 'judged'"),
    ("zerobubble.csv", ",zb-2p,", ",zb-3p,", "zerobubble.csv:2: schedule = 'zb-3p' is not one of"),
    ("sources.csv", "megatron-2022", "megatron-2020", "unknown stack 'megatron-2020'.*did you mean 'megatron-20"),
    ("sources.csv", ",allocated,", ",alocated,", "memory = 'alocated' must be one of allocated, reserved, device.*did you mean 'allocated'"),
    ("sources.csv", ",allocated,", ",,", "zerobubble.csv:2: memory_bytes of source 'zerobubble', whose line of sources.csv does not say which memory"),
    ("models.csv", "n_layer=22", "n_layer", "models.csv:.*write path=value"),
])  # fmt: skip
def test_a_fault_is_a_line_that_names_it(folder: Path, name: str, old: str, new: str, said: str) -> None:
    _edit(folder, name, old, new)
    with pytest.raises(SpecError, match=said) as fault:
        rows.read(folder)
    assert "\n" not in str(fault.value)


def test_a_file_that_no_source_names_is_refused(folder: Path) -> None:
    shutil.copy(HOME / "llama3.csv", folder)
    with pytest.raises(SpecError, match=r"llama3.csv is not in sources.csv"):
        rows.read(folder)
