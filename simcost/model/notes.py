"""What a reader must know of a model's config: defaults that were taken, keys without effect.

A key without effect is a detail while it stands in a published config; where the question itself sets it, the user expects a change and must
hear that there is none. Source: the notes of the readers (`simcost.hf`).
"""

from __future__ import annotations

from collections.abc import Collection

from simcost.hf import canonical
from simcost.model.spec import ModelSpec
from simcost.provenance import Kind, Note


def of(model: ModelSpec, asked: Collection[str] = ()) -> list[Note]:
    """The notes of a config under the model's name. `asked`: keys that the question sets, in any spelling."""
    return [_raised(note.worded(f"{model.name}: {note}"), asked) for note in model.notes]


def unused(model: ModelSpec, asked: Collection[str] = ()) -> list[Note]:
    """Keys that are known not to matter: those that the question sets apart from the rest."""
    told = [key for key in model.unused if _among((key,), asked)]
    rest = [key for key in model.unused if key not in told]
    return [
        Note(f"{model.name}: no effect on cost: {', '.join(names)}", kind, tuple(names))
        for kind, names in ((Kind.NO_EFFECT, told), (Kind.UNUSED, rest))
        if names
    ]


def _raised(note: Note, asked: Collection[str]) -> Note:
    """A note on an unused key as one on a change without effect, where the question sets that key."""
    return Note(note, Kind.NO_EFFECT, note.about) if note.kind == Kind.UNUSED and _among(note.about, asked) else note


def _among(keys: Collection[str], asked: Collection[str]) -> bool:
    return not {canonical(key) for key in keys}.isdisjoint(canonical(key) for key in asked)
