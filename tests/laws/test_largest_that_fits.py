"""What memory promises holds: the largest batch and the longest context fit, one more does not, over a random thousand of questions."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from lawkit import ZOO

from simcost.errors import SimcostError
from simcost.estimate import feasible, memory
from simcost.estimate.memory import Kept
from simcost.query import make, workload
from simcost.workload import Workload

DEVICES = ("h100", "h200", "b200", "a100", "l40s", "mi300x", "mi250x", "rtx-4090", "gb200", "h20")
EACH = 125


def question(rng: random.Random) -> tuple[str, str, bool, dict[str, Any], dict[str, Any]]:
    decode = rng.random() < 0.6
    length = rng.choice([1, 17, 128, 1000, 4096, 8192, 33_000, 131_072])
    phase: dict[str, Any] = {"batch": rng.choice([1, 7, 32, 513]), "context" if decode else "isl": length}
    sets: dict[str, Any] = {
        "plan.tp": rng.choice([1, 2, 4, 8]), "plan.pp": rng.choice([1, 1, 2, 4]), "engine": rng.choice(["any", "vllm", "sglang", "trtllm"]),
    }  # fmt: skip
    if rng.random() < 0.4:
        sets["plan.dp_attention"] = rng.choice([2, 4])
    if rng.random() < 0.3:
        sets["plan.ep"] = rng.choice([2, 8, 16])
        sets.pop("plan.dp_attention", None)
    if rng.random() < 0.3:
        sets["plan.kv_dtype"] = "fp8"
    if rng.random() < 0.2:
        sets["plan.dp"] = 3
    if not decode and rng.random() < 0.3:
        phase["chunk"] = 2048
    if sets["engine"] in ("any", "vllm") and rng.random() < 0.3:
        sets["engine.max_num_batched_tokens"] = rng.choice([512, 2048, 32_768])
    return rng.choice(ZOO), rng.choice(DEVICES), decode, phase, sets


def asked(rng: random.Random) -> Workload | None:
    """A workload that can run, or None."""
    name, hw, decode, phase, sets = question(rng)
    try:
        w = workload(make(name, hw, decode, phase, sets, {}, None))
    except SimcostError:
        return None
    return None if feasible.broken(w, advise=False) else w


def fits(w: Workload, **phase: Any) -> bool:
    changed = replace(w.phase, **phase)
    return bool(
        np.asarray(memory.kept(replace(w, phase=changed, view=replace(w.view, phase=changed))).memory.short) <= 0
    )


def check(kept: Kept) -> int:
    """How many promises were looked at."""
    w, looked = kept.workload, 0
    most = float(np.asarray(memory.max_batch(kept)))
    replicas = float(np.asarray(w.plan.replicas * w.plan.copies))
    if most >= 1.0:
        assert fits(w, batch=most)
        looked += 1
    assert not fits(w, batch=most + replicas) or most >= 2.0**40
    if w.phase.decode:
        longest = float(np.asarray(memory.max_context(kept)))
        if 1.0 <= longest < np.inf:
            assert fits(w, past=longest - 1.0)
            assert not fits(w, past=longest)
            looked += 1
        elif longest == 0.0:
            assert not fits(w, past=0.0)
    return looked


@pytest.mark.parametrize("seed", range(8))
def test_the_maximum_fits_and_one_more_does_not(seed: int) -> None:
    rng, done, looked = random.Random(seed), 0, 0
    while done < EACH:
        w = asked(rng)
        if w is not None:
            done += 1
            looked += check(memory.kept(w))
    assert looked > EACH  # most have a maximum to look at


def test_published_misses_hold() -> None:
    """Two questions that once promised what did not fit: DP attention in prefill, and experts over sixteen in decode."""
    dp = make(
        "gpt-oss-120b", "h200", False, {"batch": 1, "isl": 4096}, {"plan.tp": 8, "plan.dp_attention": 4}, {}, None
    )
    ep = make(
        "moonlight-16b-a3b",
        "mi250x",
        True,
        {"batch": 7, "context": 4096},
        {"plan.ep": 16, "plan.kv_dtype": "fp8"},
        {},
        None,
    )
    for ask in (dp, ep):
        check(memory.kept(workload(ask)))
