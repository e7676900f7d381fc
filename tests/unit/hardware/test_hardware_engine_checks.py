"""Terms of an engine's file: each kind with values that it may hold, and one line for each value that it may not."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.hardware import engine_checks
from simcost.hardware.engine_checks import check, size_of

BELOW = {"below": "70 GiB", "value": 2048}
RESERVED = {"below": "70 GiB", "bytes": "1 GiB", "rank_bytes": "0 B"}
KEPT = dict.fromkeys(engine_checks.KEPT, "1 GiB")

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("share_of", {"value": "all"}), ("windows", {"value": "ratio"}), ("absorbed", {"value": "merged"}),
    ("graphs_inside", {"value": False}), ("graph_bytes", {"value": "0 B"}), ("graph_bytes", {"value": "0.3 GiB", "before_fp8": "1 GB"}),
    ("logit_bytes", {"value": 0}), ("group_ratio", {"value": 1.5}), ("window_ratio", {"value": 1.0}), ("tower_share", {"value": 0.0}),
    ("mxfp4_multiples", {"mxfp8": [1, 2], "fp8": [256, 128], "otherwise": [64, 64]}), ("tokens", {"value": 8192}),
    ("tokens", {"tiers": [BELOW, {"value": 8192, "from_tp_4": 16384}]}), ("block", {"tiers": [{"value": 16}]}),
    ("share", {"value": 0.9}), ("share", {"ranks": [{"below": 2, "value": 0.88}, {"value": 0.8}]}),
    ("share", {"reserved": [RESERVED, {"share": 0.1}]}), ("share", {"reserved": [{"share": 0.1}], "replica_bytes": "1 GiB"}),
    ("share", KEPT),
]  # fmt: skip


@pytest.mark.parametrize(("name", "term"), GOOD)
@pytest.mark.parametrize("origin", ["source", "reason"])
def test_a_term_with_its_origin_is_believed(name: str, term: dict[str, Any], origin: str) -> None:
    check("at", name, {**term, origin: "somewhere"})


@pytest.mark.parametrize(("name", "term"), GOOD)
def test_no_term_is_believed_without_its_origin(name: str, term: dict[str, Any]) -> None:
    for lacking in (term, {**term, "source": ""}):
        with pytest.raises(SpecError, match=r"^at needs a 'source', or a 'reason' where it is assumed$"):
            check("at", name, lacking)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("share_off", {"value": "all"}, "at is unknown; did you mean 'share_of'?"),
    ("share_of", {"value": "some"}, "at must be one of all, free before load, free after load, free after peak, not 'some'"),
    ("chunks", {}, "at must be one of whole, grouped, ratio, not None"), ("experts_stay", {"value": 1}, "true or false, not 1"),
    ("experts_stay", {"value": "true"}, "true or false, not 'true'"), ("tower_bytes", {"value": 5}, "a size with its unit"),
    ("tower_bytes", {}, "a size with its unit"), ("tower_bytes", {"value": "5"}, "has no unit"),
    ("tower_bytes", {"value": "5 GiB", "before_fp8": 1}, "a size with its unit"), ("tower_bytes", {"value": "-1 GiB"}, "greater than 0"),
    ("logit_bytes", {"value": -1}, "a number of at least 0, not -1"), ("logit_bytes", {"value": True}, "not True"),
    ("logit_bytes", {"value": float("nan")}, "not nan"), ("logit_bytes", {"value": "3"}, "not '3'"),
    ("window_ratio", {"value": 1.01}, "a number from 0 to 1, not 1.01"), ("tower_share", {"value": -0.1}, "a number from 0 to 1"),
    ("mxfp4_multiples", {"mxfp8": [1, 2], "fp8": [1, 2]}, "must be a list of 2, not None"),
    ("mxfp4_multiples", {"mxfp8": [1], "fp8": [1, 2], "otherwise": [1, 2]}, "must be a list of 2, not [1]"),
    ("mxfp4_multiples", {"mxfp8": [1, 0], "fp8": [1, 2], "otherwise": [1, 2]}, "at least 1, not 0"),
    ("tokens", {"value": 0.5}, "a number of at least 1, not 0.5"), ("tokens", {}, "not None"), ("tokens", {"tiers": []}, "must be a list, not []"),
    ("tokens", {"tiers": [{"value": 1}, {"value": 2}]}, "every tier except the last needs 'below'"),
    ("tokens", {"tiers": [BELOW]}, "every tier except the last needs 'below'"), ("tokens", {"tiers": [3]}, "every tier except the last"),
    ("tokens", {"tiers": [{"below": 70, "value": 1}, {"value": 2}]}, "a size with its unit"),
    ("tokens", {"tiers": [BELOW, {"value": 0}]}, "at least 1, not 0"), ("tokens", {"tiers": [BELOW, {"value": 1, "from_tp_4": 0}]}, "at least 1, not 0"),
    ("share", {"value": 1.5}, "a number from 0 to 1, not 1.5"), ("share", {"ranks": [{"below": 0, "value": 0.5}, {"value": 0.5}]}, "at least 1, not 0"),
    ("share", {"ranks": [{"value": 2}]}, "from 0 to 1, not 2"), ("share", {"reserved": [{"bytes": "1 GiB"}]}, "at: rank_bytes must be a size"),
    ("share", {"reserved": [{"share": 2}]}, "from 0 to 1, not 2"), ("share", {"reserved": [{"share": 0.5}], "replica_bytes": 3}, "a size"),
    ("share", {"kept_bytes": "1 GiB"}, "at: kept_token_bytes must be a size"), ("share", {**KEPT, "least": 3}, "at: least must be a size"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "term", "said"), BAD)
def test_a_value_that_a_term_cannot_hold_is_one_line(name: str, term: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        check("at", name, {**term, "source": "somewhere"})
    assert str(error.value).startswith("at")
    assert said in str(error.value)


@pytest.mark.parametrize("term", [None, 3, "all", ["all"]])
def test_a_term_that_is_no_table_has_no_origin(term: Any) -> None:
    with pytest.raises(SpecError, match="at needs a 'source'"):
        check("at", "share_of", term)


def test_every_term_has_one_kind() -> None:
    assert len(set(engine_checks.TERMS)) == len(engine_checks.TERMS)
    assert set(engine_checks.OPTIONAL) <= set(engine_checks.TERMS)


@pytest.mark.parametrize(
    ("text", "size"), [("0 B", 0.0), ("0.5 GiB", 2.0**29), ("1.5 GB", 1.5e9), ("34 KiB", 34 * 1024)]
)
def test_a_size_may_be_nothing(text: str, size: float) -> None:
    assert size_of(text, "at") == size
