"""Curves: a known truth is recovered, intervals cover, points and rows are exact, the cache and the files are safe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost import errors
from simcost.calibration import rows as tables
from simcost.calibration import store
from simcost.calibration.curves import curve as curves
from simcost.calibration.family import families, kind
from simcost.calibration.form import Form
from simcost.calibration.held_out import judged
from simcost.calibration.importers import _routing, table
from simcost.calibration.imports import choose, write_run
from simcost.calibration.record import to_toml
from simcost.calibration.rows import Rows
from simcost.calibration.score import scored
from simcost.calibration.split import SHARE, folds
from simcost.calibration.thinning import thinned
from simcost.errors import SpecError
from simcost.files import kept
from simcost.hardware import load as hardware
from simcost.num import Z90

H200 = hardware.load("h200")
GEMM = families()["gemm"]
BF16 = {"x": "bf16", "w": "bf16", "compute": "bf16"}
TRUTH = Form(4e-6, 0.75, 0.85, 0.7, 2e5, 2.5, (20.0, 30.0, 100.0))


def synthetic(count: int, noise: float, seed: int = 0) -> Rows:
    """GEMM rows of a known form with noise."""
    random = np.random.default_rng(seed)
    shapes = np.floor(np.exp(random.uniform(np.log([1, 128, 128]), np.log([16384, 16384, 16384]), (count, 3))))
    numbers = {"batch": np.ones(count), "m": shapes[:, 0], "n": shapes[:, 1], "k": shapes[:, 2]}
    rows = Rows(numbers, np.ones(count))
    terms, _ = store.row_terms(GEMM, rows, BF16, H200)
    return Rows(numbers, np.asarray(TRUTH.seconds(terms)) * np.exp(random.normal(0.0, noise, count)))


@pytest.mark.parametrize("count", [60, 400])
def test_a_known_truth_is_recovered_within_five_per_cent(count: int) -> None:
    curve = store.fitted(GEMM, synthetic(count, 0.03), BF16, H200)
    clean = scored(curve, GEMM, synthetic(2000, 0.0, seed=1), BF16, H200)
    assert clean.median < 0.02
    assert clean.p90 < 0.05
    assert abs(clean.bias) < 0.01
    assert curve.form.compute_efficiency == pytest.approx(TRUTH.compute_efficiency, rel=0.05)
    assert curve.form.t0_s == pytest.approx(TRUTH.t0_s, rel=0.05)


@pytest.mark.parametrize("noise", [0.03, 0.15])
def test_intervals_cover_what_they_promise(noise: float) -> None:
    curve = store.fitted(GEMM, synthetic(500, noise), BF16, H200)
    score = scored(curve, GEMM, synthetic(3000, noise, seed=2), BF16, H200)
    assert 0.85 <= score.coverage <= 0.96
    assert score.width == pytest.approx(Z90 * noise, rel=0.35)


def test_a_step_that_the_form_cannot_know_is_learned() -> None:
    rows = synthetic(900, 0.02)
    slow = np.where(rows.numbers["n"] > 2048, 1.6, 1.0)
    curve = store.fitted(GEMM, Rows(rows.numbers, rows.seconds * slow), BF16, H200)
    fresh = synthetic(1500, 0.0, seed=3)
    away = np.abs(np.log(fresh.numbers["n"] / 2048)) > 0.7
    fresh = Rows(fresh.numbers, fresh.seconds * np.where(fresh.numbers["n"] > 2048, 1.6, 1.0)).take(
        np.flatnonzero(away)
    )
    assert scored(curve, GEMM, fresh, BF16, H200).median < 0.04


def test_a_few_blunders_do_not_bend_the_curve() -> None:
    rows = synthetic(400, 0.02)
    hit = np.arange(len(rows)) % 80 == 7
    curve = store.fitted(GEMM, Rows(rows.numbers, rows.seconds * np.where(hit, 100.0, 1.0)), BF16, H200)
    clean = scored(curve, GEMM, rows, BF16, H200)
    assert clean.p90 < 0.05
    assert np.abs(clean.errors).max() < 0.25


def test_a_blunder_at_a_known_layer_is_passed_over() -> None:
    tokens = 2.0 ** np.arange(12)
    site = {"batch": np.ones(12), "m": tokens, "n": np.full(12, 4096.0), "k": np.full(12, 14336.0)}
    terms, _ = store.row_terms(GEMM, Rows(site, np.ones(12)), BF16, H200)
    truth = np.asarray(TRUTH.seconds(terms))
    base = synthetic(300, 0.02)
    seen = truth * np.where(tokens == 64.0, 90.0, 1.0)
    joined = Rows({k: np.concatenate([base.numbers[k], site[k]]) for k in site}, np.concatenate([base.seconds, seen]))
    curve = store.fitted(GEMM, joined, BF16, H200)
    assert np.abs(scored(curve, GEMM, Rows(site, truth), BF16, H200).errors).max() < 0.1


def test_along_a_layer_the_interval_is_wide_only_where_its_rows_scatter() -> None:
    random = np.random.default_rng(3)
    tokens = 2.0 ** np.arange(0, 14, 0.5)
    layers = [(2048.0 + 512.0 * i, 4096.0 + 1024.0 * i) for i in range(8)]
    site = {
        "batch": np.ones(28 * 8), "m": np.tile(tokens, 8),
        "n": np.repeat([n for n, _ in layers], 28), "k": np.repeat([k for _, k in layers], 28),
    }  # fmt: skip
    terms, _ = store.row_terms(GEMM, Rows(site, np.ones(28 * 8)), BF16, H200)
    noisy = site["m"] > 100.0
    truth = np.asarray(TRUTH.seconds(terms))
    rows = Rows(site, truth * np.exp(random.normal(0.0, np.where(noisy, 0.15, 0.01))))
    curve = store.fitted(GEMM, rows, BF16, H200)
    between = {**site, "m": site["m"] * 2.0**0.25}
    within = between["m"] < tokens[-1]
    terms, points = store.row_terms(GEMM, Rows(between, np.ones(28 * 8)).take(np.flatnonzero(within)), BF16, H200)
    sigma, scatters = curve.predict(terms, points).sigma, between["m"][within] > 200.0
    calm = between["m"][within] < 50.0
    assert np.median(sigma[scatters]) > 4.0 * np.median(sigma[calm])
    assert 0.05 < np.median(sigma[scatters]) < 0.3


def test_the_interval_grows_past_the_ends_of_a_layer_but_not_past_what_other_layers_say() -> None:
    base = synthetic(400, 0.04)
    tokens = 2.0 ** np.arange(4, 9)
    site = {"batch": np.ones(5), "m": tokens, "n": np.full(5, 4096.0), "k": np.full(5, 4096.0)}
    terms, _ = store.row_terms(GEMM, Rows(site, np.ones(5)), BF16, H200)
    joined = Rows(
        {k: np.concatenate([base.numbers[k], site[k]]) for k in site},
        np.concatenate([base.seconds, np.asarray(TRUTH.seconds(terms))]),
    )
    curve = store.fitted(GEMM, joined, BF16, H200)

    def sigma(k: float) -> np.ndarray:
        asked = {
            "batch": np.ones(3),
            "m": np.array([256.0, 1024.0, 8192.0]),
            "n": np.full(3, 4096.0),
            "k": np.full(3, k),
        }
        return curve.predict(*store.row_terms(GEMM, Rows(asked, np.ones(3)), BF16, H200)).sigma

    known, other = sigma(4096.0), sigma(4095.0)
    assert known[0] <= known[1] <= known[2]
    assert known[2] <= max(other[2], known[0]) * 1.1


def test_outside_the_rows_the_surface_fades_and_the_interval_widens() -> None:
    rows = synthetic(400, 0.05)
    curve = store.fitted(GEMM, rows, BF16, H200)
    far = Rows(
        {"batch": np.ones(3), "m": np.array([1e3, 1e5, 1e6]), "n": np.full(3, 8192.0), "k": np.full(3, 8192.0)},
        np.ones(3),
    )
    terms, points = store.row_terms(GEMM, far, BF16, H200)
    found = curve.predict(terms, points)
    assert found.sigma[0] < found.sigma[1] < found.sigma[2]
    assert found.seconds[2] == pytest.approx(float(np.asarray(curve.form.seconds(terms))[2]), rel=0.3)


def test_a_layer_measured_at_many_token_counts_is_followed_exactly_and_said_to_be_measured() -> None:
    tokens = np.array([1.0, 8.0, 64.0, 512.0, 4096.0])
    base = synthetic(300, 0.05)
    site = {"batch": np.ones(5), "m": tokens, "n": np.full(5, 4096.0), "k": np.full(5, 14336.0)}
    odd = np.array([1e-5, 5e-5, 2e-5, 9e-5, 3e-4])
    joined = Rows({k: np.concatenate([base.numbers[k], site[k]]) for k in site}, np.concatenate([base.seconds, odd]))
    curve = store.fitted(GEMM, joined, BF16, H200)
    terms, points = store.row_terms(GEMM, Rows(site, odd), BF16, H200)
    found = curve.predict(terms, points)
    np.testing.assert_allclose(found.seconds, odd, rtol=1e-6)
    assert found.measured.all()
    other = Rows({**site, "k": np.full(5, 14000.0)}, odd)
    terms, points = store.row_terms(GEMM, other, BF16, H200)
    assert not curve.predict(terms, points).measured.any()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 3000), st.integers(0, 2999))
def test_one_point_and_many_give_the_same_bits(count: int, at: int) -> None:
    curve = _curve()
    rows = synthetic(3000, 0.0, seed=5).take(np.arange(count))
    at = at % count
    terms, points = store.row_terms(GEMM, rows, BF16, H200)
    one = rows.take(np.array([at]))
    terms_one, points_one = store.row_terms(GEMM, one, BF16, H200)
    alone = replace(points_one, features=points_one.features[0], sites=points_one.sites[0])
    many, single = curve.predict(terms, points), curve.predict(terms_one, points_one)
    number = curve.predict(terms_one.each(lambda value: float(value[0])), alone)
    assert many.seconds[at] == single.seconds[0] == number.seconds
    assert many.sigma[at] == single.sigma[0] == number.sigma
    assert type(number.seconds) is type(number.sigma) is float


_KEPT: list[curves.Curve] = []


def _curve() -> curves.Curve:
    if not _KEPT:
        _KEPT.append(store.fitted(GEMM, synthetic(300, 0.05), BF16, H200))
    return _KEPT[0]


def test_a_curve_survives_the_cache_bit_for_bit() -> None:
    curve = _curve()
    again = curves.unpack(curves.pack(curve))
    terms, points = store.row_terms(GEMM, synthetic(50, 0.0, seed=9), BF16, H200)
    assert (curve.predict(terms, points).seconds == again.predict(terms, points).seconds).all()
    with pytest.raises(ValueError, match="packed"):
        curves.unpack(curves.pack(curve)[:-1])


def test_the_cache_is_used_as_long_as_the_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "cache")
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(tables.written(GEMM, synthetic(80, 0.05)))
    told: list[str] = []
    monkeypatch.setattr(errors, "listeners", [lambda text, about: told.append(text)])
    for _ in range(2):
        monkeypatch.setattr(store, "_MEMORY", {})
        store.load(path, "gemm", BF16, H200)
    assert len(told) == 1
    path.write_text(path.read_text() + "1,7,128,128,1e-5\n")
    monkeypatch.setattr(store, "_MEMORY", {})
    store.load(path, "gemm", BF16, H200)
    assert len(told) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr(kept, "folder", lambda: blocked / "cache")
    monkeypatch.setattr(store, "_MEMORY", {})
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(tables.written(GEMM, synthetic(80, 0.05)))
    assert store.load(path, "gemm", BF16, H200).rows == 80


GOOD = "batch,m,n,k,seconds\n1,1,128,128,1e-5\n"


@pytest.mark.parametrize(("text", "word"), [
    (GOOD + "1,2,128", "cut off"), (GOOD.replace("seconds", "time"), "columns"), (GOOD + "1,2,128,128\n", "4 cells"),
    (GOOD + "1,x,128,128,1e-5\n", "m = 'x'"), (GOOD + "1,2,128,128,0\n", "above 0"), (GOOD + "1,2,128,128,nan\n", "finite"),
    ("", "columns"), ("batch,m,n,k,seconds,colour\n", "columns"),
    (GOOD + "1,-2,128,128,1e-5\n", "csv:3: m = '-2' must be a whole number above 0"),
    (GOOD + "1,2,0,128,1e-5\n", "n = '0' must be a whole number above 0"),
    (GOOD + "1,2,128,12.5,1e-5\n", "k = '12.5' must be a whole number"), (GOOD + "1,2,128,inf,1e-5\n", "k = 'inf'"),
])  # fmt: skip
def test_a_bad_row_file_is_one_line_naming_the_place(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=word) as error:
        tables.read(path, GEMM)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", families())
def test_every_family_says_what_its_columns_are(name: str) -> None:
    family = families()[name]
    assert tuple(family.COLUMNS) == family.NUMBERS
    assert tuple(family.WORDS) == family.LABELS
    assert all(column.what and column.unit for column in family.COLUMNS.values())
    zero = {column for column, what in family.COLUMNS.items() if what.zero}
    assert zero <= {"past", "window", "near", "far", "reads", "writes", "flops"}


def test_zero_is_a_number_where_it_says_something(tmp_path: Path) -> None:
    path = tmp_path / "bf16-bf16-bf16-gqa-core.csv"
    family = families()["attention_prefill"]
    path.write_text("batch,q_len,past,heads,kv_heads,d_qk,d_v,window,seconds\n1,128,0,8,8,128,128,0,1e-5\n")
    assert len(tables.read(path, family)) == 1
    path.write_text(path.read_text() + "1,128,-1,8,8,128,128,0,1e-5\n")
    with pytest.raises(SpecError, match="past = '-1' must be a whole number, 0 or above"):
        tables.read(path, family)


def test_numbers_that_make_no_kernel_together_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "exchange" / "normal-dispatch-nodes.csv"
    path.parent.mkdir()
    path.write_text("tokens,width,near,far,group,nodes,sms,seconds\n64,7168,0,0,16,2,24,1e-5\n")
    with pytest.raises(SpecError, match=r"nodes.csv:2: .*near=0 far=0.* is not a kernel of exchange"):
        tables.kernels(path, families()["exchange"])


@pytest.mark.parametrize(("stem", "word"), [
    ("bad-labels", "is named x-w-compute.csv, not bad-labels.csv"), ("bf16-bf17-bf16", "w = 'bf17' must be one of .*bf16"),
])  # fmt: skip
def test_a_file_by_a_wrong_name_is_one_line(tmp_path: Path, stem: str, word: str) -> None:
    path = tmp_path / "gemm" / f"{stem}.csv"
    with pytest.raises(SpecError, match=word) as error:
        tables.labels_of(path, GEMM)
    assert str(path) in str(error.value)


@pytest.mark.filterwarnings("error")
def test_rows_that_no_curve_fits_are_an_error_and_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "folder", lambda: tmp_path / "cache")
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(tables.written(GEMM, synthetic(40, 0.05)) + "1,1e110,1e110,1e110,1\n")
    with pytest.raises(SpecError, match="no curve fits these rows"):
        store.load(path, "gemm", BF16, H200)
    assert not (tmp_path / "cache").exists()


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = synthetic(40, 0.1)
    path = tmp_path / "x.csv"
    path.write_text(tables.written(GEMM, rows))
    back = tables.read(path, GEMM)
    assert sorted(back.numbers["m"]) == sorted(rows.numbers["m"])
    np.testing.assert_allclose(np.sort(back.seconds), np.sort(rows.seconds), rtol=5e-4)


@pytest.mark.parametrize(("text", "word"), [
    ("schema = 2\nkind = 'measured'\n", "schema"), ("schema = 1\nkind = 'made up'\n", "kind"), ("schema = ", "TOML"),
])  # fmt: skip
def test_a_bad_run_record_is_one_line(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(SpecError, match=word):
        tables.load_run(tmp_path)
    with pytest.raises(SpecError, match="nowhere"):
        tables.load_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", families())
def test_every_family_reads_back_what_it_writes(name: str) -> None:
    """numbers(op(numbers, labels)) is the identity for rows that ship, and labels come back."""
    family = families()[name]
    paths = sorted(Path(H200.tables).glob(f"*/*/{name}/*.csv"))
    assert paths or name not in (
        "gemm",
        "experts",
        "attention_prefill",
        "attention_decode",
        "collective",
        "exchange",
        "batched_gemm",
    )
    for path in paths:
        labels = dict(zip(family.LABELS, path.stem.split("-"), strict=True))
        rows = tables.read(path, family)
        op = family.op(rows.numbers, labels)
        found = family.labels(op)
        assert found is not None
        assert name == "collective" or kind(found) == path.stem  # engines prefer other backends to NCCL
        assert np.mean(np.broadcast_to(family.covers(op), (len(rows),))) > 0.8
        back = family.numbers(op)
        for column, values in rows.numbers.items():
            np.testing.assert_array_equal(np.broadcast_to(np.asarray(back[column], float), values.shape), values)


def test_a_shape_stays_on_its_side_of_the_split() -> None:
    rows = synthetic(500, 0.0)
    first = folds(rows.numbers)
    again = folds(rows.take(np.arange(499, -1, -1)).numbers)[::-1]
    assert (first == again).all()
    assert set(first) == set(range(SHARE))
    assert 0.12 < (folds(rows.numbers) == 0).mean() < 0.28


def test_thinning_keeps_the_corners_and_is_the_same_each_time() -> None:
    points = np.log(np.stack([synthetic(3000, 0.0).numbers[n] for n in "mnk"], axis=1))
    index = thinned(points, 200)
    assert len(index) == len(set(index)) == 200
    assert (index == thinned(points, 200)).all()
    for j in range(3):
        assert points[index, j].min() <= np.quantile(points[:, j], 0.005)
        assert points[index, j].max() >= np.quantile(points[:, j], 0.995)


def test_a_report_judges_by_rows_that_the_fit_has_not_seen() -> None:
    rows = synthetic(300, 0.05)
    verdict = judged(GEMM, rows, BF16, H200)
    assert (np.sort(verdict.tested) == np.flatnonzero(folds(rows.numbers) == 0)).all()
    few = judged(GEMM, synthetic(80, 0.05), BF16, H200)
    assert len(few.tested) == 80
    assert few.beyond is not None
    assert few.beyond.coverage > 0.6


def candidate(tmp_path: Path, rows: Rows, extra: str = "") -> Any:
    lines = ["batch,m,n,k,x,w,compute,seconds"]
    for i in range(len(rows)):
        lines.append(",".join(str(rows.numbers[c][i]) for c in GEMM.NUMBERS) + f",bf16,bf16,bf16,{rows.seconds[i]}")
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(lines) + "\n" + extra)
    return list(table.candidates(path, "gemm"))


def test_rows_beyond_the_datasheet_go_and_too_many_of_them_take_the_table(tmp_path: Path) -> None:
    rows = synthetic(300, 0.0)
    fast = rows.seconds.copy()
    big = np.argsort(-fast)[:6]
    fast[big] = fast[big] / 3.0
    (one,) = candidate(tmp_path, Rows(rows.numbers, fast))
    chosen = choose(one, H200)
    assert chosen.beyond == 6
    assert chosen.kept is not None
    assert len(chosen.kept) == 294
    assert "with_excluded_rows" not in chosen.record()  # nothing was thinned away to put beside them
    thin = choose(one, H200, 200).record()
    assert (thin["unused_rows"], thin["excluded_rows"], thin["with_excluded_rows"]) == (94, 6, 100)
    assert thin["excluded_median_error"] > 1.5  # three times too fast
    assert thin["with_excluded_p90_error"] >= thin["unused_p90_error"]
    fast[np.argsort(-rows.seconds)[:40]] /= 3.0
    (many,) = candidate(tmp_path, Rows(rows.numbers, fast))
    assert choose(many, H200).kept is None
    assert "dropped" in choose(many, H200).record()


def test_an_imported_run_answers_queries_and_replaces_itself(tmp_path: Path) -> None:
    (one,) = candidate(tmp_path, synthetic(120, 0.05))
    run = tmp_path / "run"
    for _ in range(2):
        write_run(run, {"schema": 1, "kind": "imported", "title": 'a "quoted" title'}, [choose(one, H200, 100)])
    loaded = tables.load_run(run)
    assert loaded.title == 'a "quoted" title'
    assert loaded.kinds("gemm") == ["bf16-bf16-bf16"]
    assert len(tables.read(loaded.file("gemm", "bf16-bf16-bf16"), GEMM)) == 100
    assert loaded.record["kinds"]["gemm/bf16-bf16-bf16"]["unused_rows"] == 20
    assert not list(tmp_path.glob(".*part*"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.txt").write_text("keep me")
    with pytest.raises(SpecError, match="not a measurement run"):
        write_run(other, {"schema": 1, "kind": "imported", "title": "x"}, [])
    assert (other / "precious.txt").exists()


@pytest.mark.parametrize(("extra", "word"), [
    ("1,2,3\n", "cells"), ("1,a,3,4,bf16,bf16,bf16,1\n", "m = 'a'"), ("1,1,1,1,bf16,bf16,bf17,1e-6\n", "bf17"),
    ("1,1,1,1,bf16,bf16,bf16,0\n", "seconds"), ("1,-1,1,1,bf16,bf16,bf16,1e-6\n", "m = '-1'"),
])  # fmt: skip
def test_a_bad_foreign_row_is_one_line(tmp_path: Path, extra: str, word: str) -> None:
    with pytest.raises(SpecError, match=word):
        candidate(tmp_path, synthetic(3, 0.0), extra)


def test_a_foreign_table_lacks_nothing_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("batch,m,n,k,x,w,seconds\n")
    with pytest.raises(SpecError, match="no column 'compute'"):
        list(table.candidates(path, "gemm"))
    path.write_text("batch,m,n,k,x,w,compute,seconds,colour\n")
    with pytest.raises(SpecError, match="colour"):
        list(table.candidates(path, "gemm"))
    with pytest.raises(SpecError, match="gemm"):
        list(table.candidates(path, "gem"))


def test_the_routings_of_the_tables_are_made_again() -> None:
    for experts, top_k, tokens in ((8, 2, 64), (256, 8, 4096), (128, 8, 1), (64, 6, 1000)):
        touched, load = _routing.routing(experts, top_k, tokens, "balanced")
        assert touched == min(experts, tokens * top_k)
        assert load >= 1.0
        touched, load = _routing.routing(experts, top_k, tokens, "power_law_1.2")
        assert top_k <= touched <= min(experts, tokens * top_k)
        assert load > 1.0
    # DeepSeek-V3's synthetic batch, cut down to 4 of 8 groups, touches half of the experts.
    assert _routing.routing(256, 8, 4096, "balanced", True)[0] == 128


def test_toml_says_what_the_record_says() -> None:
    import tomllib

    record = {
        "schema": 1,
        "title": 'a "b" \\ c',
        "list": ["x", "y"],
        "kinds": {"a/b": {"rows": 3, "share": 0.5, "ok": True}},
    }
    assert tomllib.loads(to_toml(record)) == record
