"""Checks the built site: `python docs/built.py site` names every dead link and anchor, every page that no page links to, and whatever would be
loaded from another host, and fails where there is any."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_LINKS_ONLY = ("canonical", "prev", "next", "alternate", "edit")  # of <link>: names another page, loads nothing
_NOT_FOUND = "404.html"  # a server shows it; no page links to it


@dataclass
class Page(HTMLParser):
    """What a page names: anchors of its own, links, and what a browser loads with it."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps what matters of a tag."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        named = found.get(_LOADS.get(tag, ""))
        if named and not (tag == "link" and found.get("rel") in _LINKS_ONLY):
            self.loads.append(named)


def read(site: Path) -> dict[Path, Page]:
    """Every page of a built site."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def target(page: Path, link: str) -> tuple[Path, str] | None:
    """File and anchor that a link leads to, None where it leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
    return path / "index.html" if path.is_dir() else path, unquote(parts.fragment)


def faults(site: Path) -> list[str]:
    """One line for each dead link, page that nothing links to, and file of another host."""
    site = site.resolve()
    pages = read(site)
    if site / "index.html" not in pages:
        return [f"{site.name} has no index.html"]
    found, leads = [], {}
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {link} from another host" for link in page.loads if urlsplit(link).netloc]
        leads[path] = set()
        if path.name == _NOT_FOUND:  # its links are from the root of the server
            continue
        for link in [*page.links, *page.loads]:
            aim = target(path, link)
            if aim is None:
                continue
            leads[path].add(aim[0])
            if not aim[0].exists():
                found.append(f"{name} links to {link}, which is not there")
            elif aim[1] and aim[0] in pages and aim[1] not in pages[aim[0]].anchors:
                found.append(f"{name} links to {link}, whose anchor is not there")
    seen, after = set(), [site / "index.html"]
    while after:
        path = after.pop()
        if path in pages and path not in seen:
            seen.add(path)
            after += leads[path]
    found += [
        f"no link leads to {path.relative_to(site)}" for path in pages if path not in seen and path.name != _NOT_FOUND
    ]
    return found


if __name__ == "__main__":
    there = faults(Path(sys.argv[1]))
    sys.exit("\n".join(there) if there else 0)
