"""Durations as a person writes them: `30s`, `1m`, `0.2s`, `2h`."""

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h|d)")
_LONGEST = timedelta(days=7)


def read_duration(text: str, longest: timedelta = _LONGEST) -> timedelta:
    """Read a number with its unit; `ValueError` says what one looks like."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 1m, 0.2s or 2h")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= longest.total_seconds():
        raise ValueError(f"{text!r} is not between 0 and {longest.days:,} days")
    return timedelta(seconds=seconds)
