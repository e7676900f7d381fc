"""The three coefficients of an engine's front end: found again from what they made, held out by family, and those that ship."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from simcost import units
from simcost.files import folder
from simcost.texts import toml_table
from simcost.validation.serving import fit


def test_coefficients_that_made_the_times_are_found_again() -> None:
    rng = np.random.default_rng(3)
    isl, turns, bare = rng.uniform(100, 9000, 400), rng.uniform(1, 8, 400), rng.uniform(0.02, 0.5, 400)
    made = bare + (0.02 + 5e-6 * isl) * turns
    found = fit.coefficients(bare, made, isl, turns)
    assert found.request_s == pytest.approx(0.02, rel=0.15)
    assert found.token_s == pytest.approx(5e-6, rel=0.15)
    assert found.delay_s < 5e-3
    assert found.error < 0.02
    assert np.allclose(found.added(isl, turns), made - bare, rtol=0.2)


def test_a_delay_is_told_from_what_queues() -> None:
    """By loads: others lengthen the one alone."""
    rng = np.random.default_rng(5)
    turns, bare, isl = rng.uniform(1, 8, 400), rng.uniform(0.02, 0.1, 400), np.full(400, 1000.0)
    found = fit.coefficients(bare, bare + 0.05 + 0.004 * turns, isl, turns)
    assert found.delay_s == pytest.approx(0.05, rel=0.15)
    assert found.request_s + found.token_s * 1000.0 == pytest.approx(0.004, rel=0.3)


def test_nothing_is_added_where_nothing_is_missing() -> None:
    bare = np.linspace(0.02, 0.5, 50)
    found = fit.coefficients(bare, bare, np.full(50, 1000.0), np.ones(50))
    assert (found.request_s, found.token_s, found.delay_s) == (0.0, 0.0, 0.0)


def test_the_profiles_hold_what_the_rows_give() -> None:
    """Only where the package with the rows is installed: a minute."""
    pytest.importorskip("aiconfigurator_core")
    from simcost.validation.serving import report
    from simcost.validation.serving.predict_events import predict_events

    rows = [row for row in report.sample_of(None).rows if row.judged]
    for engine, of in fit.of_engines(rows, partial(predict_events, front=fit.NONE)).items():
        (first, *_) = toml_table(folder("workloads") / "engines" / f"{engine}.toml")["serving"]["from"]
        for name, value in (("host_request", of.request_s), ("host_token", of.token_s), ("host_delay", of.delay_s)):
            assert units.parse(first[name]["value"], "seconds", name) == pytest.approx(value, rel=0.05), (engine, name)
