"""The report of `simcost validate recipes`: published steps of reinforcement learning, and recipes, beside predictions.

Most likely to be wrong: a slice of few rows, which are often one page; n stands beside every figure. Source:
`workloads/validation/recipes`, `workloads/recipes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simcost.pool import Piece, Progress, cores, mapped, quiet
from simcost.provenance import VERSION
from simcost.result import Result
from simcost.result import Row as Cells
from simcost.validation import bar_lines
from simcost.validation.recipes import fit, rules, score
from simcost.validation.recipes import write as files
from simcost.validation.recipes.rows import Row, every
from simcost.validation.recipes.rules import NOTHING
from simcost.validation.recipes.score import Scored

RECIPES = ("deepseek-v3", "deepseek-r1-zero", "deepseek-r1")
ZERO, ZERO_GPUS, ZERO_STEPS = "deepseek-r1-zero", 512.0, 10400.0  # DeepSeek-R1, supplement: 198 h are 68.5 s a step
LINES = "deepseek-v3"  # whose lines have a bar
CLOSE = 0.10  # of each of them
STEP_AIM, ORDER_AIM = 0.25, 0.90
WORST = 15
MANY = 10  # rows of which a share inside an interval says something
FITS = {"NeMo-RL": "nemo-rl"}  # frameworks whose steps terms are fitted to, and their files
COMMAND = "simcost validate recipes --write"
_ROW, _RECIPE = 100.0, 3000.0  # weights in the pool's rows
Ask = Callable[[str], Result]


def gathered(ask: Ask, progress: Progress = quiet) -> tuple[list[Scored], dict[str, Result]]:
    """All rows and recipes, on every core; `ask`: prices a recipe by name."""
    pieces = [Piece((name, ask), name, _RECIPE) for name in RECIPES]
    pieces += [Piece((row, None), row.id, _ROW) for row in score.asked()]
    found = mapped(_piece, pieces, cores(), progress)
    scored = {one.row.id: one for one in found if isinstance(one, Scored)}
    rows = [scored.get(row.id, score.unasked(row)) for row in every()]
    priced = [one for one in found if isinstance(one, Result)]
    return rows, dict(zip(RECIPES, priced, strict=True))


def _piece(what: Row | str, ask: Ask | None) -> Scored | Result:
    if isinstance(what, str):
        assert ask is not None
        return ask(what)
    return score.answer(what)


def result(answered: Sequence[Scored], recipes: dict[str, Result], write: bool = False) -> Result:
    """The report on rows and recipes: steps of a framework with fitted terms each by those of the other families of models.
    `write`: whether terms go into `workloads/rl-stacks`. Raises SpecError where they cannot."""
    written: list[Path] = []
    if write:
        written = files.write(answered, FITS, COMMAND, VERSION)
        answered = [score.renewed(one) for one in answered]  # other frameworks may take terms from these files
    cold = [fit.cold(one) for one in answered]
    rows, by = list(answered), {}
    for framework in FITS:
        rows, by[framework] = fit.held_out(rows, framework)
    published = [line for name, one in recipes.items() for line in _published(name, one)]
    lines = [*aims(cold, rows), *_recipe_bars(published)]
    tables = {
        "bars": lines,
        "steps": [{"slice": kind, "rows_of": name, **score.summary(own)} for kind, name, own in score.slices(rows)],
        "phases of a step": score.phase_errors(cold, rows),
        "order of phases": score.order_rows(rows),
        "recipes": published,
        "terms, a family left out": [line for name, terms in by.items() for line in fit.table(cold, rows, terms, name)],
        "steps in no fit": [_beside(one) for one in score.held(rows) if one.answered],
        "worst": worst(rows),
        "not answered": [{"id": one.row.id, "reason": one.reason} for one in rows if one.reason],
        "rules": counted(rows),
    }
    judged = [*score.steps(rows), *score.held(rows)]
    return Result(
        "validate recipes",
        {"rows": "rl_runs.csv", "recipes": ", ".join(recipes)},
        {"rows": len(rows), "judged": len(judged), "refused": sum(not one.answered for one in judged)},
        {name: table for name, table in tables.items() if table},
        tuple(f"{path.name}: terms written" for path in written),
        (),
        bar_lines.said(lines),
        not bar_lines.missed(lines),
    )


def aims(cold: Sequence[Scored], rows: Sequence[Scored]) -> list[Cells]:
    """Median error of a step by framework, without fitted terms and with those of other families; what intervals cover, and
    the share of rows whose phases are in order."""
    found: list[Cells] = []
    for framework in ("NeMo-RL", "verl"):
        for what, all_ in (("step, nothing fitted", cold), ("step, terms of other families", rows)):
            own = score.summary(fit.of_framework(all_, framework))
            if own["n"]:
                found.append(_median(framework, what, float(own["median_abs_error"])))
            if own["n"] >= MANY:
                found.append({**bar_lines.covers(framework, what, float(own["coverage"])), "aim": True})
    for framework in ("NeMo-RL", "verl"):
        own = score.summary([one for one in score.held(rows) if one.row.cells["framework"] == framework])
        if own["n"]:
            what = f"step of {own['n']} rows in no fit"
            found.append(_median(framework, what, float(own["median_abs_error"])))
            found.append({**bar_lines.covers(framework, what, float(own["coverage"])), "aim": True})
    order = score.ordered(rows)
    every_pair = [pair for one, _, _ in order for pair in score.pairs(one)]
    told = [found for _, _, found in order if found is not None]
    open_ = sum(pair.tied for pair in every_pair)
    found.append(_order(f"order of phases, {len(order)} rows", [right for _, right, _ in order]))
    what = f"order that intervals tell, {len(told)} rows, {open_} of {len(every_pair)} pairs left open"
    return [*found, _order(what, told)]


def _order(what: str, right: Sequence[bool]) -> Cells:
    share = sum(right) / len(right) if right else 0.0
    return bar_lines.line("all", what, "share", share, f"{ORDER_AIM:.0%}", share >= ORDER_AIM, aim=True)


def _median(framework: str, what: str, value: float) -> Cells:
    bar = f"{STEP_AIM:.0%}"
    return bar_lines.line(framework, what, "median_abs_error", value, bar, value <= STEP_AIM, aim=True)


def _published(name: str, one: Result) -> list[Cells]:
    """Lines of a recipe; of R1-Zero also the mean of a step, of whose number its source prints all."""
    lines = [{"recipe": name, **line} for line in one.tables["beside what is published"]]
    if name != ZERO:
        return lines
    hours = [float(line[key]) for line in lines for key in ("gpu_hours", "published_gpu_hours")]
    step, published = (3600.0 * each / ZERO_GPUS / ZERO_STEPS for each in hours)
    return [{**lines[0], "step_s": step, "published_step_s": published}]


def _recipe_bars(lines: Sequence[Cells]) -> list[Cells]:
    """DeepSeek-V3's lines within a tenth; of the others whether the interval holds what is published."""
    found = []
    for line in lines:
        error, title = float(line["error"]), str(line["published_what"])
        close = line["recipe"] == LINES
        bar = f"within {CLOSE:.0%}" if close else "inside its interval"
        passes = abs(error) <= CLOSE if close else bool(line["covered"])
        found.append(bar_lines.line(str(line["recipe"]), title, "error", error, bar, passes))
    return found


def worst(rows: Sequence[Scored]) -> list[Cells]:
    """The steps that are furthest off, each with its story."""
    known = [one for one in score.steps(rows) if one.answered]
    return [_beside(one) for one in sorted(known, key=lambda one: -abs(score.log_error(one)))[:WORST]]


def _beside(one: Scored) -> Cells:
    """A step beside its prediction, with its story."""
    return {
        "id": one.row.id,
        "model": one.row.cells["model"],
        "hw": f"{one.row.cells['gpus']} x {one.row.cells['hw']}",
        "measured_s": one.row.numbers["step_s"],
        "predicted_s": one.step[0],
        "error": one.figure["error"],
        "covered": one.figure["covered"],
        "story": rules.shipped().told(one.row),
    }


def counted(rows: Sequence[Scored]) -> list[Cells]:
    """Every rule with how many rows it decides, and why."""
    found = rules.shipped()
    assumed = [{rule.name for _, rule in found.assumed(one.row).values()} for one in rows if one.judges != NOTHING]
    lines: list[Cells] = []
    for rule in found.judge:
        n = sum(found.of(one.row).name == rule.name for one in rows)
        lines.append({"kind": f"judges {rule.judges}", "rule": rule.name, "rows": n, "why": rule.why})
    for rule in found.assume:
        n = sum(rule.name in names for names in assumed)
        lines.append({"kind": "assumes", "rule": rule.name, "rows": n, "why": rule.why})
    return [line for line in lines if line["rows"]]
