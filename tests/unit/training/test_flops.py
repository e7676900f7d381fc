"""Training FLOPs of a token: published figures of every convention, closed forms, refusals, recomputation and MFU."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from simcost.errors import NotModelled, SpecError
from simcost.hardware import load as devices
from simcost.model import count, flops, load
from simcost.model.spec import ModelSpec
from simcost.plan import Plan


@cache
def model(name: str) -> ModelSpec:
    return load.load(name)


# DeepSeek-V3, GFLOP a token at 4,096 and 32,768: derived from arXiv 2412.19437's sizes by each counter's own formula.
@pytest.mark.parametrize(("convention", "short", "long"), [
    ("reference", 250.5, 465.4), ("6n", 225.3, 225.3), ("6n-no-embedding", 219.75, 219.75),
    ("torchtitan", 281.2, 711.0), ("simumax", 281.2, 711.0), ("palm", 281.2, 711.0), ("megatron", 249.8, 464.7),
    ("megatron-mtp", 260.0, 478.4), ("nemo", 260.0, 478.4), ("verl", 256.0, 470.9),
])  # fmt: skip
def test_deepseek_v3_under_each_convention(convention: str, short: float, long: float) -> None:
    found = flops.flops_per_token(model("deepseek-v3"), np.array([4096.0, 32768.0]), convention)
    assert np.broadcast_to(found, 2) / 1e9 == pytest.approx([short, long], rel=3e-4)


# Published FLOPs a token, or MFU over tokens a second (NVIDIA NeMo and Megatron-Bridge summaries, torchtitan, GPT-3).
@pytest.mark.parametrize(("name", "seq", "convention", "want"), [
    ("llama-3.1-405b", 8192.0, "causal", 2.5245e12), ("llama-3.1-405b", 8192.0, "non-causal", 2.6255e12),
    ("llama-3-70b", 8192.0, "non-causal", 4.814e11),
    ("llama-3-8b", 8192.0, "causal", 5.147e10), ("llama-3-8b", 8192.0, "non-causal", 5.791e10),
    ("deepseek-v3", 4096.0, "causal", 2.50e11), ("deepseek-v3", 4096.0, "megatron-mtp", 2.60e11),
    ("gpt3-175b", 2048.0, "non-causal", 1.0766e12),
])  # fmt: skip
def test_published_figures(name: str, seq: float, convention: str, want: float) -> None:
    assert flops.flops_per_token(model(name), seq, convention) == pytest.approx(want, rel=2e-3)


def test_deepseek_v3_mfu_is_the_published_one() -> None:
    """arXiv 2505.09343 table 4: 272.8 B tokens a day on 2,048 H800, 43.73 % and 38.94 % (causal) of the bf16 peak."""
    rate, peak = 272.8e9 / 86400.0, flops.peak(devices.load("h800"), "bf16")
    design = model("deepseek-v3")
    found = {
        name: flops.mfu(flops.flops_per_token(design, 4096.0, name), rate, 2048.0, peak)
        for name in ("palm", "reference")
    }
    assert found == pytest.approx({"palm": 0.4373, "reference": 0.3894}, rel=6e-3)
    assert flops.converted(0.4373, design, 4096.0, "palm", "reference") == pytest.approx(0.3894, rel=1e-3)


def test_an_mfu_stands_over_the_peak_of_its_format() -> None:
    device = devices.load("h100")
    assert (flops.peak(device, "fp8"), flops.peak(device, "bf16")) == (1979e12, 989e12)
    with pytest.raises(SpecError, match=r"no 'peak\.fp4'"):
        flops.peak(device, "fp4")


def test_gpt_formulas_are_the_papers() -> None:
    """GPT-3: l = 96, h = 12,288. Narayanan et al. eq. 3 with recomputation, Korthikanti et al. appendix A without."""
    design, s, layers, h = model("gpt3-175b"), 2048.0, 96.0, 12288.0
    v = float(design.vocab_size)
    whole = 96.0 * layers * h**2 * (1.0 + s / (6.0 * h) + v / (16.0 * layers * h))
    assert flops.flops_per_token(design, s, "narayanan-2021") == pytest.approx(whole, rel=1e-12)
    assert flops.hardware_flops_per_token(design, s, "full", "narayanan-2021") == pytest.approx(whole, rel=1e-12)
    korthikanti = 72.0 * layers * h**2 * (1.0 + s / (6.0 * h) + v / (12.0 * layers * h))
    assert flops.flops_per_token(design, s, "korthikanti-2022") == pytest.approx(korthikanti, rel=1e-12)
    with pytest.raises(SpecError, match="'narayanan-2021' is defined for recompute=full only"):
        flops.hardware_flops_per_token(design, s, "none", "narayanan-2021")


def test_llm_foundry_counts_all_parameters_and_all_of_a_second_forward() -> None:
    design = model("gpt3-175b")
    total = float(count.parameters(design)["params_total"])
    want = 6.0 * total + 12.0 * 96.0 * 12288.0 * 2048.0
    assert flops.flops_per_token(design, 2048.0, "llm-foundry") == pytest.approx(want, rel=1e-12)
    # Printed MFU and HFU of MPT-70B with checkpointing: 42.57 and 56.76 %.
    ratio = flops.hardware_flops_per_token(design, 2048.0, "full", "llm-foundry") / want
    assert ratio == pytest.approx(56.76 / 42.57, rel=1e-3)


def test_megatron_counts_delta_rules_and_mamba_2_by_its_own_formulas() -> None:
    """Qwen3-Next: 36 of 48 layers with 32 heads of values 128 wide, 16 of keys, a convolution of 4. Nemotron-H-8B: 24
    of 52 layers with 128 heads of 64 and a state of 128, four of attention."""
    seq = np.array([1024.0, 2048.0])
    near, far = flops.flops_per_token(model("qwen3-next-80b-a3b"), seq, "megatron")
    assert far - near == pytest.approx(12 * 6.0 * 1024.0 * 16 * 256)
    deltas = 36 * 6.0 * (32 * 128**2 * 4 + 4 * (2 * 16 * 128 + 32 * 128))
    attention = 12 * 6.0 * 1024.0 * 16 * 256
    rest = near - deltas - attention
    matrices = 6.0 * sum(
        n * w.count * w.active
        for n, block in model("qwen3-next-80b-a3b").blocks()
        for w in block.weights(Plan())
        if w.inner is not None and w.name not in ("router", "shared_gate", "embed_tokens")
    )
    assert rest == pytest.approx(matrices)
    nemotron = model("nemotron-h-8b")
    scan = 24 * 3.0 * 7.0 * 128 * 64 * 128
    plain = flops.flops_per_token(nemotron, 8192.0, "6n-no-embedding")
    assert flops.flops_per_token(nemotron, 8192.0, "megatron") == pytest.approx(
        plain + scan + 4 * 6.0 * 8192 / 2 * 2 * 32 * 128, rel=1e-3
    )


def test_windows_are_seen_ignored_or_refused() -> None:
    """gpt-oss-120b: 18 layers of full attention, 18 with a window of 128; 64 heads of 64."""
    design, seq, width = model("gpt-oss-120b"), 8192.0, 64 * 128.0
    base = flops.flops_per_token(design, seq, "6n-no-embedding")
    assert flops.flops_per_token(design, seq, "torchtitan") - base == pytest.approx(18 * 6.0 * width * (seq + 128.0))
    step = flops.flops_per_token(design, 2 * seq, "megatron") - flops.flops_per_token(design, seq, "megatron")
    assert step == pytest.approx(36 * 6.0 * width * seq / 2.0)
    window = 128.0 * seq - 128.0 * 127.0 / 2.0
    exact = 18 * 6.0 * width * ((seq + 1.0) / 2.0 + window / seq)
    assert flops.flops_per_token(design, seq, "reference") - base == pytest.approx(exact)


@pytest.mark.parametrize(("name", "convention", "said"), [
    ("gpt-oss-120b", "palm", r"'palm' does not define SlidingWindow \(window 128\): use 'reference'"),
    ("deepseek-v3.2", "megatron", r"'megatron' does not define DSA \(top 2048\)"),
    ("qwen3-next-80b-a3b", "verl", "'verl' does not define GatedDeltaNet"),
    ("llama-4-scout", "torchtitan", r"'torchtitan' does not define SlidingWindow \(chunk 8192\)"),
    ("llama-3.1-405b", "korthikanti-2022", r"GQA \+ Dense, whose layer has not the 12·h² weights"),
    ("mixtral-8x7b", "llm-foundry", "'llm-foundry' does not define MoE"),
    ("deepseek-v3", "llm-foundry", "MLA whose heads together are not as wide as the model"),
])  # fmt: skip
def test_a_mixer_that_a_convention_does_not_define_is_refused_by_name(name: str, convention: str, said: str) -> None:
    with pytest.raises(NotModelled, match=said):
        flops.flops_per_token(model(name), 4096.0, convention)


@pytest.mark.parametrize("name", load.names())
def test_the_reference_counts_every_model(name: str) -> None:
    """Three times the forward of a prompt that makes logits of all tokens."""
    design = model(name)
    found = flops.flops_per_token(design, 4096.0)
    assert found == pytest.approx(3.0 * count.flops_per_token(design, 4096.0, 0.0, 4096.0), rel=1e-9)


def test_recomputation_adds_one_forward_of_layers_or_of_cores() -> None:
    design, seq = model("llama-3.1-8b"), np.array([4096.0, 131072.0])
    plain, selective, full = (
        flops.hardware_flops_per_token(design, seq, each) for each in ("none", "selective", "full")
    )
    assert plain == pytest.approx(flops.flops_per_token(design, seq))
    core = count.attention_core_flops(design, seq, 0.0) / seq
    assert selective - plain == pytest.approx(core)
    head = 2.0 * 128256 * 4096
    assert full - plain == pytest.approx(plain / 3.0 - head, rel=1e-5)
    assert np.all(flops.hfu(full, 1e4, 8.0, 989e12) > flops.mfu(plain, 1e4, 8.0, 989e12))


def test_mtp_counts_where_it_is_trained() -> None:
    design = model("deepseek-v3")
    assert flops.flops_per_token(design, 4096.0, "nemo", mtp=False) == flops.flops_per_token(design, 4096.0, "megatron")
    module = flops.flops_per_token(design, 4096.0, "nemo") - flops.flops_per_token(
        design, 4096.0, "megatron"
    )  # a layer, 2·h² and h·V
    mla, moe = 187_105_280.0, 3 * 7168 * 2048 * 9
    core = 4096.0 / 2.0 * 128 * 320
    assert module == pytest.approx(6.0 * (mla + moe + 2 * 7168**2 + 7168 * 129280 + core), rel=1e-4)


def test_unknown_words_are_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'megatron'"):
        flops.named("megatorn")
    with pytest.raises(SpecError, match="did you mean 'selective'"):
        flops.hardware_flops_per_token(model("llama-3.1-8b"), 4096.0, "selectiv")


def test_every_convention_says_what_it_counts_and_where_that_is_written() -> None:
    assert set(flops.ALIASES.values()) <= set(flops.conventions())
    for name, each in flops.conventions().items():
        assert each.name == name
        assert each.words
        assert each.source
