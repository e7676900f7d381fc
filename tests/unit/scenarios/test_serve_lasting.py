"""How long a run request by request lasts where nobody says: until its load is the one that stays."""

from __future__ import annotations

import pytest

import simcost

ASKED = {"isl": 128, "osl": 1500, "rate": 12.0, "events": True, "engine": "vllm"}


def test_a_run_of_long_answers_reaches_the_load_that_stays() -> None:
    """A thousand requests are sent in 83 s, and an answer takes 30 s: most of them are served while the batch still grows."""
    steady = simcost.serve("llama-3.1-8b", "h200", **ASKED).metrics
    short = simcost.serve("llama-3.1-8b", "h200", **ASKED, requests=1000).metrics
    assert steady["running"] > 200
    assert steady["tpot_p50_s"] == pytest.approx(steady["tpot_s"], rel=0.05)
    assert short["tpot_p50_s"] < 0.9 * steady["tpot_p50_s"]


def test_percentiles_of_several_loads_stand_on_a_narrow_page() -> None:
    from simcost.report.text import as_console

    found = simcost.serve("llama-3.1-8b", "h200", isl=128, osl=16, rate=[1.0, 2.0], events=True, requests=20)
    head = next(line for line in as_console(found, 80).splitlines() if "rate/s" in line)
    assert head.count("p90") == head.count("p99") == 2
