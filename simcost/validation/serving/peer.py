"""AIConfigurator on the same rows: the package `aiconfigurator` as another predictor, where a Python has it.

It is asked for the checkpoint that was served, from its own list, with the same plan, load and mean lengths, and
its newest database of the system and engine. Answers are kept in the cache, since it takes minutes. Throughput
follows from its TTFT and TPOT by the closed loop. Most likely to be wrong: formats where its list has no such
checkpoint. Source: ai-dynamo/aiconfigurator 0.12 (Apache-2.0), `cli_estimate`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simcost.calibration.importers.aiconfigurator import SYSTEMS
from simcost.errors import SpecError, say
from simcost.files import kept, write_whole
from simcost.validation.serving import rules, score
from simcost.validation.serving.lines import MILLISECOND
from simcost.validation.serving.point import Prediction
from simcost.validation.serving.rows import AGGREGATED, Row

WORKER = Path(__file__).with_name("peer_worker.py")
_NAMES = {profile: system for system, profile in SYSTEMS.items()}


def version(python: str = sys.executable) -> str:
    """Version of `aiconfigurator` in a Python; "" where it has none."""
    try:
        said = subprocess.run([python, str(WORKER), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return str(json.loads(said.stdout.splitlines()[0])["version"])


def predict(rows: Sequence[Row], python: str = sys.executable) -> list[Prediction]:
    """What it says of rows, kept ones without asking. Raises SpecError where that Python does not have it, or it
    stops."""
    release = version(python)
    if not release:
        raise SpecError(f"aiconfigurator is not installed for {python}: pip install aiconfigurator")
    home = kept.folder()
    place = None if home is None else home / f"aiconfigurator-{release}.jsonl"
    known = {} if place is None else _kept(place)
    asked = [question(row) for row in rows]
    texts = ["" if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in asked]
    missing = list(dict.fromkeys(text for text in texts if text and text not in known))
    if missing:
        known |= dict(zip(missing, _ask(missing, python), strict=True))
        lines = (json.dumps({"asked": text, "answer": answer}) + "\n" for text, answer in known.items())
        if place is not None:
            try:
                write_whole(place, "".join(lines))
            except SpecError as error:
                say(f"{error}; answers are not kept", "kept answers")
    return [
        Prediction(reason=one) if isinstance(one, str) else _prediction(row, known[text])
        for row, one, text in zip(rows, asked, texts, strict=True)
    ]


def question(row: Row) -> dict[str, Any] | str:
    """Arguments of `cli_estimate`; or why it is not asked."""
    rule = rules.found(rules.shipped(), "peer", row.facts)
    if row.point is None or row.mode != AGGREGATED:
        return "AIConfigurator is asked for aggregated rows alone"
    if rule is None:
        return "no rule of [[peer]] names its checkpoint"
    if row.point.speculative:
        return "it wants the accepted tokens of speculative decoding, which no row states"
    tp, dp, ep = (int(row.point.sets.get(f"plan.{key}", 1)) for key in ("tp", "dp_attention", "ep"))
    moe = {} if row.family == "dense" else {"moe_ep_size": ep, "moe_tp_size": tp * dp // ep}
    return {
        "model_path": rule.gives["path"], "system_name": _NAMES[row.hw], "backend_name": row.engine,
        "isl": round(row.point.isl), "osl": round(row.point.osl), "batch_size": max(round(row.point.concurrency / dp), 1),
        "tp_size": tp, "attention_dp_size": dp, **moe, **rule.gives.get("modes", {}),
    }  # fmt: skip


def _ask(texts: Sequence[str], python: str) -> list[dict[str, Any]]:
    # Those of one system and engine together: it loads their tables once.
    order = sorted(
        range(len(texts)),
        key=lambda at: [str(json.loads(texts[at])[key]) for key in ("system_name", "backend_name", "model_path")],
    )
    text = "[" + ",".join(texts[at] for at in order) + "]"
    ran = subprocess.run([python, str(WORKER)], input=text, capture_output=True, text=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")][1:]
    if len(lines) != len(texts):
        last = (ran.stderr.strip().splitlines() or ["no output"])[-1]
        raise SpecError(f"aiconfigurator stopped after {len(lines)} of {len(texts)} questions: {last[:160]}")
    return [answer for _, answer in sorted(zip(order, lines, strict=True), key=lambda each: each[0])]


def _kept(path: Path) -> dict[str, dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {str(one["asked"]): _answered(one["answer"]) for one in map(json.loads, lines)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        say(f"{path}: not as simcost wrote it; all is asked again")
        return {}


def _answered(answer: dict[str, Any]) -> dict[str, Any]:
    """What was answered. Raises ValueError, TypeError or KeyError for what no answer looks like."""
    return answer if "error" in answer else {key: float(answer[key]) for key in ("ttft_ms", "tpot_ms")}


def _prediction(row: Row, answer: Mapping[str, Any]) -> Prediction:
    if "error" in answer:
        return Prediction(reason=str(answer["error"]))
    assert row.point is not None
    ttft, tpot = answer["ttft_ms"] * MILLISECOND, answer["tpot_ms"] * MILLISECOND
    rate = score.loop_rate(row.point.concurrency, row.point.osl, ttft, tpot)
    return Prediction(ttft, tpot, tpot, tpot, rate)
