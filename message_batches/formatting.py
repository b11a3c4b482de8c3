"""Values, texts and tables in a readable form, for a terminal and for the Web UI's markdown."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from message_batches.job_models import JobPhase
from message_batches.models import Phase
from message_batches.result_models import Cost, CostEstimate, ModelUsage, StopReason, Unfinished

PHASE_LABELS = {
    Phase.PREPARING: "checking the requests",
    Phase.SUBMITTING: "submitting",
    Phase.UNDECIDED: "undecided: no usable reply to the POST",
    Phase.POLLING: "waiting for the batch",
    Phase.RETRIEVING: "landing the results",
    Phase.LANDED: "landed",
    Phase.FAILED: "failed",
    Phase.CANCELED: "cancelled",
}

JOB_PHASE_LABELS = {
    JobPhase.PLANNING: "planning: the requests are split into shards",
    JobPhase.RUNNING: "waiting for its shards",
    JobPhase.PAUSED: "paused: nothing new is started",
    JobPhase.MERGING: "merging the results",
    JobPhase.LANDED: "landed",
    JobPhase.FAILED: "failed",
    JobPhase.CANCELED: "cancelled",
}


def format_duration(duration: timedelta) -> str:
    """Format elapsed or remaining time as `0:07` or `23:59:53`."""
    seconds = max(0, int(duration.total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def format_time(time: datetime) -> str:
    """Format a time in UTC, without the zone, as `2026-11-22 18:57:36`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def format_size(count: int) -> str:
    """Format a number of bytes as `512 bytes`, `7.5 KB` or `245 MB`; 1 KB is 1,000 bytes."""
    if count < 1000:
        return f"{count} bytes"
    amount, unit = (count / 1e3, "KB") if count < 999_500 else (count / 1e6, "MB")
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"


def escape_unprintable(text: str) -> str:
    """Return the text on one line, with escapes in place of control and other unprintable characters."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def spell_out_controls(text: str) -> str:
    """Return a text with escapes in place of control characters, marks of direction and the like.

    Line ends, tabs and blanks of any width stay, and so do joiners, without which emoji and some scripts fall apart.
    """
    return text if text.isprintable() else "".join(map(_spelled_out, text))


@lru_cache(4096)
def _spelled_out(character: str) -> str:
    harmless = character in "\n\t\u200c\u200d" or unicodedata.category(character) == "Zs"
    return character if harmless else escape_unprintable(character)


def capitalize_first(text: str) -> str:
    """Return the text with a capital first letter."""
    return f"{text[:1].upper()}{text[1:]}"


def plural(count: int, thing: str, things: str = "") -> str:
    """Format a number of things: `1 request`, `2,880 requests`; `things` where the plural is not made by an `s`."""
    return f"{count:,} {thing if count == 1 else things or f'{thing}s'}"


def format_money(amount: Decimal) -> str:
    """Format US dollars as `$1,234.50`, or as `$0.000042` where cents say nothing."""
    if amount == 0 or amount >= Decimal("0.1"):
        return f"${amount:,.2f}"
    # No token costs less than the bound; a limit may be any number, with a million zeros.
    return f"${Decimal(f'{amount:.3g}'):f}" if amount > Decimal("1e-12") else f"${amount:.3g}"


def describe_cost(cost: Cost) -> str:
    """Say what results cost, by which prices, and what that lacks."""
    unpriced = describe_unpriced(cost.unpriced) if cost.unpriced else ""
    if cost.amount is None or cost.standard_amount is None:
        return f"not known: {unpriced}"
    standard = f" ({format_money(cost.standard_amount)} without the batch discount)" if cost.standard_amount else ""
    own = f" and prices of your own for {_first_of(cost.prices.own)}" if cost.prices.own else ""
    missing = f"; {unpriced}: partial" if unpriced else ""
    return f"{format_money(cost.amount)}{standard}, by {cost.prices.version}{own}{missing}"


def describe_unpriced(models: Sequence[str]) -> str:
    """Say which models have no price; the first of many."""
    return f"no price for {_first_of(models)}"


def _first_of(models: Sequence[str]) -> str:
    more = f" and {len(models) - 3} more" if len(models) > 3 else ""
    return f"{', '.join(map(escape_unprintable, models[:3]))}{more}"


def describe_unfinished(unfinished: Unfinished) -> str:
    """Say which requests a deadline has left unfinished."""
    more = ", ..." if unfinished.count > len(unfinished.custom_ids) else ""
    named = f" ({', '.join(unfinished.custom_ids)}{more})" if unfinished.custom_ids else ""
    return f"The deadline came before {plural(unfinished.count, 'request')} had finished{named}"


def describe_estimate(estimate: CostEstimate) -> str:
    """Say what requests may cost, how that is estimated, and what it lacks."""
    tokens = (
        f"about {estimate.input_tokens:,} tokens in by the {estimate.method}, at most {estimate.output_tokens:,} out"
    )
    unpriced = describe_unpriced(estimate.unpriced)
    past = []
    if estimate.expected is not None:
        runs = "an earlier run" if estimate.past_runs == 1 else f"{estimate.past_runs:,} earlier runs"
        past = [f"about {format_money(estimate.expected)} if replies are as long as in {runs} of the same template"]
    lacks = [f"{unpriced}: partial"] if estimate.partial and estimate.amount is not None else []
    if estimate.unseen:
        lacks.append(f"without the files and the provider's tools of {plural(estimate.unseen, 'request')}")
    amount = f"not known: {unpriced}" if estimate.amount is None else f"up to {format_money(estimate.amount)}"
    return "; ".join([f"{amount} ({tokens})", *past, *lacks])


_KINDS = {
    "input": "input",
    "output": "output",
    "cache_write_5m": "cache write 5m",
    "cache_write_1h": "cache write 1h",
    "cache_read": "cache read",
    "web_searches": "web searches",
    "web_fetches": "web fetches",
}


def usage_table(usages: Sequence[ModelUsage]) -> tuple[list[str], list[list[str]]]:
    """Return a head and rows of what is billed, without the kinds of which there is none."""
    kinds = [kind for kind in _KINDS if kind in ("input", "output") or any(getattr(each, kind) for each in usages)]
    rows = [[usage_name(each), *(f"{getattr(each, kind):,}" for kind in kinds)] for each in usages]
    return [_KINDS[kind] for kind in kinds], rows


def usage_name(usage: ModelUsage) -> str:
    """Return the model, with what else makes its price."""
    extra = [usage.inference_geo if usage.inference_geo == "us" else "", "long context" if usage.long_context else ""]
    return ", ".join([usage.model, *filter(None, extra)])


def stopped_early(reasons: Iterable[StopReason]) -> list[tuple[str, str, str]]:
    """Return reason, count and examples of the replies that are not whole."""
    return [
        (
            f"{reason.reason} ({reason.category})" if reason.category else reason.reason,
            f"{reason.count:,}",
            ", ".join(reason.custom_ids),
        )
        for reason in reasons
        if not reason.usable
    ]


MAX_TEXT = 500
"""Most characters of a text from outside."""

SUMMARY_BYTES = 260
"""Most bytes of the summary of a run, a timer or an activity: Temporal's limit is 400; encryption adds up to 120."""

DETAILS_BYTES = 15_000
"""Most bytes of the details at a run's start: Temporal's limit is 20,000."""

# The Web UI puts no space between cells.
_GAP = " | \u2003"

# A bar that ends a cell, in monospace too: an even number of backslashes before it does not escape it.
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$:@-])")


def markdown_text(text: str) -> str:
    """Return the text on one line, escaped so that markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", _one_line(text))


def truncate_payload(text: str, most: int) -> str:
    """Cut the text to at most so many bytes as a JSON payload."""
    while (taken := len(json.dumps(text, ensure_ascii=False).encode(errors="replace"))) > most:
        text = f"{text[: min(len(text) - 2, len(text) * most // taken)]}…"
    return text


def markdown_code(text: str) -> str:
    """Format a name, an id or a command on one line, in monospace."""
    line = _one_line(text).replace("`", "'")
    return f"`{line}`"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """Format a table of markdown cells; its last `numbers` columns are aligned right."""
    rules = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    lines = [_row(head), " | ".join(rules), *map(_row, rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _row(cells: Sequence[str]) -> str:
    return _GAP.join(_BAR.sub(r"\1\|", cell) for cell in cells)


def _one_line(text: str) -> str:
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def describe_unknown_end(ended_at: datetime | None) -> str:
    """Say what a batch of an unknown status shows of its end: its results would have ended it."""
    if ended_at:
        return f"the batch says that it ended at {format_time(ended_at)} UTC, and has no results: it is polled for them"
    return "nothing shows that the batch has ended: it is polled on"
