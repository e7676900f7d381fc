"""Notes: their kinds, which of them a person sees at once, and when a detail becomes more than one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import simcost
from simcost.model import load as models
from simcost.model import notes as model_notes
from simcost.provenance import Kind, Note, kind_of
from simcost.report.text import as_console, as_json, as_markdown
from simcost.result import Result

ASK: dict[str, Any] = {"model": "deepseek-v3", "hw": "h200", "batch": 64}


def decode(**sets: Any) -> Result:
    return simcost.decode(**ASK, set={"plan.tp": 8, **{path.replace("__", "."): value for path, value in sets.items()}})


def kinds(result: Result) -> dict[str, Kind]:
    return {str(note): kind_of(note) for note in result.warnings}


def of(result: Result, words: str) -> Kind:
    (found,) = [kind for text, kind in kinds(result).items() if words in text]
    return found


def test_a_note_is_its_text_with_a_kind() -> None:
    note = Note("toy: padded", Kind.CHANGED, ("hidden_size",))
    assert note == "toy: padded"
    assert (note.worded("other").kind, note.worded("other").about, note.worded("other")) == (
        note.kind,
        note.about,
        "other",
    )
    for twin in (copy.deepcopy(note), pickle.loads(pickle.dumps(note))):
        assert (twin, twin.kind, twin.about) == (note, note.kind, note.about)
    assert kind_of("plain") is Kind.SAID
    assert [kind for kind in Kind if kind.detail] == [Kind.ORIGIN, Kind.UNUSED, Kind.SCOPE]


def test_what_nobody_asked_to_change_is_a_detail() -> None:
    found = decode()
    assert of(found, "no effect on cost: rope_theta") is Kind.UNUSED
    assert of(found, "num_key_value_heads has no effect") is Kind.UNUSED
    assert of(found, "formats: plan.weight_dtype") is Kind.ORIGIN
    assert of(found, "price") is Kind.ORIGIN
    assert of(found, "MTP modules are neither run") is Kind.SCOPE
    assert all(kind.detail for kind in kinds(found).values())


@pytest.mark.parametrize("path", ["model__rope_theta", "model__num_key_value_heads", "model__num_kv_heads"])
def test_a_key_that_the_question_sets_without_effect_is_more_than_a_detail(path: str) -> None:
    key = "rope_theta" if "rope" in path else "num_key_value_heads"
    assert of(decode(**{path: 16}), key) is Kind.NO_EFFECT


def test_a_varied_key_without_effect_is_named_too() -> None:
    swept = simcost.decode("llama-3.1-8b", "h200", vary={"model.rope_theta": [1, 2]})
    assert of(swept, "no effect on cost: rope_theta") is Kind.NO_EFFECT


@pytest.mark.parametrize(("sets", "words", "kind"), [
    ({"plan__tp": 1, "plan__mla_form": "absorbed"}, "plan.mla_form", None),
    ({"plan__sequence_parallel": "on", "plan__tp": 1, "plan__dp": 8}, "plan.sequence_parallel has no effect", Kind.NO_EFFECT),
    ({"context": 500_000}, "exceed max_position_embeddings", Kind.LIMIT),
    ({"hw__peak__fp8": "x2"}, "differs from the measured device's", Kind.TRANSFERRED),
    ({"hw__assumed__gemm_efficiency": 0.5}, "changes only kernels without measurements", Kind.NO_EFFECT),
    ({"plan__gpus": 12}, "4 GPUs of the cluster are not used", Kind.CHANGED),
])  # fmt: skip
def test_what_changed_the_answer_has_a_kind_of_its_own(sets: dict[str, Any], words: str, kind: Kind | None) -> None:
    found = decode(**sets)
    if kind is None:
        assert not any(words in text for text in kinds(found))
    else:
        assert of(found, words) is kind
        assert not kind.detail


def test_rows_of_another_device_and_assumptions_are_seen() -> None:
    found = simcost.decode("llama-3.1-8b", "tpu-v5e")
    assert of(found, "no vector rate") is Kind.ASSUMED
    assert of(simcost.decode("llama-3.1-8b", "h800"), "not measured") is Kind.TRANSFERRED


def test_defaults_of_a_model_class_are_assumed_and_a_slip_in_a_key_is_seen() -> None:
    config = models.load_config("llama-3.1-8b")[2]
    bare = {key: value for key, value in config.items() if key != "torch_dtype"}
    found = model_notes.of(models.from_config({**bare, "rope_tetha": 1}, "toy", "toy.json"))
    told = {str(note): note.kind for note in found}
    assert told["toy: torch_dtype is absent: bf16 assumed"] is Kind.ASSUMED
    (slip,) = [kind for text, kind in told.items() if "'rope_tetha' = 1 has no effect here" in text]
    assert slip is Kind.NO_EFFECT


def test_labels_of_a_comparison_keep_the_kinds() -> None:
    found = simcost.compare(["llama-3.1-8b", "deepseek-v3"], "h200", tp=8)
    assert of(found, "deepseek-v3: formats") is Kind.ORIGIN
    assert of(found, "all designs: no effect on cost: rope_theta") is Kind.UNUSED


def test_the_terminal_shows_what_changed_the_answer_and_counts_the_rest() -> None:
    found = decode(model__rope_theta=5)
    page, whole = as_console(found), as_console(found, details=True)
    assert "note: deepseek-v3: no effect on cost: rope_theta" in page
    assert "formats:" not in page
    details = sum(kind.detail for kind in kinds(found).values())
    assert f"--details shows more: {details} notes that change no number" in page
    assert whole.count("note: ") == len(found.warnings)
    assert "--details" not in whole
    assert all(str(note) in as_markdown(found) for note in found.warnings)


def test_json_has_every_note_with_its_kind_and_the_verdict() -> None:
    import json

    found = decode()
    document = json.loads(as_json(found))
    assert (
        [note["text"] for note in document["notes"]] == document["warnings"] == [str(note) for note in found.warnings]
    )
    assert {note["kind"] for note in document["notes"]} == {"origin", "unused", "scope"}
    assert (document["verdict"], document["fits"], document["command"]) == (found.verdict, True, "decode")


def test_every_note_on_a_shipped_model_or_device_says_its_kind() -> None:
    loose = {note for name in models.names() for note in models.load(name).notes if note.kind is Kind.SAID}
    assert not loose
    for hw in ("h200", "h800", "tpu-v5e", "mi300x", "gaudi2", "ascend-910b"):
        found = simcost.decode(
            "llama-3.1-8b", hw, set={"plan.tp": 2, "plan.redundant_experts": 8, "routing": "balanced"}
        )
        assert not [text for text, kind in kinds(found).items() if kind is Kind.SAID]
