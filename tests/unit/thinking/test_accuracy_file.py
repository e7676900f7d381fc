"""Files of accuracy: which column counts, what stands between budgets, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.thinking.accuracy import read
from simcost.thinking.parallel import ONE, parse


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "accuracy.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_between_budgets_the_log_is_straight_and_outside_there_is_none(tmp_path: Path) -> None:
    found = read(written(tmp_path, "budget,accuracy\n8k,0.8\n2k,0.6\n"), ONE)
    assert found.at_budgets(np.array([2048.0, 4096.0, 8192.0])) == pytest.approx([0.6, 0.7, 0.8])
    assert np.isnan(found.at_budgets(np.array([1024.0, 9000.0]))).all()
    with pytest.raises(SpecError, match="needs a column 'level'"):
        found.at_levels(["low"])


def test_the_column_is_that_of_the_way_to_answer(tmp_path: Path) -> None:
    path = written(tmp_path, "level,accuracy,pass@8,majority@8,source\nlow,0.5,0.9,0.7,mine\nhigh,0.8,0.95,0.85,mine\n")
    shares = {
        how: read(path, parse(how)).at_levels(["high", "low"]).tolist() for how in ("single", "best:8", "majority:8")
    }
    assert shares == {"single": [0.8, 0.5], "best:8": [0.95, 0.9], "majority:8": [0.85, 0.7]}
    with pytest.raises(SpecError, match="no column majority@4"):
        read(path, parse("majority:4"))
    with pytest.raises(SpecError, match="did you mean 'high'"):
        read(path, ONE).at_levels(["hihg"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("budget,accuracy\n1k,80\n", "write 0.80 for 80 %"), ("budget,accuracy\n1k,80%\n", "write 0.80"), ("budget,accuracy\n", "at least one row"),
        ("budget,level,accuracy\n1k,low,0.5\n", "one of the columns"), ("budget,acuracy\n1k,0.5\n", "did you mean 'accuracy'"),
        ("budget,accuracy\n1k,0.5\n1024,0.6\n", "row 3: budget '1024' appears twice"), ("budget,accuracy\nmany,0.5\n", "not a number of tokens"),
        ("budget,accuracy\n1k\n", "1 cells, not 2"), ("level,accuracy\n,0.5\n", "is empty"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        read(written(tmp_path, text), ONE)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(SpecError, match="No such file"):
        read("/nowhere/accuracy.csv", ONE)
