"""A model by name, Hugging Face repository, file or directory; `model.key=value` overrides before it is built."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from simcost.errors import NotModelled, SpecError, nearest, plain
from simcost.files import exists, folder, is_dir, is_file, state
from simcost.model.foreign import other_files
from simcost.model.given import Given, Name, given
from simcost.model.overrides import ASKED as ASKED
from simcost.model.overrides import complete as complete
from simcost.model.overrides import current as current
from simcost.model.overrides import overridden as overridden
from simcost.model.spec import ModelSpec, from_config
from simcost.texts import json_value, text


def _home() -> Path:
    return folder("workloads") / "models"


def names() -> list[str]:
    """Names of the models that ship, sorted."""
    return sorted(path.stem for path in _home().glob("*.json"))


@cache
def repositories() -> dict[str, str]:
    """The zoo name of each Hugging Face repository that sources.csv lists."""
    with (_home() / "sources.csv").open(encoding="utf-8", newline="") as file:
        return {repo: row["name"] for row in csv.DictReader(file) for repo in row["hugging_face"].split()}


_TUNED = re.compile(r"[-_](?:instruct|chat|it|base|hf|pt)$", re.IGNORECASE)


@cache
def _called() -> dict[str, tuple[str, ...]]:
    """The zoo names of everything that a model is called, as `_bare` reads it: its name here, its repositories, these without their owner, and
    without the word that says how it was tuned: "llama-3.3-70b"."""
    found: dict[str, dict[str, None]] = {}
    for repo, name in repositories().items():
        own = repo.partition("/")[2]
        for said in (repo, own, _TUNED.sub("", own)):
            found.setdefault(_bare(said), {})[name] = None
    return {said: tuple(of) for said, of in found.items()} | {_bare(name): (name,) for name in names()}


def _bare(name: str) -> str:
    """Without case and what separates words: "Llama 3.1-8B" and "llama3.1_8b" are one."""
    return re.sub(r"[-_ ]", "", name.lower())


def of_name(name: str) -> str | None:
    """The zoo name that a model's name or repository stands for, in any case; None for a path that exists, and for what is not known. Raises
    SpecError for a name that may be several."""
    if "/" not in name and os.path.isfile(_home() / f"{name.lower()}.json"):
        return name.lower()
    if exists(Path(name)):
        return None
    found = _called().get(_bare(name), ())
    if len(found) > 1:
        raise SpecError(f"model '{name}' can be {' or '.join(found)}: write one of them")
    return found[0] if found else None


def spelled(name: str | Mapping[str, Any] | Given) -> Name:
    """A model as questions name it: as it was asked for, one of the zoo by its name there, a config by its content. Raises SpecError for what
    is neither, and for a name that may be several."""
    if isinstance(name, Given):
        return name
    if isinstance(name, Mapping):
        return given(name)
    if not isinstance(name, str):
        raise SpecError(f"a model must be a name or a config as a mapping, not {name!r}")
    return of_name(name) or name


def short(name: Name) -> str:
    """A model's name in answers. Raises SpecError for a name that stands for none."""
    return name.name if isinstance(name, Given) else find(name)[0]


class Identity(NamedTuple):
    """Which config a name stands for now: a file that is written anew, or found in another folder, is another one."""

    name: Name
    path: str
    changed: tuple[tuple[int, ...], ...]


def identity(name: Name) -> Identity:
    """Raises SpecError for a name that stands for none."""
    if isinstance(name, Given):
        return Identity(name, "", ())
    _, path = find(name)
    return Identity(name, os.path.abspath(path), _changed(path))


def _changed(path: Path) -> tuple[tuple[int, ...], ...]:
    """What tells the content of a file that does not ship, and of those that are read with it, from what it was."""
    if path.parent == _home():
        return ()
    from simcost.model.foreign import checkpoint

    try:
        more = (*other_files.beside(path), *other_files.parts(path), *checkpoint.files(path))
    except OSError as error:
        raise SpecError(f"reading {error.filename or path.parent}: {error.strerror or error}") from None
    return tuple(state(file) for file in (path, *more))


def _read(path: Path) -> dict[str, Any]:
    return _read_once(path, _changed(path))


@lru_cache(maxsize=256)
def _read_once(path: Path, changed: tuple[tuple[int, ...], ...]) -> dict[str, Any]:
    if _is_gguf(path):
        return _gguf(path)
    config = _table(path)
    if set(config) >= other_files.NATIVE_KEYS and "model_type" not in config:
        from simcost.model.foreign import native

        return native.config(config, str(path))
    other = other_files.of_table(config, path)
    if other is not None:
        raise SpecError(f"{path}: this is {other}")
    try:
        side = other_files.together([other_files.quantisation(file, _table(file)) for file in other_files.beside(path)])
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    own = _own_quantisation(config)
    if side is not None and own is None:
        config["quantization_config"] = side
    elif side is not None and isinstance(own, dict) and (key := other_files.differing(own, side)) is not None:
        own["side_file_differs"] = f"{side['side_file']} says {key} = {side[key]!r}"
    return config


def _own_quantisation(config: dict[str, Any]) -> Any:
    """The quantisation that a config states, whose table may stand beside or inside the language model's."""
    inner = config.get("text_config")
    tables = [config, inner] if isinstance(inner, dict) else [config]
    keys = ("quantization_config", "quantization", "compression_config")
    return next((table[key] for table in tables for key in keys if table.get(key) is not None), None)


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None


def _gguf(path: Path) -> dict[str, Any]:
    """The config of a GGUF file, whose tensors must be those of the model that it makes. Raises NotModelled where they are not."""
    from simcost.model import count
    from simcost.model.foreign import gguf_config

    found = gguf_config.read(path)
    counts = count.parameters(from_config(found.config, path.stem, str(path)))
    counted = float(counts["params_total"])
    sums = counted, counted + float(counts["params_mtp"])  # files may leave multi-token prediction out
    if all(abs(found.elements / each - 1.0) > _TENSORS_APART for each in sums):
        raise NotModelled(
            f"{path}: not modelled yet: this GGUF file's {found.elements:,} elements are not the {counted:,.0f} of a {found.config['model_type']} of its sizes "
            f"(architecture {found.name}): pass the config.json of the model that it holds"
        )
    return dict(found.config)


_TENSORS_APART = 0.001


def _table(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises SpecError, which says what another file is where it is known."""
    try:
        with path.open("rb") as file:
            what = other_files.of_binary(path, file.read(4))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    if what is not None:
        raise SpecError(f"{path}: this is {what}")
    config = json_value(text(path), str(path), finite=False)  # transformers writes Infinity: Mamba 2's time_step_limit
    if not isinstance(config, dict):
        raise SpecError(f"{path}: a model config must be a JSON object, not {type(config).__name__}")
    return config


_OF_A_FOLDER = ("config.json", other_files.NATIVE)  # files that are called as their folder is


def find(name: str) -> tuple[str, Path]:
    """(short name, path) of a zoo name, a Hugging Face repository, a config or GGUF file, or a directory with one. Raises
    SpecError naming the nearest."""
    short = of_name(name)
    shipped = _home() / f"{short}.json"
    if short and os.path.isfile(shipped):
        return short, shipped
    from simcost.model.foreign import hub

    path = Path(name)
    if not name.strip():
        raise SpecError("a model has no name: it is empty (simcost list models shows those that ship)")
    if is_dir(path):
        home = hub.snapshot(path)
        path = home / "config.json"
        path = path if path.is_file() else other_files.in_place_of_config(home) or path
    if is_file(path):
        return plain(hub.name(path.parent.resolve()) if path.name in _OF_A_FOLDER else path.stem), path
    if is_dir(Path(name)):
        what = other_files.of_folder(Path(name))
        raise SpecError(f"{name}: no config.json in this directory{f'; {what}' if what else ''}")
    alike = nearest(name, [*names(), *repositories()])
    raise SpecError(f"unknown model '{name}' (neither a name of 'simcost list models' nor a config.json){alike}")


def ships(name: Name) -> bool:
    """Whether a name stands for a config of the zoo. Raises SpecError for one that stands for none."""
    return not isinstance(name, Given) and find(name)[1].parent == _home()


def load_config(name: Name) -> tuple[str, str, dict[str, Any]]:
    """(short name, where it came from, config). Raises SpecError for an unknown name or a malformed file."""
    if isinstance(name, Given):
        return name.name, name.name, name.config
    short, path = find(name)
    return short, path.name if path.parent == _home() else str(path), dict(_read(path))


def load(name: Name, overrides: Mapping[str, Any] | None = None) -> ModelSpec:
    """The model by name, with overrides of config keys; as it stands it is compared with the checkpoint beside it. Raises SpecError for an unknown name or a
    malformed file, NotModelled for what is not modelled yet."""
    short, where, config = load_config(name)
    changed = overridden(config, overrides or {}, where, ships(name))
    found = complete(from_config(changed, short, where), config, where)
    path = None if overrides or isinstance(name, Given) else find(name)[1]
    if path is None or path.parent == _home():
        return found
    from simcost.model.foreign import checkpoint

    return replace(found, notes=(*found.notes, *checkpoint.compared(found, path)))
