"""A word that belongs elsewhere: the line says where."""

from __future__ import annotations

import pytest

from simcost.cli.app import run
from simcost.errors import nearest
from simcost.model import load

REFUSED = [
    (["plans", "--phase", "train", "--mtbf", "50000h"], "No such option: --mtbf (it is an option of "),
    (["compare", "--model", "a"], "--model (MODELS stands without an option: simcost compare MODELS)"),
    (["show", "hardware", "--hw", "a"], "--hw (NAME stands without an option: simcost show hardware NAME)"),
    (["decode", "--modle", "x"], "No such option: --modle (Possible options: --model"),
    (["models"], "no command 'models'; did you mean 'simcost list models'?"),
    (["decod"], "no command 'decod' (simcost --help lists them); did you mean 'decode'?"),
    (["validate", "steps"], "no command 'steps' (one of blocks, kernels,"),
    (["schedule", "1f1b", "--pp", "4"], "missing --microbatches: micro-batches per step, of both directions together"),
    (["calibrate", "import", "csv"], "missing argument 'file': CSV with the family's columns"),
    (["gpus"], "did you mean 'simcost list hardware'?"),
    (["keys", "plan.precision"], "'plan.precision' is in 'simcost keys plan'"),
    (["decode", "llama-3.1-8b"], "write a name after its option, as in --model NAME"),
]
SLO = ["plans", "--phase", "serve", "--model", "llama-3.1-8b", "--hw", "h100", "--isl", "64", "--osl", "8", "--slo"]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_the_parser_refuses_is_a_line_that_goes_on(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("slo", ["ttft=2s@p90,tpot=40ms", "ttft.p90=2s", "p99_ttft=2s", "ttft=p90:2s"])
def test_a_limit_on_a_percentile_says_who_prints_them(slo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SLO, slo]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "limits hold for means: simcost serve --events prints P50, P90 and P99 of the fleet that is found"
    )


def test_names_that_go_on_come_before_names_that_are_alike() -> None:
    known = ["bf16", "fp8-block", "fp8-row", "fp8-tensor", "mxfp8"]
    assert nearest("fp8", known) == "; did you mean 'fp8-block' or 'fp8-row' or 'fp8-tensor'?"
    assert nearest("fp8-blok", known) == "; did you mean 'fp8-block'?"
    assert nearest("", known) == nearest("nothing", known) == ""


@pytest.mark.parametrize(
    ("said", "name"),
    [("llama-3.3-70b", "llama-3.1-70b"), ("Llama-3.3-70B-Instruct", "llama-3.1-70b"), ("Qwen2.5-32B", "qwen2.5-32b")],
)
def test_a_model_is_known_without_the_word_that_says_how_it_was_tuned(said: str, name: str) -> None:
    assert load.of_name(said) == name
