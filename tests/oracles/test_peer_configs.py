"""The model configs that `aiconfigurator-core` ships, each as simcost counts it against its class in `transformers`.

Skipped where the package is not installed (`pip install --no-deps aiconfigurator-core`). A file `*_hf_quant_config.json` is the side file of a config. Types
without a class are compared with a count by hand, block by block.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import SimcostError
from simcost.model import count
from simcost.model.load import overridden
from simcost.model.spec import from_config
from tests.oracles import classes

PACKAGE = importlib.util.find_spec("aiconfigurator_core")
NO_PART = ("model_type", "quantization_config", "auto_map", "transformers_version")
# Counted by hand from the config (tests/reference/parameters.csv).
BY_HAND = {"kimi_k2": 1_026_408_232_448, "nemotron-nas": 49_867_145_216}
# Types of remote code, whose totals nothing here tells.
UNTOLD = {"minimax_m3", "mimo", "kimi_k3", "deepseek_ref"}
REFUSED = {"step3p7": "swa_num_attention_heads"}  # the heads of its window layers are in no key


def files() -> list[Path]:
    if PACKAGE is None or PACKAGE.origin is None:
        return []
    folder = Path(PACKAGE.origin).parent / "model_configs"
    return [path for path in sorted(folder.glob("*_config.json")) if "hf_quant" not in path.name]


def ours(path: Path, table: dict[str, Any]) -> tuple[float, bool]:
    """(parameters, whether they are those of the language model alone)."""
    spec = from_config(overridden(dict(table), {}, table["model_type"]), path.stem, path.stem)
    found = count.parameters(spec)
    return float(found["params_language" if spec.uncounted else "params_total"]), bool(spec.uncounted)


@pytest.mark.skipif(PACKAGE is None, reason="aiconfigurator-core is not installed")
@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_a_config_counts_what_its_class_holds(path: Path) -> None:
    table = json.loads(path.read_text("utf-8"))
    kind = table["model_type"]
    if kind in REFUSED:
        with pytest.raises(SimcostError, match=REFUSED[kind]):
            ours(path, table)
        return
    counted, language = ours(path, table)
    if kind in BY_HAND:
        assert counted == BY_HAND[kind]
    elif kind not in UNTOLD:
        config = classes.config(kind, **{key: value for key, value in table.items() if key not in NO_PART})
        built = classes.built(config)
        assert counted == (classes.language(built) if language else classes.parameters(built))
