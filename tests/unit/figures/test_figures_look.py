"""Every figure fits a slide and a column: type of 7 points at least, nothing outside the picture, the same bytes each time, whatever the names are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from figurekit import distilled, judged, staged

import simcost
from simcost.errors import SpecError, plain
from simcost.report.figures import kinds, style
from simcost.result import Result

pytest.importorskip("matplotlib")
LLAMA = ("llama-3.1-8b", "h200")
ASKED: dict[str, Callable[[], Result]] = {
    "breakdown": lambda: simcost.explain(*LLAMA, batch=64),
    "roofline": lambda: simcost.explain(*LLAMA, batch=64),
    "memory": lambda: simcost.show_memory(*LLAMA, batch=64),
    "sweep": lambda: simcost.decode(*LLAMA, vary={"batch": [1, 16, 64]}),
    "pareto": lambda: simcost.decode(*LLAMA, vary={"batch": [1, 16, 64]}),
    "designs": lambda: simcost.compare(["llama-3.1-8b", "qwen3-8b"], "h200", batch=64),
    "crossover": lambda: simcost.crossover("llama-3.1-8b"),
    "sensitivity": lambda: simcost.sensitivity(*LLAMA, only="hw"),
    "timeline": lambda: simcost.schedule(["1f1b", "zb-h1"], 4, 8),
    "latency": lambda: simcost.serve(*LLAMA, "1024", "256", rate="10/s", events=True, requests=20),
    "budget": lambda: simcost.think("qwen3-8b", isl=512, osl="8k", budget="1k,4k,8k", usd_per_million="0.1:0.4"),
    "laws": lambda: simcost.loss("llama-3.2-1b", 1e11),
    "variants": distilled,
    "stages": staged,
    "errors": judged,
    "against": lambda: __import__("simcost.validation.kernels", fromlist=["reference"]).reference("h200"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_type_is_seven_points_and_stands_inside_the_picture(name: str) -> None:
    from matplotlib.text import Text

    result = ASKED[name]()
    for width, inches in (("slide", 9.0), ("column", 3.3)):
        figure = simcost.figures.draw(result, name, width)
        with style.settings(style.style(width)):
            figure.draw_without_rendering()
        assert figure.get_size_inches()[0] == inches
        texts = [one for one in figure.findobj(Text) if one.get_text() and one.get_visible()]
        assert min(one.get_fontsize() for one in texts) >= 7.0
        drawn = figure.get_tightbbox()
        frame = (-0.03, -0.03, inches + 0.03, figure.get_size_inches()[1] + 0.03)
        assert all(
            inside >= edge
            for inside, edge in zip(
                (drawn.x0, drawn.y0, -drawn.x1, -drawn.y1), (*frame[:2], -frame[2], -frame[3]), strict=True
            )
        )
        assert figure.get_suptitle().rstrip().endswith("?")  # the question that it answers
        for axis in (one for one in figure.axes if one.axison and name not in ("timeline", "calibration")):
            assert axis.get_xlabel(), name


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_answer_is_the_same_bytes(suffix: str) -> None:
    result = ASKED["sweep"]()
    once, again = (kinds.picture(kinds.figure(result, "sweep"), suffix) for _ in range(2))
    assert once == again
    assert len(once) < 150_000


def test_an_svg_says_under_the_pointer_what_its_marks_are() -> None:
    result = ASKED["sweep"]()
    text = kinds.svg(kinds.figure(result, "sweep"))
    ElementTree.fromstring(text)
    first = result.tables["sweep"][0]
    assert (
        f"<title>batch 1: {first['tpot_s'] * 1e3:.3g} ms ({first['tpot_low_s'] * 1e3:.3g} ms to {first['tpot_high_s'] * 1e3:.3g} ms)</title>"
        in text
    )


WORDS = [
    "a\x1b[31mb",
    "a$\\frac{x$b",
    "<script>alert(1)</script>",
    "日本 😀",
    "a\u202eb",
    "x" * 500,
    "_nolegend\nb",
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["designs", "breakdown"])
def test_names_are_words(name: str) -> None:
    model = "".join(WORDS)
    inputs = {"model": model, "hw": "h200", "engine": WORDS[0], "vary": {"model.name": WORDS}, "set": {model: model}}
    rows = [
        {
            "model.name": words,
            "feasible": True,
            "fits": True,
            "tpot_s": 0.5 + at,
            "tpot_low_s": 0.4 + at,
            "tpot_high_s": 0.6 + at,
        }
        for at, words in enumerate(WORDS)
    ]
    ops = [{"op": words, "share": 1.0 / len(WORDS)} for words in WORDS]
    if name == "designs":
        result = Result("decode", inputs, {}, {"sweep": rows})
    else:
        result = Result(
            "explain", {**inputs, "phase": "decode", "vary": {}}, {"tpot_s": 1.0, "share_memory": 1.0}, {"ops": ops}
        )
    text = kinds.svg(kinds.figure(result, name, "column"), "column")
    ElementTree.fromstring(text)
    assert "<script>" not in text
    assert all(c.isprintable() or c == "\n" for c in text)
    for words in WORDS:
        assert plain(words)[:20].replace("<", "&lt;").replace(">", "&gt;") in text, words  # under the pointer


def test_every_sort_of_answer_has_its_figures_or_none() -> None:
    asked: dict[tuple[str, ...], Result] = {
        ("sweep", "pareto"): simcost.serve(*LLAMA, "1024", "256", rate="1/s,500/s"),  # beyond what it can take
        ("sweep", "memory"): simcost.decode(*LLAMA, vary={"plan.tp": [1, 3, 2], "batch": [1, 8]}),
        ("designs", "memory"): simcost.decode("llama-3.1-8b", None, vary={"hw": ["h200", "h20"]}),
        (): simcost.decode(*LLAMA, vary={"plan.tp": [3, 5]}),
        ("breakdown", "memory"): simcost.solve(*LLAMA, "hw.memory.bandwidth", "tpot=7ms"),
    }  # fmt: skip
    served = simcost.figures.sweep(next(iter(asked.values()))).axes[0]
    assert [line.get_markerfacecolor() == style.PAPER for line in served.lines if len(line.get_xdata()) == 1] == [
        False,
        True,
    ]
    for names, result in asked.items():
        assert tuple(simcost.figures.names(result)) == names
        for name in names:
            simcost.figures.draw(result, name, "column")


def test_an_answer_without_a_figure_says_which_have_one() -> None:
    with pytest.raises(SpecError, match=r"this answer has no figure$") as error:
        simcost.figures.draw(Result("list models", {}, {}))
    assert "\n" not in str(error.value)
    with pytest.raises(
        SpecError,
        match=r"no figure; there is latency of serve at one load; sweep and pareto of serve at several loads$",
    ):
        simcost.figures.draw(Result("serve", {}, {}))
    with pytest.raises(
        SpecError, match=r"--figure sweep: this answer of 'crossover' has crossover; sweep is of decode"
    ):
        simcost.figures.sweep(ASKED["crossover"]())
    with pytest.raises(SpecError, match=r"--figure must be one of .*did you mean 'sweep'"):
        simcost.figures.draw(ASKED["crossover"](), "swep")
    with pytest.raises(SpecError, match="--width must be one of slide, column, not 'poster'"):
        simcost.figures.draw(ASKED["crossover"](), width="poster")


def test_results_of_any_shape_have_figures_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that lacks what a figure reads is no figure, and no traceback."""
    rows = [{"design": "a", "fits": True, "time_s": 0.5}, {"reason": "b"}]
    for command in kinds.commands():
        made = Result(
            command, {"model": "m", "hw": "h200", "set": {}}, {"tpot_s": 0.5}, {"verdicts": rows, "designs": rows}
        )
        assert set(kinds.names(made)) <= set(kinds.KINDS)


def test_colours_are_told_apart_without_colour_too() -> None:
    assert len(set(style.SERIES)) == len(style.SERIES) == len(set(style.HATCHES)) == len(set(style.MARKERS))
    for colour in style.SERIES:
        light = _luminance(colour)
        other = _luminance(style.readable(colour))
        assert (max(light, other) + 0.05) / (min(light, other) + 0.05) >= 4.5  # WCAG 2.1, AA


def _luminance(colour: str) -> Any:
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    red, green, blue = ((x / 12.92) if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
