"""The navigation of the docs site: the tree in zensical.toml, and the page of contents of every section.

A page that is added to docs/howto, docs/theory, docs/decisions or docs/validation is found here: a theory page goes to the group of the
module that it describes, any other page to its group below, or to the last one.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from simcost.cli.help.examples import EXAMPLES, SUBJECTS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
CONFIG = ROOT / "zensical.toml"
BEGIN, END = "# nav: written by python docs/generate.py", "# end of nav"
Tree = str | dict[str, list["Tree"]]  # a page, or groups of pages by their title

HOWTO = {
    "Compare designs": ["swap-attention-and-ffn", "map-designs", "compare-a-mixer-with-full-attention"],
    "Serve a model": [
        "how-many-gpus-for-my-traffic", "which-gpu-is-cheapest", "compare-engines", "why-out-of-memory", "deepseek-production-day", "which-thinking-budget-should-i-sell",
    ],
    "Train a model": [
        "choose-a-training-plan", "plan-a-deepseek-v3-like-run", "what-a-training-run-costs", "read-a-pipeline-timeline", "price-a-step-of-reinforcement-learning",
        "what-would-r1-cost-on-my-cluster", "distil-or-train",
    ],
    "Use your own measurements": ["validate-on-your-own-benchmark", "calibrate-your-gpu"],
    "Extend simcost": ["add-a-model", "add-a-gpu", "add-an-attention-variant", "add-a-schedule"],
    "Work with simcost": ["install-and-cite", "use-in-a-notebook", "read-answers-by-program", "complete-at-the-shell", "files-and-streams"],
}  # fmt: skip
ROOMS = {  # folders of modules whose stems are names of theory pages
    "Attention and mixers": "blocks/attention",
    "Feed-forward layers and experts": "blocks/ffn",
    "Residual streams and norms": "blocks/norm",
    "Embeddings, heads and towers": "blocks/embed",
    "Pipeline schedules": "schedules",
}
THEORY = {
    "From work to time": ["roofline", "calibration", "soundness", "sensitivity", "memory", "routing"],
    "Parallelism": ["sharding", "expert-parallel", "context-parallel", "pipeline-parallel", "data-parallel", "zero-and-fsdp"],
    "Serving": ["serving", "serving-steps", "serving-events", "serving-disaggregated", "speculative-decoding", "thinking"],
    "Training": [
        "training-step", "training-run", "training-plans", "training-flops", "training-memory", "activations", "backward", "recompute", "optimizer", "scaling_laws", "distillation",
        "recipe", "rl-step", "routing-replay",
    ],
    "Embeddings, heads and towers": ["tower"],
    "Pipeline schedules": ["schedules"],
}  # fmt: skip
VALIDATION = {
    "Models and steps": ["serving", "training", "recipes", "steps", "memory"],
    "Kernels": ["kernels", "stand-ins"],
    "By device": [],
}
INTRO = {
    "howto": ("How-to guides", "Each page answers one practical question with commands that you can copy. The Python blocks run as tests."),
    "theory": (
        "Theory",
        "Each page describes one block of a model, one kind of parallelism or one part of the cost model: formulas, assumptions, sources, and a worked example whose numbers are "
        "checked by a test.",
    ),
    "validation": (
        "Validation",
        "How far predictions are from measurements. Pages by device show held-out errors of the kernel curves; the others compare whole steps, "
        "served models, training runs and memory with published or measured figures. `simcost validate` and `simcost calibrate report` print the same tables.",
    ),
    "decisions": ("Decisions", "One page per design decision: context, decision, alternatives, consequences."),
}  # fmt: skip


def title(page: Path) -> str:
    """Text of a page's first heading."""
    found = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{page.relative_to(ROOT)} has no heading")
    return found[1]


def stems(folder: str) -> list[str]:
    return sorted(path.stem for path in (DOCS / folder).glob("*.md") if path.stem != "index")


def page_name(command: str) -> str:
    """Name of a command's page."""
    return command.replace(" ", "-")


def commands() -> dict[str, list[str]]:
    """Commands that answer, by subject in the order of `simcost --help`."""
    answer = [name for name in EXAMPLES if name and not any(other.startswith(f"{name} ") for other in EXAMPLES)]
    return {
        subject: [name for word in words for name in answer if name.split()[0] == word] for subject, words in SUBJECTS
    }


def groups(folder: str) -> dict[str, list[str]]:
    """Pages of a folder by group, every page once."""
    named = {"howto": HOWTO, "theory": THEORY, "validation": VALIDATION}[folder]
    found: dict[str, list[str]] = {name: list(pages) for name, pages in named.items()}
    if folder == "theory":
        rooms = {
            name: [path.stem for path in sorted((ROOT / "simcost" / room).glob("*.py"))] for name, room in ROOMS.items()
        }
        order = ["From work to time", *rooms, "Parallelism", "Serving", "Training"]
        found = {name: list(dict.fromkeys([*found.get(name, []), *rooms.get(name, [])])) for name in order}
    there = stems(folder)
    seen: set[str] = set()
    for name, pages in found.items():
        found[name] = [stem for stem in pages if stem in there and stem not in seen]
        seen.update(found[name])
    last = list(found)[-1]
    found[last] += [stem for stem in there if stem not in seen]
    return {name: pages for name, pages in found.items() if pages}


def contents(folder: str) -> str:
    """The page of contents of a section."""
    name, intro = INTRO[folder]
    lines = [f"# {name}", "", intro, ""]
    if folder == "decisions":
        lines += [f"- [{title(DOCS / folder / f'{stem}.md')}]({stem}.md)" for stem in stems(folder)]
        return "\n".join([*lines, ""])
    for group, pages in groups(folder).items():
        lines += [f"## {group}", ""]
        lines += [f"- [{title(DOCS / folder / f'{stem}.md')}]({stem}.md)" for stem in pages]
        lines.append("")
    return "\n".join(lines)


def tree() -> list[Tree]:
    """Every page of the site."""

    def section(folder: str) -> list[Tree]:
        inner: list[Tree] = [f"{folder}/index.md"]
        return [
            *inner,
            *({group: [f"{folder}/{stem}.md" for stem in pages]} for group, pages in groups(folder).items()),
        ]

    tasks: list[Tree] = [f"tasks/{name}.md" for name in ("architect", "inference", "training", "buyer", "student")]
    devices: list[Tree] = [
        "devices/index.md",
        "devices/prices.md",
        *(f"devices/{path.parent.name}.md" for path in sorted((ROOT / "hwprofiles").glob("*/profile.toml"))),
    ]
    command_line: list[Tree] = ["cli/index.md"]
    command_line += [
        {subject: [f"cli/{page_name(name)}.md" for name in names]} for subject, names in commands().items()
    ]
    decisions: list[Tree] = ["decisions/index.md", *(f"decisions/{stem}.md" for stem in stems("decisions"))]
    return [
        {"Start": ["index.md", "start.md", "gallery.md", {"Tasks": tasks}]},
        {"How to": section("howto")},
        {"Theory": section("theory")},
        {
            "Reference": [
                "reference.md",
                {"Command line": command_line},
                "python.md",
                "settings.md",
                "metrics.md",
                "models.md",
                {"Devices": devices},
                "engines.md",
                "measurements.md",
                "glossary.md",
            ]
        },
        {"Validation": section("validation")},
        {
            "Project": [
                "changelog.md",
                "contributing.md",
                "SECURITY.md",
                {"Decisions": decisions},
                "structure.md",
                "gpu-runs.md",
                "STATUS.md",
            ]
        },
    ]


def written(entries: list[Tree], depth: int = 1) -> list[str]:
    """TOML of a tree, a line per page."""
    pad = "  " * depth
    lines = []
    for entry in entries:
        if isinstance(entry, str):
            lines.append(f"{pad}{json.dumps(entry)},")
            continue
        for name, inner in entry.items():
            lines += [f"{pad}{{ {json.dumps(name)} = [", *written(inner, depth + 1), f"{pad}] }},"]
    return lines


def config() -> str:
    """zensical.toml with today's tree."""
    text = CONFIG.read_text(encoding="utf-8")
    start, end = text.index(BEGIN), text.index(END)
    return "\n".join([text[:start] + BEGIN, "nav = [", *written(tree()), "]", text[end:]])


def copied(name: str) -> str:
    """A page of the repository's root as one of the site: its links are from docs/ then."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    text = text.replace("](CONTRIBUTING.md)", "](contributing.md)")
    head, rest = text.split("\n", 1)
    return f"{head}\n\n<!-- Generated by python docs/generate.py from {name}. -->\n{rest}"


def pages() -> dict[Path, str]:
    """Every file that this module writes."""
    return {
        **{DOCS / folder / "index.md": contents(folder) for folder in INTRO},
        DOCS / "changelog.md": copied("CHANGELOG.md"),
        DOCS / "contributing.md": copied("CONTRIBUTING.md"),
        CONFIG: config(),
    }
