"""The little markdown that the Web UI is given; text from elsewhere cannot break out of it."""

import json
import re
from collections.abc import Iterable, Sequence

LONGEST = 500
"""Characters of a text from elsewhere."""

SUMMARY_BYTES = 260
"""Of a summary, of a run, a timer or an activity: Temporal names 400 as its limit, and encryption adds up to 120."""

DETAILS_BYTES = 15_000
"""Of the details at a run's start: Temporal names 20,000 as its limit."""

# The Web UI sets its cells side by side without any space.
_GAP = " | \u2003"
# One that ends a cell, in monospace too: none of the backslashes before it is left for it.
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$:@-])")


def plain(text: str) -> str:
    """Text on one line, shown as it is."""
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def fitted(text: str, most: int) -> str:
    """The text, cut where it would take more than so many bytes as a JSON payload."""
    while (taken := len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))) > most:
        text = f"{text[: min(len(text) - 2, len(text) * most // taken)]}…"
    return text


def code(text: str) -> str:
    """A name, an id or a command on one line, in monospace."""
    line = _one_line(text).replace("`", "'")
    return f"`{line}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """A table whose last `numbers` columns are aligned right; its cells are markdown."""
    rules = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [_row(head), " | ".join(rules), *map(_row, rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _row(cells: Sequence[str]) -> str:
    return _GAP.join(_BAR.sub(r"\1\|", cell) for cell in cells)


def _one_line(text: str) -> str:
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
