"""The rule of which rows and tables may speak: every filter and every verdict on small tables that are made here, firing and not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simcost.calibration.rows import Rows
from simcost.calibration.soundness import advice, findings, row_filters, spread
from simcost.calibration.soundness.evidence import Evidence, evidence, median_ratio
from simcost.calibration.soundness.picks import picked
from simcost.calibration.soundness.verdicts import Verdict, judged
from simcost.hardware import load as hardware
from simcost.num import Z90_STATED

DEVICES = {name: hardware.load(name) for name in ("h100", "h200", "b200", "gb200", "b300", "a100")}
SUBSTITUTES = {"sglang": ("vllm", "trtllm"), "trtllm": ("vllm", "sglang"), "vllm": ("sglang", "trtllm")}
TOKENS = 2.0 ** np.arange(0, 15)
FORMATS = {"bf16": ("bf16", "bf16"), "fp8": ("fp8", "fp8"), "int4": ("int4", "bf16")}


def gemm(
    factor: Any = 1.3, engine: str = "vllm", version: str = "1.0", hw: str = "h200", form: str = "bf16", start: float = 3e-6,
    layers: Sequence[tuple[int, int]] = ((512, 512), (1024, 1024), (4096, 4096), (8192, 8192), (16384, 8192)),
) -> Evidence:  # fmt: skip
    """Products that take `factor` times their light and a start; `factor` may be one of an Evidence."""
    m = np.tile(TOKENS, len(layers))
    n, k = (np.repeat([float(layer[i]) for layer in layers], len(TOKENS)) for i in (0, 1))
    weights, compute = FORMATS[form]
    labels = {"x": "bf16", "w": weights, "compute": compute}
    numbers = {"batch": np.ones(len(m)), "m": m, "n": n, "k": k}
    bare = evidence(DEVICES[hw], "gemm", labels, Rows(numbers, np.ones(len(m))), engine, version, np.zeros(len(m)))
    times = factor(bare) if isinstance(factor, Callable) else factor  # type: ignore[arg-type]
    return replace(bare, rows=Rows(numbers, bare.light_s * times + start))


def experts(factor: float = 2.0, engine: str = "vllm", version: str = "1.0", form: str = "bf16", hw: str = "h200",
            models: Sequence[tuple[int, float]] = ((128, 1.0), (256, 1.0), (64, 1.0))) -> Evidence:  # fmt: skip
    """Experts of some models, each with a factor of its own on top."""
    tokens = np.tile(TOKENS[:13], len(models))
    count = np.repeat([float(e) for e, _ in models], 13)
    own = np.repeat([f for _, f in models], 13)
    numbers = {
        "tokens": tokens, "copies": 8.0 * tokens, "touched": np.minimum(8.0 * tokens, count), "experts": count,
        "hidden": np.full(len(tokens), 4096.0), "width": np.full(len(tokens), 1536.0), "load": np.ones(len(tokens)),
    }  # fmt: skip
    weights, compute = FORMATS[form]
    labels = {"x": "bf16", "w": weights, "compute": compute, "gated": "gated"}
    bare = evidence(
        DEVICES[hw], "experts", labels, Rows(numbers, np.ones(len(tokens))), engine, version, np.zeros(len(tokens))
    )
    return replace(bare, rows=Rows(numbers, bare.light_s * factor * own + 5e-6))


def decode(seconds: Callable[[Evidence], Any], kv: str, engine: str = "vllm") -> Evidence:
    """Attention over long caches: all of it bound by their bytes."""
    batch, past = (
        a.ravel() for a in np.meshgrid([16.0, 32.0, 64.0, 128.0], [8191.0, 16383.0, 32767.0, 65535.0, 131071.0])
    )
    ones = np.ones(len(batch))
    numbers = {
        "batch": batch, "q_len": ones, "past": past, "heads": 32 * ones, "kv_heads": 8 * ones, "d_qk": 128 * ones, "d_v": 128 * ones,
        "window": 0 * ones,
    }  # fmt: skip
    labels = {"x": "bf16", "kv": kv, "compute": "fp8" if kv == "fp8" else "bf16", "layout": "gqa", "scope": "write"}
    bare = evidence(DEVICES["h200"], "attention_decode", labels, Rows(numbers, ones), engine, "1.0", 0 * ones)
    return replace(bare, rows=Rows(numbers, np.asarray(seconds(bare))))


def collective(
    share: float, engine: str = "nccl", groups: Sequence[float] = (2.0, 4.0, 8.0), slow: float = 0.0
) -> Evidence:
    """All-reduces that reach `share` of the link; `slow`: a group that reaches a tenth of that."""
    size, group = (a.ravel() for a in np.meshgrid(2.0 ** np.arange(10, 31), groups))
    labels = {"what": "all_reduce", "backend": "custom"}
    numbers = {"bytes": size, "group": group}
    bare = evidence(
        DEVICES["h200"], "collective", labels, Rows(numbers, np.ones(len(size))), engine, "1.0", np.zeros(len(size))
    )
    reached = np.where(group == slow, share / 10.0, share)
    return replace(bare, rows=Rows(numbers, bare.memory_s / reached + 1e-5))


def changed(table: Evidence, at: Any, by: float) -> Evidence:
    """Some rows slower or faster."""
    seconds = table.rows.seconds.copy()
    seconds[at] *= by
    return replace(table, rows=Rows(table.rows.numbers, seconds))


def why(first: Evidence, *others: Evidence) -> str:
    return judged([first, *others])[0].why


# Row filters


def test_rows_faster_than_light_go_and_what_a_cache_may_hold_stays() -> None:
    table = gemm()
    large = np.flatnonzero(table.of("compute") & table.large)[:2]
    small = np.flatnonzero(table.tiny)[:2]
    found = row_filters.filtered(changed(changed(table, large, 0.5), small, 0.01))
    assert found.dropped == {"below 0.9 of its light": 2}
    assert len(found) == len(table) - 2
    assert not row_filters.too_fast(gemm(0.95, start=0.0)).any()  # clocks boost above the datasheet's
    links = collective(0.8)
    assert row_filters.too_fast(changed(links, [0], 1e-4)).sum() == 1  # of what is sent nothing stays in a cache


def test_a_row_slower_than_a_larger_kernel_goes_and_a_step_of_tiles_stays() -> None:
    table = gemm()
    at = int(np.argmax(table.rows.numbers["m"] == 64.0))
    blunder = changed(table, [at], 20.0)
    assert np.flatnonzero(row_filters.spikes(blunder)).tolist() == [at]
    assert row_filters.filtered(blunder).dropped == {"over 1.25 times the time of a larger kernel": 1}
    assert row_filters.excess(blunder)[at] > 5.0
    assert not row_filters.spikes(changed(table, [at], 1.2)).any()
    assert not row_filters.spikes(table).any()


def test_rungs_of_another_ladder_or_far_away_say_nothing() -> None:
    two = gemm(layers=((4096, 4096), (256, 256)))  # the second layer is faster, and no rung of the first
    assert not row_filters.spikes(two).any()
    apart = two.take(np.isin(two.rows.numbers["m"], (1.0, 64.0)))
    assert not row_filters.spikes(changed(apart, [0], 100.0)).any()


def test_where_nobody_says_how_tokens_were_routed_only_more_work_counts() -> None:
    table = experts()
    at = int(np.flatnonzero(table.rows.numbers["tokens"] == 64.0)[0])
    numbers = {**table.rows.numbers, "load": table.rows.numbers["load"].copy()}
    numbers["load"][at] = 16.0  # the busiest expert has more than a batch of twice the tokens gives any
    skewed = replace(table, rows=Rows(numbers, changed(table, [at], 3.0).rows.seconds))
    assert row_filters.spikes(skewed)[at]
    assert not row_filters.spikes(replace(skewed, routed=False)).any()


def test_a_clock_that_falls_under_load_takes_the_long_products_with_it() -> None:
    def tired(table: Evidence) -> Any:
        return np.where(table.compute_s > 3e-4, 1.9, 1.3)

    layers = ((8192, 8192), (16384, 8192), (16384, 16384))
    found = row_filters.filtered(gemm(tired, layers=layers))
    assert list(found.dropped) == ["a clock that fell under load"]
    assert not found.of("compute")[found.compute_s > 2e-4].any()
    assert not row_filters.filtered(gemm(layers=layers)).dropped
    assert not row_filters.throttled(experts()).any()


# Verdicts


def test_a_table_alone_stands_however_slow() -> None:
    assert why(gemm(9.0)) == ""


def test_far_from_light_falls_only_where_another_shows_that_it_can_be_fast() -> None:
    assert "compute-bound: 6.0 times its light, 4.6 times sglang 1.0" in why(gemm(6.0), gemm(1.3, "sglang"))
    assert why(gemm(3.8), gemm(1.95, "sglang")) == ""  # within four times the light
    assert "its light" not in why(gemm(6.0), gemm(3.5, "sglang"))  # not twice as slow


def test_what_two_engines_agree_on_is_how_slow_the_kernel_is() -> None:
    slow, too, fast = gemm(6.0), gemm(6.2, "trtllm"), gemm(2.0, "sglang")
    assert "its light" in why(slow, fast)
    assert "its light" not in why(slow, too, fast)
    again = gemm(6.1, "vllm", "0.9")  # another version of the same engine says nothing new
    assert "its light" in why(slow, again, fast)


def test_a_narrower_format_that_is_no_faster_falls() -> None:
    wide, slow, good = gemm(1.3), gemm(3.2, form="fp8"), gemm(1.4, "sglang", form="fp8")
    found = why(slow, wide, good)
    assert "compute-bound" in found
    assert "times the time of its bf16-bf16-bf16" in found
    assert "its bf16" not in why(gemm(1.6, form="fp8"), wide, good)  # faster than bf16
    assert "its bf16" not in why(slow, wide, gemm(2.9, "sglang", form="fp8"))  # nobody does much better
    assert "its bf16" not in why(slow, gemm(1.3, "sglang"), good)  # the wide one is another engine's


def test_weight_only_formats_are_held_to_bytes_alone() -> None:
    layers = ((32768, 32768), (65536, 16384), (32768, 24576), (24576, 24576))
    wide = gemm(1.3, layers=layers)
    found = why(gemm(8.0, form="int4", layers=layers), wide, gemm(1.4, "sglang", form="int4", layers=layers))
    assert "memory-bound" in found
    assert "compute-bound" not in found


def test_a_slow_start_falls_and_a_start_that_is_only_relatively_slow_stands() -> None:
    eager = gemm(start=60e-6)
    assert "starts at 60 us, another table at 3" in why(eager, gemm(1.3, "sglang"))
    assert "starts" not in why(gemm(start=15e-6), gemm(1.3, "sglang"))  # below 20 us
    assert "starts" not in why(gemm(start=50e-6), gemm(1.3, "sglang", start=20e-6))  # less than three times


def test_small_calls_of_another_wrapper_fall() -> None:
    assert "small calls take 2.0 times another table's" in why(gemm(start=6.6e-6), gemm(1.3, "sglang"))
    assert why(gemm(start=3.5e-6), gemm(1.3, "sglang")) == ""


def test_a_narrow_cache_with_the_times_of_the_wide_one_was_not_used() -> None:
    wide = decode(lambda t: t.light_s * 1.4, "bf16")
    copied = decode(lambda t: wide.rows.seconds * 1.001, "fp8")
    assert "the times of bf16-bf16-bf16-gqa-write at half the bytes" in why(copied, wide)
    assert why(decode(lambda t: t.light_s * 1.5, "fp8"), wide) == ""
    other = decode(lambda t: wide.rows.seconds * 1.001, "fp8", "sglang")
    assert why(other, wide) == ""  # of another engine: a coincidence


def test_a_part_slower_than_the_one_it_follows_falls() -> None:
    found = why(gemm(5.5, hw="b200"), gemm(1.3, hw="h200"), gemm(1.5, "sglang", hw="b200"))
    assert "times the time of the h200" in found
    assert "of the h200" not in why(gemm(1.6, hw="b200"), gemm(1.3, hw="h200"), gemm(1.5, "sglang", hw="b200"))
    assert "of the h200" not in why(
        gemm(5.5, hw="b200"), gemm(1.3, "trtllm", hw="h200"), gemm(1.5, "sglang", hw="b200")
    )


def test_a_part_whose_largest_work_alone_is_slower_than_its_predecessors_falls() -> None:
    def late(by: float) -> Callable[[Evidence], Any]:
        return lambda t: np.where(t.light_s > np.quantile(t.light_s, 0.7), by, 0.9)

    rivals = gemm(1.3, hw="h200"), gemm(1.3, "sglang", hw="b200")
    assert "times the time of the h200" in why(gemm(late(6.0), hw="b200"), *rivals)
    assert "of the h200" not in why(gemm(late(2.0), hw="b200"), *rivals)


def test_a_table_of_which_many_rows_are_faster_than_light_timed_something_else() -> None:
    rival, table = gemm(1.3, "sglang"), gemm()
    large = np.flatnonzero(table.of("compute") & table.large)
    assert len(large) > 0.2 * len(table)
    many, few = (row_filters.filtered(changed(table, large[:count], 0.5)) for count in (len(large), 2))
    assert "rows are faster than light: it ran less than its columns say" in why(many, rival)
    assert "it ran less" not in why(few, rival)


def test_the_same_code_on_a_sibling_falls_with_it() -> None:
    bad = [gemm(6.0, hw="gb200", start=60e-6), gemm(1.3, "sglang", hw="gb200")]
    found = why(gemm(1.4, hw="b200"), *bad)
    assert found.startswith("as on the gb200: ")
    assert why(gemm(1.4, version="2.0", hw="b200"), *bad) == ""
    assert why(gemm(1.4, hw="h200"), *bad) == ""


def test_an_older_version_with_the_same_times_as_one_that_fell_is_no_better() -> None:
    new, fast = gemm(6.0, version="2.0"), gemm(1.3, "sglang")
    slow_start = gemm(6.0, version="1.0", start=3.1e-6)
    assert why(slow_start, new, fast) != ""
    assert why(gemm(3.9, version="1.0", start=3e-6), new, gemm(1.3, "sglang", start=3e-6)) == ""


def test_groups_that_do_not_reach_the_link_go_where_another_reaches_it() -> None:
    found = judged([collective(0.8, "vllm", slow=8.0), collective(0.8, "sglang")])[0]
    assert found.why == ""
    assert set(found.table.rows.numbers["group"]) == {2.0, 4.0}
    assert list(found.table.dropped) == ["groups that reach less than 25% of the link"]
    nobody = judged([collective(0.8, "vllm", slow=8.0)])[0]  # nobody reaches it: peers could not see each other
    assert set(nobody.table.rows.numbers["group"]) == {2.0, 4.0}
    assert not judged([collective(0.4, "vllm")])[0].table.dropped


def test_models_that_nobody_tuned_go_and_the_rest_of_the_table_stays() -> None:
    mine = experts(2.0, models=((128, 1.0), (256, 1.0), (64, 1.0), (32, 4.0)))
    other = experts(2.0, "sglang", models=((128, 1.0), (256, 1.0), (64, 1.0), (32, 1.0)))
    found = judged([mine, other])[0]
    assert found.why == ""
    assert 32.0 not in found.table.rows.numbers["experts"]
    assert list(found.table.dropped) == ["models whose kernel was not tuned"]
    assert not judged([mine])[0].table.dropped  # nobody shows that it can be faster
    whole = judged([experts(2.0, models=((128, 4.0), (256, 4.0), (64, 4.0))), experts(2.0, "sglang")])[0]
    assert whole.why
    assert not whole.table.dropped


@pytest.mark.parametrize("text", [
    "compute-bound: 6.5 times its light, 5.0 times vllm 0.24.0", "memory-bound: 2.04 times the time of its bf16-bf16-bf16, 4.5 times x",
    "starts at 60 us, another table at 3", "the times of bf16-bf16-bf16-gqa-write at half the bytes",
    "memory-bound: 2.86 times the time of the h100, 5.8 times x", "small calls take 3.0 times another table's",
    "as on the b200: starts at 60 us, another table at 3", "as 0.24.0: x", "are 'seconds' in seconds? They are 1e+03 times their light",
])  # fmt: skip
def test_every_verdict_has_an_advice(text: str) -> None:
    assert advice.verdict(text)


def test_every_filter_has_an_advice() -> None:
    others = ["groups that reach less than 25% of the link", "models whose kernel was not tuned"]
    assert all(advice.rows(why) for why in [*row_filters.FILTERS, *others])
    assert len({advice.rows(why) for why in [*row_filters.FILTERS, *others]}) == 6


# Picks


def thick(table: Evidence) -> Evidence:
    """With as many rows as a table needs to speak: shapes nearby, the same times."""
    copies = 2000 // len(table) + 1
    numbers = {name: np.tile(column, copies) for name, column in table.rows.numbers.items()}
    numbers["n"] = numbers["n"] + np.repeat(np.arange(copies), len(table))
    made = evidence(table.device, table.family, table.labels, Rows(numbers, np.tile(table.rows.seconds, copies)), table.engine, table.version,
                    np.zeros(len(numbers["n"])))  # fmt: skip
    return made


def pick(verdicts: Sequence[Verdict], device: str, engine: str) -> tuple[tuple[str, ...], str] | None:
    found = [one for one in picked(verdicts, SUBSTITUTES) if (one.device, one.engine) == (device, engine)]
    return (found[0].references, found[0].how) if found else None


def test_one_routing_that_ran_another_kernel_goes() -> None:
    table = experts()
    three = [replace(table, variant=np.full(len(table), v)) for v in (0.0, 1.01, 1.2)]
    numbers = {name: np.tile(column, 3) for name, column in table.rows.numbers.items()}
    seconds = np.tile(table.rows.seconds, 3)
    seconds[5] *= 4.0
    joined = evidence(
        table.device, "experts", table.labels, Rows(numbers, seconds), "trtllm", "1.0",
        np.concatenate([one.variant for one in three]),
    )  # fmt: skip
    bad = row_filters.another_kernel(joined)
    assert np.flatnonzero(bad).tolist() == [5]
    assert not row_filters.another_kernel(table).any()  # one routing alone says nothing


def test_a_narrow_format_alone_must_gain_something() -> None:
    wide = gemm()
    assert "no other table of it" in why(gemm(8.0, form="fp8"), wide)
    assert "no other table of it" not in why(gemm(1.3, form="fp8"), wide)
    assert "no other table of it" not in why(gemm(8.0, form="fp8"), wide, gemm(1.3, "sglang", form="fp8"))


def test_an_engines_newest_sound_table_answers_first() -> None:
    old, new = (thick(gemm(version=v)) for v in ("0.9", "0.24.0"))
    assert pick([Verdict(old, ""), Verdict(new, "")], "h200", "vllm") == (("vllm/0.24.0",), "own")
    assert pick([Verdict(old, ""), Verdict(new, "slow")], "h200", "vllm") == (("vllm/0.9",), "own")
    half = new.take(np.arange(len(old) // 2 - 100))
    assert pick([Verdict(old, ""), Verdict(replace(half, version="0.30"), "")], "h200", "vllm") == (
        ("vllm/0.9",),
        "own",
    )


def test_then_a_siblings_then_another_engines_and_an_unsound_one_never() -> None:
    mine, sibling = thick(gemm(hw="gb200")), thick(gemm(hw="b200"))
    other = thick(gemm(engine="sglang", hw="gb200"))
    assert pick([Verdict(mine, "slow"), Verdict(sibling, ""), Verdict(other, "")], "gb200", "vllm") == (
        ("b200:vllm/1.0",), "own, measured on b200",
    )  # fmt: skip
    found = pick([Verdict(mine, "slow"), Verdict(sibling, "slow"), Verdict(other, "")], "gb200", "vllm")
    assert found == (("sglang/1.0",), "no sound table of this engine: sglang's is used")
    assert pick([Verdict(mine, "slow"), Verdict(sibling, "slow")], "gb200", "vllm") is None
    assert pick([Verdict(gemm(), "")], "h200", "vllm") is None  # too few rows to speak


def test_trtllms_generated_kernels_answer_on_blackwell_where_its_own_are_slower() -> None:
    def many(factor: float, engine: str, hw: str) -> Verdict:
        models = tuple((e, 1.0) for e in range(16, 16 + 14 * 16, 16))
        return Verdict(experts(factor, engine, hw=hw, models=models), "")

    found = pick([many(2.0, "trtllm", "b200"), many(1.2, "vllm", "b200")], "b200", "trtllm")
    assert found is not None
    assert found[0][0] == "vllm/1.0"
    assert "generated kernels" in found[1]
    close = pick([many(1.25, "trtllm", "b200"), many(1.2, "vllm", "b200")], "b200", "trtllm")
    assert close is not None
    assert close[0][0] == "trtllm/1.0"
    hopper = pick([many(2.0, "trtllm", "h200"), many(1.2, "vllm", "h200")], "h200", "trtllm")
    assert hopper is not None
    assert hopper[0][0] == "trtllm/1.0"


def test_what_a_pick_lacks_comes_from_two_others_at_most() -> None:
    def some(engine: str, first: int, hw: str = "h200") -> Verdict:
        return Verdict(experts(engine=engine, hw=hw, models=tuple((e, 1.0) for e in range(first, first + 16))), "")

    tables = [some("vllm", 8), some("sglang", 20), some("trtllm", 40)]
    found = pick(tables, "h200", "vllm")
    assert found is not None
    assert found[0] == ("vllm/1.0", "sglang/1.0", "trtllm/1.0")
    found = pick([*tables, some("vllm", 60, "h100")], "h200", "vllm")
    assert found is not None
    assert found[0] == ("vllm/1.0", "h100:vllm/1.0", "sglang/1.0")
    same = pick([some("vllm", 8), some("sglang", 8)], "h200", "vllm")
    assert same is not None
    assert same[0] == ("vllm/1.0",)  # it lacks nothing


def test_a_library_answers_for_any_engine() -> None:
    found = [one for one in picked([Verdict(collective(0.8), "")], SUBSTITUTES) if one.device == "h200"]
    assert [(one.engine, one.references, one.how) for one in found] == [("any", ("nccl/1.0",), "library")]


# Spread


def test_spread_is_the_p90_between_engines_and_between_siblings() -> None:
    verdicts = [Verdict(thick(gemm(1.3, engine)), "") for engine in ("vllm",)]
    verdicts.append(Verdict(thick(gemm(lambda t: 1.3 * 1.2, "sglang", start=3.6e-6)), ""))
    verdicts.append(Verdict(thick(gemm(1.3, "vllm", hw="h100")), ""))
    (found,) = spread.measured(picked(verdicts, SUBSTITUTES))
    assert found.engine_large == pytest.approx(np.log(1.2) / Z90_STATED / np.sqrt(2.0), rel=0.05)
    assert found.engine_small == pytest.approx(found.engine_large, rel=0.05)
    assert found.sibling_large < 0.03  # lights are scaled by; what is left are starts
    assert found.rows == len(verdicts[0].table)


# The doctor's comparison


def other(table: Evidence) -> findings.Other:
    def curve() -> Any:
        from simcost.calibration import store
        from simcost.calibration.family import families

        return store.fitted(families()[table.family], table.rows, table.labels, table.device)

    return findings.Other(table, curve)


def test_rows_are_held_against_a_curve_where_no_shapes_are_equal() -> None:
    layers = [(n, k) for n in (2048, 4096, 6144, 8192, 12288) for k in (2048, 4096, 8192, 16384)]
    ships = gemm(1.3, layers=layers)
    grid = ((5120, 5120), (7168, 7168), (3072, 12288), (10240, 6144))
    mine = gemm(6.0, "yours", layers=grid)
    found = findings.examined(mine, [other(ships)])
    assert "times its light" in found.why
    assert found.rivals[0].equal == 0
    assert found.best is not None
    assert 3.5 < found.best[1] < 5.0
    good = findings.examined(gemm(1.35, "yours", layers=grid), [other(ships)])
    assert good.why == ""
    assert good.best is not None
    assert good.best[1] == pytest.approx(1.35 / 1.3, abs=0.06)


@pytest.mark.parametrize(
    ("scale", "word"), [(1e3, "milliseconds"), (1e6, "microseconds"), (1e-3, "are 'seconds' in seconds?"), (1.0, "")]
)
def test_another_unit_is_doubted_with_and_without_a_table_beside_it(scale: float, word: str) -> None:
    table = gemm(1.3, "yours")
    scaled = replace(table, rows=Rows(table.rows.numbers, table.rows.seconds * scale))
    for others in ([other(gemm(1.3))], []):
        found = findings.examined(scaled, others)
        assert (word if others else word and "are 'seconds' in seconds?") in found.why
        assert bool(found.why) == bool(word)


def test_what_fell_is_shown_by_its_worst_row() -> None:
    table = gemm()
    at = int(np.argmax(table.rows.numbers["m"] == 64.0))
    (found,) = findings.examined(changed(table, [at], 20.0), []).dropped
    assert (found.rows, found.worst) == (1, "batch=1 m=64 n=512 k=512")
    assert found.factor > 5.0
    assert findings.falling(table) == 0.0
    assert findings.falling(collective(0.8)) == 0.0
    assert median_ratio(table, table, np.ones(len(table), bool)) == 1.0
