"""Files that lie beside a model's config: its quantisation, which is read with it, and those that users pass in its place, which are told apart.

Most likely to be wrong: a tool that writes its quantisation under another name; the model is then read as if it were not quantised.
Sources: NVIDIA ModelOpt (hf_quant_config.json), AutoGPTQ (quantize_config.json), AutoAWQ (quant_config.json), PEFT (adapter_config.json), Meta's and Mistral's
native checkpoints (params.json).
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.model.foreign import tensors

ADAPTER = "adapter_config.json"
# Side files with a quantisation -> the method that writes them.
QUANTISATION = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
_AWQ = {"w_bit": "bits", "q_group_size": "group_size"}
# Keys that only this kind of file has -> what it is, and what to pass.
_KINDS: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"producer", "quantization"}), "the quantisation of a model: pass the directory, or its config.json"),
    (frozenset({"image_processor_type"}), "a processor's config: pass the model's config.json"),
    (frozenset({"feature_extractor_type"}), "a processor's config: pass the model's config.json"),
    (frozenset({"medusa_num_heads"}), "heads of speculative decoding (Medusa), beside a model: pass that model's config.json"),
    (frozenset({"speculators_model_type"}), "a draft of speculative decoding, beside a model: pass that model's config.json"),
    (frozenset({"added_tokens_decoder"}), "a tokenizer's config: pass the model's config.json"),
    (frozenset({"added_tokens", "model", "pre_tokenizer"}), "a tokenizer: pass the model's config.json"),
)  # fmt: skip
GGUF, NATIVE = ".gguf", "params.json"
NATIVE_KEYS = frozenset({"dim", "n_layers", "n_heads"})
_ZIP = b"PK\x03\x04"  # of a PyTorch checkpoint since 1.6
_SAFE, _PICKLES, _INDEX = ".safetensors", (".bin", ".pt", ".pth", ".ckpt"), ".index.json"
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")


def of_table(config: Mapping[str, Any], file: Path) -> str | None:
    """What a JSON object from a file is where it is no model's config, and what to pass; None where it may be one."""
    if "peft_type" in config:
        return _adapter(config)
    if "weight_map" in config and "model_type" not in config:
        return tensors.of_index(file, config)
    if "num_hidden_layers" in config or "model_type" in config:
        return None
    return next((what for keys, what in _KINDS if keys <= set(config)), None)


def _adapter(config: Mapping[str, Any]) -> str:
    base = config.get("base_model_name_or_path")
    return f"an adapter ({config['peft_type']}){f' of {base}' if base else ''}: pass its base model"


def of_binary(path: Path, start: bytes) -> str | None:
    """What a file that is no text is, by its first bytes or its suffix; None where it is not known."""
    if path.suffix == _SAFE:
        return tensors.of_safetensors([path])
    return tensors.of_pytorch([path]) if path.suffix in _PICKLES or start.startswith(_ZIP) else None


def of_folder(folder: Path) -> str | None:
    """What a directory without a model's file holds; None where it is not known."""
    if (folder / ADAPTER).is_file():
        return f"it holds {ADAPTER}, an adapter: pass its base model"
    safe = sorted(folder.glob(f"*{_SAFE}"))
    pickles = sorted(file for file in folder.iterdir() if file.suffix in _PICKLES)
    if safe:
        return f"it holds {tensors.of_safetensors(safe)}"
    if pickles:
        return f"it holds {tensors.of_pytorch(pickles)}"
    index = next(iter(sorted(folder.glob(f"*{_INDEX}"))), None)
    return (
        None
        if index is None
        else f"it holds {index.name}, the index of a checkpoint: pass the config.json of the model"
    )


def in_place_of_config(folder: Path) -> Path | None:
    """A file of a directory without config.json that says what its model is: parameters of a native checkpoint, or the one GGUF file, its first part where it has
    several. Raises SpecError for several."""
    if (folder / NATIVE).is_file():
        return folder / NATIVE
    files = sorted(file for file in folder.glob(f"*{GGUF}") if not file.name.startswith("mmproj"))
    parts = {file: found for file in files if (found := _PART.fullmatch(file.stem))}
    firsts = [file for file in files if file not in parts or parts[file][2] == "00001"]
    if len(firsts) > 1:
        shown = ", ".join(file.name for file in firsts[:5])
        raise SpecError(
            f"{folder}: it holds {len(firsts)} GGUF files: pass one of {shown}{'' if len(firsts) <= 5 else ' and others'}"
        )
    return firsts[0] if firsts else None


def parts(path: Path) -> list[Path]:
    """The other parts of a GGUF file that is one of several."""
    found = _PART.fullmatch(path.stem) if path.suffix == GGUF else None
    return sorted(set(path.parent.glob(f"{glob.escape(found[1])}-*-of-{found[3]}{GGUF}")) - {path}) if found else []


def beside(path: Path) -> list[Path]:
    """The side files of a config that hold a quantisation: by their own names beside config.json; beside X_config.json and X.json begun with X and a sign."""
    if path.suffix != ".json" or path.name in QUANTISATION:
        return []
    stem = path.stem
    starts = [stem[: -len("config")]] if stem.endswith("config") else [stem + sign for sign in "_-."]
    files = (path.with_name(start + name) for start in starts for name in QUANTISATION)
    return [file for file in files if file.is_file()]


def quantisation(file: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """A side file as the `quantization_config` that transformers would write; `side_file` names it."""
    inner = table.get("quantization", table)
    said = dict(inner) if isinstance(inner, Mapping) else {}
    spelled = {_AWQ.get(key, key): value for key, value in said.items()}
    method = next(method for name, method in QUANTISATION.items() if file.name.endswith(name))
    return {"quant_method": method, **spelled, "side_file": file.name}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key of formats that two quantisations state differently; None where they agree."""
    keys: tuple[str, ...] = ("quant_method", "quant_algo", "bits", "group_size", "kv_cache_quant_algo")
    keys = (
        keys[1:] if "quant_algo" in one and "quant_algo" in other else keys
    )  # ModelOpt's on top of another method's checkpoint
    stated = ((key, one.get(key), other.get(key)) for key in keys)
    return next((key for key, a, b in stated if None not in (a, b) and str(a).lower() != str(b).lower()), None)


def together(tables: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one quantisation of all side files, the first of them; None for none. Raises SpecError where two contradict each other."""
    for other in tables[1:]:
        key = differing(tables[0], other)
        if key is not None:
            said = " but ".join(f"{each['side_file']} says {key} = {each[key]!r}" for each in (tables[0], other))
            raise SpecError(f"{said}: remove the one that does not belong to this checkpoint")
    return tables[0] if tables else None
