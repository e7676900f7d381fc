"""Which towers a config describes, and which of them can be counted.

A table of a config is a model beside the language model where it says so by name, or has a width, layers or a type of its own. The wrapper's rule
(`towers/`) counts it with the projector; what no rule counts is named. Most likely to be wrong: a wrapper of a class that holds weights which no table
describes. Sources: the wrappers' modeling files in Hugging Face transformers, each counted on the meta device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from simcost.blocks.tower.tower import Tower
from simcost.hf import NESTED, WRAPPER
from simcost.model import keys
from simcost.model.tower_parts.table import Rule, Table, Uncounted, Wrapper
from simcost.num import Num, is_scalar
from simcost.provenance import Kind, Note
from simcost.registry import discover

_OF_A_MODEL = frozenset(
    {
        "model_type", "architectures", "cls", "params", "hidden_size", "vt_hidden_size", "d_model", "embed_dim", "width", "num_hidden_layers",
        "num_layers", "depth", "encoder_layers",
    }
)  # fmt: skip


class Found(NamedTuple):
    """`towers` that are counted; `uncounted`: the tables that are not, each with the reason; `used`: keys of the wrapper that were read; `idle`: keys of it and, with their
    names, of its tables that change nothing; notes."""

    towers: tuple[Tower, ...] = ()
    uncounted: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()
    idle: tuple[str, ...] = ()


def parts(config: Mapping[str, Any]) -> list[str]:
    """Keys of tables that describe models beside the language model, sorted."""
    return sorted(key for key, value in config.items() if (key in keys.BESIDE and value) or _is_model(key, value))


def _is_model(key: str, value: Any) -> bool:
    named = key.endswith("_config") and key not in NESTED
    return named and isinstance(value, Mapping) and bool(_OF_A_MODEL & value.keys())


@cache
def rules() -> dict[str, Rule]:
    """Every wrapper's rule by its model_type."""
    return {kind: rule for module in discover("simcost.model.towers").values() for kind, rule in module.WRAPPERS.items()}  # fmt: skip


def read(flat: Mapping[str, Any], hidden: Num, where: str, has_towers: bool = False) -> Found:
    """The towers of a config on one level, for a language model of width `hidden`, which may be an array; `has_towers`: where its own model_type is a
    wrapper's. Raises SpecError for a key that a rule reads and that is missing or no number."""
    there, wrapper = parts(flat), str(flat.get(WRAPPER, flat.get("model_type", "")))
    if not there and wrapper == flat.get("model_type") and not has_towers:
        return Found()  # a language model of its own: most are, and read no rule
    c, rule, tables = Wrapper(flat, hidden, where), rules().get(wrapper), ", ".join(there)
    if rule is None and tables:
        return _found(
            (), [f"{tables}: the parts beside the language model of model_type {wrapper!r} cannot be counted"], c
        )
    if rule is None:
        return _found((), [f"model_type {wrapper!r} has towers, and the config states none"] if has_towers else [], c)
    try:
        towers = rule(c)
    except Uncounted as reason:
        return _found((), [f"{tables}: {reason}" if tables else str(reason)], c)
    left = [*c.missing]
    left += [f"{key}: not counted for {wrapper}" for key in there if key not in c.tables and key not in c.own.ignored]
    left += [
        f"{key}: unknown keys {', '.join(odd)}, which look like structure" for key in there if (odd := _odd(c, key))
    ]
    for tower in towers:
        if tower.refuses and tower.key in c.tables:  # its time, which heads change, is not known
            c.tables[tower.key].ignore("num_attention_heads")
    idle = [key for table in (c.own, *c.tables.values()) for key in table.idle()]
    return _found(towers, left, c, _defaults(c, wrapper))._replace(idle=tuple(idle))


def _found(towers: tuple[Tower, ...], left: list[str], c: Wrapper, notes: Iterable[Note] = ()) -> Found:
    """With a note on every tower, and on everything that is not counted."""
    said = [*notes]
    for each in towers:
        count = f"{each.parameters:,.0f} " if is_scalar(each.parameters) else ""
        text = f"the {each.name}'s {count}parameters are loaded beside the language model and run only for images or sounds"
        said.append(Note(text, Kind.SCOPE))
    for why in left:
        about = tuple(key for key in parts(c.config) if key in why)
        said.append(Note(f"{why}: not counted: params_total is not known, and memory lacks it", Kind.MISSING, about))
    return Found(towers, tuple(left), frozenset(c.own.used), tuple(said))


def _odd(c: Wrapper, key: str) -> list[str]:
    """Keys of a table that may change what is counted, and that its rule does not read."""
    table = c.tables.get(key)
    if table is None:
        return []
    open_ = sorted(
        k
        for k, v in table.values.items()
        if k not in table.used and k not in keys.IRRELEVANT and keys.of_structure(k, v)
    )
    return [k for k in open_ if not (k == "head_dim" and _is_share(table))]


def _is_share(table: Table) -> bool:
    """Whether head_dim is the width over the heads, as rules take it to be."""
    width, heads = (next((table.values[k] for k in names if table.values.get(k)), 0) for names in (_WIDTHS, _HEADS))
    return bool(table.values["head_dim"] * heads == width)


_WIDTHS, _HEADS = (
    ("hidden_size", "d_model", "embed_dim"),
    ("num_attention_heads", "num_heads", "encoder_attention_heads"),
)


def _defaults(c: Wrapper, wrapper: str) -> Iterator[Note]:
    """Of every table that was read, and of the wrapper's own keys: the class defaults that were taken, and lists whose length alone counts."""
    for table in (c.own, *c.tables.values()):
        if table.taken:
            shown = (
                f"{key} = {value:g}" if isinstance(value, float) else f"{key} = {value}"
                for key, value in table.taken.items()
            )
            said = f"class defaults of {wrapper} used for {table.name or 'its projector'}: {', '.join(shown)}"
            yield Note(said, Kind.ASSUMED)
        for key in table.counted():
            yield Note(f"{key}: only the number of its entries has an effect", Kind.UNUSED, (key,))
