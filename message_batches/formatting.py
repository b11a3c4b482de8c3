"""Values, texts and tables as a person reads them, on a terminal and in the Web UI's markdown."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from message_batches.models import Phase

PHASES = {
    Phase.PREPARING: "checking the requests",
    Phase.SUBMITTING: "submitting",
    Phase.UNDECIDED: "undecided: the reply to the POST was lost",
    Phase.POLLING: "waiting for the batch",
    Phase.RETRIEVING: "landing the results",
    Phase.LANDED: "landed",
    Phase.FAILED: "failed",
    Phase.CANCELED: "cancelled",
}


def clock(duration: timedelta) -> str:
    """Elapsed or remaining time as `0:07` or `23:59:53`."""
    seconds = max(0, int(duration.total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def moment(time: datetime) -> str:
    """A time in UTC, without saying so, as `2026-11-22 18:57:36`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Bytes as `512 bytes`, `7.5 KB` or `245 MB`; 1 KB is 1,000 bytes."""
    if count < 1000:
        return f"{count} bytes"
    amount, unit = (count / 1e3, "KB") if count < 999_500 else (count / 1e6, "MB")
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"


def visible(text: str) -> str:
    """The text on one line; what a terminal would obey, or could not show, is spelled out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return f"{text[:1].upper()}{text[1:]}"


def plural(count: int, thing: str) -> str:
    """A number of things: `1 request`, `2,880 requests`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


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
