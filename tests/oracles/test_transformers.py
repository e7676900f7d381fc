"""Totals and caches of every decoder of Hugging Face `transformers` against its class: as it stands by default, with a key drawn anew, with a key left out.

A config that simcost refuses is no failure: the table of each test names the reason. What it reads must be right. `SIMCOST_ORACLE_DRAWS` is how many
changes of a kind a type sees (12; a quarter of it with a tower), 0 for all. Run with `pytest tests/oracles/test_transformers.py -s` to see the tables.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from simcost.errors import SimcostError
from simcost.hf import MODELS, flatten
from simcost.model import count
from simcost.model.classes.family import families
from simcost.model.keys import SIZES
from simcost.model.load import overridden
from simcost.model.spec import ModelSpec, from_config
from tests.oracles import classes

USUAL = 12
DRAWS = int(os.environ.get("SIMCOST_ORACLE_DRAWS", USUAL))
LAYERS = 6  # of a model with a key drawn anew: enough for every pattern of layers in use
JOINT = 6  # draws of three keys at once, a type
NEAR = 0.005
TYPES = (*classes.CAUSAL, *classes.IMAGE_TEXT)
CONTEXTS = (1, 1_000_000)
# How many are exact or near at least, at the usual number of draws.
FLOOR = {"types": 210, "saved": 120, "drawn": 2700, "left out": 1900, "strange": 640, "cache": 325}


# What a repository's own code reads otherwise than the class, and simcost as that code: MPT's (mosaicml), and the span of Moshi's cache (kyutai, `context`).
# Ovis2's class gives an untied head the width of its outer table, with which the model cannot run unless it is the inner one.
OTHER_CODE = {
    ("mpt", "expansion_ratio"),
    ("mpt", "attn_config"),
    ("moshi", "sliding_window"),
    ("ovis2", "tie_word_embeddings"),
}
# Keys and values of its cross-attention layers are those of images; a text keeps none.
OF_IMAGES = ("mllama",)
# Left out, the class builds a tower of its own defaults, which no language model's count shows.
TOWERS = ("vision_config", "audio_config", "vq_config")


class Row(NamedTuple):
    """One config: what was changed in it, what simcost counts, what the class has; a reason where one of them is None."""

    kind: str
    change: str
    ours: float | None
    theirs: float | None
    reason: str = ""

    @property
    def verdict(self) -> str:
        if self.ours is None:
            return "refused"
        if self.theirs is None:
            return "not built"
        if self.ours == self.theirs:
            return "exact"
        return "near" if abs(self.ours / self.theirs - 1.0) <= NEAR else "wrong"


def read(kind: str, table: dict[str, Any]) -> ModelSpec | str:
    """The model, or why it is refused."""
    try:
        return from_config(overridden(table, {}, kind), kind, kind)
    except SimcostError as error:
        return str(error)


def judged(kind: str, change: str, config: Any, table: dict[str, Any]) -> Row:
    """`table` as simcost counts it against the class of `config`; the language model alone where simcost says that it cannot count what stands beside it."""
    spec = read(kind, table)
    if isinstance(spec, str):
        return Row(kind, change, None, None, spec)
    ours = float(count.parameters(spec)["params_language" if spec.uncounted else "params_total"])
    try:
        model = classes.built(config)
        return Row(kind, change, ours, classes.language(model) if spec.uncounted else classes.parameters(model))
    except classes.Unbuildable as error:
        return Row(kind, change, ours, None, str(error))


def told(title: str, rows: Iterable[Row], capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    """Prints what is not exact, and counts the verdicts."""
    rows = list(rows)
    found = Counter(row.verdict for row in rows)
    with capsys.disabled():
        print(f"\n{title}: {dict(found)}")
        for row in rows:
            if row.verdict != "exact":
                figures = "" if row.ours is None or row.theirs is None else f"{row.ours:.0f} for {row.theirs:.0f}"
                print(f"  {row.verdict:9} {row.kind:26} {row.change:34} {figures}{row.reason}")
    return found


def wrong(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.verdict == "wrong"]


def test_types(capsys: pytest.CaptureFixture[str]) -> None:
    """Every type with its class's default config."""
    rows = []
    for kind in TYPES:
        try:
            config = classes.config(kind)
            rows.append(judged(kind, "default", config, classes.table(config)))
        except classes.Unbuildable as error:
            rows.append(Row(kind, "default", 0.0, None, str(error)))
    found = told("types", rows, capsys)
    assert wrong(rows) == []
    assert found["exact"] + found["near"] >= FLOOR["types"]


def test_saved(capsys: pytest.CaptureFixture[str]) -> None:
    """The file that `save_pretrained` writes of every type with a language model inside, which leaves out what its class has by default; and the whole file without
    the type of that model. Both as the file that says everything."""
    rows = []
    for kind in classes.IMAGE_TEXT:
        try:
            config = classes.config(kind)
        except classes.Unbuildable:
            continue
        whole = classes.table(config)
        inside = next((name for name in MODELS if isinstance(whole.get(name), dict)), None)
        if inside is None or isinstance(read(kind, whole), str):
            continue
        rows.append(judged(kind, "saved", config, json.loads(config.to_json_string(use_diff=True))))
        nameless = {**whole, inside: {key: value for key, value in whole[inside].items() if key != "model_type"}}
        try:
            rows.append(judged(kind, "without a type inside", classes.again(kind, nameless), nameless))
        except classes.Unbuildable as error:
            rows.append(Row(kind, "without a type inside", 0.0, None, str(error)))
    found = told("saved", rows, capsys)
    assert wrong(rows) == []
    assert not found["refused"]
    assert found["exact"] + found["near"] >= FLOOR["saved"]


class Base(NamedTuple):
    """A small model of a type. `inner`: the table of its language model whose keys are changed, "" for its own; `keys`: what the class is given of it."""

    kind: str
    inner: str
    keys: dict[str, Any]
    table: dict[str, Any]

    @property
    def part(self) -> dict[str, Any]:
        found: dict[str, Any] = self.table[self.inner] if self.inner else self.table
        return found

    def config(self, change: Mapping[str, Any]) -> Any:
        """The class's config with keys changed. Raises Unbuildable."""
        return given(self.kind, self.inner, {**self.keys, **change})

    def whole(self, part: Mapping[str, Any]) -> dict[str, Any]:
        """The config with another table in the place of `part`."""
        return {**self.table, self.inner: dict(part)} if self.inner else dict(part)


def given(kind: str, inner: str, keys: Mapping[str, Any]) -> Any:
    return classes.config(kind, **({inner: dict(keys)} if inner else keys))


def bases() -> Iterator[Base]:
    """Of every type that simcost reads: with its own keys to change, and with those of the language model inside."""
    for kind in TYPES:
        try:
            table = classes.table(classes.config(kind))
        except classes.Unbuildable:
            continue
        inside = [name for name in MODELS if isinstance(table.get(name), dict)]
        for inner in ("", *inside):
            about = {"model_type": table[inner]["model_type"]} if inner else {}
            found = small(kind, inner, about) if inner or not inside else small(kind, "", {}, ({},))
            if found is not None:
                yield found


def small(
    kind: str,
    inner: str,
    about: dict[str, Any],
    tries: tuple[dict[str, Any], ...] = ({"num_hidden_layers": LAYERS}, {}),
) -> Base | None:
    """With few layers where the class allows; None where it does not, or where simcost refuses it."""
    for keys in tries:
        try:
            table = classes.table(given(kind, inner, {**about, **keys}))
        except classes.Unbuildable:
            continue
        if not isinstance(read(kind, table), str):
            return Base(kind, inner, {**about, **keys}, table)
    return None


def chosen(base: Base, every: list[Any]) -> list[Any]:
    """As many as are asked for, the same ones every time."""
    most = DRAWS if base.kind in classes.CAUSAL else max(DRAWS // 4, 2)  # a tower takes its time, whatever changes
    return every if not DRAWS else dice(base).sample(every, min(most, len(every)))


def dice(base: Base) -> random.Random:
    return random.Random(zlib.crc32(f"{base.kind} {base.inner}".encode()))


# Keys whose name says how many, how wide, or of which kind: a null one may be set.
_SIZES = ("head", "layer", "size", "rank", "window", "expert", "inner", "group", "kv", "bias", "embed", "interval")


def anew(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every number and flag of a config with other values."""
    for key, value in table.items():
        if isinstance(value, bool):
            yield key, not value
        elif isinstance(value, int) and value > 0 and not key.endswith("token_id"):
            yield key, value * 2
            if value % 2 == 0:
                yield key, value // 2
        elif value is None and any(part in key for part in _SIZES):
            yield key, 4


def together(base: Base) -> Iterator[dict[str, Any]]:
    """Single changes, and some of three keys at once."""
    every = [{key: value} for key, value in anew(base.part) if (base.kind, key) not in OTHER_CODE]
    yield from chosen(base, every)
    draw = dice(base)
    for _ in range(JOINT if len(every) > 3 and base.kind in classes.CAUSAL else 0):
        one, two, three = draw.sample(every, 3)
        yield {**one, **two, **three}


def test_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers and flags drawn anew, one by one and three at once."""
    rows = []
    for base in bases():
        for change in together(base):
            try:
                config = base.config(change)
            except classes.Unbuildable:
                continue
            rows.append(judged(base.kind, f"{base.inner} {change}"[-60:], config, classes.table(config)))
    settled("drawn", rows, capsys)


def test_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A key left out: the class's default, or a refusal."""
    rows = []
    for base in bases():
        for key in chosen(base, sorted(set(base.part) - {"model_type", "dtype", *TOWERS, *MODELS})):
            if (base.kind, key) in OTHER_CODE:
                continue
            table = base.whole({name: value for name, value in base.part.items() if name != key})
            try:
                config = classes.again(base.kind, table)
            except classes.Unbuildable:
                continue
            rows.append(judged(base.kind, f"{base.inner} without {key}", config, table))
    settled("left out", rows, capsys)


def settled(title: str, rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong, and as many as expected are right."""
    found = told(title, (row for row in rows if row.verdict not in ("refused", "not built")), capsys)
    assert wrong(rows) == []
    assert found["exact"] + found["near"] >= FLOOR[title] or 0 < DRAWS < USUAL


def strange(base: Base) -> Iterator[dict[str, Any]]:
    """Sizes that a config does not have, each with what makes it mean something in the classes that read it."""
    flat = flatten(base.table, "")
    layers = flat.get("num_hidden_layers", len(flat.get("layer_types") or (0, 0)))
    every = ["full_attention", "sliding_attention"] * layers
    lists = {
        "layer_types": every[:layers], "mlp_layer_types": ["sparse"] * layers, "mlp_only_layers": [1], "moe_layers": [1], "hybrid_layer_pattern": [0, 1] * layers,
        "moe_layer_freq": 2,
    }  # fmt: skip
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    latent = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}
    for key in sorted(SIZES - set(flat) - {*families().get(str(flat["model_type"]), {}).get("reads", ())}):
        value = lists.get(key, 4)
        yield {key: value[:layers] if isinstance(value, list) else value}
    for together in (experts, latent, {"layer_types": every[:layers], "sliding_window": 16}):
        if not set(together) & set(flat):
            yield together


def test_strange(capsys: pytest.CaptureFixture[str]) -> None:
    """A size that the type does not have: its class passes it over, and so must the count, or refuse it."""
    rows = []
    for base in bases():
        for keys in chosen(base, list(strange(base))):
            table = base.whole({**base.part, **keys})
            try:
                config = classes.again(base.kind, table)
            except classes.Unbuildable:
                continue
            rows.append(judged(base.kind, f"{base.inner} with {', '.join(keys)}", config, table))
    settled("strange", rows, capsys)


def test_cache(capsys: pytest.CaptureFixture[str]) -> None:
    """What a sequence keeps in the cache."""
    rows = []
    for kind in TYPES:
        try:
            config = classes.config(kind)
            spec = read(kind, classes.table(config))
            if isinstance(spec, str) or (kind, "sliding_window") in OTHER_CODE or kind in OF_IMAGES:
                continue
            model = classes.built(config)
            rows += [
                Row(
                    kind, f"{at} tokens", float(count.state_elements(spec, float(at))), classes.cache(model, config, at)
                )
                for at in CONTEXTS
            ]
        except classes.Unbuildable as error:
            rows.append(Row(kind, "default", 0.0, None, str(error)))
    found = told("cache", rows, capsys)
    assert found["near"] + found["wrong"] == 0
    assert found["exact"] >= FLOOR["cache"]
