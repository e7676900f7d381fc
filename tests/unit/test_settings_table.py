"""Settings: one table says what may be set; checks, spellings, completion, the schema and `simcost keys` follow it."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

import simcost
from simcost import grammar, query, settings
from simcost.cli import options
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.estimate import unused_settings
from simcost.hardware import engine_file, engines
from simcost.plan import Plan


def test_the_plan_and_its_settings_agree() -> None:
    default = Plan()
    assert [one.key for one in settings.PLAN] != []
    assert {one.key for one in settings.PLAN} == {field.name for field in fields(Plan)}
    for one in settings.PLAN:
        value = getattr(default, one.key)
        if one.kind == settings.CHOICE:
            assert one.default == value
        elif value is not None:
            assert float(one.default) == value
        assert {need for _, need in one.needs} <= settings.NEEDS.keys()
        assert all(only in ("", *one.choices) for only, _ in one.needs)
    assert settings.NEEDS.keys() == unused_settings._REASONS.keys()


def test_no_spelling_names_two_keys() -> None:
    for root in settings.ROOTS:
        spellings = [name for one in settings.of(root).values() for name in (one.key, *one.aliases)]
        assert len(spellings) == len(set(spellings)), root
    assert not set(settings.spelled("phase")) & set(settings.spelled("plan"))
    assert all(one.meaning and not one.meaning.endswith(".") for one in settings.EVERY)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [("plan.tensor_parallel_size", "plan.tp"), ("plan.kv_cache_dtype", "plan.kv_dtype"), ("batch_size", "batch"), ("phase.context_length", "context")],
)  # fmt: skip
def test_an_alias_is_its_key(path: str, canonical: str) -> None:
    assert grammar.full(path) == canonical
    value = "fp8" if "dtype" in path else 2
    asked = {"model": "llama-3.1-8b", "hw": "h100"}
    assert simcost.decode(**asked, set={path: value}).metrics == simcost.decode(**asked, set={canonical: value}).metrics


def test_an_alias_and_its_key_are_set_twice() -> None:
    with pytest.raises(SpecError, match=r"'plan\.tp' is set twice"):
        grammar.assignments(["plan.tp=2", "plan.tp_size=4"])


def test_several_settings_in_one_text_are_told_apart() -> None:
    with pytest.raises(SpecError, match=r"one path=value each: --set plan.tp=1 --set plan.recompute=full$"):
        grammar.assignments(["plan.tp=1, plan.recompute=full"])
    assert grammar.assignments(["plan.stages=10,11,11"]) == {"plan.stages": grammar.parsed("plan.stages", "10,11,11")}


def test_a_typo_of_an_alias_is_named() -> None:
    with pytest.raises(SpecError, match="tensor_parallel_size"):
        grammar.split("plan.tensor_paralel_size")


@pytest.mark.parametrize("one", settings.PLAN, ids=lambda one: one.key)
def test_every_plan_setting_refuses_what_it_cannot_be(one: settings.Setting) -> None:
    for wrong in ([1], {}, float("nan")):
        with pytest.raises(SpecError, match=one.key):
            simcost.decode("deepseek-v3", "h200", set={one.path: wrong})


def test_axes_of_a_step_are_those_that_it_takes() -> None:
    for decode in (True, False):
        taken = settings.of_step(decode)
        for key in settings.of("phase"):
            ask = {
                "model": "llama-3.1-8b",
                "hw": "h100",
                "decode": decode,
                "phase": {},
                "sets": {},
                "usd_per_hour": None,
            }
            if key in taken:
                query.make(**ask, axes={key: [1] if key != "routing" else ["random"]})
            else:
                with pytest.raises(SpecError, match="does not apply to"):
                    query.make(**ask, axes={key: [1]})


def test_keys_names_every_key_of_every_engine() -> None:
    tables = simcost.keys().tables
    assert list(tables) == list(settings.ROOTS)
    named = {row["key"] for row in tables["engine"]}
    assert {f"engine.{name}" for name in engine_file.known_settings()} == named - {"engine"}
    assert set(next(one for one in settings.ENGINE if one.key == "engine").choices) == set(engines.choices())
    assert {row["key"] for row in simcost.keys("phase").rows} == set(grammar.PHASE)


def test_the_schema_takes_what_simcost_takes() -> None:
    schema = settings.schema()
    assert set(schema["properties"]) == {*settings.ROOTS, settings.STACK}
    plan = schema["properties"]["plan"]
    assert plan["additionalProperties"] is False
    assert plan["properties"]["tp"]["description"] == settings.of("plan")["tp"].meaning
    assert plan["properties"]["tp"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": settings.LARGEST}
    assert plan["properties"]["overlap"]["enum"] == list(settings.CHOICES["overlap"])


def test_the_command_prints_keys_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "plan", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {"key", "takes", "default", "meaning"} <= rows[0].keys()
    assert run(["keys", "phase", "--schema"]) == 0
    assert list(json.loads(capsys.readouterr().out)["properties"]) == ["phase"]
    assert run(["keys", "plam"]) == 2
    assert "did you mean 'plan'" in capsys.readouterr().err


def test_completion_follows_the_table() -> None:
    assert options.assignments("plan.overlap") == ["plan.overlap=", "plan.overlap_p2p_comm="]
    assert options.assignments("plan.overlap=t") == ["plan.overlap=two_batch", "plan.overlap=tensor_parallel"]
    assert options.assignments("plan.mla_form=absorbed,e") == ["plan.mla_form=absorbed,expanded"]
    assert options.assignments("batch=") == []
    assert "plan.kv_dtype=fp8" in options.assignments("plan.kv_dtype=")
