"""Patterns of a quantisation: they match what Python's `re` and `fnmatch` match, in a number of steps that is bounded and said."""

from __future__ import annotations

import fnmatch
import random
import re

import pytest

from simcost.errors import SimcostError
from simcost.model import load
from simcost.model.quantisation.modules import Names, _is_pattern
from simcost.model.quantisation.patterns import Paths, Refused, Steps, expression, placeholder, shell
from simcost.model.spec import from_config

DRAWN = random.Random(3)
TEXTS = [
    *("".join(DRAWN.choice("ab.1_x") for _ in range(DRAWN.randint(1, 9))) for _ in range(60)),
    "model.layers.1.mlp.up_proj", "layers.12.self_attn.q_proj", "lm_head",
]  # fmt: skip
PATHS = Paths(TEXTS)
ATOMS = ("a", "b", r"\.", "1", ".", "[ab]", "[^a]", r"\d", r"\w", r"\W", "x", "_", r"\b", r"\B", "^", "$", "A", r"\s", r"[\w.]", r"[^\d]")  # fmt: skip
REAL = (
    r".*mlp.gate$", r"^(?!.*mlp).*_proj", r"model\.layers\.(0|1|12)\..*", r".*self_attn\.(q|k|v)_proj$", r"(?i).*MLP.*", r".*lm_head",
)  # fmt: skip


def drawn(depth: int) -> str:
    kind = DRAWN.random()
    if depth == 0 or kind < 0.35:
        return DRAWN.choice(ATOMS)
    inner = drawn(depth - 1)
    if kind < 0.55:
        return inner + drawn(depth - 1)
    if kind < 0.65:
        return f"(?:{inner}|{drawn(depth - 1)})"
    if kind < 0.8:
        return f"(?:{inner}){DRAWN.choice(['*', '+', '?', '{2}', '{1,3}', '{0,2}', '*?', '{2,}'])}"
    if kind < 0.86:
        return f"{DRAWN.choice(['(?=', '(?!'])}{inner})"
    if kind < 0.9:
        return f"{DRAWN.choice(['(?<=', '(?<!'])}{DRAWN.choice(['a', 'b.', '1x', '[ab]'])})"
    return f"(?i:{inner})" if kind < 0.95 else f"({inner})"


@pytest.mark.parametrize("pattern", [*REAL, *(drawn(4) for _ in range(300))])
def test_an_expression_matches_what_python_matches(pattern: str) -> None:
    try:
        python = re.compile(pattern)
    except re.error:
        assert not expression(pattern, PATHS, Steps()).any()
        return
    assert expression(pattern, PATHS, Steps()).tolist() == [python.match(text) is not None for text in TEXTS]


def test_a_shells_pattern_matches_what_fnmatch_matches() -> None:
    for _ in range(200):
        signs = ("*", "?", "a", "b", ".", "[ab]", "[!a]", "[", "x", "1", "(", "+")
        pattern = "".join(DRAWN.choice(signs) for _ in range(DRAWN.randint(1, 6)))
        assert shell(pattern, PATHS, Steps()).tolist() == [fnmatch.fnmatchcase(text, pattern) for text in TEXTS], (
            pattern
        )


@pytest.mark.parametrize("number", [0, 7, 61, 1999])
def test_a_number_is_put_into_the_paths(number: int) -> None:
    paths = Paths([f"layers.{placeholder(len(str(number)))}.mlp", "lm_head"]).numbered(number)
    assert expression(rf"layers\.{number}\b", paths, Steps()).tolist() == [True, False]
    assert expression(rf"layers\.{number + 1}\b", paths, Steps()).tolist() == [False, False]


@pytest.mark.parametrize(
    "pattern", ["(.*)*!", ".*" * 30 + "!", "(a|a)*" * 20 + "!", "(?:.?){60}.{60}!", "((((.*)*)*)*)*!"]
)
def test_a_pattern_that_takes_python_for_ever_takes_few_steps(pattern: str) -> None:
    steps = Steps(100_000)
    assert not expression(pattern, PATHS, steps).any()


@pytest.mark.parametrize(("pattern", "says"), [
    (r"(a)\1", "groupref"), (r"(?>a*)b", "atomic group"), (r"a*+b", "possessive repeat"), ("a" * 3000, "3,000 characters"),
])  # fmt: skip
def test_what_is_not_matched_is_refused_by_name(pattern: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        expression(pattern, PATHS, Steps())


def test_steps_are_bounded_and_the_file_is_named() -> None:
    with pytest.raises(Refused, match="more than 5 steps"):
        expression("model.layers.1.mlp", PATHS, Steps(5))
    config = {
        **load.load_config("llama-3.1-8b")[2],
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {r"-:(.)\1": {}}},
    }
    with pytest.raises(SimcostError, match=r"some/config\.json.*groupref"):
        from_config(config, "x", "some/config.json")


def test_names_without_signs_are_looked_up() -> None:
    # A path is matched word by word: at its end, inside it, or by what holds it.
    names = Names({})
    assert not _is_pattern("model.layers.0.mlp.gate")
    assert not list(names.fits("model.layers.0.mlp.gate"))
    assert names.outside("lm_head")
    assert names.outside("model.layers.0.mlp.gate")
    assert not names.outside("model.layers.-1.junk")
