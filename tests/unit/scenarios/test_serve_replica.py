"""A replica's step put together from tables of plain formulas, and the caches that pools send each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.hardware.profile import Link
from simcost.num import Num
from simcost.scenarios.serve.pools import Fleet, transfer_s
from simcost.scenarios.serve.replica import Replica

CHUNK = 100.0


class Plain:
    """Step times that are linear in everything, so that a step cut in chunks can be summed chunk by chunk."""

    def __init__(self, base: float) -> None:
        self.base = base

    def __call__(self, batch: Num, context: Num, tokens: Num, past: Num) -> Num:
        return self.base * (1.0 + 0.5 * batch + 0.001 * context + 0.01 * tokens + 0.0002 * past)

    def beside(self, batch: Num, tokens: Num, past: Num) -> Num:
        return self.base * (0.02 * tokens + 0.0003 * past + 0.1 * batch)

    def prompt(self, tokens: Num, past: Num) -> Num:
        return self.base * (3.0 + 0.01 * tokens)


def replica(draft: bool, drafts: float = 3.0) -> Replica:
    tables: dict[str, Any] = {"table": Plain(2.0), "draft": Plain(0.25) if draft else None}
    nothing: Any = None
    return Replica(nothing, nothing, CHUNK, drafts=drafts if draft else 0.0, **tables)


@pytest.mark.parametrize("draft", [False, True])
def test_a_step_of_decode_is_one_pass_and_one_of_the_draft_for_each_draft(draft: bool) -> None:
    found = replica(draft)(8.0, 500.0, 0.0, 0.0)
    assert found == pytest.approx(Plain(2.0)(8.0, 500.0, 0.0, 0.0) + draft * 3 * Plain(0.25)(8.0, 500.0, 0.0, 0.0))


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
def test_tokens_of_prompts_come_chunk_after_chunk_beside_one_step_of_decode(draft: bool, pieces: int) -> None:
    past, want = 40.0, replica(draft)(8.0, 500.0, 0.0, 0.0)
    for piece in range(pieces):
        seen = past + piece * CHUNK
        want += Plain(2.0).beside(8.0, CHUNK, seen)
        want += Plain(0.25)(0.0, 500.0, CHUNK, seen) if draft else 0.0
    assert replica(draft)(8.0, 500.0, pieces * CHUNK, past) == pytest.approx(want)


def test_less_than_a_chunk_is_one_and_is_not_filled_up() -> None:
    found = replica(True)(8.0, 500.0, 30.0, 40.0)
    parts = Plain(2.0).beside(8.0, 30.0, 40.0) + Plain(0.25)(0.0, 500.0, 30.0, 40.0)
    assert found == pytest.approx(replica(True)(8.0, 500.0, 0.0, 0.0) + parts)


def test_in_an_array_a_step_without_prompts_passes_none_through_the_draft() -> None:
    tokens = np.array([0.0, 50.0])
    found = np.asarray(replica(True)(8.0, 500.0, tokens, 0.0))
    assert found[0] == pytest.approx(replica(True)(8.0, 500.0, 0.0, 0.0) + Plain(2.0).beside(8.0, 0.0, 0.0))
    assert found[1] == pytest.approx(replica(True)(8.0, 500.0, 50.0, 0.0))


def test_a_prompt_lags_by_what_the_first_stage_is_ahead_of_the_last_and_never_less_than_nothing() -> None:
    one = replica(False)
    assert one.lag(200.0, 10.0) == pytest.approx(2.0 * (3.0 + 2.0) - 2.0 * (1.0 + 0.001 + 2.0 + 0.002))
    assert one.lag(0.0, 1e9) == 0.0


def pool(held: float, link: Link | None, network: float | None, gpus: float = 8.0) -> Any:
    """A replica of which only the bytes of its fullest rank for a token, its links and its GPUs are asked."""
    device = SimpleNamespace(scaleup=link, scaleout=network, where="toy/profile.toml")
    workload = SimpleNamespace(device=device, plan=SimpleNamespace(devices=gpus))
    return SimpleNamespace(workload=workload, rank_bytes=lambda tokens: held * tokens)


INSIDE, RACK = (Link("l", "switch", 4e11, None, domain) for domain in (8.0, 72.0))


@pytest.mark.parametrize(("prefill", "decode", "seconds"), [
    (pool(1e5, INSIDE, 5e10), pool(4e5, INSIDE, 5e10), 4e8 / 5e10),  # the receiver's rank keeps more than a sender's
    (pool(4e5, INSIDE, 1e10), pool(4e5, INSIDE, 5e10), 4e8 / 1e10),  # the slower link sets the time
    (pool(4e5, RACK, 5e10), pool(4e5, RACK, 5e10), 4e8 / 4e11),  # in a rack caches go over the scale-up links
    (pool(4e5, RACK, None), pool(4e5, RACK, None), 4e8 / 4e11),
    (pool(4e5, None, 5e10), pool(1e5, None, 5e10), 4e8 / 5e10),
])  # fmt: skip
def test_a_cache_takes_as_long_as_the_rank_that_sends_or_receives_most(prefill: Any, decode: Any, seconds: float) -> None:  # fmt: skip
    assert transfer_s(Fleet(prefill, decode, 1.0, 1.0), 1000.0) == pytest.approx(seconds)


@pytest.mark.parametrize("link", [INSIDE, None])
def test_pools_without_a_network_are_refused(link: Link | None) -> None:
    lonely = pool(1e5, link, None)
    with pytest.raises(SpecError, match=r"toy/profile.toml: no network \(links.scaleout\)"):
        transfer_s(Fleet(lonely, lonely, 1.0, 1.0), 1000.0)


def test_gpus_of_a_fleet_are_those_of_both_pools() -> None:
    both = Fleet(pool(1.0, INSIDE, 1.0, gpus=4.0), pool(1.0, INSIDE, 1.0, gpus=16.0), 3.0, 2.0)
    assert both.devices == 3 * 4 + 2 * 16
