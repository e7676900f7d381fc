"""Tables at the terminal keep their labels at any width, and reasons stand whole below them."""

from __future__ import annotations

import pytest

from simcost.cli.app import run

H200 = ["--hw", "h200"]
SWEEPS = {
    "one runs": (["decode", "--model", "llama-3.1-70b", *H200, "--vary", "plan.tp=3,4,128"],
                 ["plan.tp=3: num_attention_heads = 64 cannot be cut into 3 equal parts (nearest valid: plan.tp = 2 or 4)",
                  "plan.tp=128: num_attention_heads = 64 cannot be cut into 128 equal parts (nearest valid: plan.tp = 64)"]),
    "a cluster": (["decode", "--model", "deepseek-v3", "--hw", "l40s", "--gpus", "8", "--vary", "plan.ep=8,16,32,64"],
                  ["plan.ep=32: the plan takes 32 GPUs, the cluster has 8 (nearest valid: plan.ep = 8)"]),
    "two axes": (["prefill", "--model", "deepseek-v3", *H200, "--vary", "plan.tp=3,8,16", "--vary", "isl=1024,4096"],
                 ["plan.tp=3: num_attention_heads = 128 cannot be cut into 3 equal parts (nearest valid: plan.tp = 2 or 4)"]),
    "designs": (["compare", "llama-3.1-70b", "qwen2.5-7b", *H200, "--set", "plan.tp=8"],
                ["qwen2.5-7b: num_attention_heads = 28 cannot be cut into 8 equal parts (nearest valid: plan.tp = 4)"]),
    "plans": (["plans", "--model", "llama-3.1-70b", *H200, "--gpus", "12"], ["dp=12: short by 10.91 GiB per GPU at every batch"]),
}  # fmt: skip


def drawn(words: list[str], width: int, capsys, monkeypatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("name", SWEEPS)
def test_labels_are_kept_and_reasons_stand_below_in_full(name: str, width: int, capsys, monkeypatch) -> None:
    words, reasons = SWEEPS[name]
    text = drawn(words, width, capsys, monkeypatch)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "cannot run" in flat
    assert all(reason in flat for reason in reasons)
    assert "TPOT" in flat or "TTFT" in flat


def test_points_that_cannot_run_fill_no_lines_of_their_own(capsys, monkeypatch) -> None:
    text = drawn(SWEEPS["a cluster"][0], 80, capsys, monkeypatch)
    rest = text.partition("sweep (continued)")[2].partition("cannot run:")[0]
    assert "cannot run" in rest
    assert "TPOT" not in rest


@pytest.mark.parametrize("width", [80, 100, 140])
def test_explain_shows_what_of_a_transfer_nothing_hides(width: int, capsys, monkeypatch) -> None:
    words = ["explain", "--model", "deepseek-v3", "--hw", "h800", "--batch", "4096", "--set", "plan.ep=64"]
    text = drawn(words, width, capsys, monkeypatch)
    table = text.partition("links\n")[2].partition("memory\n")[0].partition("not shown")[0]
    assert "exposed" in table
    assert "dispatch" in table
