"""Sources of `cite` as BibTeX: one entry each, keys of letters, digits and hyphens, texts escaped for LaTeX."""

from __future__ import annotations

from simcost.errors import plain
from simcost.result import Result, Row

_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def escaped(text: str) -> str:
    """A text inside braces of a field."""
    return "".join(_ESCAPED.get(character, character) for character in plain(text))


def text(result: Result) -> str:
    """All sources of a Result of `cite`; two of one key are told apart by a letter."""
    seen: dict[str, int] = {}
    entries = []
    for row in result.tables["sources"]:
        key = str(row["bibtex_key"])
        seen[key] = seen.get(key, 0) + 1
        entries.append(_entry(key if seen[key] == 1 else f"{key}-{seen[key]}", row))
    return "\n".join(entries)


def _entry(key: str, row: Row) -> str:
    fields = {"title": f"{{{escaped(str(row.get('title') or row['source']))}}}"}
    if row.get("authors") or row.get("copyright"):
        # Names that are several stand as BibTeX reads them: "A and B and others"; an organisation stands in braces of its own.
        names = str(row.get("authors", ""))
        person = " and " in names or (" " in names and "-" not in names and "Team" not in names)
        fields["author"] = escaped(names) if person else f"{{{escaped(names or str(row['copyright']))}}}"
    if number := row.get("arxiv"):
        fields |= {"year": f"20{str(number)[:2]}", "eprint": str(number), "archivePrefix": "arXiv"}
    if row.get("package"):
        fields["howpublished"] = escaped(f"package {row['package']}" + (f", {row['licence']}" if row.get("licence") else ""))  # fmt: skip
    if row.get("cited_for"):
        fields["note"] = escaped(f"for {row['cited_for']}")
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{key},\n{lines}\n}}\n"
