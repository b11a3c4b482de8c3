"""The address of requests that is filled in at the time of a run, such as `s3://bucket/nightly/{date}.jsonl`."""

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from message_batches.errors import InvalidRequests

UTC_NAME = "UTC"

PLACEHOLDERS = {"date": "%Y-%m-%d", "year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M"}
"""What may stand in braces, and the form in which the time is written there."""

_IN_BRACES = re.compile(r"\{([^{}]*)\}")


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; `InvalidRequests` if there is none."""
    if name == UTC_NAME:
        return UTC
    try:
        return ZoneInfo(name)
    # A name such as `Europe` is that of a folder of the database.
    except (LookupError, ValueError, OSError) as error:
        raise InvalidRequests(f"There is no time zone {name[:100]!r}: give a name such as Europe/Berlin") from error


def has_placeholders(uri: str) -> bool:
    """Return whether an address has braces that a time is written into."""
    return _IN_BRACES.search(uri) is not None


def fill(uri: str, time: datetime, zone: str) -> str:
    """Write a time, in a time zone, into an address; `InvalidRequests` names a placeholder that there is none of."""
    local = time.astimezone(zone_of(zone))

    def written(found: re.Match[str]) -> str:
        if (form := PLACEHOLDERS.get(found[1])) is None:
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            raise InvalidRequests(f"{found[0][:100]} in requestsUri is none of {known}; nothing was sent")
        return local.strftime(form)

    return _IN_BRACES.sub(written, uri)
