"""The pages of documentation: README, those of docs/, and the others, with their headings, links, tables and blocks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(
    r"^(?:<!-- not run here: (?P<why>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_MARK = "<!-- not run here"


@dataclass(frozen=True)
class Command:
    """A command of a console block, and its output as shown."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fenced block; `why_not` is the reason why no test runs it."""

    language: str
    text: str
    why_not: str | None

    def commands(self) -> Iterator[Command]:
        """Return the commands after each prompt; a command ends where a shell would not ask for more."""
        lines = self.text.splitlines()
        while lines:
            line = lines.pop(0)
            assert line.startswith("$ "), f"not a command: {line}"
            text = line[2:]
            while not _is_whole(text):
                text += "\n" + lines.pop(0)
            shown: list[str] = []
            while lines and not lines[0].startswith("$ "):
                shown.append(lines.pop(0))
            yield Command(text, tuple(shown))


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        found = tuple(Block(m["language"], m["text"], m["why"]) for m in _FENCE.finditer(self.text))
        assert self.text.count(_MARK) == sum(block.why_not is not None for block in found), "a mark without its block"
        return found

    @cached_property
    def prose(self) -> str:
        """Return the page without its blocks."""
        return _FENCE.sub("", self.text)

    @property
    def commands(self) -> list[Command]:
        """Return the commands that a test runs, in order."""
        run = [block for block in self.blocks if block.language == "console" and block.why_not is None]
        return [command for block in run for command in block.commands()]

    def snippets(self) -> list[str]:
        """Return the Python blocks of the page."""
        return [block.text for block in self.blocks if block.language == "python"]

    @property
    def anchors(self) -> set[str]:
        """Return the names of its headings, as links write them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.M)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    @property
    def links(self) -> list[str]:
        """Return the targets of its relative links and pictures."""
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", self.prose) if "://" not in link]

    def column(self, first_cell: str) -> list[str]:
        """Return the names in code style in the first column of the table with the given first heading."""
        table = re.search(rf"^\| {re.escape(first_cell)} \|.*\n\|[-|]+\n((?:\|.*\n)*)", self.text, re.M)
        assert table, f"{self.name} has no table of {first_cell}"
        rows = table[1].splitlines()
        return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def page(name: str) -> Page:
    """Return a page by its path in the project."""
    return Page(ROOT / name)


README = page("README.md")
TOPICS = [Page(path) for path in sorted(DOCS.glob("*.md"))]
OTHERS = [
    *(Page(path) for name in ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md") if (path := ROOT / name).exists()),
    *(Page(path) for path in sorted((ROOT / "deploy").rglob("README.md"))),
]
PAGES = [README, *TOPICS, *OTHERS]


def _is_whole(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True
