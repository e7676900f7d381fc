"""Records `simcost/model/classes/classes.toml`: of every type of families.toml, the keys that its class in transformers reads, and what it takes where a file leaves one out.

A key is read where the class's config has it, or where the text of its configuration or modeling file names it and, of a count, the class builds something
else with it. That is generous: a key that is recorded as read may do nothing. A default is recorded where it does not change with the sizes. Run with `python -m tests.oracles.record`, or `--check`.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from simcost import settings
from simcost.hf import ALIASES, MODELS, canonical, flatten
from simcost.model.classes.family import families
from simcost.model.keys import SIZES
from simcost.model.tower import rules
from tests.oracles import classes

PATH = Path(__file__).parents[2] / "simcost" / "model" / "classes" / "classes.toml"
HEAD = """# Recorded from the classes of Hugging Face transformers 5.24.0 by `python -m tests.oracles.record`; by hand is families.toml.
# ties_outside: of a type with a language model inside, what its outer table says by default of tied heads; absent where it does not decide.
# inner: the type that it gives the table of a language model that states none.
# reads: keys of simcost's readers that the class reads. defaults: what it takes where a file leaves the key out; sizes: the same of what only a file with the model inside a wrapper
# leaves out. A key that no class defaults stands in neither.

"""
# A config without its sizes is no whole config: that is to be said, and no default to be taken but inside a wrapper, whose file leaves those of the class out.
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
_KINDS = (settings.COUNT, settings.LENGTH, settings.FLAG, settings.LIST)
_NEVER_READ = (
    "max_position_embeddings",
    "quantization_config",
)  # of which no count depends, or which no class defaults
_OFF = ("use_sliding_window",)  # flags that are on where nothing is said


def recorded() -> dict[str, dict[str, Any]]:
    """What is recorded of every family, and of every type with a language model inside, whose class can be asked."""
    found: dict[str, dict[str, Any]] = {}
    kinds = {*families(), *classes.CAUSAL, *classes.IMAGE_TEXT, *rules()}
    for kind in sorted(kinds & set(classes.CONFIG_MAPPING)):
        try:
            base = classes.config(kind)
            inner = {name: getattr(base, name).model_type for name in MODELS if getattr(base, name, None) is not None}
            if inner:
                found[kind] = {"inner": inner}
                found[kind] |= _ties(kind, base) if kind in (*classes.CAUSAL, *classes.IMAGE_TEXT) else {}
            elif kind in families():
                found[kind] = {"reads": _reads(kind, base), **_defaults(kind)}
        except classes.Unbuildable as error:
            print(f"{kind}: {error}", file=sys.stderr)
    return found


def _ties(kind: str, base: Any) -> dict[str, Any]:
    """ties_outside: what the outer table says by default, where it decides whether the head is tied."""
    tied, untied = (
        classes.parameters(classes.built(classes.config(kind, tie_word_embeddings=value))) for value in (True, False)
    )
    return {"ties_outside": bool(getattr(base, "tie_word_embeddings", False))} if tied != untied else {}


def _known(table: dict[str, Any]) -> dict[str, Any]:
    named = settings.of("model")
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = canonical(key)
        if name in named and (out.get(name) is None or key == name):
            out[name] = value
    return out


def _reads(kind: str, base: Any) -> list[str]:
    text = "\n".join(inspect.getsource(module) for module in classes.modules(base))
    has = set(flatten(classes.table(base), "")) | set(base.attribute_map)
    named = {*re.findall(r"config\.(\w+)", text), *re.findall(r"""["'](\w+)["']""", text)}
    found = []
    for key in SIZES:
        spelled = {key, *ALIASES.get(key, ())}
        if has & spelled or (named & spelled and _changes(kind, sorted(named & spelled))):
            found.append(key)
    return sorted(found)


def _changes(kind: str, spelled: list[str]) -> bool:
    """Whether a key that the text names and the config lacks does something; a list or a key of the cache alone is taken to."""
    if all(settings.of("model")[canonical(key)].kind != settings.COUNT for key in spelled):
        return True
    few = {"num_hidden_layers": 2}
    try:
        plain, other = (
            classes.parameters(classes.built(classes.config(kind, **{**few, **more}))) for more in ({}, {spelled[0]: 4})
        )
    except classes.Unbuildable:
        return True
    return plain != other


def _defaults(family: str) -> dict[str, Any]:
    """Defaults that are the same for other sizes, and those of the sizes themselves."""
    base = classes.CONFIG_MAPPING[family]()
    stated = classes.table(base)
    one = _known(stated)
    for key, value in list(one.items()):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            spelling = next(s for s in (key, *ALIASES[key]) if s in stated)
            try:
                other = _known(classes.table(classes.config(family, **{spelling: value * 2})))
            except classes.Unbuildable:
                continue
            one = {name: value for name, value in one.items() if name == key or other.get(name) == value}
    kinds = {key: one_.kind for key, one_ in settings.of("model").items()}
    said = {key: value for key, value in sorted(one.items()) if kinds[key] in _KINDS and _says(key, value)}
    return {
        "defaults": {key: value for key, value in said.items() if key not in (*_SIZES, *_NEVER_READ)},
        "sizes": {key: value for key, value in said.items() if key in _SIZES},
    }


def _says(key: str, value: Any) -> bool:
    """Whether a default is another than what is taken where nothing is said."""
    if isinstance(value, list):
        return 0 < len(value) <= 8 and all(isinstance(part, int) for part in value)
    return key in _OFF if value is False else isinstance(value, (bool, int)) and value != 0


def written() -> str:
    lines = [HEAD.rstrip("\n"), ""]
    for kind, table in recorded().items():
        lines += [f"[{kind}]" if re.fullmatch(r"[\w-]+", kind) else f'["{kind}"]']
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value or value is False]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def main() -> int:
    new = written()
    if "--check" in sys.argv:
        return int(PATH.read_text(encoding="utf-8") != new)
    PATH.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
