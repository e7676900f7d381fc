"""Parts of a streamed sweep as bytes: what goes in comes out, and nothing that was cut off or changed is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.bulk.parts import Part, known, packed, whole

PART = Part(
    100, 164, 40, 38, True, {103: "no memory: 3 GB short", 105: "tp: 3 does not divide 8"},
    ([101, 102], [0.25, 0.125], [10.0, 5.0]), {0: 4096.0, 3: 131072.0}, 1.5, b"101,0.25\n102,0.125\n",
)  # fmt: skip


def test_a_part_comes_back_whole_or_without_its_rows() -> None:
    data = packed(PART)
    assert whole(data) == PART
    assert known(data) == replace(PART, rows=b"")
    assert PART.pairs.tolist() == [[0.25, 10.0], [0.125, 5.0]]  # a row a point: both its metrics
    assert replace(PART, front=([], [], [])).pairs.shape == (0, 2)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**9),
    st.binary(max_size=64),
    st.dictionaries(st.integers(0, 10**9), st.text(max_size=8), max_size=3),
)
def test_every_part_comes_back(start: int, rows: bytes, first: dict[int, str]) -> None:
    part = replace(PART, start=start, stop=start + 1, rows=rows, first=first)
    assert whole(packed(part)) == part


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(at: int, change: int) -> None:
    """A checksum of 32 bits sees every change of one byte, wherever it is: in the head, in the JSON, in the rows."""
    data = bytearray(packed(PART))
    data[at % len(data)] ^= change
    assert whole(bytes(data)) is None
    assert known(bytes(data)) is None


@pytest.mark.parametrize("length", [0, 1, 23, 24, 200])
def test_what_was_cut_off_is_no_part(length: int) -> None:
    data = packed(PART)
    assert length < len(data)
    assert whole(data[:length]) is None
    assert whole(data + b"x") is None


def test_the_order_of_fronts_is_kept() -> None:
    """Points in the order of their numbers, whatever their metrics are."""
    front = ([7, 3], [float(np.pi), 1e-300], [1e300, -0.0])
    found = whole(packed(replace(PART, front=front)))
    assert found is not None
    assert found.front == front
    assert found.pairs.tolist() == [[float(np.pi), 1e300], [1e-300, -0.0]]
