"""Recipes: stages in a row, their amounts, ranges of assumptions, and refusals that name file, stage and key."""

from __future__ import annotations

import copy
import json
import tomllib

import pytest

import simcost
from simcost.errors import SpecError
from simcost.scenarios.recipe import change, file
from simcost.scenarios.recipe.price import priced

SMALL = """
schema = 1
title = "two stages"
source = "made for a test"

[defaults]
model = { value = "llama-3.2-1b", source = "a" }
hw = { value = "h100", source = "a" }
gpus = { value = 8, source = "a" }
global_batch = { value = 64, source = "a" }

[stages.first]
title = "on tokens"
command = "train"
[stages.first.ask]
tokens = { value = 1e9, low = 5e8, high = 2e9, reason = "a" }

[stages.second]
title = "on samples"
command = "train"
after = ["first"]
[stages.second.ask]
samples = { value = 1000, source = "a" }
mean_tokens = { value = 2000, source = "a" }
epochs = { value = 2, source = "a" }

[stages.answers]
title = "answers"
command = "generate"
[stages.answers.ask]
isl = { value = 512, source = "a" }
osl = { value = 256, source = "a" }
concurrency = { value = 256, low = 64, high = 512, reason = "a" }
answers = { value = 100000, source = "a" }
attempts = { value = 4, source = "a" }
"""


def without_batch(table):
    """Answers are served: they have no batch of training."""
    for stage in ("first", "second"):
        table["stages"][stage]["ask"]["global_batch"] = table["defaults"]["global_batch"]
    del table["defaults"]["global_batch"]
    return table


@pytest.fixture(scope="module")
def table():
    return without_batch(tomllib.loads(SMALL))


@pytest.fixture(scope="module")
def stages(table):
    recipe = file.read(table, "small", "small.toml")
    return {one.stage.name: one for one in priced(recipe, {"train": simcost.train, "serve": simcost.serve})}


def test_a_stage_is_the_answer_of_its_command_times_its_amount(stages):
    alone = simcost.train("llama-3.2-1b", "h100", gpus=8, global_batch=64, tokens=4e6, levers=False)
    assert stages["second"].cost.gpu_hours == pytest.approx(alone.metrics["run_gpu_hours"], rel=1e-12)
    served = simcost.serve("llama-3.2-1b", "h100", gpus=8, isl=512, osl=256, concurrency=256)
    assert stages["answers"].cost.seconds == pytest.approx(4e5 / served.metrics["requests_per_s"], rel=1e-9)


def test_stages_stand_behind_their_parents_and_others_side_by_side(stages):
    assert stages["first"].start_s == stages["answers"].start_s == 0.0
    assert stages["second"].start_s == stages["first"].cost.seconds


def test_the_interval_joins_that_of_the_model_and_of_assumptions(stages):
    first = stages["first"]
    (effect,) = first.effects
    assert effect.low == pytest.approx(first.cost.gpu_hours / 2.0)
    assert effect.high == pytest.approx(first.cost.gpu_hours * 2.0)
    assert first.high_s > 2.0 * first.cost.seconds
    assert first.low_s < 0.5 * first.cost.seconds
    second = stages["second"]
    assert (second.low_s, second.high_s) == pytest.approx((second.cost.low_s, second.cost.high_s))


def test_a_range_of_what_is_no_amount_is_asked_at_both_ends(stages):
    (effect,) = stages["answers"].effects
    assert effect.low > stages["answers"].cost.gpu_hours > effect.high  # more users at a time share the weights' reads


WRONG = {
    "an unknown key": (("extra",), 1, "unknown key 'extra'"),
    "another schema": (("schema",), 2, "this version reads 1"),
    "a parent that is none": (("stages", "second", "after"), ["frist"], "'frist', which is not a stage; did you mean 'first'?"),
    "stages that wait for each other": (("stages", "first", "after"), ["second"], "wait for each other: first, second"),
    "a command that is none": (("stages", "first", "command"), "trian", "did you mean 'train'?"),
    "a value without source": (("stages", "first", "ask", "seq"), {"value": 1}, "'stages.first.ask.seq.reason' is missing"),
    "a value outside its range": (
        ("stages", "first", "ask", "tokens"), {"value": 1.0, "low": 2.0, "high": 3.0, "reason": "a"}, "must lie from low = 2 to high = 3",
    ),
    "half a range": (("stages", "first", "ask", "tokens"), {"value": 1.0, "low": 1.0, "reason": "a"}, "both low and high"),
    "no stages": (("stages",), {}, "'stages' is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_line(case, table):
    path, value, message = WRONG[case]
    wrong = copy.deepcopy(table)
    at = wrong
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(SpecError, match=r"small\.toml") as said:
        file.read(wrong, "small", "small.toml")
    assert message in str(said.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("first.tokns", 1, "stage 'first': unknown key 'tokns' of a stage of command 'train'; did you mean 'tokens'?"),
        ("first.samples", 10, "stage 'first': state its tokens, with either"),
        ("frist.tokens", 1, "stages of small.toml: first, second, answers; did you mean 'first'?"),
        ("second.gpus", 0, "stage 'second'"),
    ],
)
def test_a_wrong_setting_names_its_stage(key, value, message, table):
    from simcost.scenarios.recipe.change import changed

    recipe = file.read(table, "small", "small.toml")
    with pytest.raises(SpecError) as said:
        priced(changed(recipe, {}, {key: value}, {}), {"train": simcost.train, "serve": simcost.serve})
    assert message in str(said.value)


def test_a_star_sets_a_key_of_all_stages_that_have_it_and_a_stage_its_own(table):
    from simcost.scenarios.recipe.change import changed

    recipe = file.read(table, "small", "small.toml")
    found = changed(recipe, {}, {"first.global_batch": 128, "*.global_batch": 256, "*.gpus": 16}, {})
    asked = {stage.name: {key: value.value for key, value in stage.ask.items()} for stage in found.stages}
    assert [asked[name].get("global_batch") for name in ("first", "second", "answers")] == [128, 256, None]
    assert {each["gpus"] for each in asked.values()} == {16}
    with pytest.raises(SpecError, match=r"no stage of small\.toml has 'gpu'; did you mean 'gpus'"):
        changed(recipe, {}, {"*.gpu": 16}, {})


def test_on_another_device_nothing_is_judged(tmp_path):
    printed = tmp_path / "printed.toml"
    one = SMALL[: SMALL.index("[stages.second]")].replace(
        "[defaults]", 'usd_per_hour = { value = 2.0, source = "a" }\n[defaults]'
    )
    printed.write_text(one + '[[published]]\ntitle = "a"\nstages = ["first"]\ngpu_hours = 5\nsource = "a"\n')
    own, other = (simcost.recipe(str(printed), hw=hw, ranges=False) for hw in (None, "h200"))
    assert {"error", "covered"} <= set(own.tables["beside what is published"][0])
    assert not {"error", "covered"} & set(other.tables["beside what is published"][0])
    assert own.metrics["usd"] == pytest.approx(
        2.0 * own.metrics["gpu_hours"]
    )  # the recipe's own price is of its own device
    assert other.metrics["usd"] > 3.0 * other.metrics["gpu_hours"]


@pytest.mark.parametrize("name", file.names())
def test_shipped_recipes_are_read_and_every_value_rests_on_something(name):
    recipe = file.load(name)
    for stage in recipe.stages:
        assert all(value.source or value.reason for value in stage.ask.values())


def test_the_command_line_sets_values_of_stages_and_draws(tmp_path, capsys):
    from simcost.cli.app import run

    path = tmp_path / "stages.trace.json"
    said = [
        "recipe",
        "deepseek-r1-distill",
        "--set",
        "student-1_5b.epochs=3",
        "--format",
        "json",
        "--timeline",
        str(path),
    ]
    assert run(said) == 0
    rows = {row["recipe_stage"]: row for row in json.loads(capsys.readouterr().out)["rows"] if row["table"] == "stages"}
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]
    assert {event["name"] for event in events} == set(rows)
    assert run(["recipe", "deepseek-r1-distill", "--set", "student-2b.epochs=3"]) == 2
    assert "student-2b" in capsys.readouterr().err


def test_failures_are_those_of_stages_that_train(table):
    """Two stages train, one serves; a stage's own number stands before that of all; a recipe that only serves has none."""

    def hours(**more):
        recipe = change.changed(file.read(table, "small", "small.toml"), {}, more.pop("set", {}), more)
        found = priced(recipe, {"train": simcost.train, "serve": simcost.serve}, ranges=False)
        return {one.stage.name: one.cost.gpu_hours for one in found}

    plain, young, mixed = hours(), hours(mtbf="100h"), hours(mtbf="100h", set={"second.mtbf": "50h"})
    alone = simcost.train("llama-3.2-1b", "h100", gpus=8, global_batch=64, tokens=1e9, levers=False, mtbf="100h")
    assert young["first"] == pytest.approx(alone.metrics["run_gpu_hours"], rel=1e-12)
    assert young["second"] > plain["second"]
    assert mixed["second"] > young["second"]
    assert mixed["first"] == young["first"]
    assert plain["answers"] == young["answers"] == mixed["answers"]
    serving = copy.deepcopy(table)
    serving["stages"] = {"answers": serving["stages"]["answers"]}
    with pytest.raises(SpecError, match=r"--mtbf applies to stages that train: small\.toml has none"):
        change.changed(file.read(serving, "small", "small.toml"), {}, {}, {"mtbf": "100h"})
