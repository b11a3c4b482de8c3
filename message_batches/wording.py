"""How phases, times and sizes are written for a person, on a terminal and in the Web UI alike."""

from datetime import UTC, datetime, timedelta

from message_batches.progress import Phase

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
