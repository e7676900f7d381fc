"""What howto/run-on-many-machines.md tells other programs is what they take: Dask's commands, and the cluster of the Dask operator."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "run-on-many-machines.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def cluster() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    (text,) = fences("yaml")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def container(part: str) -> dict[str, Any]:
    (found,) = cluster()["spec"][part]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def taken(words: list[str]) -> dict[str, Any]:
    """The options that a command of Dask reads from these words. Raises click's errors for words that it does not take."""
    cli = pytest.importorskip("distributed.cli")
    assert words[0] == "dask"
    module = __import__(f"{cli.__name__}.dask_{words[1]}", fromlist=["main"])
    found: dict[str, Any] = module.main.make_context(words[1], words[2:]).params
    return found


def test_dask_takes_its_commands() -> None:
    lines = [line.partition("#")[0].strip() for block in fences("sh") for line in block.splitlines()]
    scheduler, worker = (taken(shlex.split(line)) for line in lines if line.startswith("dask "))
    assert (scheduler["host"], scheduler["port"]) == ("10.0.0.1", "8786")
    assert worker["scheduler"] == "tcp://10.0.0.1:8786"
    assert (worker["n_workers"], worker["nthreads"]) == ("32", 1)
    for each in (scheduler, worker):
        assert each["dashboard"] is False
        assert each["dashboard_address"].startswith("127.0.0.1:")  # a port is open in any case


def test_the_cluster_is_one_that_the_operator_reads() -> None:
    found = cluster()
    assert (found["apiVersion"], found["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert {*found["spec"]} == {"scheduler", "worker"}
    service, name = found["spec"]["scheduler"]["service"], found["metadata"]["name"]
    assert service["selector"] == {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    ports = {each["name"]: each["containerPort"] for each in container("scheduler")["ports"]}
    assert {each["targetPort"]: each["port"] for each in service["ports"]} == ports
    assert container("scheduler")["readinessProbe"]["httpGet"]["port"] in ports
    scheduler, worker = taken(container("scheduler")["args"]), taken(container("worker")["args"])
    assert int(scheduler["port"]) == ports["tcp-comm"]
    assert scheduler["dashboard_address"].endswith(f":{ports['http-dashboard']}")
    assert (worker["name"], worker["nthreads"]) == ("$(DASK_WORKER_NAME)", 1)
    assert f"--scheduler tcp://{name}-scheduler:{ports['tcp-comm']}" in PAGE


def test_scripts_are_python() -> None:
    scripts = fences("py")
    assert scripts
    for script in scripts:
        compile(script, "run-on-many-machines.md", "exec")
