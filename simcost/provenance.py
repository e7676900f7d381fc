"""What a number rests on, best first; notes: what a reader must know besides the numbers; and the version of simcost that says it."""

from __future__ import annotations

from enum import StrEnum

VERSION = "0.1.0"


class Basis(StrEnum):
    """A row of this very kernel, a curve through rows of its kind, a curve of another kind or device, the datasheet, an
    assumption."""

    MEASURED = "measured"
    FITTED = "fitted"
    TRANSFERRED = "transferred"
    DATASHEET = "datasheet"
    ASSUMED = "assumed"


class Kind(StrEnum):
    """What a note is about (docs/glossary.md, "Notes")."""

    ASSUMED = "assumed"  # a value that nobody states, or a simplification
    TRANSFERRED = "transferred"  # rows or terms of another device stand in
    CHANGED = "changed"  # what is priced is not quite what was asked: padding, GPUs that idle
    NO_EFFECT = "no effect"  # something that was asked for changes nothing
    LIMIT = "limit"  # beyond what the config, the engine or the memory allows
    MISSING = "missing"  # a figure that is not there, or not complete
    SAID = "said"  # of no stated kind
    ORIGIN = "origin"  # where a value is from
    UNUSED = "unused"  # keys of a config that no number depends on
    SCOPE = "scope"  # what answers of this sort leave out

    @property
    def detail(self) -> bool:
        """Whether no number would be another one without the note: --details shows it, and files."""
        return self in (Kind.ORIGIN, Kind.UNUSED, Kind.SCOPE)


class Note(str):
    """One line for a reader, with its kind; a plain string is a note of the kind `SAID`. `about`: keys of the model's config."""

    __slots__ = ("about", "kind")
    kind: Kind
    about: tuple[str, ...]

    def __new__(cls, text: str, kind: Kind = Kind.SAID, about: tuple[str, ...] = ()) -> Note:
        note = super().__new__(cls, text)
        note.kind, note.about = kind, about
        return note

    def worded(self, text: str) -> Note:
        """The same note in other words."""
        return Note(text, self.kind, self.about)


def kind_of(note: str) -> Kind:
    """The kind of a note."""
    return note.kind if isinstance(note, Note) else Kind.SAID
