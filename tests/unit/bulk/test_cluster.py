"""Work on a cluster of Dask's: the same bytes as from one process, also where a worker is killed on the way; errors are one line."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bulkkit import query_of

import simcost
from simcost import pool
from simcost.bulk import run
from simcost.bulk.run import Ways
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.pool import Piece, mapped
from simcost.report.text import as_json
from simcost.scale.cluster import Cluster, checked, opened

CASE = {"vary": {"batch": list(range(1, 16)), "context": list(range(1000, 1100)), "plan.tp": [1, 2, 3]}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    with opened("local:3") as found:
        assert found is not None
        yield found


def _pids(cluster: Cluster) -> list[int]:
    return list(cluster._client.run(os.getpid).values())


def test_a_killed_worker_changes_no_byte(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simcost.bulk.dealer._FIRST", 200)
    monkeypatch.setattr("simcost.bulk.dealer._MOST", 300)
    query = query_of(CASE)
    run.result(query, None, tmp_path / "alone.csv")
    victim, killed = _pids(cluster)[0], []
    assert len(set(_pids(cluster)) | {os.getpid()}) == 4

    def kill(done: float, total: float, what: str) -> None:
        if done and not killed:  # while others are at work, and answers wait for the next blocks
            os.kill(victim, signal.SIGKILL)
            killed.append(done)

    run.result(query, None, tmp_path / "three.csv", Ways(cluster, kill))
    assert 0 < killed[0] < 4500
    assert victim not in _pids(cluster)
    assert (tmp_path / "three.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_nobody_else_can_reach_a_local_cluster(cluster: Cluster) -> None:
    psutil = pytest.importorskip("psutil")
    mine = set(_pids(cluster)) | {os.getpid()}
    listening = [
        each.laddr.ip for pid in mine for each in psutil.Process(pid).net_connections("inet") if each.status == "LISTEN"
    ]
    assert len(listening) >= 4
    assert set(listening) == {"127.0.0.1"}


def test_pieces_come_back_in_their_order_and_an_error_as_it_is(cluster: Cluster) -> None:
    assert len(pool.elsewhere) == 1
    told: list[Any] = []
    pieces = [Piece((float(i),), f"piece {i}", float(i + 1)) for i in range(7)]
    assert mapped(_twice, pieces, 1, lambda *said: told.append(said)) == [2.0 * i for i in range(7)]
    assert told[-1][:2] == (28.0, 28.0)
    assert set(mapped(os.getpid, [Piece((), "", 1.0)] * 6)) <= set(_pids(cluster))
    with pytest.raises(SpecError, match="unknown hardware 'nosuch'"):
        mapped(hardware.load, [Piece(("nosuch",), "", 1.0), Piece(("h200",), "", 9.0)])


def _twice(value: float) -> float:
    return 2.0 * value


def test_workers_of_another_version_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_expected", {**cluster._expected, "simcost": "0.0.1"})
    with pytest.raises(SpecError, match=r"worker .*: simcost .* is installed on the worker, 0.0.1 here"):
        cluster.check()
    with pytest.raises(SpecError, match="a worker differs from this process: simcost"):
        mapped(_twice, [Piece((1.0,), "", 1.0)])


@pytest.mark.parametrize(
    "address", ["local", "local:0", "local:257", "http://a:1", "tcp://a", "tcp://a b:1", "a:8786", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(SpecError, match="--scheduler "):
        checked(address)


@pytest.mark.parametrize(
    "address", ["local:1", "local:256", "tcp://head:8786", "tls://10.0.0.1:8786", "tcp://[::1]:8786"]
)
def test_addresses(address: str) -> None:
    assert checked(address) == address


def test_an_address_where_nobody_listens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("simcost.scale.cluster._CONNECT_S", 0.3)
    with pytest.raises(SpecError, match="no scheduler answers there") as found, opened("tcp://127.0.0.1:9"):
        pass
    assert "\n" not in str(found.value)


ROOFLINE = {"hw.measurements": "none"}
QUESTIONS: dict[str, Any] = {
    "plans": lambda: simcost.plans("llama-3.1-8b", ["h200", "b100"], [1, 2], context=1000, set=ROOFLINE),
    "plans, train": lambda: simcost.plans("llama-3.1-8b", "h200", [1, 2], phase="train", seq=1000, micro_batch=1, set=ROOFLINE),
    "plans, serve": lambda: simcost.plans(
        "llama-3.1-8b", "h200", [1], phase="serve", isl=1000, osl=10, rate=1.0, slo="ttft=5s,tpot=1s", set=ROOFLINE
    ),
    "compare": lambda: simcost.compare(["llama-3.1-8b", "mistral-7b-v0.3"], "h200", batch=8, set=ROOFLINE),
    "compare, train": lambda: simcost.compare(["llama-3.1-8b", "mistral-7b-v0.3"], "h200", phase="train", seq=1000, set=ROOFLINE),
    "serve": lambda: simcost.serve(
        "llama-3.1-8b", "h200", 500, 20, [2, 8], events=True, requests=40, seed="1..3", engine="vllm", set=ROOFLINE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_other_questions_answer_the_same(name: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    there = QUESTIONS[name]()
    with monkeypatch.context() as alone:
        alone.setattr(pool, "elsewhere", [])
        here = QUESTIONS[name]()
    assert as_json(there) == as_json(here)
