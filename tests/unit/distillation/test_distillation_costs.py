"""What ways to distil take: published bytes, closed forms, laws."""

from __future__ import annotations

import pytest

from simcost.distillation.payload import hidden_bytes, logits_bytes, projection_flops, top_k_bytes
from simcost.distillation.variants import DATA, FEATURE, FULL, ON_POLICY, ONLINE, TOP_K, Amount, Payload, Rates, costs

RATES = Rates(writes=1000.0, rolls=4000.0, reads=8000.0, trains=2000.0, projected=1600.0)
PAYLOAD = Payload(4.0, 256_512.0, 1536.0, 8192.0)


def test_bytes_of_a_token() -> None:
    # Vocabularies of Llama 3, Qwen3 and Gemma 3 (their configs); Gemma 3 keeps 256 logits of a token (arXiv 2503.19786).
    assert [logits_bytes(v) for v in (128_256, 151_936, 262_144)] == [256_512, 303_872, 524_288]
    assert [top_k_bytes(k) for k in (256, 64)] == [1536, 384]
    assert [hidden_bytes(4096, 1), hidden_bytes(7168, 1), hidden_bytes(4096, 3)] == [8192, 14_336, 24_576]
    assert projection_flops(4096, 2048, 2) == 6 * 4096 * 2048 * 2


def test_all_logits_of_nine_trillion_tokens_are_exabytes() -> None:
    """Llama 3.2 1B and 3B: up to 9T tokens, vocabulary of 128,256."""
    found = costs(Amount(samples=9e12, prompt=0.5, answer=0.5), RATES, PAYLOAD)
    assert found[FULL].kept_bytes == pytest.approx(2.31e18, rel=2e-3)
    assert found[TOP_K].kept_bytes == pytest.approx(9e12 * 1540)


def test_every_part_by_hand() -> None:
    a = Amount(samples=100.0, prompt=200.0, answer=800.0, epochs=3.0, kept=0.5)
    found = costs(a, RATES, PAYLOAD)
    assert (a.tokens, a.trained) == (100_000.0, 300_000.0)
    assert (found[DATA].writing, found[DATA].reading, found[DATA].training) == (160.0, 0.0, 150.0)
    assert (found[ONLINE].writing, found[ONLINE].reading, found[ONLINE].training) == (0.0, 37.5, 150.0)
    assert (found[TOP_K].reading, found[FULL].reading) == (12.5, 12.5)
    assert found[FEATURE].training == 187.5
    assert (found[ON_POLICY].rolling, found[ON_POLICY].reading) == (60.0, 37.5)
    assert found[ON_POLICY].gpu_s == 247.5
    assert found[TOP_K].sent_bytes == 4 * 1540 * 100_000  # written once, read three times
    assert found[ONLINE].sent_bytes == 256_512 * 300_000
    assert (found[ONLINE].kept_bytes, found[ON_POLICY].kept_bytes) == (400_000.0, 0.0)


def test_a_teacher_that_writes_the_texts_is_paid_by_all_who_read_them() -> None:
    given, written = (costs(Amount(10.0, 100.0, 900.0, written=each), RATES, PAYLOAD) for each in (False, True))
    for name in (ONLINE, TOP_K, FULL, FEATURE):
        assert written[name].gpu_s - given[name].gpu_s == pytest.approx(given[DATA].writing)
    for name in (DATA, ON_POLICY):
        assert written[name] == given[name]


def test_with_one_epoch_stored_and_online_logits_take_as_many_gpus() -> None:
    once, twice = (costs(Amount(10.0, 100.0, 900.0, epochs), RATES, PAYLOAD) for epochs in (1.0, 2.0))
    assert once[ONLINE].gpu_s == once[TOP_K].gpu_s
    assert twice[ONLINE].gpu_s > twice[TOP_K].gpu_s
