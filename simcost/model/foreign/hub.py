"""A folder of the Hugging Face hub's cache -> the snapshot in it that holds a config.

The cache keeps models--owner--name/snapshots/<commit>/ and, in refs/, which commit a branch is. Most likely to be wrong: a cache in which refs/main is newer
than the files that were fetched; that is an error, not another snapshot. Source: `huggingface_hub`, file_download.py.
"""

from __future__ import annotations

import re
from pathlib import Path

from simcost.errors import SpecError

_REPOSITORY = re.compile(r"models--(?:.+--)?(?P<name>[^/]+)")
_COMMIT = re.compile(r"[\w.-]{1,100}")
_SHOWN = 5


def snapshot(folder: Path) -> Path:
    """The folder itself, or the snapshot of a cache that it is a part of. Raises SpecError where several would do, and for what cannot be read."""
    try:
        return _snapshot(folder)
    except OSError as error:
        raise SpecError(f"{folder}: {error.strerror or error}") from None


def _snapshot(folder: Path) -> Path:
    if (folder / "config.json").is_file():
        return folder
    if folder.name == "snapshots":
        return _current(folder.parent)
    if (folder / "snapshots").is_dir():
        return _current(folder)
    cache = folder / "hub" if (folder / "hub").is_dir() else folder
    models = sorted(each for each in cache.iterdir() if each.is_dir() and _REPOSITORY.fullmatch(each.name))
    if len(models) > 1:
        raise SpecError(f"{folder}: it holds {len(models)} models: pass one of {_listed(models)}")
    return _current(models[0]) if models else folder


def name(folder: Path) -> str:
    """What a folder's model is called: its repository in a cache, else the folder."""
    found = (_REPOSITORY.fullmatch(part) for part in reversed(folder.parts))
    return next((str(each["name"]) for each in found if each), folder.name)


def _current(repository: Path) -> Path:
    """The snapshot that refs/main names, or the only one."""
    held = repository / "snapshots"
    snapshots = sorted(each for each in held.iterdir() if each.is_dir()) if held.is_dir() else []
    main = repository / "refs" / "main"
    if main.is_file():
        with main.open(encoding="utf-8", errors="replace") as file:
            commit = file.read(200).strip()
        if not _COMMIT.fullmatch(commit) or not (held / commit).is_dir():
            raise SpecError(
                f"{repository}: refs/main names the snapshot {commit!r}, which is not in it: fetch it again, or pass a snapshot's folder"
            )
        return held / commit
    if len(snapshots) != 1:
        raise SpecError(
            f"{repository}: {len(snapshots)} snapshots and no refs/main: pass the folder of one{': ' + _listed(snapshots) if snapshots else ''}"
        )
    return snapshots[0]


def _listed(folders: list[Path]) -> str:
    names = ", ".join(folder.name for folder in folders[:_SHOWN])
    return names + (f" and {len(folders) - _SHOWN} more" if len(folders) > _SHOWN else "")
